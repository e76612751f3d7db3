//! What others publish: the good is delivered, the rest counted and dropped, and nothing hurts.

use std::time::Duration;

use crate::broker::relay::redis::Control;
use crate::broker::relay::redis::Dropped;
use crate::broker::relay::redis::Mode;
use crate::broker::relay::redis::Options;
use crate::broker::relay::redis::State;
use crate::broker::relay::redis::tests::rig::Rig;
use crate::broker::relay::redis::tests::rig::START_MS;
use crate::broker::relay::redis::tests::rig::address;
use crate::broker::relay::redis::tests::rig::channel;
use crate::broker::relay::redis::tests::rig::pattern;
use crate::proto::control;
use crate::proto::envelope::Key;
use crate::proto::envelope::Signed;

const ARTICLE: &str = concat!(
    r#"{"destination":"/topic/a","userId":null,"payload":"{\"n\":1}","#,
    r#""payloadType":"com.example.Chat","timestamp":1700000000001,"originServerId":null}"#,
);

fn rig() -> Rig {
    let mut rig = Rig::new().up();
    for name in ["/topic/a", "user.b%2Fc/queue/x"] {
        rig.subscribe(&channel(name), 1);
    }
    rig.run(100);
    rig
}

#[test]
fn the_article_s_envelope_is_delivered_and_all_tasks_name_it_alike() {
    let mut rig = rig();
    rig.add_task(Options::new(Mode::PubSub, vec![address("a")]), 9);
    rig.run(500);
    let now = rig.now().instant;
    rig.tasks[1].redis.subscribe(now, &channel("/topic/a"), None);
    rig.run(100);
    rig.server("a").spread(b"ws:/topic/a", ARTICLE.as_bytes());
    let to_user =
        ARTICLE.replace("/topic/a", "/queue/x").replace("null,\"payload\"", "\"b/c\",\"payload\"");
    rig.server("a").spread(b"ws:user.b%2Fc/queue/x", to_user.as_bytes());
    rig.run(100);
    assert_eq!(rig.bodies(0), ["{\"n\":1}", "{\"n\":1}"]);
    let [it, user] = &*rig.tasks[0].delivered else { panic!("two were said") };
    assert_eq!((&*it.destination, it.timestamp_ms), ("/topic/a", 1_700_000_000_001));
    assert!(it.is_text && it.sender.is_none() && it.headers.is_empty());
    assert_eq!((&*user.destination, &*user.channel), ("/user/queue/x", "user.b%2Fc/queue/x"));
    assert_eq!(it.message_id, rig.tasks[1].delivered[0].message_id);
    assert_ne!(it.message_id, user.message_id);
    assert!(it.message_id.starts_with("x18bcfe56801-"), "{}", it.message_id);
}

#[track_caller]
fn check_dropped(name: &str, json: &str, why: Dropped) {
    let mut rig = rig();
    rig.server("a").spread(name.as_bytes(), json.as_bytes());
    rig.server("a").spread(b"ws:/topic/a", ARTICLE.as_bytes());
    rig.run(100);
    let counts = rig.tasks[0].redis.counts();
    assert_eq!(counts.dropped[why.index()], 1, "{json}: {counts:?}");
    assert_eq!((counts.dropped_total(), counts.lost), (1, 0));
    assert_eq!(rig.bodies(0), ["{\"n\":1}"]);
    rig.check_noted(why.as_str());
}

#[test]
fn hostile_envelopes_are_counted_and_the_next_message_comes() {
    let topic = "ws:/topic/a";
    check_dropped(topic, "", Dropped::Malformed);
    check_dropped(topic, "[1", Dropped::Malformed);
    check_dropped(topic, &"[".repeat(100_000), Dropped::Malformed);
    check_dropped(topic, "\0\u{FF}", Dropped::Malformed);
    check_dropped(topic, &ARTICLE.replace("1700000000001", "-1"), Dropped::Malformed);
    check_dropped(topic, &ARTICLE.replace("/topic/a", "/topic/b"), Dropped::Mismatch);
    check_dropped(
        topic,
        &ARTICLE.replace("null,\"payload\"", "\"b\",\"payload\""),
        Dropped::Mismatch,
    );
    let user = "ws:user.b%2Fc/queue/x";
    check_dropped(user, ARTICLE, Dropped::Mismatch);
    let to_user = |id: &str, queue: &str| {
        ARTICLE
            .replace("/topic/a", queue)
            .replace("null,\"payload\"", &format!("\"{id}\",\"payload\""))
    };
    check_dropped(user, &to_user("b%2Fc", "/queue/x"), Dropped::Mismatch);
    check_dropped(user, &to_user("b", "/queue/x"), Dropped::Mismatch);
    check_dropped(user, &to_user("b/c", "/queue/y"), Dropped::Mismatch);
    let large = ARTICLE.replace("{\\\"n", &"x".repeat(2_000_000));
    check_dropped(topic, &large, Dropped::Oversize);
    check_dropped("ringway:control", "{}", Dropped::Control);
}

