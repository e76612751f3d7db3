//! How connections end: closes that are answered or not, peers that are gone, the drain.

use ringway::metrics::CloseCode;
use ringway::metrics::ConnectionError;
use ringway::metrics::Handshake;
use ringway::metrics::Rejected;
use ringway::shard::ConnectionId;

use crate::wire;
use crate::wire::Said;
use crate::wire::UPGRADE;
use crate::world::World;

fn unanswered(world: &World) -> u64 {
    world.counters().connection_errors.of(ConnectionError::Close).get()
}

/// A session that the server has begun to close with 1002.
fn closing(world: &mut World) -> ConnectionId {
    let id = world.session();
    world.frame(id, "BOGUS", "", b"");
    id
}

#[test]
fn a_peer_that_does_not_answer_the_close_is_cut_off_at_the_deadline_and_not_before() {
    let mut world = World::new(|_| {});
    let id = closing(&mut world);
    assert_eq!(world.closed(id).0, 1002);
    world.wait_ms(4_999);
    assert!(!world.is_aborted(id) && !world.is_write_ended(id), "it may still answer");
    assert_eq!((world.counters().connections_active.get(), unanswered(&world)), (1, 0));
    world.wait_ms(1);
    assert!(world.is_aborted(id));
    assert_eq!((world.counters().connections_active.get(), unanswered(&world)), (0, 1));
    assert_eq!(world.shard.connections_count(), 0);
}

#[test]
fn speaking_of_other_things_answers_no_close() {
    let mut world = World::new(|_| {});
    let id = closing(&mut world);
    assert_eq!(world.closed(id).0, 1002);
    for _ in 0..49 {
        world.wait_ms(100);
        world.publish(id, "/topic/t", b"x");
        world.send(id, &wire::masked(0x89, b"?"));
    }
    assert_eq!(world.said(id), [], "after a close frame nothing is said");
    world.wait_ms(100);
    assert!(world.is_aborted(id));
}

#[test]
fn a_close_that_is_answered_ends_our_side_at_once() {
    let mut world = World::new(|_| {});
    let id = closing(&mut world);
    world.leave(id, 1002);
    assert!(!world.is_aborted(id));
    assert_eq!((world.counters().connections_active.get(), unanswered(&world)), (0, 0));
}

#[test]
fn a_peer_that_answers_and_then_stays_is_cut_off_without_blame() {
    let mut world = World::new(|_| {});
    let id = closing(&mut world);
    world.send(id, &wire::close(1002));
    assert!(world.is_write_ended(id));
    world.wait_ms(5_000);
    assert!(world.is_aborted(id));
    assert_eq!(unanswered(&world), 0, "it did answer");
}

#[test]
fn a_close_waits_for_the_bytes_before_it_but_not_beyond_the_deadline() {
    let mut world = World::new(|_| {});
    let id = world.session();
    world.stall(id);
    world.frame(id, "BOGUS", "", b"");
    world.send(id, &wire::close(1002));
    assert!(!world.is_write_ended(id), "the ERROR is not sent");
    world.wait_ms(4_999);
    world.resume(id);
    assert!(world.is_write_ended(id));
    assert_eq!(world.closed(id).0, 1002);
    world.wait_ms(1);

    let id = world.session();
    world.stall(id);
    world.frame(id, "BOGUS", "", b"");
    world.wait_ms(5_000);
    assert!(world.is_aborted(id));
}

#[test]
fn the_peers_own_close_is_answered_with_its_code() {
    for code in [1000, 1001, 3000, 4999] {
        let mut world = World::new(|_| {});
        let id = world.session();
        world.send(id, &wire::close(code));
        assert_eq!(world.closed(id), (code, vec![]));
        assert!(world.is_write_ended(id));
        world.wait_ms(4_999);
        assert!(!world.is_aborted(id));
        world.wait_ms(1);
        assert!(world.is_aborted(id), "it had time to hang up");
        assert_eq!(world.counters().closed.of(CloseCode::of(code)).get(), 1);
    }
}

#[test]
fn a_peer_that_is_gone_leaves_nothing_behind() {
    let mut world = World::new(|_| {});
    let (id, other) = (world.subscriber("/topic/t"), world.session());
    world.stall(id);
    world.publish(other, "/topic/t", &[b'x'; 10_000]);
    world.hang_up(id);
    let counters = world.counters();
    assert_eq!(counters.connections_active.get(), 1);
    assert_eq!((counters.subscriptions_active.get(), counters.outbox_bytes.get()), (0, 0));
    assert_eq!(counters.closed.of(CloseCode::Abnormal).get(), 1);
    assert_eq!(counters.connection_errors.of(ConnectionError::Reset).get(), 1);
    world.publish(other, "/topic/t", b"to nobody");
    world.assert_open(other);
}

