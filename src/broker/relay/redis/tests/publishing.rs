//! Publications and stream entries: answered once, written once, in order.

use crate::broker::refusal::Code;
use crate::broker::relay::Token;
use crate::broker::relay::redis::Forward;
use crate::broker::relay::redis::Mode;
use crate::broker::relay::redis::Options;
use crate::broker::relay::redis::tests::rig::Rig;
use crate::broker::relay::redis::tests::rig::address;
use crate::broker::relay::redis::tests::rig::channel;
use crate::broker::relay::redis::tests::rig::publication;
use crate::proto::envelope::Form;

#[test]
fn a_publication_comes_back_to_all_tasks_in_redis_s_order() {
    let mut rig = Rig::new();
    rig.add_task(Options::new(Mode::PubSub, vec![address("a")]), 8);
    let mut rig = rig.up();
    for task in &mut rig.tasks {
        let now = crate::stdx::time::Instant::from_nanos(500_000_000);
        task.redis.subscribe(now, &channel("/topic/a"), None);
        task.redis.subscribe(now, &channel("user.b%2Fc/queue/x"), None);
    }
    rig.run(100);
    for number in 0..40_usize {
        let now = rig.now().instant;
        let name = if number % 5 == 0 { "user.b%2Fc/queue/x" } else { "/topic/a" };
        let it = publication(name, number.to_string().as_bytes());
        rig.tasks[number % 2].redis.publish(now, &it, Some(Token(number as u64)));
        if number % 3 == 0 {
            rig.carry();
        }
    }
    rig.run(100);
    assert_eq!(rig.bodies(0).len(), 40);
    assert_eq!(rig.bodies(0), rig.bodies(1));
    assert_eq!(rig.tasks[0].settled.len() + rig.tasks[1].settled.len(), 40);
    let it = rig.tasks[0].delivered.iter().find(|it| it.channel.starts_with("user.")).unwrap();
    assert_eq!((&*it.destination, it.sender.as_deref()), ("/user/queue/x", Some("bob")));
    assert_eq!(it.headers, [("foo".into(), "bar".into())]);
    let mut trips = Vec::new();
    rig.tasks[0].redis.take_round_trips(&mut trips);
    assert_eq!(trips.len(), 20);
}

#[test]
fn what_is_written_and_not_answered_is_unknown_and_never_sent_again() {
    let mut rig = Rig::new().up();
    rig.is_stalled = true;
    rig.publish("/topic/a", "written", 1);
    rig.carry();
    assert_eq!(rig.tasks[0].redis.unanswered_count(), 1);
    rig.cut("a");
    rig.publish("/topic/a", "waits", 2);
    rig.carry();
    assert_eq!(rig.tasks[0].refused, [(1, Code::RelayUnknown)]);
    rig.is_stalled = false;
    rig.run(1000);
    assert_eq!(rig.tasks[0].settled, [2]);
    assert_eq!(rig.server("a").published.len(), 1);
}

#[test]
fn what_waits_too_long_or_is_too_much_is_refused() {
    let mut options = Options::new(Mode::PubSub, vec![address("a")]);
    options.outbox_bytes_max = 4000;
    let mut rig = Rig::with(options).up();
    rig.is_stalled = true;
    rig.cut("a");
    for token in 0..20 {
        rig.publish("/topic/a", "0123456789", token);
    }
    rig.carry();
    let full_count = rig.tasks[0].refused.len();
    assert!((1..19).contains(&full_count));
    assert!(rig.tasks[0].redis.has_credit(), "while it is away, refusals are the bound");
    assert!((3000..=4000).contains(&rig.tasks[0].redis.waiting_bytes()));
    rig.run(10_200);
    assert_eq!(rig.tasks[0].refused.len(), 20);
    assert!(rig.tasks[0].refused.iter().all(|it| it.1 == Code::RelayUnavailable));
    assert_eq!(rig.tasks[0].redis.waiting_bytes(), 0);
    assert_eq!(rig.tasks[0].redis.counts().refused, 20);
}

