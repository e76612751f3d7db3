//! Heart-beats: what is granted, when ours come, and when theirs are missed.

use std::time::Duration;

use ringway::metrics::CloseCode;
use ringway::metrics::ConnectionError;

use crate::wire;
use crate::wire::Said;
use crate::wire::UPGRADE;
use crate::wire::text;
use crate::wire::upgrade_with;
use crate::world::World;

#[test]
fn a_wish_is_granted_within_the_bounds_of_the_server() {
    let table = [
        ("0,0", "0,0"),
        ("10000,10000", "10000,10000"),
        ("10000,20000", "20000,10000"),
        ("0,10000", "10000,0"),
        ("10000,0", "0,10000"),
        ("999,1", "1000,1000"),
        ("1000,1000", "1000,1000"),
        ("25000,25000", "25000,25000"),
        ("25001,3600000", "25000,25000"),
    ];
    for (wish, granted) in table {
        let (_, connected) = World::new(|_| {}).session_with(UPGRADE, wish);
        assert_eq!(connected.header("heart-beat"), granted, "{wish}");
    }
}

#[test]
fn without_a_wish_there_are_no_heart_beats() {
    let mut world = World::new(|_| {});
    let id = world.upgraded(UPGRADE);
    world.frame(id, "CONNECT", "accept-version:1.2\n", b"");
    assert_eq!(world.only_frame(id).header("heart-beat"), "0,0");
}

/// A session that promised beats and is silent: open until `silence_ms`, then closed with 1002.
#[track_caller]
fn check_lost(head: &str, beats: &str, silence_ms: u64) {
    let mut world = World::new(|_| {});
    let (id, _) = world.session_with(head, beats);
    world.wait_ms(silence_ms - 1);
    assert_eq!(world.said(id), [], "{beats} at {silence_ms} ms");
    // A deadline between two ticks is seen at the next one.
    world.wait_ms(101);
    world.assert_given_up(id);
    assert_eq!(world.counters().closed.of(CloseCode::Protocol).get(), 1);
    assert_eq!(world.counters().connection_errors.of(ConnectionError::HeartBeat).get(), 1);
}

#[test]
fn a_client_is_given_up_after_two_and_a_half_intervals_and_not_before() {
    check_lost(UPGRADE, "1000,0", 2_500);
    check_lost(UPGRADE, "1001,0", 2_503);
    check_lost(UPGRADE, "10000,0", 25_000);
    check_lost(UPGRADE, "25000,0", 62_500);
}

#[test]
fn the_longer_of_wish_and_bound_is_what_holds() {
    check_lost(UPGRADE, "200,0", 2_500);
    check_lost(UPGRADE, "60000,0", 150_000);
}

#[test]
fn a_browser_of_ten_seconds_or_more_is_not_given_up_before_75_s() {
    let browser = upgrade_with("Origin: https://limits.test\r\n");
    check_lost(&browser, "10000,0", 75_000);
    check_lost(&browser, "25000,0", 75_000);
    check_lost(&browser, "40000,0", 100_000);
    check_lost(&browser, "9998,0", 24_995);
    check_lost(&browser, "1000,0", 2_500);
}

#[test]
fn any_bytes_are_a_heart_beat_of_the_client() {
    let message = text(b"\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n");
    let mut pieces: Vec<&[u8]> = message.chunks(5).collect();
    let (beat, pong) = (text(b"\n"), wire::masked(0x8A, b""));
    pieces.extend([&beat[..], &pong]);
    let mut world = World::new(|_| {});
    let (id, _) = world.session_with(UPGRADE, "1000,0");
    for piece in pieces {
        world.wait_ms(2_400);
        assert_eq!(world.said(id), []);
        world.send(id, piece);
    }
    world.wait_ms(2_499);
    assert_eq!(world.said(id), []);
    world.wait_ms(1);
    world.assert_given_up(id);
}

#[test]
fn a_client_that_beats_is_not_pinged() {
    let mut world = World::new(|_| {});
    let (id, _) = world.session_with(UPGRADE, "25000,0");
    for _ in 0..10 {
        world.wait_ms(62_000);
        assert_eq!(world.said(id), []);
        world.send(id, &text(b"\n"));
    }
}

#[test]
fn a_client_that_only_listens_is_checked_by_ping() {
    let mut world = World::new(|_| {});
    let (id, _) = world.session_with(UPGRADE, "0,25000");
    world.wait_ms(59_999);
    assert!(world.said(id).iter().all(|it| *it == Said::Beat));
    world.wait_ms(1);
    assert!(world.said(id).contains(&Said::Ping));
    world.wait_ms(30_000);
    assert_eq!(world.closed(id).0, 1002);
}

/// The longest time between two things that the server said to a session with this interval, when
/// the timer runs every `tick` and first `offset` after CONNECTED.
fn longest_gap(interval_ms: u64, tick: Duration, offset: Duration) -> Duration {
    let mut world = World::new(|it| it.session.heart_beat_min = Duration::from_millis(100));
    // Deadlines are met in ticks of the clock: start anywhere between two of them.
    world.skip(offset * 7);
    let (id, connected) = world.session_with(UPGRADE, &format!("0,{interval_ms}"));
    assert_eq!(connected.header("heart-beat"), format!("{interval_ms},0"));
    let mut said_at = world.now().instant;
    let mut longest = Duration::ZERO;
    world.skip(offset);
    for _ in 0..interval_ms / 20 {
        world.run_timer();
        let now = world.now().instant;
        let said = world.said(id);
        assert!(matches!(said[..], [] | [Said::Beat]), "{said:?}");
        if !said.is_empty() {
            longest = longest.max(now.since(said_at));
            said_at = now;
        }
        // The peer answers pings, so that only its own patience ends this.
        world.send(id, &wire::masked(0x8A, b""));
        world.skip(tick);
    }
    longest
}

#[test]
fn the_server_says_something_within_each_interval_whenever_its_timer_runs() {
    for interval_ms in [500, 1_000, 10_000, 25_000] {
        // A timer runs late, never early; a tenth is more than a healthy shard is late.
        for tick_ms in [100, 103, 110] {
            for offset_ms in [0, 1, 13, 50, 87, 99] {
                let (tick, offset) =
                    (Duration::from_millis(tick_ms), Duration::from_micros(offset_ms * 1_000 + 1));
                let gap = longest_gap(interval_ms, tick, offset);
                let case = format!("{interval_ms} ms, tick {tick_ms} ms, offset {offset_ms} ms");
                assert!(Duration::ZERO < gap, "never: {case}");
                assert!(gap <= Duration::from_millis(interval_ms), "{gap:?}: {case}");
            }
        }
    }
}

#[test]
fn a_message_stands_in_for_a_heart_beat() {
    let mut world = World::new(|_| {});
    let (id, _) = world.session_with(UPGRADE, "60000,10000");
    let publisher = world.session();
    world.frame(id, "SUBSCRIBE", "id:s\ndestination:/topic/t\n", b"");
    for _ in 0..10 {
        world.wait_ms(5_000);
        world.publish(publisher, "/topic/t", b"x");
        assert_eq!(world.bodies(id), ["x"], "and no heart-beat");
    }
    world.wait_ms(10_000);
    assert_eq!(world.said(id), [Said::Beat]);
}

#[test]
fn without_an_interval_the_server_never_beats() {
    let mut world = World::new(|_| {});
    let (id, _) = world.session_with(UPGRADE, "25000,0");
    for _ in 0..20 {
        world.send(id, &text(b"\n"));
        world.wait_ms(60_000);
    }
    assert_eq!(world.said(id), []);
}
