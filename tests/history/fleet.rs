//! Several tasks with one Redis and one MariaDB, or with a Redis alone; the ends of each of them.

use rustix::process::Signal;

use crate::relay::Redis;
use crate::relay::Resp;
use crate::relay::Ringway;
use crate::support::Client;
use crate::support::Driver;
use crate::support::program;
use crate::world::MariaDb;
use crate::world::await_true;
use crate::world::bodies;
use crate::world::place;
use crate::world::subscribe;

const SEND: &str = "SEND|destination:/app/room.1";
const NAME: &str = "ws:/topic/room.1";

/// Tasks with these settings, all up.
fn fleet(redis: &Redis, mariadb: Option<&MariaDb>, settings: &[&str]) -> [Ringway; 2] {
    let relay = redis.setting();
    let store = mariadb.map(|it| format!("history.url={}", it.url()));
    let mut all = vec![relay.as_str()];
    all.extend(store.as_deref());
    all.extend(settings);
    [0, 1].map(|_| {
        let mut task = Ringway::start_as(program(), Driver::Epoll, &all);
        if mariadb.is_some() {
            task.await_line("the store of the history is there");
        }
        task.await_up();
        await_taken(&task);
        task
    })
}

/// Waits until each core of a task has heard that the store is there.
fn await_taken(task: &Ringway) {
    for number in 0..8 {
        let mut client = Client::session(task, &format!("probe{number}"));
        await_true("a SEND that is taken", || {
            client.ask("SEND|destination:/app/room.probe", "x").command == "RECEIPT"
        });
    }
}

fn keys(redis: &Redis) -> Resp {
    redis.client()
}

/// Waits until nothing is above a watermark.
fn await_stored(redis: &Redis) {
    let mut client = keys(redis);
    await_true("the watermarks", || client.ask(&["ZCARD", "ringway:unstored"]).number() == 0);
}

#[test]
fn what_one_task_was_sent_another_replays() {
    let (redis, mariadb) = (Redis::plain(), MariaDb::start());
    let [one, two] = fleet(&redis, Some(&mariadb), &[]);
    let mut live = Client::session(&two, "live");
    subscribe(&mut live, "");
    let mut writer = Client::session(&one, "writer");
    let mut places = Vec::new();
    for number in 1..=100 {
        let receipt = writer.granted(SEND, &number.to_string());
        assert_eq!(receipt.header("stored"), "mysql");
        places.push(place(&receipt));
    }
    assert!(places.iter().zip(1..).all(|(place, at)| place.1 == at), "{places:?}");
    let expected: Vec<String> = (1..=100).map(|it| it.to_string()).collect();
    assert_eq!(bodies(&mut live, 100), expected);
    // The streams have them, and without these the store has.
    for wish in ["history:100", "since:1:1", "history:7"] {
        let count = if wish == "history:7" { 7 } else { 100 };
        let mut reader = Client::session(&two, "reader");
        let receipt = subscribe(&mut reader, wish);
        assert_eq!(receipt.header("recovered"), (wish != "since:1:1").to_string(), "{wish}");
        assert_eq!(place(&receipt), places[99]);
        assert_eq!(bodies(&mut reader, count), expected[100 - count..]);
    }
    await_stored(&redis);
    keys(&redis).ask(&["DEL", &format!("ringway:stream:{{{NAME}}}")]);
    let mut reader = Client::session(&two, "reader");
    let receipt = subscribe(&mut reader, &format!("since:{}:20", places[0].0));
    assert_eq!((receipt.header("recovered"), place(&receipt)), ("true", places[99]));
    assert_eq!(bodies(&mut reader, 80), expected[20..]);
    writer.granted(SEND, "101");
    for client in [&mut reader, &mut live] {
        assert_eq!(bodies(client, 1), ["101"]);
    }
}

#[test]
fn a_key_is_known_to_every_task() {
    let (redis, mariadb) = (Redis::plain(), MariaDb::start());
    let [one, two] = fleet(&redis, Some(&mariadb), &[]);
    let send = format!("{SEND}|idempotency-key:k");
    let first = place(&Client::session(&one, "ann").granted(&send, "said once"));
    assert_eq!(place(&Client::session(&two, "ann").granted(&send, "said once")), first);
    let other = place(&Client::session(&two, "bob").granted(&send, "another's"));
    assert_eq!(other, (first.0, 2));
    let mut reader = Client::session(&two, "reader");
    subscribe(&mut reader, "history:9");
    assert_eq!(bodies(&mut reader, 2), ["said once", "another's"]);
}

#[test]
fn without_a_store_the_streams_are_the_history() {
    let redis = Redis::plain();
    let [one, two] = fleet(&redis, None, &[]);
    let mut writer = Client::session(&one, "writer");
    let mut last = (0, 0);
    for number in 1..=9 {
        let receipt = writer.granted(SEND, &number.to_string());
        assert_eq!(receipt.header("stored"), "stream");
        last = place(&receipt);
    }
    let mut reader = Client::session(&two, "reader");
    let receipt = subscribe(&mut reader, "history:4");
    assert_eq!((receipt.header("recovered"), place(&receipt)), ("true", last));
    assert_eq!(bodies(&mut reader, 4), ["6", "7", "8", "9"]);
    let mut reader = Client::session(&two, "reader");
    let receipt = subscribe(&mut reader, &format!("since:{}:7", last.0));
    assert_eq!(receipt.header("recovered"), "true");
    assert_eq!(bodies(&mut reader, 2), ["8", "9"]);
}

