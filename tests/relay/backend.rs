//! Back ends on the same Redis: the article's sender and receiver, and one that reads a stream.

use std::process::Command;
use std::thread;

use serde_json::Value;

use crate::support::Client;
use crate::support::Driver;
use crate::support::on_each_driver;
use crate::world::Redis;
use crate::world::Reply;
use crate::world::Resp;
use crate::world::Ringway;

on_each_driver!(
    the_articles_sender_reaches_topics_and_users,
    a_back_end_reads_a_stream_and_answers_through_the_users_channel,
);

/// What the article's `publish` sends, byte for byte: Jackson's order of fields, nulls included.
const TOPIC: &str = include_str!("fixtures/jackson-topic.json");

/// What its `publishToUser` sends.
const USER: &str = include_str!("fixtures/jackson-user.json");

/// The payload within an envelope.
fn payload_of(envelope: &str) -> String {
    let envelope: Value = serde_json::from_str(envelope).expect("an envelope is JSON");
    envelope["payload"].as_str().expect("a payload is a string").to_owned()
}

#[track_caller]
fn redis_cli_publish(redis: &Redis, channel: &str, payload: &str) {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &redis.port.to_string(), "PUBLISH", channel, payload]);
    let output = command.output().expect("redis-cli is installed beside redis-server");
    assert!(output.status.success(), "{output:?}");
}

fn the_articles_sender_reaches_topics_and_users(driver: Driver) {
    let redis = Redis::plain();
    let servers = [0, 1].map(|_| Ringway::start(driver, &[&redis.setting()]));
    let mut clients = [0, 1].map(|it: usize| Client::session(&servers[it], "42"));
    for client in &mut clients {
        client.subscribe("room", "/topic/room.123");
        client.subscribe("private", "/user/queue/private");
    }
    redis_cli_publish(&redis, "ws:/topic/room.123", TOPIC);
    redis_cli_publish(&redis, "ws:user.42/queue/private", USER);
    for client in &mut clients {
        let room = client.message();
        assert_eq!(room.header("subscription"), "room", "{room:?}");
        assert_eq!(room.header("destination"), "/topic/room.123");
        assert_eq!(room.text(), payload_of(TOPIC));
        assert_eq!(room.header("timestamp"), "1762161330123");
        assert!(room.has("message-id"), "{room:?}");
        let private = client.message();
        assert_eq!(private.header("subscription"), "private", "{private:?}");
        assert_eq!(private.header("destination"), "/user/queue/private");
        assert_eq!(private.text(), payload_of(USER));
    }
}

/// A receiver that refuses unknown fields, as a plain Jackson mapper does, and insists on order.
#[track_caller]
fn read_strictly(envelope: &[u8]) -> Value {
    let text = std::str::from_utf8(envelope).expect("JSON is UTF-8");
    let value: Value = serde_json::from_str(text).expect("an envelope is JSON");
    let fields = value.as_object().expect("an envelope is an object");
    assert_eq!(fields.len(), 6, "{text}");
    assert!(value["destination"].is_string() && value["payload"].is_string(), "{text}");
    assert!(value["userId"].is_string() || value["userId"].is_null(), "{text}");
    assert!(value["payloadType"].is_string() && value["timestamp"].is_u64(), "{text}");
    assert!(value["originServerId"].is_string() || value["originServerId"].is_null(), "{text}");
    assert_eq!(text, in_jacksons_order(&value));
    value
}

/// The article's fields, as Jackson orders and spaces them.
fn in_jacksons_order(value: &Value) -> String {
    let names = ["destination", "userId", "payload", "payloadType", "timestamp", "originServerId"];
    let fields = names.map(|name| format!("\"{name}\":{}", value[name]));
    format!("{{{}}}", fields.join(","))
}

/// A server and what a back end on the same Redis is pushed of three messages.
fn three_envelopes(settings: &[&str]) -> [(String, Vec<u8>); 3] {
    let redis = Redis::plain();
    let setting = redis.setting();
    let server = Ringway::start(Driver::IoUring, &[&[&*setting], settings].concat());
    let mut back_end = redis.client();
    let channels = ["ws:/topic/room.123", "ws:user.42/queue/private"];
    back_end.subscribe(&channels);
    let mut alice = Client::session(&server, "alice");
    alice.publish("/app/room.123|content-type:text/plain|x-n:1", "Grüße, \"Bob\" \\ \u{1}");
    alice.publish("/app/private.42", "only for you");
    alice.publish("/topic/room.123", "");
    [0, 1, 2].map(|_| back_end.message())
}

#[test]
fn the_fixture_is_what_a_strict_receiver_reads() {
    read_strictly(TOPIC.as_bytes());
    read_strictly(USER.as_bytes());
}

#[test]
fn the_articles_form_is_read_by_a_strict_receiver() {
    let [room, private, empty] = three_envelopes(&["relay.envelope=article"]);
    assert_eq!(room.0, "ws:/topic/room.123");
    let value = read_strictly(&room.1);
    assert_eq!(value["destination"], "/topic/room.123");
    assert_eq!(value["userId"], Value::Null);
    assert_eq!(value["payload"], "Grüße, \"Bob\" \\ \u{1}");
    assert_eq!(private.0, "ws:user.42/queue/private");
    let value = read_strictly(&private.1);
    assert_eq!((&value["destination"], &value["userId"]), (&"/queue/private".into(), &"42".into()));
    assert_eq!(value["payload"], "only for you");
    assert_eq!(read_strictly(&empty.1)["payload"], "");
}

