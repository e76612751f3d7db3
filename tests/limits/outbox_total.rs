//! All outboxes of a shard together: what counts, and who goes first.

use ringway::metrics::CloseCode;
use ringway::shard::ConnectionId;

use crate::world::World;

const TOTAL_BYTES: usize = 64 << 10;

fn world() -> World {
    World::new(|it| it.outbox_total_bytes_max = TOTAL_BYTES)
}

/// A subscriber to a destination of its own that reads nothing.
fn stalled(world: &mut World, destination: &str) -> ConnectionId {
    let id = world.subscriber(destination);
    world.stall(id);
    id
}

/// Publishes bodies of 1,000 bytes, one by one.
fn publish_kilobytes(world: &mut World, publisher: ConnectionId, destination: &str, count: usize) {
    for _ in 0..count {
        world.publish(publisher, destination, &[b'x'; 1000]);
    }
}

#[test]
fn a_body_counts_once_however_many_wait_for_it() {
    let mut world = world();
    let many: Vec<_> = (0..200).map(|_| stalled(&mut world, "/topic/t")).collect();
    let publisher = world.session();
    for _ in 0..3 {
        world.publish(publisher, "/topic/t", &[b'x'; 20_000]);
    }
    assert_eq!(world.counters().slow_consumers.get(), 0);
    let bytes = world.counters().outbox_bytes.get();
    assert!((60_000..=64 << 10).contains(&bytes), "{bytes}");
    for id in many {
        world.resume(id);
        assert_eq!(world.frames(id).len(), 3);
    }
    world.wait_ms(100);
    assert_eq!(world.counters().outbox_bytes.get(), 0, "all is given back");
}

#[test]
fn over_the_limit_the_fullest_goes_first_and_the_others_stay() {
    let mut world = world();
    let small = stalled(&mut world, "/topic/small");
    let large = stalled(&mut world, "/topic/large");
    let medium = stalled(&mut world, "/topic/medium");
    let publisher = world.session();
    publish_kilobytes(&mut world, publisher, "/topic/small", 5);
    publish_kilobytes(&mut world, publisher, "/topic/large", 25);
    publish_kilobytes(&mut world, publisher, "/topic/medium", 15);
    assert_eq!(world.counters().slow_consumers.get(), 0);
    while world.counters().slow_consumers.get() == 0 {
        let before = world.counters().outbox_bytes.get();
        assert!(before <= TOTAL_BYTES as u64, "{before}");
        publish_kilobytes(&mut world, publisher, "/topic/small", 1);
    }
    assert_eq!(world.counters().slow_consumers.get(), 1, "one was enough");
    assert_eq!(world.counters().closed.of(CloseCode::Slow).get(), 1);
    assert!(world.counters().outbox_bytes.get() <= TOTAL_BYTES as u64);
    for id in [small, medium] {
        world.resume(id);
        world.assert_open_after_messages(id);
    }
    world.resume(large);
    assert_eq!(world.closed(large).0, 4500);
    world.assert_open(publisher);
}

#[test]
fn what_a_closed_peer_has_on_its_way_costs_nobody_else() {
    let mut world = world();
    let small = stalled(&mut world, "/topic/small");
    let large = stalled(&mut world, "/topic/large");
    let publisher = world.session();
    // All of it is in one send: closing frees none of it before that send ends.
    world.publish(publisher, "/topic/large", &[b'x'; 40_000]);
    world.publish(publisher, "/topic/small", &[b'x'; 20_000]);
    publish_kilobytes(&mut world, publisher, "/topic/small", 5);
    assert_eq!(world.counters().slow_consumers.get(), 1, "the fullest only");
    publish_kilobytes(&mut world, publisher, "/topic/small", 5);
    assert_eq!(world.counters().slow_consumers.get(), 1);
    assert_eq!(world.in_flight_bytes(large) / 1000, 40);
    world.wait_ms(5_000);
    assert!(world.is_aborted(large));
    assert!(world.counters().outbox_bytes.get() <= TOTAL_BYTES as u64);
    world.resume(small);
    world.assert_open_after_messages(small);
}

