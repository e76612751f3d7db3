//! What the servers want of Redis: just what their sessions want, for as long as they want it.

use std::time::Duration;
use std::time::Instant;

use crate::support::Client;
use crate::support::Driver;
use crate::support::on_each_driver;
use crate::world::Redis;
use crate::world::Ringway;
use crate::world::await_true;

on_each_driver!(
    a_receipt_of_subscribe_means_that_redis_confirmed,
    ten_thousand_subscriptions_come_back_in_few_commands,
);

/// The article's envelope of a text for a topic.
fn envelope(destination: &str, payload: &str) -> String {
    format!(r#"{{"destination":"{destination}","userId":null,"payload":"{payload}"}}"#)
}

fn a_receipt_of_subscribe_means_that_redis_confirmed(driver: Driver) {
    let redis = Redis::plain();
    let server = Ringway::start(driver, &[&redis.setting()]);
    let mut client = Client::session(&server, "alice");
    let mut back_end = redis.client();
    for number in 0..200 {
        let destination = format!("/topic/confirmed.{number}");
        client.subscribe(&number.to_string(), &destination);
        let channel = format!("ws:{destination}");
        assert_eq!(back_end.publish(&channel, envelope(&destination, "at once")), 1);
        client.expect(&number.to_string(), "at once");
    }
    // Patterns, too.
    for number in 0..50 {
        client.subscribe(&format!("p{number}"), &format!("/topic/pattern.{number}.*"));
        let destination = format!("/topic/pattern.{number}.x");
        let channel = format!("ws:{destination}");
        assert_eq!(back_end.publish(&channel, envelope(&destination, "at once")), 1);
        client.expect(&format!("p{number}"), "at once");
    }
}

#[test]
fn the_second_subscriber_of_a_shard_costs_no_command() {
    let redis = Redis::plain();
    let server = Ringway::start(Driver::IoUring, &[&redis.setting()]);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::session(&server, "a")).collect();
    let mut control = redis.client();
    control.ask(&["CONFIG", "RESETSTAT"]);
    for client in &mut clients {
        client.subscribe("s", "/topic/shared");
    }
    let shards_count = control.subscribers_count("ws:/topic/shared");
    assert!((1..=2).contains(&shards_count), "{shards_count} subscribers for two shards");
    let calls_count = control.calls_count("subscribe");
    assert_eq!(i64::try_from(calls_count), Ok(shards_count));
    assert_eq!(control.publish("ws:/topic/shared", envelope("/topic/shared", "x")), shards_count);
    clients.iter_mut().for_each(|it| it.expect("s", "x"));
}

#[test]
fn interest_lingers_and_then_ends() {
    const LINGER: Duration = Duration::from_secs(1);
    let redis = Redis::plain();
    let settings = [&*redis.setting(), "relay.linger_seconds=1s"];
    let server = Ringway::start(Driver::IoUring, &settings);
    let mut control = redis.client();
    let mut client = Client::session(&server, "alice");
    client.subscribe("s", "/topic/lingering");
    client.subscribe("p", "/topic/lingering.*");
    assert_eq!(control.subscribers_count("ws:/topic/lingering"), 1);

    // Back within the linger: nothing is said to Redis.
    control.ask(&["CONFIG", "RESETSTAT"]);
    client.unsubscribe("s");
    client.subscribe("s", "/topic/lingering");
    assert_eq!(control.calls_count("subscribe"), 0);

    let left = Instant::now();
    client.unsubscribe("s");
    client.unsubscribe("p");
    await_true("the end of the interest", || control.subscribers_count("ws:/topic/lingering") == 0);
    assert!(LINGER <= left.elapsed(), "gone after {:?}", left.elapsed());
    // Wheels tick, machines are busy; but it must not take another linger.
    assert!(left.elapsed() < 2 * LINGER, "gone after {:?}", left.elapsed());
    await_true("the end of the pattern", || control.ask(&["PUBSUB", "NUMPAT"]).number() == 0);
    assert_eq!(control.calls_count("unsubscribe"), 1);

    // And it comes back as if nothing had been.
    client.subscribe("s", "/topic/lingering");
    client.publish("/topic/lingering", "again");
    client.expect("s", "again");
}

