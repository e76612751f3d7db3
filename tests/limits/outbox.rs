//! The outbox of one peer: its limit in bytes, and its limit in time.

use ringway::metrics::CloseCode;
use ringway::metrics::ConnectionError;
use ringway::shard::ConnectionId;

use crate::wire;
use crate::wire::Frame;
use crate::wire::Said;
use crate::wire::text;
use crate::world::World;

const TOPIC: &str = "/topic/t";

/// A world with this limit, a subscriber that does not read, one that does, and a publisher.
fn slow_and_quick(outbox_bytes_max: usize) -> (World, ConnectionId, ConnectionId, ConnectionId) {
    let mut world = World::new(|it| it.outbox_bytes_max = outbox_bytes_max);
    let (slow, quick) = (world.subscriber(TOPIC), world.subscriber(TOPIC));
    let publisher = world.session();
    world.stall(slow);
    (world, slow, quick, publisher)
}

/// Bytes on the wire of one message with this body, as it comes to a subscriber here.
fn wire_bytes(body: &[u8]) -> usize {
    let (mut world, _, quick, publisher) = slow_and_quick(1 << 20);
    world.publish(publisher, TOPIC, body);
    world.only_frame(quick).wire_bytes
}

#[track_caller]
fn assert_slow(world: &World, count: u64) {
    let counters = world.counters();
    assert_eq!(counters.slow_consumers.get(), count);
    assert_eq!(counters.closed.of(CloseCode::Slow).get(), count);
    assert_eq!(counters.connection_errors.of(ConnectionError::SlowConsumer).get(), count);
}

#[test]
fn an_outbox_holds_its_limit_to_the_byte_and_the_next_message_closes_with_4500() {
    // Below and above the size from which on bodies are shared.
    for body in [&[b'x'; 1000][..], &[b'x'; 5000]] {
        let one = wire_bytes(body);
        for (outbox_bytes_max, fit_count) in [(4 * one, 4), (4 * one - 1, 3), (4 * one + 1, 4)] {
            let (mut world, slow, quick, publisher) = slow_and_quick(outbox_bytes_max);
            for _ in 0..fit_count {
                world.publish(publisher, TOPIC, body);
                assert_slow(&world, 0);
            }
            world.publish(publisher, TOPIC, body);
            assert_slow(&world, 1);
            for _ in 0..5 {
                world.publish(publisher, TOPIC, body);
            }
            assert_slow(&world, 1);
            assert_eq!(world.counters().subscriptions_active.get(), 1, "its own went with it");
            assert_eq!(world.bodies(quick).len(), fit_count + 6, "another gets everything");

            world.resume(slow);
            let (code, said) = world.closed(slow);
            assert_eq!(code, 4500);
            let is_message = |it: &Said| matches!(it, Said::Stomp(it) if it.command == "MESSAGE");
            assert!(said.iter().all(is_message), "no ERROR before it: {said:?}");
            assert!(said.len() < fit_count, "what was not on its way is dropped");
            world.leave(slow, 4500);
            assert_eq!(world.counters().outbox_bytes.get(), 0, "and all of it is given back");
        }
    }
}

#[test]
fn a_close_cuts_no_frame_in_two_however_much_of_it_had_gone() {
    for body in [&[b'x'; 1000][..], &[b'x'; 5000]] {
        let one = wire_bytes(body);
        for taken in [0, 1, 2, 150, one - body.len(), one - 1, one, one + 1, 2 * one - 1] {
            let (mut world, slow, _, publisher) = slow_and_quick(3 * one);
            for _ in 0..3 {
                world.publish(publisher, TOPIC, body);
            }
            world.take_exactly(slow, taken);
            for _ in 0..3 {
                world.publish(publisher, TOPIC, body);
            }
            assert_slow(&world, 1);
            world.resume(slow);
            let (code, said) = world.closed(slow);
            assert_eq!(code, 4500, "{taken} of {one} bytes");
            assert!(said.iter().all(|it| matches!(it, Said::Stomp(_))), "{said:?}");
            world.leave(slow, 4500);
        }
    }
}

#[test]
fn what_the_peer_takes_makes_room() {
    let one = wire_bytes(b"x");
    let (mut world, slow, _, publisher) = slow_and_quick(2 * one);
    world.publish(publisher, TOPIC, b"x");
    for _ in 0..10 {
        world.publish(publisher, TOPIC, b"x");
        assert_eq!(world.take(slow, one), one);
    }
    assert_slow(&world, 0);
    world.publish(publisher, TOPIC, b"x");
    assert_eq!(world.take(slow, one - 1), one - 1);
    world.publish(publisher, TOPIC, b"x");
    assert_slow(&world, 1);
}