/// A receiver that ignores what it does not know, as Spring Boot's mapper does, finds the article's
/// fields first and in their order.
#[test]
fn the_full_form_is_the_articles_and_more() {
    for (_, envelope) in three_envelopes(&[]) {
        let text = String::from_utf8(envelope).expect("JSON is UTF-8");
        let value: Value = serde_json::from_str(&text).expect("an envelope is JSON");
        let articles = in_jacksons_order(&value);
        let articles = articles.strip_suffix('}').expect("an object ends so");
        assert!(text.starts_with(&format!("{articles},")), "{text}");
        assert_eq!(value["senderId"], "alice", "{text}");
        assert!(value["id"].is_string() && value["timestamp"].is_u64(), "{text}");
    }
}

#[test]
fn the_articles_form_refuses_what_it_cannot_say() {
    let redis = Redis::plain();
    let settings = [&*redis.setting(), "relay.envelope=article"];
    let server = Ringway::start(Driver::IoUring, &settings);
    let mut alice = Client::session(&server, "alice");
    alice.subscribe("s", "/topic/room.1");
    alice.send_binary(b"SEND\ndestination:/topic/room.1\nreceipt:r\ncontent-length:1\n\n\xFF\0");
    let error = alice.answer();
    assert_eq!((error.command.as_str(), error.header("receipt-id")), ("ERROR", "r"), "{error:?}");
    alice.publish("/topic/room.1", "text");
    alice.expect("s", "text");
}

const STREAM: &str = "ringway:inbound:orders";

/// One entry of a stream: its fields by name.
fn field<'a>(entry: &'a Reply, name: &str) -> &'a Reply {
    let fields = entry.list()[1].list();
    let pair = fields.chunks(2).find(|pair| pair[0].text() == name);
    &pair.unwrap_or_else(|| panic!("no {name} in {entry:?}"))[1]
}

/// Reads the next entries of the stream after `last`.
fn read_stream(back_end: &mut Resp, last: &str) -> Vec<Reply> {
    let reply = back_end.ask(&["XREAD", "BLOCK", "15000", "STREAMS", STREAM, last]);
    reply.list()[0].list()[1].list().to_vec()
}

fn a_back_end_reads_a_stream_and_answers_through_the_users_channel(driver: Driver) {
    let redis = Redis::plain();
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let config = folder.path().join("ringway.toml");
    let text = format!("[[route]]\nmatch = \"/app/orders.**\"\nforward = \"{STREAM}\"\n");
    std::fs::write(&config, text).expect("the folder takes files");
    let config = config.display().to_string();
    let environment = [("RINGWAY_CONFIG", &*config)];
    let settings = [&*redis.setting(), "relay.stream_entries=100"];
    let server = Ringway::start_with_environment(driver, &settings, &environment);
    server.await_up();

    let mut back_end = redis.client();
    let answering = thread::spawn(move || {
        let entry = read_stream(&mut back_end, "0").remove(0);
        let user = field(&entry, "user").text().to_owned();
        let body = field(&entry, "body").text();
        let answer = format!(
            r#"{{"destination":"/queue/orders","userId":"{user}","payload":"done: {body}"}}"#
        );
        assert_eq!(back_end.publish(&format!("ws:user.{user}/queue/orders"), answer), 1);
        entry
    });
    let mut alice = Client::session(&server, "alice");
    alice.subscribe("s", "/user/queue/orders");
    alice.publish("/app/orders.new|content-type:text/plain|x-n:1", "two of them");
    // The receipt came after the append.
    let mut control = redis.client();
    assert_eq!(control.ask(&["XLEN", STREAM]).number(), 1);
    alice.expect("s", "done: two of them");
    let entry = answering.join().expect("the back end is content");
    assert_eq!(field(&entry, "destination").text(), "/app/orders.new");
    assert!(!field(&entry, "session").text().is_empty());
    let headers: Value =
        serde_json::from_str(field(&entry, "headers").text()).expect("headers are JSON");
    assert_eq!(headers["x-n"], "1", "{headers}");
    assert_eq!(headers["content-type"], "text/plain", "{headers}");

    // A body is bytes, and the stream is bounded, if only about.
    alice.send_binary(b"SEND\ndestination:/app/orders.raw\ncontent-length:3\n\n\xFF\0\xFE\0");
    alice.publish("/app/orders.after", "");
    let entry = read_stream(&mut control, entry.list()[0].text()).remove(0);
    assert_eq!(*field(&entry, "body"), Reply::Bulk(vec![0xFF, 0, 0xFE]));
    for number in 0..1_000 {
        alice.send(&format!("SEND|destination:/app/orders.many||{number}^@"));
    }
    alice.publish("/app/orders.last", "last");
    let length = control.ask(&["XLEN", STREAM]).number();
    assert!((100..500).contains(&length), "{length} entries are kept");
}
