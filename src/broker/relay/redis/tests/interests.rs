//! Subscriptions: who waits for what, and how few commands it takes.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::refusal::Code;
use crate::broker::relay::Audience;
use crate::broker::relay::Token;
use crate::broker::relay::redis::Mode;
use crate::broker::relay::redis::Options;
use crate::broker::relay::redis::tests::rig::Rig;
use crate::broker::relay::redis::tests::rig::address;
use crate::broker::relay::redis::tests::rig::channel;
use crate::broker::relay::redis::tests::rig::pattern;

#[test]
fn a_subscription_is_settled_by_redis_and_the_next_one_at_once() {
    let mut rig = Rig::new().up();
    rig.is_stalled = true;
    rig.subscribe(&channel("/topic/a"), 1);
    rig.subscribe(&channel("/topic/a"), 2);
    rig.carry();
    assert!(rig.tasks[0].settled.is_empty());
    rig.is_stalled = false;
    rig.run(10);
    assert_eq!(rig.tasks[0].settled, [1, 2]);
    rig.subscribe(&channel("/topic/a"), 3);
    rig.carry();
    assert_eq!(rig.tasks[0].settled, [1, 2, 3]);
    assert_eq!(rig.commands_count("a", "SUBSCRIBE"), 2, "one is the control channel's");
}

#[test]
fn ten_thousand_sessions_on_a_thousand_channels_take_few_commands() {
    let mut rig = Rig::new().up();
    let commands_count = rig.tasks[0].redis.counts().interest_commands;
    for number in 0..10_000 {
        rig.subscribe(&channel(&format!("/topic/{}", number % 1000)), number);
    }
    rig.run(20);
    assert_eq!(rig.tasks[0].settled.len(), 10_000);
    let counts = rig.tasks[0].redis.counts();
    assert!(counts.interest_commands - commands_count <= 3, "{counts:?}");

    rig.cut("a");
    rig.run(500);
    let counts = rig.tasks[0].redis.counts();
    assert_eq!((counts.reconnects, counts.resubscribed), (1, 1001));
    assert!(counts.interest_commands - commands_count <= 6, "{counts:?}");
}

#[test]
fn the_last_one_lingers_and_then_leaves() {
    let mut rig = Rig::new().up();
    rig.subscribe(&channel("/topic/a"), 1);
    rig.run(100);
    rig.unsubscribe(&channel("/topic/a"));
    rig.run(4800);
    rig.subscribe(&channel("/topic/a"), 2);
    rig.carry();
    assert_eq!(rig.tasks[0].settled, [1, 2]);
    rig.run(6000);
    rig.unsubscribe(&channel("/topic/a"));
    rig.run(4800);
    assert_eq!(rig.commands_count("a", "UNSUBSCRIBE"), 0);
    // What comes while it lingers is for nobody.
    rig.server("a").spread(b"ws:/topic/a", b"{}");
    rig.run(400);
    assert_eq!(rig.tasks[0].redis.counts().unwanted, 1);
    assert_eq!(rig.tasks[0].redis.counts().dropped_total(), 0);
    assert_eq!(rig.commands_count("a", "UNSUBSCRIBE"), 1);
    assert_eq!(rig.tasks[0].redis.interests_count(), 1);
}

#[test]
fn subscribe_and_unsubscribe_under_way_settle_in_the_end() {
    let mut options = Options::new(Mode::PubSub, vec![address("a")]);
    options.linger = Duration::ZERO;
    let mut rig = Rig::with(options).up();
    let a = channel("/topic/a");
    rig.is_stalled = true;
    rig.subscribe(&a, 1);
    rig.carry();
    rig.unsubscribe(&a);
    rig.run(100);
    rig.subscribe(&a, 2);
    rig.carry();
    assert_eq!(rig.tasks[0].settled, [1], "who leaves waits for nothing");
    rig.is_stalled = false;
    rig.run(100);
    assert_eq!(rig.tasks[0].settled, [1, 2]);

    rig.unsubscribe(&a);
    rig.is_stalled = true;
    rig.run(100);
    rig.subscribe(&a, 3);
    rig.carry();
    assert_eq!(rig.tasks[0].settled, [1, 2], "the way out is under way");
    rig.is_stalled = false;
    rig.run(100);
    assert_eq!(rig.tasks[0].settled, [1, 2, 3]);
    assert!(rig.tasks[0].redis.interests.is_inside(false, b"ws:/topic/a"));
}

#[test]
fn one_forbidden_channel_does_not_hurt_those_beside_it() {
    let mut rig = Rig::new().up();
    rig.server("a").denied.insert(b"ws:/topic/3".to_vec());
    for number in 0..5 {
        rig.subscribe(&channel(&format!("/topic/{number}")), number);
    }
    rig.run(100);
    assert_eq!(rig.tasks[0].settled, [0, 1, 2, 4]);
    assert_eq!(rig.tasks[0].refused, [(3, Code::RelayRefused)]);
    rig.check_noted("refuses ws:/topic/3: NOPERM");
    // It is asked for again with the next connection, when that may have changed.
    rig.server("a").denied.clear();
    rig.cut("a");
    rig.run(500);
    assert!(rig.tasks[0].redis.interests.is_inside(false, b"ws:/topic/3"));
}

