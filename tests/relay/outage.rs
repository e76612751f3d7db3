//! Redis away, one claim at a time: what waits, what is refused, and what is never said twice.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use tungstenite::Message;

use crate::support::Client;
use crate::support::Driver;
use crate::support::PATIENCE;
use crate::support::on_each_driver;
use crate::world::Proxy;
use crate::world::Redis;
use crate::world::Ringway;
use crate::world::await_true;

on_each_driver!(
    a_server_that_starts_without_redis_serves_and_becomes_up,
    health_stays_200_while_redis_is_killed,
    what_was_never_written_waits_in_order_and_goes_out,
    what_was_written_and_not_answered_is_refused_and_not_said_again,
    a_client_that_does_not_read_never_keeps_the_server_from_reading_redis,
    time_passes_while_redis_never_stops,
    a_server_that_ends_answers_what_it_has_received,
    a_server_that_ends_without_redis_refuses_what_waits,
);

/// A Redis that is not there yet, and what points a server to it.
fn absent() -> (Redis, String) {
    let mut redis = Redis::plain();
    redis.kill();
    let setting = redis.setting();
    (redis, setting)
}

fn a_server_that_starts_without_redis_serves_and_becomes_up(driver: Driver) {
    let (mut redis, setting) = absent();
    let server = Ringway::start_early(driver, &[&setting]);
    server.await_degraded();
    server.assert_health([(200, "UP"), (200, "DEGRADED"), (200, "DEGRADED")]);
    let mut client = Client::session(&server, "alice");
    client.send("SUBSCRIBE|id:s|destination:/topic/room.1|receipt:later||^@");
    client.assert_open();
    redis.restart();
    let receipt = client.answer();
    assert_eq!((&*receipt.command, receipt.header("receipt-id")), ("RECEIPT", "later"));
    server.await_up();
    client.publish("/topic/room.1", "heard");
    client.expect("s", "heard");
}

fn health_stays_200_while_redis_is_killed(driver: Driver) {
    let mut redis = Redis::plain();
    let server = Ringway::start(driver, &[&redis.setting()]);
    let is_up = [(200, "UP"); 3];
    server.assert_health(is_up);
    for _ in 0..2 {
        redis.kill();
        server.await_degraded();
        server.assert_health([(200, "UP"), (200, "DEGRADED"), (200, "DEGRADED")]);
        assert_eq!(server.health()["components"]["shards"]["status"], "UP");
        // Who comes now is taken.
        Client::session(&server, "alice").assert_open();
        redis.restart();
        server.await_up();
        server.assert_health(is_up);
    }
}

#[test]
fn a_subscription_that_redis_does_not_confirm_is_refused_in_time_and_gone() {
    const CONFIRM: Duration = Duration::from_secs(1);
    let (mut redis, setting) = absent();
    let settings = [&*setting, "relay.confirm_seconds=1s", "relay.linger_seconds=100ms"];
    let server = Ringway::start_early(Driver::IoUring, &settings);
    let mut client = Client::session(&server, "alice");
    client.send("SUBSCRIBE|id:n|destination:/user/queue/errors||^@");
    let asked = Instant::now();
    let error = client.refused("SUBSCRIBE|id:s|destination:/topic/room.1", "");
    let waited = asked.elapsed();
    assert!(CONFIRM <= waited && waited < 3 * CONFIRM, "refused after {waited:?}");
    assert_eq!(error.header("message"), "relay-unconfirmed", "{error:?}");
    redis.restart();
    server.await_up();
    let mut control = redis.client();
    // The refused one is not asked for any more, and its id is free.
    await_true("no interest", || control.subscribers_count("ws:/topic/room.1") == 0);
    client.subscribe("s", "/topic/room.1");
    client.publish("/topic/room.1", "heard");
    client.expect("s", "heard");
}

fn what_was_never_written_waits_in_order_and_goes_out(driver: Driver) {
    const SENDS_COUNT: usize = 200;
    let mut redis = Redis::plain();
    let setting = redis.setting();
    let servers = [0, 1].map(|_| Ringway::start(driver, &[&setting]));
    let mut clients = [0, 1].map(|it: usize| Client::session(&servers[it], "alice"));
    clients.iter_mut().for_each(|it| it.subscribe("s", "/topic/room.1"));
    redis.kill();
    servers.iter().for_each(|it| it.await_degraded());
    for number in 0..SENDS_COUNT {
        clients[0].send(&format!("SEND|destination:/topic/room.1|receipt:{number}||{number}^@"));
    }
    redis.restart();
    for number in 0..SENDS_COUNT {
        let answer = clients[0].answer();
        let got = (&*answer.command, answer.header("receipt-id"));
        assert_eq!(got, ("RECEIPT", &*number.to_string()), "{answer:?}");
    }
    // Who sent hears all of it: nothing goes out before its own interest is back.
    for number in 0..SENDS_COUNT {
        clients[0].expect("s", &number.to_string());
    }
}