#[test]
fn cipher_text_of_slow_peers_counts_and_makes_them_fuller() {
    let mut world = world();
    let [plain, secure] = ["/topic/plain", "/topic/secure"].map(|it| stalled(&mut world, it));
    let publisher = world.session();
    publish_kilobytes(&mut world, publisher, "/topic/plain", 20);
    publish_kilobytes(&mut world, publisher, "/topic/secure", 10);
    let outboxes_bytes = world.counters().outbox_bytes.get();
    world.shard.handle_sealed(secure, 15_000);
    world.run_timer();
    assert_eq!(world.counters().outbox_bytes.get(), outboxes_bytes + 15_000);
    assert_eq!(world.counters().slow_consumers.get(), 0);
    // Its socket has taken some: only what waits counts.
    world.shard.handle_sealed(secure, 12_000);
    world.run_timer();
    assert_eq!(world.counters().outbox_bytes.get(), outboxes_bytes + 12_000);
    let room_bytes = TOTAL_BYTES - usize::try_from(outboxes_bytes).expect("a size");
    world.shard.handle_sealed(secure, room_bytes);
    world.run_timer();
    assert_eq!(world.counters().slow_consumers.get(), 0, "the limit itself is not too much");
    world.shard.handle_sealed(secure, room_bytes + 1);
    world.run_timer();
    assert_eq!(world.counters().slow_consumers.get(), 1);
    // What it has on its way is nobody else's, and is given back with its socket.
    publish_kilobytes(&mut world, publisher, "/topic/plain", 5);
    assert_eq!(world.counters().slow_consumers.get(), 1);
    world.resume(plain);
    world.assert_open_after_messages(plain);
    world.resume(secure);
    assert_eq!(world.closed(secure).0, 4500);
    world.leave(secure, 4500);
    world.run_timer();
    assert_eq!(world.counters().outbox_bytes.get(), 0);
}

#[test]
fn as_many_go_as_it_takes_and_no_more() {
    let mut world = world();
    let sharing: Vec<_> = (0..5).map(|_| stalled(&mut world, "/topic/shared")).collect();
    let alone: Vec<_> = (0..2).map(|it| stalled(&mut world, &format!("/topic/{it}"))).collect();
    let publisher = world.session();
    // What is on its way is small, so that closing frees the rest at once.
    for destination in ["/topic/shared", "/topic/0", "/topic/1"] {
        world.publish(publisher, destination, b"first");
    }
    world.publish(publisher, "/topic/shared", &[b'x'; 26_000]);
    world.publish(publisher, "/topic/0", &[b'x'; 21_000]);
    assert_eq!(world.counters().slow_consumers.get(), 0);
    world.publish(publisher, "/topic/1", &[b'x'; 21_000]);
    assert_eq!(world.counters().slow_consumers.get(), 5, "the body goes with the last of them");
    for id in alone {
        world.resume(id);
        world.assert_open_after_messages(id);
    }
    for id in sharing {
        world.resume(id);
        assert_eq!(world.closed(id).0, 4500);
    }
}

#[test]
fn the_limit_itself_is_not_too_much() {
    let fill = |outbox_total_bytes_max| {
        let mut world = World::new(|it| it.outbox_total_bytes_max = outbox_total_bytes_max);
        let _stalled = stalled(&mut world, "/topic/t");
        let publisher = world.session();
        publish_kilobytes(&mut world, publisher, "/topic/t", 10);
        (world.counters().slow_consumers.get(), world.counters().outbox_bytes.get())
    };
    let (_, bytes) = fill(TOTAL_BYTES);
    let bytes = usize::try_from(bytes).expect("a size");
    assert_eq!(fill(bytes).0, 0);
    assert_eq!(fill(bytes - 1).0, 1);
}
