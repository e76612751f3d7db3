//! How the server lets its sessions go: told, spread, the idlest first, and in time.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::UPGRADE;
use crate::support::ask;
use crate::support::on_each_driver;

on_each_driver!(
    closes_are_spread_evenly_and_each_has_a_hint_of_its_own,
    who_listens_is_told_and_goes_on_until_the_close,
    a_server_that_drains_is_not_ready_and_takes_nobody,
    who_said_something_last_is_closed_last,
    a_second_signal_hurries,
    a_connection_leaves_at_its_age,
    who_came_together_does_not_leave_together,
    who_is_left_at_the_deadline_is_closed_with_1001,
);

/// The milliseconds of `…; reconnect in <n> ms`.
#[track_caller]
fn hint(reason: &str) -> u64 {
    let (_, hint) = reason.split_once("; reconnect in ").expect("a reason has a hint");
    hint.strip_suffix(" ms").and_then(|it| it.parse().ok()).expect("a number of milliseconds")
}

/// How each was closed: the code, the delay that its reason hints at, and when.
fn closes_of(clients: Vec<Client>, began_at: Instant) -> Vec<(u16, u64, Duration)> {
    let waiting: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            thread::spawn(move || {
                let (code, reason) = client.closed_with();
                (code, hint(&reason), began_at.elapsed())
            })
        })
        .collect();
    waiting.into_iter().map(|it| it.join().expect("a close")).collect()
}

fn closes_are_spread_evenly_and_each_has_a_hint_of_its_own(driver: Driver) {
    let settings = ["limits.connections=120", "drain.window=4s"];
    let mut server = Server::start_with(driver, &settings);
    let clients: Vec<Client> =
        (0..120).map(|index| Client::session(&server, &format!("user-{index}"))).collect();
    server.signal(Signal::TERM);
    let began_at = Instant::now();
    let closed = closes_of(clients, began_at);
    assert!(closed.iter().all(|(code, hint, _)| *code == 1012 && (250..=5_000).contains(hint)));
    let hints: BTreeSet<u64> = closed.iter().map(|(_, hint, _)| *hint).collect();
    assert!(100 <= hints.len(), "only {} different delays for 120", hints.len());
    let mut times: Vec<Duration> = closed.iter().map(|(_, _, at)| *at).collect();
    times.sort_unstable();
    // The shards see the signal within a tenth of a second; the second is counted from there.
    let first = times[0];
    for second in 0..4 {
        let range = |it: &&Duration| {
            let since = it.saturating_sub(first);
            (second..second + 1).contains(&since.as_secs())
        };
        let count = times.iter().filter(range).count();
        assert!((24..=36).contains(&count), "{count} closes in second {second}: {times:?}");
    }
    assert_eq!(server.await_exit().code(), Some(0));
    let line = server.await_line("ended");
    assert!(line.contains("closed=120") && line.contains("cut=0"), "{line}");
}

fn who_listens_is_told_and_goes_on_until_the_close(driver: Driver) {
    let settings = ["limits.connections=4", "drain.window=60s"];
    let server = Server::start_with(driver, &settings);
    let mut clients: Vec<Client> =
        (0..3).map(|index| Client::session(&server, &format!("user-{index}"))).collect();
    clients[0].subscribe("exact", "/topic/server.events");
    clients[1].subscribe("pattern", "/topic/**");
    clients[2].subscribe("other", "/topic/room.1");
    server.signal(Signal::TERM);
    let mut delays = BTreeSet::new();
    for (client, id) in clients.iter_mut().zip(["exact", "pattern"]) {
        let notice = client.message();
        assert_eq!(notice.header("subscription"), id);
        assert_eq!(notice.header("destination"), "/topic/server.events");
        assert_eq!(notice.header("content-type"), "application/json");
        let body: Value = serde_json::from_str(notice.text()).expect("a notice is JSON");
        assert_eq!(body["type"], "ServerShutdownNotice");
        let millis = body["reconnectInMs"].as_u64().expect("a number");
        assert!((250..=7_000).contains(&millis), "{body}");
        assert_eq!(body["reconnectInSeconds"], millis.div_ceil(1_000), "{body}");
        delays.insert(millis);
    }
    assert_eq!(delays.len(), 2);
    // Sessions are served until it is their turn.
    clients[2].publish("/topic/room.1", "still here");
    clients[2].expect("other", "still here");
    clients[1].expect("pattern", "still here");
    assert_eq!(server.metric("websocket_drain_told_total", ""), 2.0);
    for client in &mut clients {
        let (code, reason) = client.closed_with();
        assert_eq!(code, 1012);
        hint(&reason);
    }
}