#[test]
fn what_was_received_is_done_although_the_peer_has_ended_its_side() {
    let mut world = World::new(|_| {});
    let (subscriber, id) = (world.subscriber("/topic/t"), world.session());
    world.publish(id, "/topic/t", b"last words");
    world.hang_up(id);
    assert_eq!(world.bodies(subscriber), ["last words"]);
}

#[test]
fn a_peer_that_is_gone_in_the_middle_of_a_message_said_nothing() {
    let mut world = World::new(|_| {});
    let (subscriber, id) = (world.subscriber("/topic/t"), world.session());
    let message = wire::text(&wire::stomp("SEND", "destination:/topic/t\n", b"never whole"));
    world.send(id, &message[..message.len() - 1]);
    world.hang_up(id);
    assert_eq!(world.said(subscriber), []);
}

#[test]
fn a_failed_send_ends_the_connection_and_frees_its_memory() {
    let mut world = World::new(|_| {});
    let (id, other) = (world.subscriber("/topic/t"), world.session());
    world.stall(id);
    world.publish(other, "/topic/t", &[b'x'; 10_000]);
    world.fail_send(id);
    assert!(world.is_aborted(id));
    assert_eq!(world.counters().outbox_bytes.get(), 0, "at once: others need it");
    assert_eq!(world.counters().closed.of(CloseCode::Abnormal).get(), 1);
    world.assert_open(other);
}

#[test]
fn a_drain_is_over_when_those_that_it_was_for_have_gone_by_themselves() {
    let mut world = World::new(|options| options.connections_max = 2);
    let (early, late) = (world.session(), world.session());
    let now = world.now();
    world.shard.begin_drain(now);
    assert!(world.shard.drain_some(now), "the window has just begun");
    world.hang_up(early);
    assert!(world.shard.drain_some(now), "one is still there");
    world.hang_up(late);
    assert!(!world.shard.drain_some(now));
}

#[test]
fn a_drain_closes_every_session_with_1012_and_ends_when_all_are_gone() {
    let mut world = World::new(|_| {});
    let (subscriber, silent) = (world.subscriber("/topic/t"), world.session());
    let fresh = world.upgraded(UPGRADE);
    let stuck = world.session();
    world.stall(stuck);
    let already = closing(&mut world);
    assert_eq!(world.closed(already).0, 1002);
    assert!(!world.shard.is_drained());

    world.drain();
    for id in [subscriber, silent, fresh] {
        assert_eq!(world.closed(id), (1012, vec![]));
    }
    assert_eq!(world.said(already), [], "one close is enough");
    assert_eq!(world.counters().closed.of(CloseCode::Restart).get(), 4);
    assert_eq!(world.counters().subscriptions_active.get(), 0);
    world.leave(subscriber, 1012);
    world.leave(fresh, 1012);
    world.leave(already, 1002);
    assert!(!world.shard.is_drained(), "two are still there");
    world.wait_ms(5_000);
    assert!(world.is_aborted(silent) && world.is_aborted(stuck));
    assert!(world.shard.is_drained());
    assert_eq!(world.counters().connections_active.get(), 0);
}

#[test]
fn a_draining_server_answers_503_to_upgrades_and_is_not_ready() {
    let mut world = World::new(|_| {});
    let early = world.accept().unwrap();
    world.health.drain();
    world.drain();
    assert!(world.shard.is_drained(), "a head that is not whole holds up nothing");
    let late = world.accept().unwrap();
    for id in [early, late] {
        world.send(id, UPGRADE.as_bytes());
        let said = world.said(id);
        let [Said::Http(503, text)] = &said[..] else { panic!("{said:?}") };
        assert!(text.contains("\r\nRetry-After: "), "{text}");
    }
    assert_eq!(world.counters().rejected.of(Rejected::Draining).get(), 2);
    assert_eq!(world.counters().handshakes.of(Handshake::Draining).get(), 2);
    for (path, status) in [("readiness", 503), ("liveness", 200)] {
        let id = world.accept().unwrap();
        let request = format!("GET /actuator/health/{path} HTTP/1.1\r\nHost: limits.test\r\n\r\n");
        world.send(id, request.as_bytes());
        let said = world.said(id);
        assert!(matches!(said[..], [Said::Http(it, _)] if it == status), "{path}: {said:?}");
    }
}

#[test]
fn a_drain_is_begun_once() {
    let mut world = World::new(|_| {});
    let id = world.session();
    world.drain();
    world.drain();
    assert_eq!(world.closed(id), (1012, vec![]));
}