#[test]
fn one_message_larger_than_the_outbox_closes_even_an_empty_one() {
    let one = wire_bytes(&[b'x'; 1000]);
    let (mut world, slow, quick, publisher) = slow_and_quick(one - 1);
    world.publish(publisher, TOPIC, &[b'x'; 1000]);
    assert_slow(&world, 2);
    world.resume(slow);
    assert_eq!(world.closed(slow), (4500, vec![]));
    assert_eq!(world.closed(quick), (4500, vec![]));
    world.assert_open(publisher);
}

#[test]
fn answers_that_nobody_reads_fill_an_outbox_too() {
    let receipt = "r".repeat(200);
    let answer_bytes = 4 + "RECEIPT\nreceipt-id:\n\n\0".len() + receipt.len();
    let mut world = World::new(|it| it.outbox_bytes_max = 20 * answer_bytes);
    let (asking, bystander) = (world.session(), world.session());
    world.stall(asking);
    for _ in 0..20 {
        world.frame(asking, "UNSUBSCRIBE", &format!("id:x\nreceipt:{receipt}\n"), b"");
        assert_slow(&world, 0);
    }
    world.frame(asking, "UNSUBSCRIBE", &format!("id:x\nreceipt:{receipt}\n"), b"");
    assert_slow(&world, 1);
    world.assert_open(bystander);
}

#[test]
fn pings_that_nobody_reads_the_answers_of_take_no_memory() {
    let mut world = World::new(|it| it.outbox_bytes_max = 4096);
    let id = world.session();
    world.stall(id);
    for _ in 0..1_000 {
        world.send(id, &wire::masked(0x89, &[b'p'; 125]));
    }
    assert!(world.counters().outbox_bytes.get() <= 4096);
    world.wait_ms(10_000);
    assert_slow(&world, 1);
}

#[test]
fn a_byte_that_waits_for_the_limit_in_time_closes_with_4500_and_not_before() {
    let (mut world, slow, quick, publisher) = slow_and_quick(1 << 20);
    world.publish(publisher, TOPIC, b"one");
    world.wait_ms(9_999);
    assert_slow(&world, 0);
    world.wait_ms(1);
    assert_slow(&world, 1);
    world.resume(slow);
    let (code, said) = world.closed(slow);
    assert_eq!(code, 4500);
    assert!(matches!(&said[..], [Said::Stomp(Frame { command, .. })] if command == "MESSAGE"));
    assert_eq!(world.bodies(quick), ["one"]);
}

#[test]
fn a_trickle_does_not_make_an_old_byte_younger() {
    let (mut world, slow, _, publisher) = slow_and_quick(1 << 20);
    world.publish(publisher, TOPIC, &[b'x'; 1000]);
    for _ in 0..99 {
        world.wait_ms(100);
        assert_eq!(world.take(slow, 1), 1);
        world.publish(publisher, TOPIC, b"more");
    }
    world.wait_ms(99);
    assert_slow(&world, 0);
    world.wait_ms(1);
    assert_slow(&world, 1);
}

#[test]
fn a_peer_that_is_late_by_less_than_the_limit_stays_though_its_outbox_is_never_empty() {
    let one = wire_bytes(b"x");
    let (mut world, slow, _, publisher) = slow_and_quick(1 << 20);
    // The first five seconds' worth, then a second's worth each second.
    for _ in 0..5 {
        world.publish(publisher, TOPIC, b"x");
        world.wait_ms(1_000);
    }
    for _ in 0..60 {
        world.publish(publisher, TOPIC, b"x");
        world.take_exactly(slow, one);
        world.wait_ms(1_000);
        assert!(0 < world.in_flight_bytes(slow));
    }
    assert_slow(&world, 0);
}

#[test]
fn a_slow_peer_may_not_buy_time_by_speaking() {
    let (mut world, slow, _, publisher) = slow_and_quick(1 << 20);
    world.publish(publisher, TOPIC, b"x");
    for _ in 0..9 {
        world.wait_ms(1_000);
        world.send(slow, &text(b"\n"));
    }
    world.wait_ms(999);
    assert_slow(&world, 0);
    world.wait_ms(1);
    assert_slow(&world, 1);
}
