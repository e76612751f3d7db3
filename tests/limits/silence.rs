//! Peers that say nothing: before CONNECT, and without heart-beats.

use ringway::metrics::CloseCode;
use ringway::metrics::ConnectionError;

use crate::wire;
use crate::wire::Said;
use crate::wire::UPGRADE;
use crate::wire::stomp;
use crate::wire::text;
use crate::world::World;

const CONNECT: &str = "accept-version:1.2\n";

#[test]
fn without_a_first_frame_the_deadline_closes_with_4500_and_not_before() {
    let mut world = World::new(|_| {});
    let id = world.upgraded(UPGRADE);
    world.wait_ms(59_999);
    assert_eq!(world.said(id), []);
    world.wait_ms(1);
    assert_eq!(world.closed(id), (4500, vec![]), "without an ERROR before it");
    assert_eq!(world.counters().closed.of(CloseCode::Slow).get(), 1);
    assert_eq!(world.counters().connection_errors.of(ConnectionError::FirstFrame).get(), 1);
    assert_eq!(world.counters().slow_consumers.get(), 0, "it was slow to speak, not to read");
}

#[test]
fn neither_heart_beats_nor_pings_nor_half_a_connect_are_a_first_frame() {
    let connect = stomp("CONNECT", CONNECT, b"");
    // A piece every ten seconds.
    let idle: [(&str, Vec<Vec<u8>>); 3] = [
        ("line ends", vec![text(b"\n"); 5]),
        ("pings", vec![wire::masked(0x89, b""); 5]),
        ("half a frame", connect.chunks(4).take(5).map(text).collect()),
    ];
    for (name, pieces) in idle {
        let mut world = World::new(|_| {});
        let id = world.upgraded(UPGRADE);
        for piece in pieces {
            world.wait_ms(10_000);
            world.send(id, &piece);
        }
        world.wait_ms(9_999);
        let said = world.said(id);
        assert!(said.iter().all(|it| matches!(it, Said::Pong(_))), "{name}: {said:?}");
        world.wait_ms(1);
        assert_eq!(world.closed(id), (4500, vec![]), "{name}");
    }
}

#[test]
fn a_connect_just_before_the_deadline_is_in_time() {
    let mut world = World::new(|_| {});
    let id = world.upgraded(UPGRADE);
    world.wait_ms(59_999);
    world.frame(id, "CONNECT", CONNECT, b"");
    world.wait_ms(30_000);
    assert_eq!(world.only_frame(id).command, "CONNECTED");
    world.assert_open(id);
}

#[test]
fn the_time_for_the_first_frame_counts_from_the_upgrade() {
    let mut world = World::new(|_| {});
    let id = world.accept().unwrap();
    world.wait_ms(9_000);
    world.send(id, UPGRADE.as_bytes());
    assert!(matches!(world.said(id)[..], [Said::Http(101, _)]));
    world.wait_ms(59_999);
    assert_eq!(world.said(id), []);
    world.wait_ms(1);
    assert_eq!(world.closed(id).0, 4500);
}

#[test]
fn a_silent_peer_is_pinged_and_closed_when_nothing_comes() {
    let mut world = World::new(|_| {});
    let id = world.session();
    world.wait_ms(59_999);
    assert_eq!(world.said(id), []);
    world.wait_ms(1);
    assert_eq!(world.said(id), [Said::Ping]);
    world.wait_ms(29_999);
    assert_eq!(world.said(id), [], "one ping, and 30 s for an answer");
    world.wait_ms(1);
    assert_eq!(world.closed(id), (1002, vec![]));
    assert_eq!(world.counters().closed.of(CloseCode::Protocol).get(), 1);
    assert_eq!(world.counters().connection_errors.of(ConnectionError::Pong).get(), 1);
}

#[test]
fn any_bytes_answer_a_ping() {
    let half = wire::masked(0x81, b"SEND");
    let answers: [(&str, &[u8]); 4] = [
        ("a pong", &wire::masked(0x8A, b"")),
        ("a line end", &text(b"\n")),
        ("a close that is broken off", &wire::close(1000)[..1]),
        ("half a message", &half[..half.len() - 1]),
    ];
    for (name, bytes) in answers {
        let mut world = World::new(|_| {});
        let id = world.session();
        world.wait_ms(60_000);
        assert_eq!(world.said(id), [Said::Ping], "{name}");
        world.wait_ms(29_900);
        world.send(id, bytes);
        world.wait_ms(59_999);
        assert_eq!(world.said(id), [], "{name}");
        world.wait_ms(1);
        assert_eq!(world.said(id), [Said::Ping], "{name}: 60 s after it spoke");
    }
}

#[test]
fn what_the_server_says_does_not_stand_in_for_the_peer() {
    let mut world = World::new(|_| {});
    let (silent, publisher) = (world.subscriber("/topic/t"), world.session());
    for _ in 0..59 {
        world.wait_ms(1_000);
        world.publish(publisher, "/topic/t", b"x");
    }
    assert_eq!(world.bodies(silent).len(), 59);
    world.wait_ms(1_000);
    assert_eq!(world.said(silent), [Said::Ping]);
    for _ in 0..29 {
        world.wait_ms(1_000);
        world.publish(publisher, "/topic/t", b"x");
    }
    assert_eq!(world.bodies(silent).len(), 29);
    world.wait_ms(1_000);
    assert_eq!(world.closed(silent), (1002, vec![]));
    world.assert_open(publisher);
}

#[test]
fn an_echo_connection_is_pinged_as_well() {
    let mut world = World::new(|it| it.has_echo = true);
    let id = world.upgraded(&UPGRADE.replace("/ws", "/echo"));
    world.wait_ms(60_000);
    assert_eq!(world.said(id), [Said::Ping]);
    world.wait_ms(30_000);
    assert_eq!(world.closed(id), (1002, vec![]));
}
