//! Links: greeting, roles, watchdogs, and what follows a loss.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::broker::refusal::Code;
use crate::broker::relay::redis::Mode;
use crate::broker::relay::redis::Options;
use crate::broker::relay::redis::State;
use crate::broker::relay::redis::tests::rig::Rig;
use crate::broker::relay::redis::tests::rig::address;
use crate::broker::relay::redis::tests::rig::channel;
use crate::broker::relay::redis::tests::server::Server;

fn two_addresses() -> Options {
    Options::new(Mode::PubSub, vec![address("a"), address("b")])
}

#[test]
fn an_old_server_is_spoken_to_in_resp2() {
    for password in [None, Some("pw")] {
        let mut options = Options::new(Mode::PubSub, vec![address("a")]);
        options.password = password.map(Into::into);
        let mut rig = Rig::with(options);
        rig.server("a").is_old = true;
        rig.server("a").password = password.map(Into::into);
        let mut rig = rig.up();
        rig.subscribe(&channel("/topic/a"), 1);
        rig.run(20_000);
        rig.publish("/topic/a", "hello", 2);
        rig.run(100);
        assert_eq!(rig.tasks[0].settled, [1, 2]);
        assert_eq!(rig.bodies(0), ["hello"]);
        assert!(2 < rig.commands_count("a", "PING"), "a link that subscribes may only PING");
        assert_eq!(rig.tasks[0].redis.counts().lost, 0);
    }
}

#[test]
fn a_password_goes_with_the_greeting_and_a_wrong_one_is_told() {
    let mut options = Options::new(Mode::PubSub, vec![address("a")]);
    options.password = Some("wrong".into());
    let mut rig = Rig::with(options);
    rig.server("a").password = Some("right".to_owned());
    rig.run(2000);
    rig.check_noted("access denied: WRONGPASS");
    assert!(matches!(rig.tasks[0].redis.state(), State::Connecting { .. }));
    rig.server("a").password = Some("wrong".to_owned());
    rig.run(6000);
    assert_eq!(rig.tasks[0].redis.state(), State::Up);

    let mut rig = Rig::new();
    rig.server("a").password = Some("right".to_owned());
    rig.run(1000);
    rig.check_noted("access denied: NOAUTH");
}

#[test]
fn a_replica_is_not_used_and_a_demoted_primary_is_left() {
    let mut rig = Rig::with(two_addresses());
    rig.server("a").is_replica = true;
    let mut rig = rig.up();
    rig.check_noted("Redis at a:6379, subscriber: it is a replica");
    assert_eq!(rig.server("b").clients.len(), 2);
    assert!(rig.server("a").clients.is_empty());
    rig.subscribe(&channel("/topic/a"), 1);
    rig.run(100);

    rig.server("a").is_replica = false;
    rig.server("b").is_replica = true;
    rig.run(2500);
    assert_eq!(rig.tasks[0].redis.state(), State::Up);
    assert_eq!(rig.server("a").clients.len(), 2);
    assert!(rig.server("b").clients.is_empty());
    rig.publish("/topic/a", "over there", 2);
    rig.run(100);
    assert_eq!(rig.bodies(0), ["over there"]);
    assert_eq!(rig.tasks[0].redis.counts().reconnects, 1);
    rig.check_noted("up again after");
}

#[test]
fn a_server_that_does_not_tell_its_role_is_used_with_a_warning() {
    let mut rig = Rig::new();
    rig.server("a").forbidden.insert("ROLE".to_owned());
    let mut rig = rig.up();
    rig.check_noted("does not tell its role");
    rig.run(20_000);
    assert_eq!(rig.tasks[0].redis.state(), State::Up);
    assert!(2 < rig.commands_count("a", "PING"));
}

#[test]
fn a_silent_server_is_given_up_and_found_again() {
    let mut rig = Rig::new().up();
    rig.is_stalled = true;
    rig.run(5000);
    assert_eq!(rig.tasks[0].redis.state(), State::Up, "it may only be slow");
    rig.run(1500);
    assert!(matches!(rig.tasks[0].redis.state(), State::Down { .. }));
    rig.check_noted("no answer in time");
    rig.run(10_000);
    rig.check_noted("no connection in time");
    rig.is_stalled = false;
    rig.run(5500);
    assert_eq!(rig.tasks[0].redis.state(), State::Up);
    let gap = rig.tasks[0].redis.counts().gap;
    assert!((10..18).contains(&gap.as_secs()), "{gap:?}");
}

#[test]
fn pauses_grow_and_addresses_are_tried_in_turn() {
    let mut rig = Rig::with(two_addresses());
    rig.servers.clear();
    rig.run(60_000);
    let lost_count = rig.tasks[0].redis.counts().lost;
    // 5 s at the most and 2.5 s at the least between two, once they have grown.
    assert!((15..40).contains(&lost_count), "{lost_count}");
    let notes = &rig.tasks[0].notes;
    let of = |host: &str| notes.iter().filter(|it| it.contains(&format!("{host}:6379"))).count();
    assert!(of("a").abs_diff(of("b")) <= 1, "{notes:#?}");
}

#[test]
fn a_subscriber_that_is_cut_alone_comes_back_alone() {
    let mut rig = Rig::new().up();
    rig.subscribe(&channel("/topic/a"), 1);
    rig.run(100);
    rig.cut_one(0, 0);
    rig.publish("/topic/a", "waits for the subscriber", 2);
    rig.carry();
    assert!(rig.bodies(0).is_empty());
    rig.run(500);
    assert_eq!(rig.tasks[0].settled, [1, 2]);
    assert_eq!(rig.bodies(0), ["waits for the subscriber"]);
    assert_eq!(rig.tasks[0].redis.counts().lost, 1);
}

