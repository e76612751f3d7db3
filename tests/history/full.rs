//! A disk without room for what is said: that is refused, everything else goes on, and when there
//! is room again nothing that was acknowledged is missing.

use crate::disk::Disk;
use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::ask;
use crate::support::program;
use crate::world::MariaDb;
use crate::world::await_homes;
use crate::world::await_true;
use crate::world::messages;
use crate::world::place;
use crate::world::subscribe;

/// More than half of it does not fit.
const MESSAGES_MAX: usize = 2_000;

fn health(server: &Server) -> (u16, String) {
    let health = ask(server.admin, "GET /actuator/health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    (health.status, health.body)
}

/// Fills the store up, looks at what goes on, and has room made.
fn check(server: &Server, make_room: impl FnOnce()) {
    await_homes(server);
    let mut reader = Client::session(server, "reader");
    reader.subscribe("other", "/topic/other");
    let mut writer = Client::session(server, "writer");
    let send = "SEND|destination:/app/room.1";
    let large = |number: usize| format!("{number} {}", "x".repeat(20_000));
    let mut acknowledged = Vec::new();
    let refusal = loop {
        let number = acknowledged.len();
        let key = format!("{send}|idempotency-key:{number}");
        let answer = writer.ask(&key, &large(number));
        if answer.command == "ERROR" {
            break answer;
        }
        acknowledged.push(place(&answer));
        assert!(number < MESSAGES_MAX, "it takes all");
    };
    // That one was under way; those behind it are not sent.
    assert_eq!(refusal.header("message"), "store-unknown", "{refusal:?}");
    for _ in 0..20 {
        let refused = writer.refused(send, "not sent");
        assert_eq!(refused.header("message"), "store-unavailable");
        writer.publish("/topic/other", "live");
        reader.expect("other", "live");
        let (status, body) = health(server);
        assert!(status == 200 && body.contains("DEGRADED"), "{status} {body}");
    }
    assert_eq!(server.metric("websocket_history_up", ""), 0.0);

    make_room();
    await_true("a SEND that is taken", || writer.ask(send, "there is room").command == "RECEIPT");
    // The one that nobody knew of was stored when there was room: a repeat is told where.
    let number = acknowledged.len();
    let again = writer.granted(&format!("{send}|idempotency-key:{number}"), &large(number));
    let (epoch, last) = *acknowledged.last().expect("some have fitted");
    assert_eq!(place(&again), (epoch, last + 1));
    acknowledged.push(place(&again));
    await_true("health", || health(server).1.contains("\"status\":\"UP\"}"));
    let mut late = Client::session(server, "late");
    let receipt = subscribe(&mut late, "since:0:0");
    let (_, count) = place(&receipt);
    let kept = messages(&mut late, usize::try_from(count).expect("small"));
    for ((body, at), number) in kept.iter().zip(0..) {
        assert_eq!(*at, (epoch, number as u64 + 1));
        match acknowledged.get(number) {
            Some(_) => assert_eq!(*body, large(number)),
            None => assert_eq!(body, "there is room"),
        }
    }
    assert!(acknowledged.len() < kept.len());
}

#[test]
fn a_sqlite_file_on_a_full_disk_refuses_and_takes_again_when_there_is_room() {
    let disk = Disk::new(4 * 1024, 2 * 1024);
    let setting = format!("history.url=sqlite://{}", disk.path().join("a.db").display());
    let server = program();
    let command = disk.program(server.get_program());
    let mut server = Server::start_as(command, Driver::Epoll, &[&setting]);
    server.await_line("the store of the history is there");
    check(&server, || disk.make_room());
}

#[test]
fn a_mariadb_on_a_full_disk_refuses_and_takes_again_when_there_is_room() {
    let disk = Disk::new(96 * 1024, 48 * 1024);
    let mariadb = MariaDb::start_on(disk);
    let setting = format!("history.url={}", mariadb.url());
    let mut server = Server::start_as(program(), Driver::Epoll, &[&setting]);
    server.await_line("the store of the history is there");
    check(&server, || mariadb.make_room());
}
