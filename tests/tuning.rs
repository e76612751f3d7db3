//! The files of `tuning/` are the table that `ringway doctor` reads.

use std::fs;
use std::path::Path;
use std::process::Command;

use ringway::doctor::files::File;

/// Stands before and after the table in the README.
const MARKER: &str = "<!-- settings -->";

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn check(name: &str, file: File) {
    let print = File::ALL.iter().find(|(_, it)| *it == file).expect("all are in ALL").0;
    let remedy = format!("ringway doctor --print {print} > tuning/{name}");
    assert_eq!(read(name), file.text(), "{remedy}");
}

#[test]
fn the_files_are_made_of_the_table() {
    check("sysctl.conf", File::Sysctl);
    check("limits.conf", File::Limits);
    check("ringway.service", File::Systemd);
    check("fargate.json", File::Fargate);
}

#[test]
fn the_readme_holds_the_table() {
    let readme = read("README.md");
    let table = readme.split(MARKER).nth(1).expect("the table stands between two markers");
    assert_eq!(table.trim(), File::Table.text().trim(), "put `ringway doctor --print table` there");
}

#[test]
fn the_doctor_says_what_is_too_low_and_fails() {
    let doctor = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.arg("doctor").args(arguments).output().expect("the binary was built")
    };
    // More descriptors than any kernel gives.
    let output = doctor(&["--connections", "2000000000", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let nofile = report["lines"].as_array().unwrap().iter().find(|it| it["name"] == "nofile");
    let nofile = nofile.expect("descriptors are looked at");
    assert_eq!((&nofile["status"], &nofile["needed"]), (&"too low".into(), &"2000001000".into()));

    let output = doctor(&["--connections", "1", "--set", "server.backlog=1"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.ends_with("nothing is too low\n"), "{said}");

    let output = doctor(&["--print", "sysctl"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), File::Sysctl.text());
    assert_eq!(doctor(&["--print", "what"]).status.code(), Some(2));
    assert_eq!(doctor(&["--set", "server.nonsense=1"]).status.code(), Some(2));
}