/// A rig that knows one name, which leads to `a`.
fn by_name() -> Rig {
    let mut rig = Rig::with(Options::new(Mode::PubSub, vec![address("redis")]));
    let servers = [address("a"), address("b")].map(|it| (it, Server::default()));
    rig.servers = BTreeMap::from(servers);
    rig.names.insert(address("redis"), vec![address("a")]);
    let mut rig = rig.up();
    rig.subscribe(&channel("/topic/a"), 1);
    rig.run(100);
    rig
}

#[test]
fn a_link_that_comes_back_elsewhere_brings_its_pair_along() {
    for part in 0..2 {
        let mut rig = by_name();
        rig.names.insert(address("redis"), vec![address("b")]);
        rig.run(10_000);
        assert_eq!(rig.server("a").clients.len(), 2, "what works is not left");
        rig.cut_one(0, part);
        rig.run(500);
        let counts = ["a", "b"].map(|it| rig.server(it).clients.len());
        assert_eq!(counts, [0, 2], "the link {part} was cut");
        assert_eq!(rig.tasks[0].redis.state(), State::Up);
        rig.check_noted("the name leads to 10.0.0.98:6379 now");
        rig.publish("/topic/a", "over there", 2);
        rig.run(100);
        assert_eq!(
            (rig.bodies(0), &rig.tasks[0].settled[..]),
            (vec!["over there".into()], &[1, 2][..])
        );
        assert_eq!(rig.tasks[0].redis.counts().lost, 2);
    }
}

/// What was written there and not answered may have been sent, or not; what waits is not lost.
#[test]
fn what_a_former_server_was_told_is_refused_and_what_waits_goes_to_the_next() {
    let mut rig = by_name();
    rig.names.insert(address("redis"), vec![address("b")]);
    rig.cut_one(0, 0);
    rig.publish("/topic/a", "waits", 2);
    rig.run(500);
    assert_eq!((rig.bodies(0), &rig.tasks[0].settled[..]), (vec!["waits".into()], &[1, 2][..]));
}

#[test]
fn a_name_that_leads_to_each_of_two_in_turn_gives_both_links_one() {
    let mut rig = by_name();
    rig.names.insert(address("redis"), vec![address("a"), address("b")]);
    for host in ["a", "b"].repeat(5) {
        rig.cut(host);
        rig.run(1_000);
        assert_eq!(rig.tasks[0].redis.state(), State::Up, "{:#?}", rig.tasks[0].notes);
        let counts = ["a", "b"].map(|it| rig.server(it).clients.len());
        assert!(counts == [0, 2] || counts == [2, 0], "{counts:?}");
    }
}

#[test]
fn a_name_that_moves_is_followed_although_both_links_stay() {
    let mut rig = by_name();
    rig.run(60_000);
    assert_eq!(rig.tasks[0].redis.counts().lost, 0, "the name still leads there");
    rig.names.insert(address("redis"), vec![address("b")]);
    rig.run(33_500);
    let counts = ["a", "b"].map(|it| rig.server(it).clients.len());
    assert_eq!(counts, [0, 2]);
    assert_eq!(rig.tasks[0].redis.state(), State::Up);
    rig.check_noted("the name leads to 10.0.0.98:6379 now");
    rig.publish("/topic/a", "over there", 2);
    rig.run(100);
    assert_eq!(rig.bodies(0), ["over there"]);
    assert_eq!(rig.server("b").published.len(), 1);
}

#[test]
fn one_answer_without_the_server_in_use_is_not_believed() {
    let mut rig = by_name();
    let mut options = Options::new(Mode::PubSub, vec![address("redis")]);
    options.look_interval = Duration::from_secs(1000);
    rig.add_task(options, 8);
    rig.run(500);
    let now = rig.now().instant;
    let peers = [[10, 0, 0, b'a'], [10, 0, 0, b'b']].map(|it| SocketAddr::from((it, 6379)));
    let link = rig.link_ids(1)[1];
    let redis = &mut rig.tasks[1].redis;
    for found in [&peers[1..], &[], &peers[..], &peers[1..], &peers[..1]] {
        redis.handle_looked(now, link, found);
        assert_eq!(redis.state(), State::Up, "{found:?}");
    }
    for _ in 0..2 {
        redis.handle_looked(now, link, &peers[1..]);
    }
    assert!(matches!(redis.state(), State::Down { .. }));
}

/// What is under way is answered first, what comes meanwhile waits: nothing is refused.
#[test]
fn a_server_that_is_left_answers_what_it_was_given() {
    for does_answer in [true, false] {
        let mut rig = by_name();
        rig.publish("/topic/a", "there", 2);
        rig.is_stalled = true;
        rig.carry();
        rig.names.insert(address("redis"), vec![address("b")]);
        let (now, link) = (rig.now().instant, rig.link_ids(0)[1]);
        let elsewhere = [SocketAddr::from(([10, 0, 0, b'b'], 6379))];
        for _ in 0..2 {
            rig.tasks[0].redis.handle_looked(now, link, &elsewhere);
        }
        rig.publish("/topic/a", "here", 3);
        rig.run(500);
        assert_eq!((&rig.tasks[0].settled[..], &rig.tasks[0].refused[..]), (&[1][..], &[][..]));
        if !does_answer {
            rig.run(1_000);
            assert_eq!(rig.tasks[0].refused, [(2, Code::RelayUnknown)]);
        }
        rig.is_stalled = false;
        rig.run(500);
        let settled: &[u64] = if does_answer { &[1, 2, 3] } else { &[1, 3] };
        assert_eq!(rig.tasks[0].settled, settled);
        assert_eq!(rig.bodies(0).last().map(String::as_str), Some("here"));
        assert_eq!(rig.server("b").published.len(), 1);
    }
}