#[test]
fn what_waits_for_too_long_is_refused_and_never_said() {
    const OUTBOX: Duration = Duration::from_secs(1);
    let mut redis = Redis::plain();
    let settings = [&*redis.setting(), "relay.outbox_seconds=1s"];
    let server = Ringway::start(Driver::IoUring, &settings);
    let mut client = Client::session(&server, "alice");
    client.subscribe("s", "/topic/room.1");
    redis.kill();
    server.await_degraded();
    let asked = Instant::now();
    let error = client.refused("SEND|destination:/topic/room.1", "too late");
    let waited = asked.elapsed();
    assert!(OUTBOX <= waited && waited < 3 * OUTBOX, "refused after {waited:?}");
    assert_eq!(error.header("message"), "relay-unavailable", "{error:?}");
    redis.restart();
    server.await_up();
    client.publish("/topic/room.1", "in time");
    client.expect("s", "in time");
}

#[test]
fn what_waits_is_bounded_by_bytes() {
    let mut redis = Redis::plain();
    let settings = [
        &*redis.setting(),
        "relay.outbox_bytes=256KiB",
        "limits.refusals=1000",
        "relay.outbox_seconds=1m",
    ];
    let server = Ringway::start(Driver::IoUring, &settings);
    let mut client = Client::session(&server, "alice");
    redis.kill();
    server.await_degraded();
    let body = "x".repeat(32 << 10);
    for number in 0..16 {
        client.send(&format!("SEND|destination:/topic/room.1|receipt:{number}||{body}^@"));
    }
    // 512 KiB do not fit: what does not is refused at once, although all might wait a minute.
    let error = client.answer();
    let got = (&*error.command, error.header("message"));
    assert_eq!(got, ("ERROR", "relay-unavailable"), "{error:?}");
    redis.restart();
    server.await_up();
    let answers: Vec<String> = (1..16).map(|_| client.answer().command).collect();
    let accepted_count = answers.iter().filter(|it| *it == "RECEIPT").count();
    // Each of two shards has half of the room, for three such bodies and their envelopes.
    assert_eq!(accepted_count, 3, "{answers:?}");
    client.publish("/topic/room.2", "there is room again");
}

fn what_was_written_and_not_answered_is_refused_and_not_said_again(driver: Driver) {
    let redis = Redis::plain();
    let proxy = Proxy::to(redis.port);
    let server = Ringway::start(driver, &[&proxy.setting()]);
    let mut client = Client::session(&server, "alice");
    client.subscribe("s", "/topic/room.1");
    client.publish("/topic/room.1", "before");
    client.expect("s", "before");
    proxy.stall();
    client.send("SEND|destination:/topic/room.1|receipt:r||unknown^@");
    // Written by now: what was received with it or before it has been answered.
    client.send("UNSUBSCRIBE|id:never-used|receipt:u||^@");
    assert_eq!(client.answer().header("receipt-id"), "u");
    proxy.cut();
    proxy.resume();
    let error = client.answer();
    let got = (&*error.command, error.header("receipt-id"), error.header("message"));
    assert_eq!(got, ("ERROR", "r", "relay-unknown"), "{error:?}");
    server.await_up();
    client.publish("/topic/room.1", "after");
    client.expect("s", "after");
}

#[test]
fn a_redis_that_no_longer_answers_is_given_up() {
    let redis = Redis::plain();
    let proxy = Proxy::to(redis.port);
    let settings = [&*proxy.setting(), "relay.ping_seconds=1s"];
    let server = Ringway::start(Driver::IoUring, &settings);
    proxy.stall();
    server.await_degraded();
    proxy.resume();
    server.await_up();
}

#[test]
fn a_name_that_moves_is_followed() {
    let (old, new) = (Redis::plain(), Redis::plain());
    let proxy = Proxy::to(old.port);
    let server = Ringway::start(Driver::IoUring, &[&proxy.setting()]);
    let mut client = Client::session(&server, "alice");
    client.subscribe("s", "/topic/room.1");
    proxy.lead_to(new.port);
    proxy.cut();
    await_true("interest at the new address", || {
        new.client().subscribers_count("ws:/topic/room.1") == 1
    });
    server.await_up();
    client.publish("/topic/room.1", "heard");
    client.expect("s", "heard");
    assert_eq!(old.client().subscribers_count("ws:/topic/room.1"), 0);
}