#[test]
fn destinations_that_no_client_could_be_shown_are_dropped() {
    let mut rig = rig();
    rig.subscribe(&pattern("/topic/**"), 2);
    rig.run(100);
    let mut count = 0;
    let long = format!("/topic/{}", "x".repeat(600));
    for destination in ["/topic/a b", "/topic/a\\tb", "/topic/\\u0085", &*long] {
        let json = ARTICLE.replace("/topic/a", destination);
        let name = destination.replace("\\t", "\t").replace("\\u0085", "\u{85}");
        rig.server("a").spread(format!("ws:{name}").as_bytes(), json.as_bytes());
        count += 1;
    }
    rig.server("a").spread(b"ws:/topic/\xFF", ARTICLE.as_bytes());
    rig.run(100);
    let counts = rig.tasks[0].redis.counts();
    assert_eq!(counts.dropped[Dropped::Malformed.index()], count, "{counts:?}");
    assert_eq!((counts.unwanted, counts.lost), (1, 0));
    assert!(rig.bodies(0).is_empty());
}

#[test]
fn headers_pass_the_sieve_of_a_send() {
    let mut rig = rig();
    let extra = concat!(
        r#","id":"i:d","senderId":"a:b","contentType":"text/ plain","headers":{"ok":"1","":"x","#,
        r#""empty":"","user-id":"evil","destination":"d","sp ace":"1","v":"a b"}}"#,
    );
    let json = ARTICLE.replace("null}", &format!("null{extra}"));
    rig.server("a").spread(b"ws:/topic/a", json.as_bytes());
    rig.run(100);
    let it = &rig.tasks[0].delivered[0];
    assert_eq!(it.headers, [("ok".into(), "1".into())]);
    assert_eq!((it.sender.as_deref(), it.content_type.as_deref()), (None, Some("text/plain")));
    assert!(it.message_id.starts_with('x'), "an id with a colon is no id: {}", it.message_id);
}

#[test]
fn binary_bodies_travel_as_such() {
    let mut rig = rig();
    let now = rig.now().instant;
    let bytes: Vec<u8> = (0..=255).collect();
    let it = super::rig::publication("/topic/a", &bytes);
    rig.tasks[0].redis.publish(now, &it, None);
    rig.run(100);
    let heard = &rig.tasks[0].delivered[0];
    assert_eq!((heard.body(), heard.is_text), (&*bytes, false));
    assert_eq!(heard.message_id, it.message_id);
}

#[test]
fn with_a_key_only_what_it_signed_is_heard() {
    let mut options = Options::new(Mode::PubSub, vec![address("a")]);
    options.key = Some(Key::new(b"secret"));
    options.hmac_window = Duration::from_secs(60);
    let mut rig = Rig::with(options).up();
    rig.subscribe(&channel("/topic/a"), 1);
    rig.publish("/topic/a", "our own", 2);
    rig.run(100);
    assert_eq!(rig.bodies(0), ["our own"]);
    let signed = |key: &[u8], at_ms: u64| {
        let signed = Signed {
            channel: b"ws:/topic/a",
            id: None,
            user_id: None,
            timestamp_ms: at_ms,
            payload: "{\"n\":1}",
        };
        let signature = signed.sign(&Key::new(key));
        ARTICLE
            .replace("1700000000001", &at_ms.to_string())
            .replace("null}", &format!("null,\"signature\":\"{signature}\"}}"))
    };
    let now_ms = START_MS + rig.now_ms;
    for (json, why) in [
        (ARTICLE.to_owned(), Dropped::Unsigned),
        (signed(b"other", now_ms), Dropped::BadSignature),
        (signed(b"secret", now_ms - 61_000), Dropped::Stale),
    ] {
        rig.server("a").spread(b"ws:/topic/a", json.as_bytes());
        rig.run(10);
        assert_eq!(rig.tasks[0].redis.counts().dropped[why.index()], 1, "{why:?}");
    }
    rig.server("a").spread(b"ws:/topic/a", signed(b"secret", now_ms - 50_000).as_bytes());
    rig.run(10);
    assert_eq!(rig.bodies(0), ["our own", "{\"n\":1}"]);

    let message = control::Message {
        id: "c1",
        timestamp_ms: now_ms,
        control: control::Control::Disconnect { user: "bob" },
        signature: None,
    };
    let mut json = Vec::new();
    message.encode(&mut json, Some(&Key::new(b"secret")));
    rig.server("a").spread(b"ringway:control", &json);
    rig.server("a").spread(b"ringway:control", &json);
    rig.run(10);
    assert_eq!(rig.tasks[0].controls, [Control::Disconnect { user: "bob".into() }]);
    assert_eq!(rig.tasks[0].redis.counts().controls, 1);
}

#[test]
fn bytes_that_are_no_redis_end_the_link_and_nothing_else() {
    let mut rig = rig();
    for client in rig.server("a").clients.values_mut() {
        client.sent.extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    }
    rig.run(50);
    rig.check_noted("not understood");
    rig.run(1000);
    assert_eq!(rig.tasks[0].redis.state(), State::Up);
    for client in rig.server("a").clients.values_mut() {
        client.sent.extend_from_slice(b"$1000000000\r\n");
    }
    rig.run(1000);
    assert_eq!(rig.tasks[0].redis.state(), State::Up);
    assert!(2 <= rig.tasks[0].redis.counts().reconnects);
}
