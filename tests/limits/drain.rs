//! How a shard lets its sessions go: a bounded share at a time, those that wait for receipts last.

use std::collections::BTreeSet;
use std::time::Duration;

use ringway::metrics::CloseCode;
use ringway::shard::ConnectionId;

use crate::wire::Said;
use crate::world::World;

/// A world of two whose drain takes so long for `sessions_count` sessions.
fn world(sessions_count: usize, window: Duration) -> World {
    World::of_two(|it| {
        it.connections_max = sessions_count;
        it.drain.window = window;
    })
}

fn owe_receipt(world: &mut World, id: ConnectionId, destination: &str) {
    world.frame(id, "SEND", &format!("destination:{destination}\nreceipt:owed\n"), b"x");
}

/// Lets the drain go on until nobody is left who may be closed.
fn drain_all(world: &mut World) {
    for _ in 0..10_000 {
        if !world.drain_some() {
            return;
        }
    }
    panic!("the drain has no end");
}

#[track_caller]
fn assert_refused_and_closed(world: &mut World, id: ConnectionId, expected: u16) {
    let (code, said) = world.closed(id);
    let [Said::Stomp(error)] = &said[..] else { panic!("{said:?}") };
    let found = (&*error.command, error.header("receipt-id"), error.header("message"));
    assert_eq!((code, found), (expected, ("ERROR", "owed", "relay-unknown")));
}

#[test]
fn who_waits_for_a_receipt_is_closed_after_all_others_though_it_was_idle_for_longest() {
    let mut world = world(6, Duration::from_secs(1));
    let remote = world.remote_destination();
    let owing = world.session();
    owe_receipt(&mut world, owing, &remote);
    let others: Vec<ConnectionId> = (0..5).map(|_| world.session()).collect();
    for id in &others {
        world.wait_ms(10);
        world.publish(*id, "/topic/t", b"later");
    }
    world.begin_drain();
    drain_all(&mut world);
    for id in others {
        assert_eq!(world.closed(id).0, 1012);
    }
    assert_eq!(world.said(owing), [], "it still waits");
    assert!(world.shard.owes_answers());

    world.shard.handle_last_call();
    world.answer_mail(world.mail.len());
    assert!(!world.shard.owes_answers());
    world.drain();
    let (code, said) = world.closed(owing);
    let [Said::Stomp(receipt)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((code, &*receipt.command, receipt.header("receipt-id")), (1012, "RECEIPT", "owed"));
}

#[test]
fn who_has_its_receipt_in_time_is_closed_in_time() {
    let mut world = world(2, Duration::from_secs(1));
    let remote = world.remote_destination();
    let ids = [world.session(), world.session()];
    for id in ids {
        owe_receipt(&mut world, id, &remote);
    }
    world.begin_drain();
    for _ in 0..60 {
        assert!(world.drain_some());
    }
    assert_eq!((world.said(ids[0]), world.said(ids[1])), (vec![], vec![]), "both wait");
    world.answer_mail(world.mail.len());
    world.drain_some();
    let closed = ids.map(|id| {
        let frames = world.said(id);
        frames.iter().any(|it| matches!(it, Said::Close(1012, _)))
    });
    assert_eq!(closed.iter().filter(|it| **it).count(), 1, "one of two after half of the time");
    drain_all(&mut world);
    assert_eq!(world.counters().drain.closed.get(), 2);
}

#[test]
fn a_receipt_that_cannot_be_given_any_more_becomes_a_refusal_before_the_close() {
    let mut world = world(1, Duration::from_millis(100));
    let remote = world.remote_destination();
    let id = world.session();
    owe_receipt(&mut world, id, &remote);
    world.begin_drain();
    drain_all(&mut world);
    world.shard.handle_last_call();
    assert!(world.shard.owes_answers());
    world.drain();
    assert_refused_and_closed(&mut world, id, 1012);
    assert!(!world.shard.owes_answers());
    assert_eq!(world.counters().closed.of(CloseCode::Restart).get(), 1);
}

#[test]
fn one_turn_tells_and_closes_so_many_and_each_is_told_once_and_before_its_close() {
    const COUNT: usize = 300;
    const SHARE_MAX: u64 = 128;
    let mut world = world(COUNT, Duration::from_millis(10));
    let ids: Vec<ConnectionId> =
        (0..COUNT).map(|_| world.subscriber("/topic/server.events")).collect();
    world.begin_drain();
    let count = |world: &World| {
        let drain = &world.counters().drain;
        (drain.told.get(), drain.closed.get())
    };
    let (mut before, mut goes_on) = (count(&world), true);
    assert!(before.0 <= SHARE_MAX && before.1 <= SHARE_MAX, "{before:?}");
    while goes_on {
        goes_on = world.drain_some();
        let after = count(&world);
        // Those that are closed unheard are told with their close.
        assert!(after.0 - before.0 <= 2 * SHARE_MAX, "{before:?} {after:?}");
        assert!(after.1 - before.1 <= SHARE_MAX, "{before:?} {after:?}");
        before = after;
    }
    assert_eq!(before, (COUNT as u64, COUNT as u64));
    for id in ids {
        let (code, said) = world.closed(id);
        let [Said::Stomp(notice)] = &said[..] else { panic!("{said:?}") };
        assert_eq!((code, &*notice.command), (1012, "MESSAGE"));
        assert!(notice.text().contains("ServerShutdownNotice"), "{notice:?}");
    }
}

#[test]
fn at_the_deadline_receipts_become_refusals_too_and_each_is_told_when_to_come_back() {
    let mut world = world(20, Duration::from_secs(60));
    let remote = world.remote_destination();
    let owing = world.session();
    owe_receipt(&mut world, owing, &remote);
    let others: Vec<ConnectionId> = (0..19).map(|_| world.session()).collect();
    world.begin_drain();
    world.reach_deadline();
    assert_refused_and_closed(&mut world, owing, 1001);
    let mut hints = BTreeSet::new();
    for id in others {
        let said = world.said(id);
        let [Said::Close(1001, reason)] = &said[..] else { panic!("{said:?}") };
        let (_, hint) = reason.split_once("; reconnect in ").expect("a hint");
        hints.insert(hint.to_owned());
    }
    assert!(15 < hints.len(), "{hints:?}");
    assert_eq!(world.counters().closed.of(CloseCode::GoingAway).get(), 20);
}

#[test]
fn who_came_together_leaves_over_a_tenth_of_the_age() {
    const COUNT: usize = 200;
    let age_max = Duration::from_secs(50);
    let mut world = World::new(|it| it.drain.connection_age_max = age_max);
    let ids: Vec<ConnectionId> = (0..COUNT).map(|_| world.session()).collect();
    let is_open = |world: &mut World, id| !world.said(id).iter().any(|it| is_close(it, 1012));
    world.wait_ms(44_900);
    let mut open: Vec<ConnectionId> =
        ids.into_iter().filter(|it| is_open(&mut world, *it)).collect();
    assert_eq!(open.len(), COUNT, "nobody leaves before nine tenths");
    for tenth in 1..=10 {
        world.wait_ms(500);
        let before = open.len();
        open.retain(|id| is_open(&mut world, *id));
        let left = before - open.len();
        assert!((5..=40).contains(&left), "{left} of {COUNT} in tenth {tenth}");
    }
    world.wait_ms(300);
    open.retain(|id| is_open(&mut world, *id));
    assert_eq!(open, []);
}

fn is_close(said: &Said, code: u16) -> bool {
    matches!(said, Said::Close(found, _) if *found == code)
}