/// Redis cuts off a subscriber for which too much waits, here 4 MiB.
fn a_client_that_does_not_read_never_keeps_the_server_from_reading_redis(driver: Driver) {
    const MESSAGES_COUNT: usize = 2_000;
    let redis = Redis::with(&["--client-output-buffer-limit", "pubsub 4mb 1mb 1"]);
    let server = Ringway::start(driver, &[&redis.setting()]);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::session(&server, "alice")).collect();
    clients.iter_mut().for_each(|it| it.subscribe("s", "/topic/flood"));
    let mut reader = clients.pop().expect("there are eight");
    let mut back_end = redis.client();
    let payload = "x".repeat(16 << 10);
    let envelope =
        format!(r#"{{"destination":"/topic/flood","userId":null,"payload":"{payload}"}}"#);
    for number in 0..MESSAGES_COUNT {
        assert!(0 < back_end.publish("ws:/topic/flood", &envelope));
        // Who reads is no slow consumer, and hears all.
        if number % 10 == 9 {
            (0..10).for_each(|_| assert_eq!(reader.message().text(), payload));
        }
    }
    assert!(!redis.log().contains("overcoming of output buffer limits"), "{}", redis.log());
    assert!(server.metric("websocket_relay_reconnects_total", "").abs() < f64::EPSILON);
    server.await_metric("websocket_slow_consumers_total", "", 7.0);
}

/// More than a core can look at, so that its link has something to receive all the time.
fn time_passes_while_redis_never_stops(driver: Driver) {
    let redis = Redis::with(&["--client-output-buffer-limit", "pubsub 0 0 0"]);
    let server = Ringway::start(driver, &[&redis.setting(), "server.cores=1"]);
    let mut wanting = Client::session(&server, "alice");
    wanting.subscribe("s", "/topic/flood");
    let mut beating = Client::open(&server);
    beating.connect("accept-version:1.2|heart-beat:0,1000");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| flood(&redis, &is_over));
        }
        let _end = EndOf(&is_over);
        let (mut longest, mut last) = (Duration::ZERO, Instant::now());
        for _ in 0..5 {
            while beating.websocket_message() != Message::text("\n") {}
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        assert!(longest < Duration::from_millis(1900), "{longest:?} without a heart-beat");
    });
    wanting.assert_open();
}

/// Ends what goes on until then, also when a test fails.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Publishes what is no envelope as fast as Redis takes it.
fn flood(redis: &Redis, is_over: &AtomicBool) {
    const COUNT: usize = 10_000;
    let mut stream = TcpStream::connect((redis.host, redis.port)).expect("Redis listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket takes options");
    let publish = b"*3\r\n$7\r\nPUBLISH\r\n$15\r\nws:/topic/flood\r\n$2\r\n{}\r\n".repeat(COUNT);
    let mut answers = b":1\r\n".repeat(COUNT);
    while !is_over.load(Ordering::Relaxed) {
        stream.write_all(&publish).expect("Redis takes it");
        stream.read_exact(&mut answers).expect("Redis answers each");
    }
}

/// Redis answers a moment after the signal, or not before the end.
fn a_server_that_ends_answers_what_it_has_received(driver: Driver) {
    for does_answer in [true, false] {
        let redis = Redis::plain();
        let proxy = Proxy::to(redis.port);
        let mut server = Ringway::start(driver, &[&proxy.setting()]);
        let mut client = Client::session(&server, "alice");
        proxy.stall();
        client.send("SEND|destination:/topic/room.1|receipt:r||x^@");
        // Received by now, and written to Redis.
        client.granted("UNSUBSCRIBE|id:never-used", "");
        server.signal(Signal::TERM);
        if does_answer {
            thread::sleep(Duration::from_millis(200));
            proxy.resume();
        }
        let answer = client.answer();
        assert_eq!(answer.header("receipt-id"), "r");
        if does_answer {
            assert_eq!(answer.command, "RECEIPT", "{answer:?}");
        } else {
            assert_eq!(answer.header("message"), "relay-unknown", "{answer:?}");
        }
        assert_eq!(client.closed(), 1012);
        assert!(server.await_exit().success());
    }
}

fn a_server_that_ends_without_redis_refuses_what_waits(driver: Driver) {
    let mut redis = Redis::plain();
    let mut server = Ringway::start(driver, &[&redis.setting()]);
    let mut client = Client::session(&server, "alice");
    redis.kill();
    server.await_degraded();
    for number in 0..3 {
        client.send(&format!("SEND|destination:/topic/room.1|receipt:{number}||x^@"));
    }
    client.send("SUBSCRIBE|id:s|destination:/topic/room.1|receipt:3||^@");
    client.granted("UNSUBSCRIBE|id:never-used", "");
    server.signal(Signal::TERM);
    let codes =
        ["relay-unavailable", "relay-unavailable", "relay-unavailable", "relay-unconfirmed"];
    for (number, code) in codes.iter().enumerate() {
        let answer = client.answer();
        let got = (answer.header("receipt-id"), answer.header("message"));
        assert_eq!(got, (&*number.to_string(), *code), "{answer:?}");
    }
    assert_eq!(client.closed(), 1012);
    assert!(server.await_exit().success());
}
