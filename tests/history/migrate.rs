//! `ringway migrate`.

use std::process::Output;

use crate::on_each_database;
use crate::support::program;
use crate::world::Store;

on_each_database!(tables_are_made_once_and_may_be_asked_for_again);

fn migrate(arguments: &[&str]) -> Output {
    program().arg("migrate").args(arguments).output().expect("the binary was built")
}

fn tables_are_made_once_and_may_be_asked_for_again(store: &Store) {
    let url = store.url();
    let printed = migrate(&["--print", "--history", &url]);
    let script = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.status.success() && script.contains("CREATE TABLE IF NOT EXISTS messages ("));
    for _ in 0..2 {
        let done = migrate(&["--history", &url]);
        assert!(done.status.success(), "{done:?}");
        assert!(String::from_utf8_lossy(&done.stdout).contains("up to date"), "{done:?}");
    }
    drop(store.serve());
}

#[test]
fn a_memory_has_no_tables_and_a_database_that_is_away_is_a_failure() {
    assert_eq!(migrate(&[]).status.code(), Some(2));
    let away = migrate(&["--history", "mysql://u:secret@127.0.0.1:1/a"]);
    assert_eq!(away.status.code(), Some(1));
    let said = String::from_utf8_lossy(&away.stderr).into_owned();
    assert!(said.contains("mysql://u:********@127.0.0.1:1/a: "), "{said}");
    assert!(!said.contains("secret"));
}
