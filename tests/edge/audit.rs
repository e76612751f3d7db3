//! The audit, as an operator reads it: whoever is turned away has a line and a count, a flood is
//! summed up and hides nobody, and no token is ever written.
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test, and says which it was")]

use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use ringway::policy::auth::SigningKey;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::UPGRADE;
use crate::support::ask;
use crate::support::bytes;
use crate::support::on_each_driver;
use crate::support::upgrade_head;
use crate::websocket::frame;
use crate::websocket::upgraded;

on_each_driver!(
    who_is_turned_away_has_one_line_and_one_count,
    what_a_session_may_not_do_has_its_user_and_no_token,
    a_token_that_is_refused_has_one_line_that_names_its_user,
    a_flood_is_summed_up_and_hides_no_other_reason,
    the_rest_of_a_flood_is_told_when_it_is_over,
);

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SECRET_SETTING: &str = "auth.jwt.secret=0123456789abcdef0123456789abcdef";
const JSON: &str = "log.format=json";

fn token(claims: &Value) -> String {
    SigningKey::secret(SECRET.as_bytes()).sign(claims).unwrap()
}

/// The events among lines of the log.
fn events(lines: &[String]) -> Vec<Value> {
    let all = lines.iter().filter_map(|it| serde_json::from_str::<Value>(it).ok());
    all.filter(|it| it["target"] == "ringway::audit").collect()
}

/// A case of the table below: a server, what is done to it, and what that is called.
struct Case {
    settings: &'static [&'static str],
    act: fn(&mut Server),
    event: &'static str,
    reason: &'static str,
    /// Where it is counted.
    series: &'static str,
    label: &'static str,
}

fn refused_upgrade(server: &Server, head: &str, status: u16) {
    assert_eq!(ask(server.public, head).status, status, "{head}");
}

const CASES: &[Case] = &[
    Case {
        settings: &[],
        act: |server| {
            refused_upgrade(server, &upgrade_head("Origin: https://evil.test\r\n"), 403);
        },
        event: "turned-away",
        reason: "origin",
        series: "websocket_rejected_total",
        label: "reason=\"origin\"",
    },
    Case {
        settings: &["limits.connections=1"],
        act: |server| {
            let _amy = Client::session(server, "amy");
            refused_upgrade(server, UPGRADE, 503);
        },
        event: "turned-away",
        reason: "connections",
        series: "websocket_rejected_total",
        label: "reason=\"connections\"",
    },
    Case {
        settings: &["limits.handshakes_per_second=1", "server.cores=1"],
        act: |server| {
            // However slow the machine is, one of these is not within 1 in a second.
            let is_refused = |_| ask(server.public, UPGRADE).status == 503;
            assert!((0..50).any(is_refused));
        },
        event: "turned-away",
        reason: "handshakes_per_second",
        series: "websocket_rejected_total",
        label: "reason=\"handshakes_per_second\"",
    },
    Case {
        settings: &["limits.handshakes_pending=1", "server.cores=1"],
        act: |server| {
            let mut first = server.connect();
            first.write_all(b"GET /ws").unwrap();
            let label = "reason=\"handshakes_pending\"";
            let _more = server.connect();
            server.await_metric("websocket_rejected_total", label, 1.0);
        },
        event: "turned-away",
        reason: "handshakes_pending",
        series: "websocket_rejected_total",
        label: "reason=\"handshakes_pending\"",
    },
    Case {
        settings: &["limits.connections_per_address=1"],
        act: |server| {
            let mut one = upgraded(server);
            one.write_all(&frame(0x81, &bytes("CONNECT|accept-version:1.2||^@"))).unwrap();
            let mut other = Client::open(server);
            assert_eq!(other.until_closed().1, 1008);
        },
        event: "turned-away",
        reason: "address",
        series: "websocket_rejected_total",
        label: "reason=\"address\"",
    },
    Case {
        settings: &["limits.connections_per_user=1"],
        act: |server| {
            let _one = Client::session(server, "amy");
            let mut other = Client::open(server);
            other.send("CONNECT|accept-version:1.2|login:amy||^@");
            assert_eq!(other.until_closed().1, 1008);
        },
        event: "turned-away",
        reason: "user",
        series: "websocket_rejected_total",
        label: "reason=\"user\"",
    },
    Case {
        settings: &["drain.window=3s", "drain.deadline=10s"],
        act: |server| {
            let amy = Client::session(server, "amy");
            server.signal(Signal::TERM);
            let is_refused = |_| ask(server.public, UPGRADE).status == 503;
            assert!((0..10_000).any(is_refused), "the drain begins");
            drop(amy);
        },
        event: "turned-away",
        reason: "draining",
        series: "",
        label: "",
    },
    Case {
        settings: &["limits.http_headers=8"],
        act: |server| refused_upgrade(server, &upgrade_head(&"X: y\r\n".repeat(9)), 431),
        event: "handshake-refused",
        reason: "header_too_large",
        series: "websocket_handshakes_total",
        label: "result=\"header_too_large\"",
    },
    Case {
        settings: &["server.handshake_timeout=1s"],
        act: |server| {
            let mut slow = server.connect();
            slow.write_all(b"GET /ws HTTP/1.1\r\n").unwrap();
            server.await_metric("websocket_handshakes_total", "result=\"timed_out\"", 1.0);
        },
        event: "handshake-refused",
        reason: "timed_out",
        series: "websocket_handshakes_total",
        label: "result=\"timed_out\"",
    },
    Case {
        settings: &["server.proxy_protocol=optional", "server.trusted_proxies=10.0.0.0/8"],
        act: |server| {
            let line = "PROXY TCP4 203.0.113.1 127.0.0.1 4000 8080\r\n";
            refused_upgrade(server, &format!("{line}{UPGRADE}"), 400);
        },
        event: "handshake-refused",
        reason: "proxy_protocol",
        series: "websocket_handshakes_total",
        label: "result=\"bad_request\"",
    },
    Case {
        settings: &["limits.message_bytes=1KiB"],
        act: |server| {
            let mut amy = Client::session(server, "amy");
            amy.write_raw(&frame(0x81, &[b'x'; 70_000]));
            assert_eq!(amy.until_closed().1, 1009);
        },
        event: "closed",
        reason: "too_large",
        series: "websocket_connection_errors_total",
        label: "reason=\"too_large\"",
    },
    Case {
        settings: &["server.first_frame_timeout=1s"],
        act: |server| assert_eq!(Client::open(server).until_closed().1, 4500),
        event: "closed",
        reason: "first_frame_timeout",
        series: "websocket_connection_errors_total",
        label: "reason=\"first_frame_timeout\"",
    },
];