fn a_server_that_drains_is_not_ready_and_takes_nobody(driver: Driver) {
    let settings = ["limits.connections=2", "drain.window=60s"];
    let mut server = Server::start_with(driver, &settings);
    let mut clients = [Client::session(&server, "one"), Client::session(&server, "two")];
    server.signal(Signal::TERM);
    server.await_line("draining");
    server.assert_health([(200, "UP"), (503, "OUT_OF_SERVICE"), (503, "OUT_OF_SERVICE")]);
    let refused = ask(server.public, UPGRADE);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    for client in &mut clients {
        assert_eq!(client.closed_with().0, 1012);
    }
    assert_eq!(server.await_exit().code(), Some(0));
}

fn who_said_something_last_is_closed_last(driver: Driver) {
    let settings = ["limits.connections=4", "drain.window=60s", "server.cores=1"];
    let server = Server::start_with(driver, &settings);
    let mut clients: Vec<Client> =
        (0..4).map(|index| Client::session(&server, &format!("user-{index}"))).collect();
    // The first to come is the last to speak.
    for client in clients.iter_mut().rev() {
        client.publish("/topic/x", "here");
    }
    server.signal(Signal::TERM);
    let mut waiting = Vec::new();
    for mut client in clients {
        waiting.push(thread::spawn(move || {
            client.closed_with();
            Instant::now()
        }));
    }
    let times: Vec<Instant> = waiting.into_iter().map(|it| it.join().expect("a close")).collect();
    assert!(times.is_sorted_by(|one, two| one > two), "{times:?}");
}

fn a_second_signal_hurries(driver: Driver) {
    let settings = ["limits.connections=100", "drain.window=60s"];
    let mut server = Server::start_with(driver, &settings);
    let mut clients: Vec<Client> = (0..100).map(|_| Client::session(&server, "user")).collect();
    server.signal(Signal::TERM);
    server.await_line("draining");
    let began_at = Instant::now();
    server.signal(Signal::INT);
    for client in &mut clients {
        assert_eq!(client.closed_with().0, 1012);
    }
    assert_eq!(server.await_exit().code(), Some(0));
    assert!(began_at.elapsed() < Duration::from_secs(10), "{:?}", began_at.elapsed());
}

fn a_connection_leaves_at_its_age(driver: Driver) {
    let server = Server::start_with(driver, &["server.max_connection_age=2s"]);
    let mut client = Client::session(&server, "user");
    let began_at = Instant::now();
    client.subscribe("events", "/topic/server.events");
    let body: Value = serde_json::from_str(client.message().text()).expect("a notice is JSON");
    assert_eq!(body["reason"], "age");
    let (code, reason) = client.closed_with();
    assert!(code == 1012 && reason.contains("old"), "{code} {reason}");
    hint(&reason);
    let age = began_at.elapsed();
    assert!((1_500..6_000).contains(&age.as_millis()), "{age:?}");
    assert_eq!(server.metric("websocket_drain_closed_total", ""), 0.0);
}

fn who_came_together_does_not_leave_together(driver: Driver) {
    let server = Server::start_with(driver, &["server.max_connection_age=10s"]);
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let mut client = Client::session(&server, "user");
            let began_at = Instant::now();
            thread::spawn(move || {
                let (code, reason) = client.closed_with();
                hint(&reason);
                (code, began_at.elapsed().as_millis())
            })
        })
        .collect();
    let closed: Vec<_> = waiting.into_iter().map(|it| it.join().expect("a close")).collect();
    assert!(closed.iter().all(|(code, age)| *code == 1012 && 8_900 < *age), "{closed:?}");
    // Evenly over the last tenth: a busy machine makes some later, and nobody early.
    let early = closed.iter().filter(|(_, age)| *age < 9_600).count();
    assert!(5 < early && early < 40, "{closed:?}");
}

fn who_is_left_at_the_deadline_is_closed_with_1001(driver: Driver) {
    // 30 closes a second, until a second before the end.
    let settings = ["limits.connections=120", "drain.window=4s", "drain.deadline=4100ms"];
    let mut server = Server::start_with(driver, &settings);
    let clients: Vec<Client> = (0..120).map(|_| Client::session(&server, "user")).collect();
    server.signal(Signal::TERM);
    let began_at = Instant::now();
    let closed = closes_of(clients, began_at);
    assert_eq!(server.await_exit().code(), Some(0));
    let (cut, drained): (Vec<_>, Vec<_>) = closed.into_iter().partition(|it| it.0 == 1001);
    assert!(drained.iter().all(|it| it.0 == 1012), "{drained:?}");
    assert!((80..=105).contains(&drained.len()), "{} were let go in time", drained.len());
    assert!(cut.iter().all(|it| Duration::from_millis(3_000) <= it.2), "{cut:?}");
    let hints: BTreeSet<u64> = cut.iter().map(|it| it.1).collect();
    assert!(10 < hints.len(), "each is told another time: {hints:?}");
    let line = server.await_line("ended");
    assert!(line.contains(&format!("closed={}", drained.len())), "{line}");
}
