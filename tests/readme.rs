//! The README tells the settings as they are.

use std::fs;
use std::path::Path;

use ringway::config::catalogue;
use ringway::metrics::document;

/// Stands before and after the table.
const MARKER: &str = "<!-- settings -->";

#[test]
fn the_table_of_settings_is_the_catalogue() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let mut parts = readme.split(MARKER);
    let (_, table, _) = (parts.next(), parts.next(), parts.next().unwrap());
    assert_eq!(
        table.unwrap().trim(),
        catalogue::markdown_table().trim(),
        "put the output of `cargo run -- config table` between the two {MARKER}"
    );
    assert_eq!(parts.next(), None, "{MARKER} stands twice");
}

#[track_caller]
fn check_operations(marker: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = fs::read_to_string(path).expect("the page is there");
    let table = text.split(marker).nth(1).expect("the table stands between two markers");
    assert_eq!(table.trim(), expected.trim(), "put this between the two {marker}:\n{expected}");
}

#[test]
fn the_series_and_the_metrics_are_documented_as_they_are() {
    check_operations("<!-- series -->", &document::series_table());
    check_operations("<!-- emf -->", &document::emf_table());
}
