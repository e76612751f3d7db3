//! What is too old or too much goes, the oldest of a destination first.

use crate::on_each_database;
use crate::support::Client;
use crate::support::Server;
use crate::world::Store;
use crate::world::await_true;
use crate::world::bodies;
use crate::world::place;
use crate::world::subscribe;

on_each_database!(
    of_each_destination_so_many_are_kept,
    what_is_too_old_goes_and_what_was_seen_before_is_said_to_be_missing,
);

/// What is there of `/topic/room.1`.
fn kept(server: &Server) -> Vec<String> {
    let mut reader = Client::session(server, "reader");
    let receipt = subscribe(&mut reader, "history:100");
    let first = reader.message();
    let count = place(&receipt).1 - place(&first).1;
    let mut kept = vec![first.text().to_owned()];
    kept.extend(bodies(&mut reader, usize::try_from(count).expect("small")));
    kept
}

fn of_each_destination_so_many_are_kept(store: &Store) {
    let server = store.serve();
    let mut writer = Client::session(&server, "writer");
    for number in 1..=20 {
        writer.granted("SEND|destination:/app/room.1", &number.to_string());
        writer.granted("SEND|destination:/app/room.2", &number.to_string());
    }
    assert_eq!(kept(&server).len(), 20);
    drop(server);

    let server = store.serve_with(&["--set", "history.retention_count=5"]);
    await_true("the removal", || kept(&server).len() == 5);
    assert_eq!(kept(&server), ["16", "17", "18", "19", "20"]);
}

fn what_is_too_old_goes_and_what_was_seen_before_is_said_to_be_missing(store: &Store) {
    let server = store.serve();
    let mut writer = Client::session(&server, "writer");
    let (epoch, _) = place(&writer.granted("SEND|destination:/app/room.1", "old"));
    writer.granted("SEND|destination:/app/room.1", "older than its age");
    drop(server);

    // The store is walked over at the start, when both are.
    let server = store.serve_with(&["--set", "history.retention_age=1ms"]);
    let mut reader = Client::session(&server, "reader");
    await_true("the removal", || {
        let since = subscribe(&mut reader, &format!("since:{epoch}:1"));
        since.header("recovered") == "false"
    });
    let mut writer = Client::session(&server, "writer");
    let new = place(&writer.granted("SEND|destination:/app/room.1", "new"));
    let mut late = Client::session(&server, "late");
    assert_eq!(place(&subscribe(&mut late, "history:9")), new);
    assert_eq!(bodies(&mut late, 1), ["new"]);
}