fn who_is_turned_away_has_one_line_and_one_count(driver: Driver) {
    for Case { settings, act, event, reason, series, label } in CASES {
        let mut server = Server::start_with(driver, &[&[JSON], *settings].concat());
        act(&mut server);
        if !series.is_empty() {
            server.await_metric(series, label, 1.0);
        }
        let events = events(server.end());
        let [it] = events.iter().filter(|it| it["reason"] == *reason).collect::<Vec<_>>()[..]
        else {
            panic!("one line of {reason}: {events:?}");
        };
        assert_eq!((&it["event"], &it["level"]), (&(*event).into(), &"WARN".into()), "{it}");
        assert!(it["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{it}");
        assert!(!it["message"].as_str().unwrap().is_empty(), "{it}");
        if *reason == "user" {
            assert_eq!(it["user"], "amy", "{it}");
        }
    }
}

fn what_a_session_may_not_do_has_its_user_and_no_token(driver: Driver) {
    let settings = [
        SECRET_SETTING,
        JSON,
        "limits.subscriptions_per_session=1",
        "limits.frames_per_second=5",
        "limits.refusals=5",
        "server.cores=1",
    ];
    let mut server = Server::start_with(driver, &settings);
    let good = token(&json!({"sub": "amy", "exp": 9_999_999_999_u64}));
    let mut amy = Client::open(&server);
    amy.connect(&format!("accept-version:1.2|token:{good}"));
    amy.refused("SEND|destination:/topic/x", "");
    amy.subscribe("one", "/topic/x");
    amy.refused("SUBSCRIBE|id:two|destination:/topic/y", "");
    let frames =
        (0..50).flat_map(|it| frame(0x81, &bytes(&format!("UNSUBSCRIBE|id:x|receipt:{it}||^@"))));
    amy.write_raw(&frames.collect::<Vec<u8>>());
    assert_eq!(amy.until_closed().1, 1008);
    let lines = server.end();
    assert!(!lines.join("\n").contains(&good[..40]));
    let events = events(lines);
    for (event, reason) in [
        ("refused", "forbidden"),
        ("refused", "limit"),
        ("refused", "rate"),
        ("closed", "refusals"),
    ] {
        let it = events.iter().find(|it| it["reason"] == reason).expect(reason);
        assert_eq!((&it["event"], &it["user"]), (&event.into(), &"amy".into()), "{it}");
        assert!(it["session"].is_string(), "{it}");
    }
}

fn a_token_that_is_refused_has_one_line_that_names_its_user(driver: Driver) {
    let mut server = Server::start_with(driver, &[SECRET_SETTING, JSON]);
    let forged = format!("{}x", token(&json!({"sub": "eve", "exp": 9_999_999_999_u64})));
    let expired = token(&json!({"sub": "bob", "exp": 1_000_000_000}));
    for (token, code) in [(&forged, 1008), (&expired, 4401), (&expired, 4401)] {
        let mut client = Client::open(&server);
        client.send(&format!("CONNECT|accept-version:1.2|token:{token}||^@"));
        client.error_then_close(code);
    }
    let lines = server.end();
    let all = lines.join("\n");
    assert!(!all.contains(&forged[..40]) && !all.contains(&expired[..40]), "{all}");
    let warnings = lines.iter().filter(|it| it.contains("\"WARN\"")).count();
    assert_eq!(warnings, 3, "{all}");
    // Whoever signed the first token is nobody: it says what it likes.
    let told: Vec<_> =
        events(lines).iter().map(|it| (it["reason"].clone(), it["user"].clone())).collect();
    let expired = (Value::from("expired"), Value::from("bob"));
    assert_eq!(told, [("signature".into(), Value::Null), expired.clone(), expired]);
}

/// Comes so often with this token.
fn flood(server: &Server, token: &str, count: usize) {
    for _ in 0..count {
        let mut client = Client::open(server);
        client.send(&format!("CONNECT|accept-version:1.2|token:{token}||^@"));
        client.error_then_close(1008);
    }
}

/// How often a reason was written, and how often it was summed up.
fn told(lines: &[String], reason: &str) -> (usize, u64) {
    let events = events(lines);
    let of_reason = events.iter().filter(|it| it["reason"] == reason);
    let (more, lines): (Vec<&Value>, Vec<&Value>) = of_reason.partition(|it| it["more"].is_u64());
    (lines.len(), more.iter().map(|it| it["more"].as_u64().unwrap()).sum())
}

fn a_flood_is_summed_up_and_hides_no_other_reason(driver: Driver) {
    let settings = [SECRET_SETTING, JSON, "server.cores=1"];
    let mut server = Server::start_with(driver, &settings);
    let forged = format!("{}x", token(&json!({"sub": "eve", "exp": 9_999_999_999_u64})));
    flood(&server, &forged, 60);
    refused_upgrade(&server, &upgrade_head("Origin: https://evil.test\r\n"), 403);
    flood(&server, "no token", 1);
    server.await_metric("websocket_auth_failures_total", "", 61.0);
    // The end does not swallow what was not written yet.
    let lines = server.end();
    let (written, more) = told(lines, "signature");
    // A slow machine may see several periods, of ten lines each.
    assert!(written < 60, "{written} lines");
    assert_eq!(written as u64 + more, 60, "each is written or counted");
    assert_eq!(told(lines, "malformed"), (1, 0));
    assert_eq!(told(lines, "origin"), (1, 0));
    assert!(!lines.join("\n").contains(&forged[..40]));
}

fn the_rest_of_a_flood_is_told_when_it_is_over(driver: Driver) {
    let settings = [SECRET_SETTING, JSON, "server.cores=1"];
    let mut server = Server::start_with(driver, &settings);
    let began_at = Instant::now();
    flood(&server, "no token", 30);
    // Nobody comes any more, and it is told all the same.
    let line = server.await_line("more of this reason in the last");
    assert!(began_at.elapsed() < Duration::from_secs(18), "{:?}", began_at.elapsed());
    let it: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&it["event"], &it["reason"]), (&"token-rejected".into(), &"malformed".into()));
    assert_eq!((&it["addresses"], &it["most_from"]), (&1.into(), &"127.0.0.1".into()), "{it}");
    assert!(it["more"].as_u64().is_some_and(|it| (1..=20).contains(&it)), "{it}");
}
