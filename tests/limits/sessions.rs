//! What one session may have and ask for: subscriptions, and refusals.

use ringway::metrics::CloseCode;
use ringway::metrics::ConnectionError;
use ringway::metrics::Refusal;
use ringway::shard::ConnectionId;

use crate::wire::Said;
use crate::world::World;

fn subscribe(world: &mut World, id: ConnectionId, name: &str, receipt: &str) {
    let lines = format!("id:{name}\ndestination:/topic/{name}\nreceipt:{receipt}\n");
    world.frame(id, "SUBSCRIBE", &lines, b"");
}

#[test]
fn a_session_has_so_many_subscriptions_and_the_next_is_refused() {
    let mut world = World::new(|it| it.session.subscriptions_max = 3);
    let (id, other) = (world.session(), world.session());
    for name in ["a", "b", "c"] {
        subscribe(&mut world, id, name, name);
        world.assert_receipts(id, &[name]);
    }
    subscribe(&mut world, id, "d", "r");
    world.assert_refused(id, "r", "limit");
    assert_eq!(world.counters().refusals.of(Refusal::Limit).get(), 1);
    assert_eq!(world.counters().subscriptions_active.get(), 3);
    world.publish(other, "/topic/d", b"nobody");
    world.publish(other, "/topic/c", b"x");
    assert_eq!(world.bodies(id), ["x"], "nothing is half subscribed");

    subscribe(&mut world, id, "a", "same id");
    world.assert_receipts(id, &["same id"]);
    subscribe(&mut world, other, "d", "another session");
    world.assert_receipts(other, &["another session"]);

    world.frame(id, "UNSUBSCRIBE", "id:b\n", b"");
    subscribe(&mut world, id, "d", "room");
    world.assert_receipts(id, &["room"]);
    subscribe(&mut world, id, "e", "full");
    world.assert_refused(id, "full", "limit");
}

#[test]
fn patterns_and_user_queues_count_as_subscriptions() {
    let mut world = World::new(|it| it.session.subscriptions_max = 2);
    let id = world.session();
    world.frame(id, "SUBSCRIBE", "id:a\ndestination:/topic/**\nreceipt:a\n", b"");
    world.frame(id, "SUBSCRIBE", "id:b\ndestination:/user/queue/x\nreceipt:b\n", b"");
    world.assert_receipts(id, &["a", "b"]);
    subscribe(&mut world, id, "c", "c");
    world.assert_refused(id, "c", "limit");
}

/// Asks for what no route takes.
fn ask_in_vain(world: &mut World, id: ConnectionId, receipt: &str) {
    world.frame(id, "SEND", &format!("destination:/app/none\nreceipt:{receipt}\n"), b"");
}

#[test]
fn a_session_may_collect_so_many_refusals_and_the_next_is_told_and_closes_with_1008() {
    let mut world = World::new(|it| it.session.refusals_max = 3);
    let (id, other) = (world.session(), world.session());
    for receipt in ["1", "2", "3"] {
        ask_in_vain(&mut world, id, receipt);
        world.assert_refused(id, receipt, "no-route");
    }
    world.assert_open(id);
    ask_in_vain(&mut world, id, "4");
    let (code, said) = world.closed(id);
    assert_eq!(code, 1008);
    let [Said::Stomp(error)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((&*error.command, error.header("receipt-id")), ("ERROR", "4"));
    assert_eq!(world.counters().refusals.of(Refusal::NoRoute).get(), 4);
    assert_eq!(world.counters().closed.of(CloseCode::Policy).get(), 1);
    assert_eq!(world.counters().connection_errors.of(ConnectionError::Refusals).get(), 1);
    ask_in_vain(&mut world, other, "5");
    world.assert_refused(other, "5", "no-route");
}

#[test]
fn one_refusal_is_forgiven_per_second() {
    let mut world = World::new(|it| it.session.refusals_max = 2);
    let id = world.session();
    ask_in_vain(&mut world, id, "1");
    ask_in_vain(&mut world, id, "2");
    for _ in 0..5 {
        world.wait_ms(1_000);
        ask_in_vain(&mut world, id, "3");
    }
    assert_eq!(world.frames(id).len(), 7);
    world.wait_ms(999);
    ask_in_vain(&mut world, id, "4");
    assert_eq!(world.closed(id).0, 1008);
}

#[test]
fn a_long_peace_forgives_no_more_than_all() {
    let mut world = World::new(|it| it.session.refusals_max = 2);
    let (id, _) = (world.session(), world.wait_ms(50_000));
    for _ in 0..2 {
        ask_in_vain(&mut world, id, "r");
        world.assert_refused(id, "r", "no-route");
    }
    ask_in_vain(&mut world, id, "r");
    assert_eq!(world.closed(id).0, 1008);
}

#[test]
fn refusals_nobody_is_told_of_count_as_well() {
    let mut world = World::new(|it| it.session.refusals_max = 3);
    let id = world.session();
    for _ in 0..3 {
        world.frame(id, "SEND", "destination:/app/none\n", b"");
        assert_eq!(world.said(id), [], "neither a receipt nor a place for notices");
    }
    world.frame(id, "SEND", "destination:/app/none\n", b"");
    assert_eq!(world.closed(id), (1008, vec![]));
    assert_eq!(world.counters().refusals.of(Refusal::NoRoute).get(), 4);
}

#[test]
fn a_notice_and_an_error_say_the_same_and_the_session_goes_on() {
    let mut world = World::new(|_| {});
    let id = world.session();
    world.frame(id, "SUBSCRIBE", "id:n\ndestination:/user/queue/errors\n", b"");
    ask_in_vain(&mut world, id, "r");
    let frames = world.frames(id);
    let [notice, error] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((&*notice.command, notice.header("code")), ("MESSAGE", "no-route"));
    assert_eq!((notice.header("receipt-id"), notice.header("subscription")), ("r", "n"));
    assert_eq!((&*error.command, error.header("receipt-id")), ("ERROR", "r"));
    assert_eq!(notice.body, error.body);
    world.assert_open(id);
}

#[test]
fn with_error_close_the_first_refusal_ends_the_session() {
    for receipt in ["receipt:r\n", ""] {
        let mut world = World::new(|it| it.session.refusal_closes = true);
        let (id, other) = (world.session(), world.session());
        world.frame(id, "SEND", &format!("destination:/app/none\n{receipt}"), b"");
        let (code, said) = world.closed(id);
        assert_eq!(code, 1008);
        let [Said::Stomp(error)] = &said[..] else { panic!("{said:?}") };
        assert_eq!((&*error.command, error.header("message")), ("ERROR", "no-route"));
        assert_eq!(error.header("receipt-id"), receipt.trim_start_matches("receipt:").trim_end());
        assert_eq!(world.counters().closed.of(CloseCode::Policy).get(), 1);
        world.assert_open(other);
    }
}
