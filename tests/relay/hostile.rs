//! Envelopes that lie, break or overflow: each is dropped and counted, and hurts nobody.

use std::time::SystemTime;

use ringway::proto::control::Control;
use ringway::proto::control::Message;
use ringway::proto::envelope::Key;
use serde_json::Value;

use crate::support::Client;
use crate::support::Driver;
use crate::support::on_each_driver;
use crate::world::Redis;
use crate::world::Ringway;

on_each_driver!(hostile_envelopes_are_dropped_and_counted);

const DROPPED: &str = "websocket_relay_dropped_total";
const CHANNEL: &str = "ws:/topic/room.1";
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Envelopes for `/topic/room.1`, and the label under which each is counted.
fn hostile() -> Vec<(Vec<u8>, &'static str)> {
    let texts: &[(&str, &str)] = &[
        ("", "malformed"),
        ("{", "malformed"),
        ("null", "malformed"),
        ("[]", "malformed"),
        ("\"text\"", "malformed"),
        (r#"{"destination":"/topic/room.1"}"#, "malformed"),
        (r#"{"destination":"/topic/room.1","payload":null}"#, "malformed"),
        (r#"{"destination":"/topic/room.1","payload":{"a":1}}"#, "malformed"),
        (r#"{"destination":7,"payload":"x"}"#, "malformed"),
        (r#"{"destination":"/topic/room.1","payload":"x","timestamp":"now"}"#, "malformed"),
        (r#"{"destination":"/topic/room.1","payload":"x"} "#, ""),
        (r#"{"destination":"/topic/room.1","payload":"x"}}"#, "malformed"),
        (r#"{"destination":"/topic/room.1","payload":"x","payload":"y"}"#, "malformed"),
        (r#"{"destination":"/topic/room.1","payload":"\ud800"}"#, "malformed"),
        (r#"{"destination":"/topic/room.1","payload":"%%%","encoding":"base64"}"#, "malformed"),
        (r#"{"destination":"/topic/room.2","payload":"x"}"#, "mismatch"),
        (r#"{"destination":"/topic/room.1","payload":"x","userId":"bob"}"#, "mismatch"),
        (r#"{"destination":"/queue/private","payload":"x","userId":"bob"}"#, "mismatch"),
    ];
    let mut all: Vec<(Vec<u8>, &str)> =
        texts.iter().map(|(text, label)| (text.as_bytes().to_vec(), *label)).collect();
    all.push((b"\xFF\xFE{}".to_vec(), "malformed"));
    all.push((b"{\"destination\":\"/topic/room.1\",\"payload\":\"\xFF\"}".to_vec(), "malformed"));
    all.push(("[".repeat(50_000).into_bytes(), "malformed"));
    // Over what a client may send, and over what is read at all.
    for bytes in [(64 << 10) + 1, 4 << 20] {
        let long = "x".repeat(bytes);
        let text = format!(r#"{{"destination":"/topic/room.1","payload":"{long}"}}"#);
        all.push((text.into_bytes(), "oversize"));
    }
    all
}

fn hostile_envelopes_are_dropped_and_counted(driver: Driver) {
    let redis = Redis::plain();
    let server = Ringway::start(driver, &[&redis.setting()]);
    let mut alice = Client::session(&server, "alice");
    alice.subscribe("s", "/topic/room.1");
    alice.subscribe("p", "/user/queue/private");
    let mut back_end = redis.client();
    for (envelope, label) in hostile() {
        let shown = String::from_utf8_lossy(&envelope[..envelope.len().min(100)]).into_owned();
        let count = |label: &str| server.metric(DROPPED, label);
        let (before, all_before) = (count(label), count(""));
        assert_eq!(back_end.publish(CHANNEL, &envelope), 1, "{shown}");
        if label.is_empty() {
            alice.expect("s", "x");
        }
        // What comes behind it is delivered, on the same connection.
        let fence = r#"{"destination":"/topic/room.1","payload":"fence"}"#;
        assert_eq!(back_end.publish(CHANNEL, fence), 1, "{shown}");
        let message = alice.message();
        assert_eq!(message.text(), "fence", "after {shown}");
        let expected = if label.is_empty() { 0.0 } else { 1.0 };
        server.await_metric(DROPPED, "", all_before + expected);
        if !label.is_empty() {
            server.await_metric(DROPPED, label, before + 1.0);
        }
    }
    assert_eq!(server.metric("websocket_relay_reconnects_total", ""), 0.0);
}

#[test]
fn a_users_channel_takes_only_its_users_messages() {
    let redis = Redis::plain();
    let server = Ringway::start(Driver::IoUring, &[&redis.setting()]);
    let mut bob = Client::session(&server, "bob");
    bob.subscribe("s", "/user/queue/private");
    let mut back_end = redis.client();
    let wrong = [
        r#"{"destination":"/queue/private","userId":"alice","payload":"x"}"#,
        r#"{"destination":"/queue/private","userId":null,"payload":"x"}"#,
        r#"{"destination":"/queue/other","userId":"bob","payload":"x"}"#,
        r#"{"destination":"/user/queue/private","userId":"bob","payload":"x"}"#,
    ];
    for envelope in wrong {
        assert_eq!(back_end.publish("ws:user.bob/queue/private", envelope), 1);
    }
    let right = r#"{"destination":"/queue/private","userId":"bob","payload":"right"}"#;
    back_end.publish("ws:user.bob/queue/private", right);
    bob.expect("s", "right");
    server.await_metric(DROPPED, "mismatch", 4.0);
}

#[test]
fn with_a_key_only_signed_and_fresh_messages_count() {
    let redis = Redis::plain();
    let environment = [("RINGWAY_RELAY_HMAC_KEY", KEY)];
    let start = |environment: &[(&str, &str)]| {
        let setting = redis.setting();
        let settings = [&*setting, "relay.hmac_window=60s"];
        let server = Ringway::start_with_environment(Driver::IoUring, &settings, environment);
        server.await_up();
        server
    };
    let [one, two] = [start(&environment), start(&environment)];
    let stranger = start(&[("RINGWAY_RELAY_HMAC_KEY", "another-key-of-thirty-two-bytes!")]);
    let mut back_end = redis.client();
    back_end.subscribe(&[CHANNEL]);
    let mut alice = Client::session(&one, "alice");
    alice.subscribe("s", "/topic/room.1");
    Client::session(&two, "bob").publish("/topic/room.1", "signed");
    alice.expect("s", "signed");
    let (_, signed) = back_end.message();
    let signed: Value = serde_json::from_slice(&signed).expect("an envelope is JSON");
    assert!(signed["signature"].is_string(), "{signed}");

    let mut control = redis.client();
    let mut publish = |change: &dyn Fn(&mut Value)| {
        let mut envelope = signed.clone();
        change(&mut envelope);
        control.publish(CHANNEL, envelope.to_string());
    };
    publish(&|it| it["payload"] = "forged".into());
    publish(&|it| it["id"] = "forged".into());
    publish(&|it| it["timestamp"] = (it["timestamp"].as_u64().expect("a number") + 1).into());
    publish(&|it| it["signature"] = "AAAA".into());
    publish(&|it| drop(it.as_object_mut().expect("an object").remove("signature")));
    Client::session(&stranger, "eve").publish("/topic/room.1", "of another key");
    // The same bytes as before are good: replay within the window is not what the key prevents.
    publish(&|_| {});
    alice.expect("s", "signed");
    one.await_metric(DROPPED, "unsigned", 1.0);
    one.await_metric(DROPPED, "bad-signature", 5.0);
    // The stranger takes none of theirs either.
    let mut eve = Client::session(&stranger, "eve");
    eve.subscribe("s", "/topic/room.1");
    publish(&|_| {});
    eve.publish("/topic/room.1", "own");
    eve.expect("s", "own");

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    assert!(signed["timestamp"].as_u64().is_some_and(|it| u128::from(it) <= now.as_millis()));
}

#[test]
fn a_signed_message_ages() {
    let redis = Redis::plain();
    let environment = [("RINGWAY_RELAY_HMAC_KEY", KEY)];
    let settings = [&*redis.setting(), "relay.hmac_window=1s"];
    let server = Ringway::start_with_environment(Driver::IoUring, &settings, &environment);
    server.await_up();
    let mut back_end = redis.client();
    back_end.subscribe(&[CHANNEL]);
    let mut alice = Client::session(&server, "alice");
    alice.subscribe("s", "/topic/room.1");
    alice.publish("/topic/room.1", "first");
    alice.expect("s", "first");
    let (_, first) = back_end.message();
    // Time is what this is about: the window must pass.
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    redis.client().publish(CHANNEL, &first);
    alice.publish("/topic/room.1", "second");
    alice.expect("s", "second");
    server.await_metric(DROPPED, "stale", 1.0);
}

/// A control message that says to drain, as of now.
fn drain(id: &str, task: Option<&str>, key: Option<&Key>) -> Vec<u8> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    let timestamp_ms = u64::try_from(now.as_millis()).expect("it is before the year 500,000,000");
    let control = Control::Drain { task };
    let mut json = Vec::new();
    Message { id, timestamp_ms, control, signature: None }.encode(&mut json, key);
    json
}

#[test]
fn only_who_has_the_key_can_tell_a_server_to_drain() {
    const CONTROL: &str = "ringway:control";
    let redis = Redis::plain();
    let environment = [("RINGWAY_RELAY_HMAC_KEY", KEY)];
    let start = |environment: &[(&str, &str)]| {
        let setting = redis.setting();
        let server = Ringway::start_with_environment(Driver::IoUring, &[&setting], environment);
        server.await_up();
        server
    };
    let (mut one, two, open) = (start(&environment), start(&environment), start(&[]));
    let mut control = redis.client();
    control.publish(CONTROL, drain("1", None, None));
    control.publish(CONTROL, drain("2", None, Some(&Key::new(b"another key"))));
    control.publish(CONTROL, "drain!");
    // Each of two shards hears each.
    for server in [&one, &two] {
        server.await_metric(DROPPED, "unsigned", 2.0);
        server.await_metric(DROPPED, "bad-signature", 2.0);
        server.await_metric(DROPPED, "control", 2.0);
    }
    // Without a key nobody can prove anything.
    open.await_metric(DROPPED, "control", 6.0);

    // The right key, for one of the two.
    control.subscribe(&[CHANNEL]);
    let mut alice = Client::session(&one, "alice");
    alice.publish("/topic/room.1", "x");
    let (_, envelope) = control.message();
    let envelope: Value = serde_json::from_slice(&envelope).expect("an envelope is JSON");
    let task = envelope["originServerId"].as_str().expect("servers name themselves");
    let mut bob = Client::session(&two, "bob");
    redis.client().publish(CONTROL, drain("3", Some(task), Some(&Key::new(KEY.as_bytes()))));
    assert_eq!(alice.closed(), 1012);
    assert_eq!(one.await_exit().code(), Some(0));
    bob.assert_open();
}
