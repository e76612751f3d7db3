//! Limits before the upgrade: how many, how long, how large; and what comes behind the head.

use ringway::metrics::Handshake;
use ringway::metrics::Rejected;

use crate::wire;
use crate::wire::Said;
use crate::wire::UPGRADE;
use crate::wire::stomp;
use crate::wire::text;
use crate::wire::upgrade_with;
use crate::world::World;

const HEALTH: [&str; 3] =
    ["/actuator/health", "/actuator/health/liveness", "/actuator/health/readiness"];

/// The status that answers `request`, after which the server ends its side.
#[track_caller]
fn ask(world: &mut World, request: &[u8]) -> (u16, String) {
    let id = world.accept().expect("there is room");
    world.send(id, request);
    let said = world.said(id);
    let [Said::Http(status, text)] = &said[..] else { panic!("no answer: {said:?}") };
    assert_eq!(world.is_write_ended(id), *status != 101, "an answer is the end, an upgrade not");
    world.hang_up(id);
    (*status, text.clone())
}

#[test]
fn a_shard_has_room_for_so_many_handshakes_and_again_after_each_that_ends() {
    let mut world = World::new(|it| it.handshakes_max = 2);
    let upgrading = world.accept().unwrap();
    let asking = world.accept().unwrap();
    let refused = |world: &World| world.counters().rejected.of(Rejected::HandshakesPending).get();
    assert_eq!((world.accept(), refused(&world)), (None, 1));

    world.send(upgrading, UPGRADE.as_bytes());
    let leaving = world.accept().expect("an upgrade makes room");
    assert_eq!((world.accept(), refused(&world)), (None, 2));

    world.send(asking, b"GET /nowhere HTTP/1.1\r\nHost: limits.test\r\n\r\n");
    world.accept().expect("an answer makes room");
    assert_eq!((world.accept(), refused(&world)), (None, 3));

    world.hang_up(leaving);
    assert_eq!(world.counters().handshakes.of(Handshake::Abandoned).get(), 1);
    world.accept().expect("going away makes room");
    assert_eq!((world.accept(), refused(&world)), (None, 4));

    world.wait_ms(10_000);
    world.accept().expect("the deadline makes room");
    world.accept().expect("for each that it ends");
    assert_eq!((world.accept(), refused(&world)), (None, 5));
}