#[test]
fn the_channel_of_a_user_is_wanted_only_while_the_user_is_here() {
    let redis = Redis::plain();
    let settings = [&*redis.setting(), "relay.linger_seconds=0s"];
    let server = Ringway::start(Driver::IoUring, &settings);
    let mut control = redis.client();
    let channel = "ws:user.bob/queue/private";
    let mut bob = Client::session(&server, "bob");
    assert_eq!(control.subscribers_count(channel), 0, "bob did not ask for it yet");
    bob.subscribe("s", "/user/queue/private");
    assert_eq!(control.subscribers_count(channel), 1);
    drop(bob);
    await_true("the end of the interest", || control.subscribers_count(channel) == 0);
    let channels = control.ask(&["PUBSUB", "CHANNELS", "ws:*"]);
    assert_eq!(channels.list(), [], "nobody is here");
}

fn ten_thousand_subscriptions_come_back_in_few_commands(driver: Driver) {
    const CLIENTS_COUNT: usize = 10;
    const CHANNELS_COUNT: usize = 1_000;
    let mut redis = Redis::plain();
    let server = Ringway::start(driver, &[&redis.setting()]);
    let mut clients: Vec<Client> =
        (0..CLIENTS_COUNT).map(|it| Client::session(&server, &format!("c{it}"))).collect();
    for client in &mut clients {
        for channel in 0..CHANNELS_COUNT {
            client.send(&format!("SUBSCRIBE|id:{channel}|destination:/topic/c.{channel}||^@"));
        }
        client.assert_open();
    }
    let mut control = redis.client();
    let channels_count = |control: &mut crate::world::Resp| {
        control.ask(&["PUBSUB", "CHANNELS", "ws:*"]).list().len()
    };
    await_true("all interest", || channels_count(&mut control) == CHANNELS_COUNT);
    let shards_count = |control: &mut crate::world::Resp| {
        (0..CHANNELS_COUNT)
            .map(|it| control.subscribers_count(&format!("ws:/topic/c.{it}")))
            .sum::<i64>()
    };
    let wanted_count = shards_count(&mut control);

    redis.kill();
    server.await_degraded();
    redis.restart();
    server.await_up();
    // Up means that all is subscribed again: no waiting here.
    let mut control = redis.client();
    assert_eq!(channels_count(&mut control), CHANNELS_COUNT);
    assert_eq!(shards_count(&mut control), wanted_count);
    let calls_count = control.calls_count("subscribe");
    assert!(calls_count <= 40, "{calls_count} commands for {wanted_count} channels");
    for channel in [0, 1, CHANNELS_COUNT / 2, CHANNELS_COUNT - 1] {
        let destination = format!("/topic/c.{channel}");
        clients[0].publish(&destination, "back");
        clients.iter_mut().for_each(|it| it.expect(&channel.to_string(), "back"));
    }
}

/// Redis compares each message with each of them.
#[test]
fn the_patterns_of_a_server_are_few() {
    let redis = Redis::plain();
    let settings = [
        &*redis.setting(),
        "server.cores=1",
        "relay.patterns=10",
        "relay.linger_seconds=0s",
        "limits.refusals=1000",
    ];
    let server = Ringway::start(Driver::IoUring, &settings);
    let mut control = redis.client();
    let mut clients = ["alice", "bob"].map(|name| Client::session(&server, name));
    for number in 0..10 {
        clients[number % 2].subscribe(&format!("p{number}"), &format!("/topic/{number}.*"));
    }
    clients[1].subscribe("errors", "/user/queue/errors");
    for number in 10..60 {
        let subscribe = format!("SUBSCRIBE|id:p{number}|destination:/topic/{number}.*");
        let error = clients[1].refused(&subscribe, "");
        assert_eq!(error.header("message"), "limit", "{error:?}");
        let notice = clients[1].message();
        assert_eq!(notice.header("code"), "limit", "{notice:?}");
        assert!(notice.text().contains("relay.patterns"), "{notice:?}");
    }
    assert_eq!(control.ask(&["PUBSUB", "NUMPAT"]).number(), 11, "one is for empty segments");
    // What others are subscribed to costs nothing more, nor do destinations.
    clients[1].subscribe("shared", "/topic/0.*");
    clients[1].subscribe("exact", "/topic/11.x");
    clients[0].publish("/topic/0.x", "heard");
    clients[1].expect("shared", "heard");
    // And one that goes makes room.
    clients[0].unsubscribe("p2");
    await_true("the end of a pattern", || control.ask(&["PUBSUB", "NUMPAT"]).number() == 10);
    clients[1].subscribe("p10", "/topic/10.*");
    clients[0].publish("/topic/10.x", "at last");
    clients[1].expect("p10", "at last");
}
