//! A database that goes away under load, or stands still.

use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;

use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::ask;
use crate::support::program;
use crate::world::MariaDb;
use crate::world::Store;
use crate::world::await_homes;
use crate::world::await_true;
use crate::world::bodies;
use crate::world::kill;
use crate::world::messages;
use crate::world::subscribe;

#[test]
fn health_stays_200_without_the_database_from_the_start_and_after_a_kill() {
    let mut mariadb = MariaDb::start();
    let setting = format!("history.url={}", mariadb.url());
    mariadb.kill();
    let mut server = Server::start_as(program(), Driver::Epoll, &[&setting]);
    let (is_up, is_away) = ([(200, "UP"); 3], [(200, "UP"), (200, "DEGRADED"), (200, "DEGRADED")]);
    server.assert_health(is_away);
    mariadb.restart();
    server.await_line("the store of the history is there");
    await_true("health to know", || !health(&server).contains("DEGRADED"));
    server.assert_health(is_up);
    mariadb.kill();
    let mut writer = Client::session(&server, "writer");
    let refused = writer.refused("SEND|destination:/app/room.1", "lost");
    assert!(refused.header("message").starts_with("store-"), "{refused:?}");
    await_true("health to know", || health(&server).contains("DEGRADED"));
    server.assert_health(is_away);
    Client::session(&server, "another").assert_open();
    mariadb.restart();
    await_true("health to know", || !health(&server).contains("DEGRADED"));
    server.assert_health(is_up);
}

fn health(server: &Server) -> String {
    ask(server.admin, "GET /actuator/health HTTP/1.1\r\nHost: localhost\r\n\r\n").body
}

#[test]
fn a_database_that_is_killed_refuses_and_gets_what_it_missed_when_it_is_back() {
    let Store::MariaDb(mut mariadb) = Store::mariadb() else { unreachable!("it is one") };
    let setting = format!("history.url={}", mariadb.url());
    let mut server = Server::start_as(program(), Driver::Epoll, &[&setting]);
    server.await_line("the store of the history is there");
    await_homes(&server);
    assert!(
        health(&server)
            .contains("\"history\":{\"details\":{\"store\":\"mysql\"},\"status\":\"UP\"")
    );

    let mut reader = Client::session(&server, "reader");
    subscribe(&mut reader, "");
    reader.subscribe("other", "/topic/other");
    let mut writer = Client::session(&server, "writer");
    let mut sent = 0_u64;
    let mut under_way = 0_u64;
    let mut stored = 0_u64;
    let mut codes = Vec::new();
    while codes.is_empty() || 0 < under_way {
        while codes.is_empty() && under_way < 30 {
            sent += 1;
            under_way += 1;
            writer.send(&format!("SEND|destination:/app/room.1|receipt:{sent}||{sent}^@"));
        }
        let answer = writer.answer();
        under_way -= 1;
        match answer.command.as_str() {
            "RECEIPT" => stored += 1,
            _ => codes.push(answer.header("message").to_owned()),
        }
        if stored == 200 {
            mariadb.kill();
            stored += 1;
        }
    }
    let unknown = codes.iter().filter(|it| *it == "store-unknown").count();
    assert!(codes.iter().all(|it| it == "store-unknown" || it == "store-unavailable"), "{codes:?}");
    assert!(0 < unknown, "{codes:?}");
    // Nothing is given a place before the store is back, and other routes go on.
    let refused = writer.refused("SEND|destination:/app/room.1", "not sent");
    assert_eq!(refused.header("message"), "store-unavailable");
    writer.publish("/topic/other", "live");
    assert!(health(&server).starts_with("{\"components\"") || health(&server).contains("DEGRADED"));
    assert!(health(&server).contains("DEGRADED"), "{}", health(&server));
    let mut late = Client::session(&server, "late");
    assert_eq!(subscribe(&mut late, "history:5").header("recovered"), "false");

    mariadb.restart();
    await_true("the return of the store", || health(&server).contains("\"status\":\"UP\"}"));
    await_true("a SEND that is taken", || {
        writer.ask("SEND|destination:/app/room.1", "again").command == "RECEIPT"
    });
    // What was published is what is stored, what was unknown among it, once and in order.
    let mut heard = messages(&mut late, 1);
    assert_eq!(heard.remove(0).0, "again");
    let mut again = Client::session(&server, "again");
    let receipt = subscribe(&mut again, "history:10000");
    assert_eq!(receipt.header("recovered"), "true", "{receipt:?}");
    let last: usize = receipt.header("seq").parse().expect("a number");
    let kept = messages(&mut again, last);
    assert!(kept.iter().zip(1..).all(|((_, (_, seq)), at)| *seq == at), "{kept:?}");
    let mut live = Vec::new();
    while live.len() < last {
        let message = reader.message();
        match message.header("subscription") {
            "other" => assert_eq!(message.text(), "live"),
            _ => live.push(message.text().to_owned()),
        }
    }
    assert_eq!(live, kept.into_iter().map(|(body, _)| body).collect::<Vec<_>>());
}

#[test]
fn a_database_that_stands_still_holds_up_nobody_else() {
    let mariadb = MariaDb::start();
    let setting = format!("history.url={}", mariadb.url());
    let mut server = Server::start_as(program(), Driver::Epoll, &[&setting]);
    server.await_line("the store of the history is there");
    await_homes(&server);
    let mut reader = Client::session(&server, "reader");
    reader.subscribe("other", "/topic/other");
    let mut writer = Client::session(&server, "writer");
    writer.granted("SEND|destination:/app/room.1", "one");
    mariadb.signal(Signal::STOP);
    writer.send("SEND|destination:/app/room.1|receipt:held||two^@");
    let began = Instant::now();
    for number in 0..200 {
        reader.publish("/topic/other", &number.to_string());
        reader.expect("other", &number.to_string());
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    mariadb.signal(Signal::CONT);
    assert_eq!(writer.answer().header("stored"), "mysql");
}

#[test]
fn a_database_that_comes_after_the_server_is_taken_then() {
    let mut mariadb = MariaDb::start();
    mariadb.kill();
    let setting = format!("history.url={}", mariadb.url());
    let mut server = Server::start_as(program(), Driver::Epoll, &[&setting]);
    server.await_line("the store of the history is away");
    let mut writer = Client::session(&server, "writer");
    let refused = writer.refused("SEND|destination:/app/room.1", "early");
    assert_eq!(refused.header("message"), "store-unavailable");
    mariadb.restart();
    server.await_line("the store of the history is there");
    await_true("a SEND that is taken", || {
        writer.ask("SEND|destination:/app/room.1", "taken").command == "RECEIPT"
    });
    let mut reader = Client::session(&server, "reader");
    subscribe(&mut reader, "history:1");
    assert_eq!(bodies(&mut reader, 1), ["taken"]);
    kill(server);
}