#[test]
fn while_it_is_up_half_of_the_outbox_ends_the_credit() {
    let mut options = Options::new(Mode::PubSub, vec![address("a")]);
    options.outbox_bytes_max = 4000;
    let mut rig = Rig::with(options).up();
    let mut count = 0;
    while rig.tasks[0].redis.has_credit() {
        rig.publish("/topic/a", "0123456789", count);
        count += 1;
    }
    assert!(2 < count);
    rig.run(20);
    assert!(rig.tasks[0].redis.has_credit());
    assert_eq!(rig.tasks[0].settled.len() as u64, count);
}

#[test]
fn an_error_refuses_what_it_answers() {
    let mut rig = Rig::new().up();
    rig.server("a").denied.insert(b"ws:/topic/a".to_vec());
    rig.publish("/topic/a", "x", 1);
    rig.publish("/topic/b", "x", 2);
    rig.run(10);
    assert_eq!(rig.tasks[0].refused, [(1, Code::RelayRefused)]);
    assert_eq!(rig.tasks[0].settled, [2]);
    for (error, code) in [
        ("READONLY You can't write against a read only replica.", Code::RelayUnavailable),
        ("LOADING Redis is loading the dataset in memory", Code::RelayUnavailable),
        ("OOM command not allowed when used memory > 'maxmemory'.", Code::RelayRefused),
    ] {
        rig.server("a").error = Some(error.to_owned());
        rig.tasks[0].refused.clear();
        rig.publish("/topic/b", "x", 3);
        rig.run(10);
        assert_eq!(rig.tasks[0].refused, [(3, code)], "{error}");
    }
}

#[test]
fn the_article_s_form_carries_text_only() {
    let mut options = Options::new(Mode::PubSub, vec![address("a")]);
    options.form = Form::Article;
    let mut rig = Rig::with(options).up();
    let now = rig.now().instant;
    let binary = publication("/topic/a", b"\xFF\0");
    rig.tasks[0].redis.publish(now, &binary, Some(Token(1)));
    rig.publish("/topic/a", "text", 2);
    rig.run(10);
    assert_eq!(rig.tasks[0].refused, [(1, Code::BadPayload)]);
    assert_eq!(rig.tasks[0].settled, [2]);
    let text = String::from_utf8(rig.server("a").published[0].1.clone()).unwrap();
    assert!(text.starts_with("{\"destination\":\"/topic/a\",\"userId\":null,\"payload\":\"text\""));
}

#[test]
fn a_message_that_no_receiver_would_take_is_refused() {
    let mut rig = Rig::new().up();
    let bytes_max = Options::new(Mode::PubSub, vec![address("a")]).envelope_bytes_max();
    rig.publish("/topic/a", &"x".repeat(bytes_max), 1);
    rig.publish("/topic/a", &"x".repeat(bytes_max - 1000), 2);
    rig.run(10);
    assert_eq!(rig.tasks[0].refused, [(1, Code::BadPayload)]);
    assert_eq!(rig.tasks[0].settled, [2]);
}

#[test]
fn a_forwarded_send_is_an_entry_of_its_stream() {
    let mut rig = Rig::new().up();
    let headers: Vec<(Box<str>, Box<str>)> =
        [("a", "1\"\n"), ("b", "2"), ("a", "3")].map(|it| (it.0.into(), it.1.into())).to_vec();
    let forward = Forward {
        destination: "/app/orders.new",
        content_type: Some("text/plain"),
        headers: &headers,
        body: b"\xFFbody",
        user: None,
        session: "s1",
        id: "n-1",
        timestamp_ms: 12,
    };
    let now = rig.now().instant;
    rig.tasks[0].redis.forward(now, "ringway:inbound:orders", &forward, Some(Token(1)));
    rig.run(10);
    assert_eq!(rig.tasks[0].settled, [1]);
    let (key, fields) = rig.server("a").appended.pop().unwrap();
    assert_eq!(key, b"ringway:inbound:orders");
    let expected: [&[u8]; 14] = [
        b"destination",
        b"/app/orders.new",
        b"headers",
        br#"{"content-type":"text/plain","a":"1\"\n","b":"2"}"#,
        b"body",
        b"\xFFbody",
        b"user",
        b"",
        b"session",
        b"s1",
        b"id",
        b"n-1",
        b"timestamp",
        b"12",
    ];
    assert_eq!(fields, expected);
}
