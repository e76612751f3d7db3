//! The README tells the settings as they are.

use std::fs;
use std::path::Path;

use ringway::config::catalogue;

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
