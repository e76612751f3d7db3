//! SENDs whose commit is under way when the server is told to end: each is answered before the
//! close, and what was acknowledged is there afterwards.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::on_each_store;
use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::program;
use crate::world::MariaDb;
use crate::world::Store;
use crate::world::await_homes;
use crate::world::messages;
use crate::world::place;
use crate::world::subscribe;

on_each_store!(every_send_is_answered_before_the_close_and_what_was_granted_is_kept,);

const SENDS: usize = 400;

fn every_send_is_answered_before_the_close_and_what_was_granted_is_kept(store: &Store) {
    for round in 0..3 {
        let mut server = store.serve_with(&["--set", "drain.window=100ms"]);
        let mut writers = [0, 1].map(|it| Client::session(&server, &format!("writer-{it}")));
        for number in 0..SENDS {
            for (at, writer) in writers.iter_mut().enumerate() {
                let send = format!("SEND|destination:/app/room.{at}|receipt:{number}");
                writer.send(&format!("{send}||{round}-{number}^@"));
            }
        }
        // Some are answered, most are not.
        let firsts = [0, 1].map(|it| writers[it].answer());
        server.signal(Signal::TERM);
        let mut granted = [BTreeMap::new(), BTreeMap::new()];
        for (at, mut writer) in writers.into_iter().enumerate() {
            let (answers, code) = writer.until_closed();
            assert_eq!(code, 1012);
            let mut answered = 0;
            for answer in std::iter::once(&firsts[at]).chain(&answers) {
                let number: usize = answer.header("receipt-id").parse().expect("a number");
                assert_eq!(number, answered, "in their order");
                answered += 1;
                if answer.command == "RECEIPT" {
                    assert_eq!(answer.header("stored"), store.name());
                    granted[at].insert(place(answer), format!("{round}-{number}"));
                }
            }
            assert_eq!(answered, SENDS, "{:?}", answers.last());
        }
        server.await_exit();
        if store.name() == "memory" {
            continue;
        }
        let server = store.serve();
        let mut reader = Client::session(&server, "reader");
        // Of room 0 only, which is looked at through the route.
        reader.granted("SUBSCRIBE|id:s|destination:/app/room.0|history:10000", "");
        for (at, body) in &granted[0] {
            let heard = loop {
                let (heard, place) = messages(&mut reader, 1).remove(0);
                if place == *at {
                    break heard;
                }
            };
            assert_eq!(heard, *body);
        }
    }
}

/// A server on a database that stands still with a SEND under way, and its sender.
fn with_a_commit_that_waits(mariadb: &MariaDb) -> (Server, Client) {
    let settings = [format!("history.url={}", mariadb.url()), "drain.window=100ms".to_owned()];
    let settings = settings.each_ref().map(String::as_str);
    let mut server = Server::start_as(program(), Driver::Epoll, &settings);
    server.await_line("the store of the history is there");
    await_homes(&server);
    let mut reader = Client::session(&server, "reader");
    subscribe(&mut reader, "");
    let mut writer = Client::session(&server, "writer");
    mariadb.signal(Signal::STOP);
    writer.send("SEND|destination:/app/room.1|receipt:held|idempotency-key:k||held^@");
    // It was given its place: the store has it now.
    assert_eq!(reader.message().text(), "held");
    (server, writer)
}

#[test]
fn a_commit_that_comes_during_the_drain_gives_its_receipt_before_the_close() {
    let mariadb = MariaDb::start();
    let (mut server, mut writer) = with_a_commit_that_waits(&mariadb);
    server.signal(Signal::TERM);
    server.await_line("draining");
    thread::sleep(Duration::from_millis(300));
    mariadb.signal(Signal::CONT);
    let (answers, code) = writer.until_closed();
    assert_eq!((answers.len(), code), (1, 1012), "{answers:?}");
    assert_eq!(answers[0].header("stored"), "mysql", "{answers:?}");
    server.await_exit();
    let store = Store::MariaDb(Box::new(mariadb));
    let mut again = store.serve();
    let mut reader = Client::session(&again, "reader");
    assert_eq!(place(&subscribe(&mut reader, "history:9")), place(&answers[0]));
    again.signal(Signal::TERM);
    again.await_exit();
}

#[test]
fn a_commit_that_does_not_come_is_refused_before_the_close() {
    let mariadb = MariaDb::start();
    let (mut server, mut writer) = with_a_commit_that_waits(&mariadb);
    server.signal(Signal::TERM);
    let (answers, code) = writer.until_closed();
    assert_eq!((answers.len(), code), (1, 1012), "{answers:?}");
    assert_eq!(answers[0].header("receipt-id"), "held");
    assert_eq!(answers[0].header("message"), "relay-unknown");
    server.await_exit();
}