#[test]
fn what_is_not_confirmed_in_time_is_refused() {
    let mut rig = Rig::new();
    rig.is_stalled = true;
    rig.subscribe(&channel("/topic/a"), 1);
    rig.run(10_000);
    rig.subscribe(&channel("/topic/a"), 2);
    rig.run(4900);
    assert_eq!(rig.tasks[0].refused, []);
    rig.run(100);
    assert_eq!(rig.tasks[0].refused, [(1, Code::RelayUnconfirmed)]);
    rig.is_stalled = false;
    rig.run(6000);
    assert_eq!(rig.tasks[0].settled, [2]);
}

#[test]
fn patterns_share_a_glob_and_get_what_each_of_them_matches() {
    let mut rig = Rig::new().up();
    for (token, text) in ["/topic/{a:[0-9]+}", "/topic/*", "/topic/**"].into_iter().enumerate() {
        rig.subscribe(&pattern(text), token as u64);
    }
    rig.subscribe(&channel("/topic/a"), 9);
    rig.run(100);
    assert_eq!(rig.tasks[0].settled.len(), 4);
    for name in ["/topic/a", "/topic/7", "/topic/7/8", "/topic//7", "/topics"] {
        rig.publish(name, name, 99);
    }
    rig.run(100);
    let heard: Vec<(String, Audience)> =
        rig.bodies(0).into_iter().zip(rig.tasks[0].audiences.clone()).collect();
    let pattern = |text: &str| Audience::Pattern(Arc::from(text));
    let expected = [
        ("/topic/a", Audience::Exact),
        ("/topic/a", pattern("/topic/*")),
        ("/topic/a", pattern("/topic/**")),
        ("/topic/7", pattern("/topic/{a:[0-9]+}")),
        ("/topic/7", pattern("/topic/*")),
        ("/topic/7", pattern("/topic/**")),
        ("/topic/7/8", pattern("/topic/**")),
        ("/topic//7", pattern("/topic/{a:[0-9]+}")),
        ("/topic//7", pattern("/topic/*")),
        ("/topic//7", pattern("/topic/**")),
    ];
    let mut expected = expected.map(|(name, audience)| (name.to_owned(), audience)).to_vec();
    let mut heard = heard;
    let key = |it: &(String, Audience)| format!("{it:?}");
    heard.sort_by_key(key);
    expected.sort_by_key(key);
    assert_eq!(heard, expected);

    rig.unsubscribe(&super::rig::pattern("/topic/*"));
    rig.unsubscribe(&super::rig::pattern("/topic/**"));
    rig.run(6000);
    assert_eq!(rig.commands_count("a", "PUNSUBSCRIBE"), 1, "one glob is still wanted");
    rig.unsubscribe(&super::rig::pattern("/topic/{a:[0-9]+}"));
    rig.run(6000);
    assert_eq!(rig.tasks[0].redis.interests_count(), 2, "control and a channel");
}

#[test]
fn a_pattern_that_is_none_is_refused() {
    let mut rig = Rig::new().up();
    rig.subscribe(&pattern("/topic/{"), 1);
    rig.carry();
    assert_eq!(rig.tasks[0].refused, [(1, Code::BadPattern)]);
    let now = rig.now().instant;
    rig.tasks[0].redis.unsubscribe(now, &pattern("/topic/{"));
    rig.tasks[0].redis.unsubscribe(now, &channel("/topic/never"));
    rig.tasks[0].redis.subscribe(now, &channel("/topic/a"), None::<Token>);
    rig.run(10);
    assert!(rig.tasks[0].redis.interests.is_inside(false, b"ws:/topic/a"));
}

#[test]
fn patterns_and_their_globs_are_few() {
    let mut options = Options::new(Mode::PubSub, vec![address("a")]);
    options.patterns_max = 2;
    let mut rig = Rig::with(options).up();
    rig.subscribe(&pattern("/topic/a.*"), 1);
    rig.subscribe(&pattern("/topic/{x}"), 2);
    rig.run(100);
    // Another one is too many, also with a glob that is there; the same one again is not.
    rig.subscribe(&pattern("/topic/b.*"), 3);
    rig.subscribe(&pattern("/topic/*"), 4);
    rig.subscribe(&pattern("/topic/a.*"), 5);
    rig.subscribe(&channel("/topic/b"), 6);
    rig.run(100);
    assert_eq!(rig.tasks[0].settled, [1, 2, 5, 6]);
    assert_eq!(rig.tasks[0].refused, [(3, Code::Limit), (4, Code::Limit)]);
    let globs_count: usize = rig.server("a").clients.values().map(|it| it.globs.len()).sum();
    assert_eq!(globs_count, 3, "one is for empty segments");

    // A glob that lingers is one for Redis all the same; a pattern that had it may come back.
    rig.unsubscribe(&pattern("/topic/b.*"));
    rig.unsubscribe(&pattern("/topic/a.*"));
    rig.subscribe(&pattern("/topic/b.*"), 7);
    rig.subscribe(&pattern("/topic/a.*"), 8);
    rig.unsubscribe(&pattern("/topic/a.*"));
    rig.run(6000);
    rig.subscribe(&pattern("/topic/b.*"), 9);
    rig.run(100);
    assert_eq!(rig.tasks[0].refused[2..], [(7, Code::Limit)]);
    assert_eq!(rig.tasks[0].settled[4..], [8, 9]);
}
