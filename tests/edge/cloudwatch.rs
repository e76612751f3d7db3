//! Lines for CloudWatch as the binary writes them: in time, in the format, and of what rose since.

use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::on_each_driver;

on_each_driver!(a_line_a_minute_tells_what_rose_since_the_one_before,);

/// Longer than a line is cut at by the smallest log driver.
const LINE_BYTES_MAX: usize = 16 << 10;

/// A line that is in the format; its metrics are just those that it declares.
#[track_caller]
fn parsed(line: &str) -> Value {
    assert!(line.len() < LINE_BYTES_MAX);
    let root: Value = serde_json::from_str(line).expect("the line is one object and no more");
    let schema: Value = serde_json::from_str(include_str!("emf.schema.json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let faults: Vec<String> = validator.iter_errors(&root).map(|it| it.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?} in {line}");
    let declared = root["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().expect("a list");
    let declared: BTreeSet<&str> =
        declared.iter().map(|it| it["Name"].as_str().expect("a name")).collect();
    let given = root.as_object().expect("an object").keys().map(String::as_str);
    assert_eq!(declared, given.filter(|it| it.starts_with("websocket.")).collect());
    for times in root.as_object().expect("an object").values().filter(|it| it["Count"].is_u64()) {
        let counts = times["Counts"].as_array().expect("a list");
        assert_eq!(counts.len(), times["Values"].as_array().map_or(0, Vec::len));
        let sum: u64 = counts.iter().filter_map(Value::as_u64).sum();
        assert_eq!(times["Count"], sum);
    }
    root
}

/// `expected` of the line, by what follows `websocket.`; null is what the line must not have.
#[track_caller]
fn check(line: &Value, expected: &[(&str, Value)]) {
    for (name, value) in expected {
        assert_eq!(&line[format!("websocket.{name}")], value, "{name}");
    }
}

fn a_line_a_minute_tells_what_rose_since_the_one_before(driver: Driver) {
    let began_at = Instant::now();
    let settings = ["metrics.emf=true", "metrics.service=chat", "metrics.task=abc"];
    let mut server = Server::start_with(driver, &settings);
    let mut client = Client::session(&server, "user");
    client.subscribe("s", "/topic/room.1");
    for body in ["one", "two", "three"] {
        client.publish("/topic/room.1", body);
        client.expect("s", body);
    }
    let line = server.await_next_line("CloudWatchMetrics", Duration::from_secs(90));
    let waited = began_at.elapsed().as_secs();
    assert!((59..90).contains(&waited), "after {waited} s");
    let first = parsed(&line);
    assert_eq!((&first["Service"], &first["TaskId"]), (&"chat".into(), &"abc".into()));
    assert_eq!(first["IoDriver"], driver.name());
    check(
        &first,
        &[
            ("heartbeat", 1.into()),
            ("connections.active", 1.into()),
            ("subscriptions.active", 1.into()),
            ("handshakes", 1.into()),
            // CONNECT, SUBSCRIBE and three SENDs; CONNECTED, RECEIPTs and three MESSAGEs.
            ("messages.received", 5.into()),
            ("relay.down", 0.into()),
        ],
    );
    assert!(3 <= first["websocket.message.processing.time"]["Count"].as_u64().unwrap_or(0));

    client.publish("/topic/room.1", "four");
    client.expect("s", "four");
    server.signal(Signal::TERM);
    assert_eq!(client.closed(), 1012);
    let last = parsed(&server.await_next_line("CloudWatchMetrics", Duration::from_secs(20)));
    check(
        &last,
        &[
            ("heartbeat", Value::Null),
            ("connections.active", Value::Null),
            ("handshakes", 0.into()),
            ("messages.received", 1.into()),
        ],
    );
    assert_eq!(last["websocket.message.processing.time"]["Count"], 1);
    let stamps = [&first, &last].map(|it| it["_aws"]["Timestamp"].as_u64().expect("a time"));
    assert!(stamps[0] < stamps[1]);
    assert_eq!(server.await_exit().code(), Some(0));
}