#[test]
fn a_full_server_answers_503_to_upgrades_and_200_to_health() {
    let mut world = World::new(|it| it.connections_max = 2);
    let (one, _two) = (world.session(), world.session());
    let (status, text) = ask(&mut world, UPGRADE.as_bytes());
    assert_eq!(status, 503);
    assert!(text.contains("\r\nRetry-After: "), "{text}");
    assert_eq!(world.counters().rejected.of(Rejected::Connections).get(), 1);
    assert_eq!(world.counters().handshakes.of(Handshake::Full).get(), 1);
    assert_eq!(world.counters().connections_active.get(), 2);
    for path in HEALTH {
        let request = format!("GET {path} HTTP/1.1\r\nHost: limits.test\r\n\r\n");
        let (status, text) = ask(&mut world, request.as_bytes());
        assert!(status == 200 && text.contains(r#""status":"UP""#), "{path}: {text}");
    }
    world.hang_up(one);
    assert_eq!(ask(&mut world, UPGRADE.as_bytes()).0, 101);
}

#[test]
fn connections_are_counted_across_all_shards() {
    let mut world = World::of_two(|it| it.connections_max = 3);
    world.other_counters().connections_active.set(2);
    world.session();
    assert_eq!(ask(&mut world, UPGRADE.as_bytes()).0, 503);
    world.other_counters().connections_active.set(1);
    assert_eq!(ask(&mut world, UPGRADE.as_bytes()).0, 101);
}

#[test]
fn a_head_that_trickles_in_is_answered_408_at_the_deadline() {
    let mut world = World::new(|_| {});
    let id = world.accept().unwrap();
    let trickle = upgrade_with(&"X-Slow: 1\r\n".repeat(20));
    for byte in &trickle.as_bytes()[..199] {
        world.send(id, &[*byte]);
        world.wait_ms(50);
    }
    world.wait_ms(49);
    assert_eq!(world.said(id), [], "9.999 s have passed");
    world.wait_ms(1);
    let said = world.said(id);
    assert!(matches!(said[..], [Said::Http(408, _)]), "{said:?}");
    assert_eq!(world.counters().handshakes.of(Handshake::TimedOut).get(), 1);
    assert!(world.is_write_ended(id));
    // What comes now is let go, and a peer that stays is cut off.
    world.send(id, &trickle.as_bytes()[199..]);
    world.wait_ms(4_999);
    assert_eq!((world.said(id), world.is_aborted(id)), (vec![], false));
    world.wait_ms(1);
    assert!(world.is_aborted(id));
    assert_eq!(world.shard.connections_count(), 0);
}

#[test]
fn a_connection_that_never_speaks_is_ended_at_the_deadline_too() {
    let mut world = World::new(|_| {});
    let id = world.accept().unwrap();
    world.wait_ms(9_999);
    assert_eq!((world.said(id), world.is_write_ended(id)), (vec![], false));
    world.wait_ms(1);
    assert!(world.is_write_ended(id));
}

#[test]
fn a_head_that_is_whole_just_before_the_deadline_upgrades() {
    let mut world = World::new(|_| {});
    let id = world.accept().unwrap();
    let (last, rest) = UPGRADE.as_bytes().split_last().unwrap();
    world.send(id, rest);
    world.wait_ms(9_999);
    world.send(id, &[*last]);
    world.wait_ms(1);
    assert!(matches!(world.said(id)[..], [Said::Http(101, _)]));
}

/// An upgrade whose head has exactly so many bytes.
fn upgrade_of(head_bytes: usize) -> String {
    let padding = head_bytes - upgrade_with("X: \r\n").len();
    let head = upgrade_with(&format!("X: {}\r\n", "p".repeat(padding)));
    assert_eq!(head.len(), head_bytes);
    head
}

#[test]
fn a_header_block_is_as_large_as_its_limit_and_no_byte_larger() {
    let mut world = World::new(|_| {});
    assert_eq!(ask(&mut world, upgrade_of(8192).as_bytes()).0, 101);
    assert_eq!(ask(&mut world, upgrade_of(8193).as_bytes()).0, 431);
    assert_eq!(ask(&mut world, &upgrade_of(9000).as_bytes()[..8192]).0, 431, "not waited for");
    assert_eq!(world.counters().handshakes.of(Handshake::HeaderTooLarge).get(), 2);
    let id = world.accept().unwrap();
    world.send(id, &upgrade_of(9000).as_bytes()[..8191]);
    assert_eq!(world.said(id), []);
}

#[test]
fn what_follows_a_head_does_not_count_as_its_bytes() {
    let mut world = World::new(|_| {});
    let id = world.accept().unwrap();
    let connect = text(&stomp("CONNECT", "accept-version:1.2\n", b""));
    world.send(id, &[upgrade_of(8192).as_bytes(), &connect].concat());
    let said = world.said(id);
    assert!(matches!(&said[..], [Said::Http(101, _), Said::Stomp(_)]), "{said:?}");
}

#[test]
fn a_request_line_that_alone_is_too_large_is_answered_414() {
    let mut world = World::new(|_| {});
    let line = |bytes: usize| format!("GET /{}", "p".repeat(bytes - 5));
    assert_eq!(ask(&mut world, line(8192).as_bytes()).0, 414);
    let id = world.accept().unwrap();
    world.send(id, line(8191).as_bytes());
    assert_eq!(world.said(id), []);
}

#[test]
fn a_head_has_64_header_lines_and_not_65() {
    let mut world = World::new(|_| {});
    let five = UPGRADE.lines().count() - 2;
    assert_eq!(five, 5);
    let lines = |count: usize| upgrade_with(&"X: 1\r\n".repeat(count - five));
    assert_eq!(ask(&mut world, lines(64).as_bytes()).0, 101);
    assert_eq!(ask(&mut world, lines(65).as_bytes()).0, 431);
    assert_eq!(world.counters().handshakes.of(Handshake::HeaderTooLarge).get(), 1);
}

#[test]
fn frames_behind_the_head_are_not_lost_wherever_the_packets_are_cut() {
    let frames = [
        stomp("CONNECT", "accept-version:1.2\n", b""),
        stomp("SUBSCRIBE", "id:s\ndestination:/topic/early\nreceipt:r\n", b""),
        stomp("SEND", "destination:/topic/early\n", b"first"),
    ];
    let frames: Vec<u8> = frames.iter().flat_map(|it| text(it)).collect();
    let whole = [UPGRADE.as_bytes(), &frames].concat();
    for cut in 0..=whole.len() {
        let mut world = World::new(|_| {});
        let id = world.accept().unwrap();
        let (one, two) = whole.split_at(cut);
        world.send(id, one);
        world.send(id, two);
        let said = world.said(id);
        let [Said::Http(101, _), Said::Stomp(first), Said::Stomp(second), Said::Stomp(third)] =
            &said[..]
        else {
            panic!("cut at {cut}: {said:?}");
        };
        assert_eq!(
            (&*first.command, &*second.command, third.text()),
            ("CONNECTED", "RECEIPT", "first"),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_broken_frame_behind_the_head_closes_after_the_upgrade() {
    let mut world = World::new(|_| {});
    let id = world.accept().unwrap();
    world.send(id, &[UPGRADE.as_bytes(), &wire::masked(0xF1, b"?")].concat());
    let (code, said) = world.closed(id);
    assert_eq!((code, said.len()), (1002, 1));
}