#[test]
fn what_a_dead_task_left_another_stores() {
    let (redis, mariadb) = (Redis::plain(), MariaDb::start());
    let [mut one, two] = fleet(&redis, Some(&mariadb), &[]);
    await_stored(&redis);
    let mut writer = Client::session(&one, "writer");
    mariadb.signal(Signal::STOP);
    for number in 1..=200 {
        writer.send(&format!("{SEND}|receipt:{number}||{number}^@"));
    }
    let stream = format!("ringway:stream:{{{NAME}}}");
    let mut client = keys(&redis);
    await_true("the entries", || client.ask(&["XLEN", &stream]).number() == 200);
    one.signal(Signal::KILL);
    one.await_exit();
    std::mem::forget(one);
    mariadb.signal(Signal::CONT);
    await_stored(&redis);
    client.ask(&["DEL", &stream]);
    let mut reader = Client::session(&two, "reader");
    assert_eq!(subscribe(&mut reader, "history:300").header("recovered"), "true");
    let expected: Vec<String> = (1..=200).map(|it| it.to_string()).collect();
    assert_eq!(bodies(&mut reader, 200), expected);
}

#[test]
fn a_redis_that_was_emptied_begins_another_epoch() {
    let (redis, mariadb) = (Redis::plain(), MariaDb::start());
    let [one, two] = fleet(&redis, Some(&mariadb), &[]);
    let mut live = Client::session(&two, "live");
    subscribe(&mut live, "");
    let mut writer = Client::session(&one, "writer");
    let before = place(&writer.granted(SEND, "before"));
    await_stored(&redis);
    keys(&redis).ask(&["FLUSHALL"]);
    let after = place(&writer.granted(SEND, "after"));
    assert!(before.0 < after.0 && after.1 == 1, "{before:?} {after:?}");
    assert_eq!(bodies(&mut live, 2), ["before", "after"]);
    let mut reader = Client::session(&two, "reader");
    let receipt = subscribe(&mut reader, &format!("since:{}:{}", before.0, before.1));
    assert_eq!((receipt.header("recovered"), place(&receipt)), ("true", after));
    assert_eq!(bodies(&mut reader, 1), ["after"]);
}

#[test]
fn what_was_not_heard_is_read_before_what_comes_next() {
    let (redis, mariadb) = (Redis::plain(), MariaDb::start());
    let [one, two] = fleet(&redis, Some(&mariadb), &[]);
    let mut live = Client::session(&two, "live");
    subscribe(&mut live, "");
    let mut writer = Client::session(&one, "writer");
    let mut client = keys(&redis);
    let mut number = 0;
    for _ in 0..5 {
        for _ in 0..20 {
            number += 1;
            writer.send(&format!("{SEND}|receipt:{number}||{number}^@"));
            if number % 20 == 7 {
                client.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            }
        }
        for _ in 0..20 {
            let answer = writer.answer();
            assert_eq!(answer.command, "RECEIPT", "{answer:?}");
        }
    }
    let expected: Vec<String> = (1..=number).map(|it| it.to_string()).collect();
    assert_eq!(bodies(&mut live, expected.len()), expected);
}

#[test]
fn a_store_that_is_away_defers_or_refuses() {
    for policy in ["defer", "refuse"] {
        let (redis, mut mariadb) = (Redis::plain(), MariaDb::start());
        let setting = format!("history.on_failure={policy}");
        let [one, two] = fleet(&redis, Some(&mariadb), &[&setting]);
        let mut writer = Client::session(&one, "writer");
        writer.granted(SEND, "stored");
        mariadb.kill();
        let mut last = writer.ask(SEND, "under way");
        await_true("the loss of the store", || {
            last = writer.ask(SEND, "away");
            match policy {
                "defer" => last.command == "RECEIPT" && last.header("stored") == "deferred",
                _ => last.command == "ERROR" && last.header("message") == "store-unavailable",
            }
        });
        mariadb.restart();
        await_true("the return of the store", || {
            let answer = writer.ask(SEND, "back");
            answer.command == "RECEIPT" && answer.header("stored") == "mysql"
        });
        await_stored(&redis);
        two.await_up();
        keys(&redis).ask(&["DEL", &format!("ringway:stream:{{{NAME}}}")]);
        let mut reader = Client::session(&two, "reader");
        let mut receipt = subscribe(&mut reader, "history:1000");
        await_true("the store at the other task", || {
            if receipt.header("recovered") != "true" {
                reader = Client::session(&two, "reader");
                receipt = subscribe(&mut reader, "history:1000");
            }
            receipt.header("recovered") == "true"
        });
        let heard = bodies(&mut reader, receipt.header("seq").parse().expect("a number"));
        assert_eq!(heard.first().map(String::as_str), Some("stored"));
        assert_eq!(heard.last().map(String::as_str), Some("back"));
    }
}
