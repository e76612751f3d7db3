//! Who is let on and how fast, at both sides of each bound: rates, seats, and whose word is
//! believed about addresses.

use std::time::Duration;

use ringway::metrics::CloseCode;
use ringway::metrics::Refusal;
use ringway::metrics::Rejected;
use ringway::shard::ConnectionId;
use ringway::shard::Notice;
use ringway::shard::ProxyProtocol;
use ringway::stdx::cidr::Cidr;

use crate::wire;
use crate::wire::Said;
use crate::wire::UPGRADE;
use crate::wire::upgrade_with;
use crate::world::World;

/// So many UNSUBSCRIBEs in one go, each with a receipt.
fn burst(world: &mut World, id: ConnectionId, count: usize) {
    let frame = wire::text(&wire::stomp("UNSUBSCRIBE", "id:x\nreceipt:r\n", b""));
    world.send(id, &frame.repeat(count));
}

#[test]
fn who_is_ahead_of_its_frames_by_a_second_is_not_read_and_by_two_is_refused() {
    let mut world = World::new(|it| it.admission.frames_per_second = 10);
    let id = world.session();
    world.wait_ms(1_000);
    burst(&mut world, id, 10);
    assert_eq!(world.frames(id).len(), 10);
    assert_eq!(world.counters().throttled.get(), 0);
    burst(&mut world, id, 1);
    assert_eq!(world.frames(id).len(), 1, "it was read, and will not be for a while");
    assert_eq!(world.counters().throttled.get(), 1);
    burst(&mut world, id, 1);
    assert_eq!(world.frames(id).len(), 0);
    world.wait_ms(100);
    assert_eq!(world.frames(id).len(), 1);

    world.wait_ms(10_000);
    burst(&mut world, id, 20);
    assert!(world.frames(id).iter().all(|it| it.command == "RECEIPT"));
    world.wait_ms(10_000);
    burst(&mut world, id, 21);
    let frames = world.frames(id);
    assert!(frames[..20].iter().all(|it| it.command == "RECEIPT"));
    assert_eq!((&*frames[20].command, frames[20].header("message")), ("ERROR", "rate"));
    assert_eq!(world.counters().refusals.of(Refusal::Rate).get(), 1);
}

/// A session of a user.
#[track_caller]
fn session_of(world: &mut World, user: &str) -> ConnectionId {
    let id = world.upgraded(UPGRADE);
    world.frame(id, "CONNECT", &format!("accept-version:1.2\nlogin:{user}\n"), b"");
    assert_eq!(world.only_frame(id).command, "CONNECTED");
    id
}

#[test]
fn the_connections_of_a_user_share_its_rate_of_frames() {
    let mut world = World::new(|it| it.admission.user_frames_per_second = 10);
    let [one, two] = [session_of(&mut world, "amy"), session_of(&mut world, "amy")];
    let bob = session_of(&mut world, "bob");
    burst(&mut world, one, 10);
    assert_eq!((world.frames(one).len(), world.counters().throttled.get()), (10, 0));
    // What one has used the other does not have.
    burst(&mut world, two, 1);
    assert_eq!((world.frames(two).len(), world.counters().throttled.get()), (1, 1));
    burst(&mut world, two, 10);
    assert_eq!(world.frames(two).len(), 0, "it is not read for a while");
    burst(&mut world, one, 10);
    let frames = world.frames(one);
    let refused = frames.last().expect("an answer");
    assert_eq!((&*refused.command, refused.header("message")), ("ERROR", "rate"));
    assert!(refused.text().contains("limits.user_frames_per_second, which is 10"), "{refused:?}");
    burst(&mut world, bob, 10);
    assert_eq!(world.frames(bob).len(), 10, "others do not pay for it");
}

#[test]
fn the_connections_of_a_user_share_its_rate_of_bytes() {
    let mut world = World::new(|it| it.admission.user_bytes_per_second = 1_000);
    let [one, two] = [session_of(&mut world, "amy"), session_of(&mut world, "amy")];
    world.publish(one, "/topic/x", &[b'a'; 800]);
    assert_eq!(world.counters().throttled.get(), 0);
    world.publish(two, "/topic/x", &[b'a'; 800]);
    assert_eq!(world.counters().throttled.get(), 1);
    // What comes behind two seconds of it is refused.
    world.wait_ms(5_000);
    world.publish(one, "/topic/x", &[b'a'; 1_900]);
    world.wait_ms(900);
    let frames = wire::text(&wire::stomp("UNSUBSCRIBE", "id:x\nreceipt:r\nx:x\n", b""));
    world.send(two, &frames.repeat(30));
    let frames = world.frames(two);
    let refused = frames.last().expect("an answer");
    assert_eq!((&*refused.command, refused.header("message")), ("ERROR", "rate"));
    assert!(refused.text().contains("limits.user_bytes_per_second, which is 1000"), "{refused:?}");
}

#[test]
fn who_goes_on_sending_too_fast_is_closed() {
    let mut world = World::new(|it| {
        it.admission.frames_per_second = 10;
        it.session.refusals_max = 5;
    });
    let id = world.session();
    world.wait_ms(1_000);
    burst(&mut world, id, 20 + 6);
    let (code, said) = world.closed(id);
    assert_eq!((code, said.len()), (1008, 26));
    let other = world.session();
    burst(&mut world, other, 10);
    assert_eq!(world.frames(other).len(), 10, "others do not pay for it");
}

#[test]
fn who_is_ahead_of_its_bytes_is_not_read_for_a_while_and_not_given_up_for_it() {
    let mut world = World::new(|it| it.admission.bytes_per_second = 1_000);
    let (id, _) = world.session_with(UPGRADE, "1000,0");
    world.wait_ms(1_500);
    world.publish(id, "/topic/x", &[b'a'; 800]);
    assert_eq!(world.counters().throttled.get(), 0);
    world.publish(id, "/topic/x", &[b'a'; 2_000]);
    assert_eq!(world.counters().throttled.get(), 1);
    // Its heart-beats are not read either, so their lack is not held against it.
    world.wait_ms(1_900);
    burst(&mut world, id, 1);
    world.wait_ms(1_000);
    assert_eq!(world.frames(id).len(), 1);
}

#[test]
fn what_comes_behind_bytes_of_two_seconds_is_refused_and_in_the_end_closed() {
    let mut world = World::new(|it| {
        it.admission.bytes_per_second = 1_000;
        it.session.refusals_max = 3;
    });
    let frame_of = |bytes: usize| {
        let lines = |pad: usize| format!("id:x\nreceipt:r\nx:{}\n", "p".repeat(pad));
        let frame = |pad| wire::text(&wire::stomp("UNSUBSCRIBE", &lines(pad), b""));
        frame(bytes - frame(150).len() + 150)
    };
    assert_eq!(frame_of(500).len(), 500);
    let id = world.session();
    world.wait_ms(1_500);
    // One of any size is taken, and paid for.
    world.send(id, &frame_of(5_000));
    world.assert_receipts(id, &["r"]);
    world.wait_ms(5_000);
    // Of the last one, 8 bytes are the head of the WebSocket frame, and come before it.
    world.send(id, &[frame_of(498).repeat(4), frame_of(500)].concat());
    world.assert_receipts(id, &["r"; 5]);
    assert_eq!(world.counters().refusals.of(Refusal::Rate).get(), 0, "2 s are the bound itself");
    world.wait_ms(5_000);
    world.send(id, &[frame_of(499).repeat(4), frame_of(500)].concat());
    let frames = world.frames(id);
    assert!(frames[..4].iter().all(|it| it.command == "RECEIPT"));
    assert_eq!((&*frames[4].command, frames[4].header("message")), ("ERROR", "rate"));
    assert!(frames[4].text().contains("limits.bytes_per_second, which is 1000"), "{frames:?}");
    world.wait_ms(5_000);
    world.send(id, &frame_of(500).repeat(9));
    assert_eq!(world.closed(id).0, 1008);
}

#[test]
fn so_many_upgrades_begin_in_a_second() {
    let mut world = World::new(|it| it.admission.handshakes_per_second = 4);
    for _ in 0..4 {
        world.upgraded(UPGRADE);
    }
    let refused = |world: &mut World| {
        let id = world.accept().expect("there is room");
        world.send(id, UPGRADE.as_bytes());
        let said = world.said(id);
        let [Said::Http(status, text)] = &said[..] else { panic!("{said:?}") };
        (*status, text.contains("Retry-After: 1\r\n"))
    };
    assert_eq!(refused(&mut world), (503, true));
    assert_eq!(world.counters().rejected.of(Rejected::HandshakeRate).get(), 1);
    world.wait_ms(300);
    world.upgraded(UPGRADE);
    assert_eq!(refused(&mut world), (503, true));
}

#[test]
fn an_address_has_so_many_connections() {
    let mut world = World::new(|it| it.admission.seats.address_max = 2);
    let (one, _two) = (world.session(), world.session());
    let third = world.upgraded_and_more(UPGRADE);
    assert_eq!(world.closed(third).0, 1008);
    assert_eq!(world.counters().rejected.of(Rejected::Address).get(), 1);
    assert_eq!(world.counters().closed.of(CloseCode::Policy).get(), 1);
    world.send(third, &wire::close(1008));
    world.hang_up(third);
    // A seat is free when the socket is gone.
    world.frame(one, "DISCONNECT", "", b"");
    assert_eq!(world.closed(one).0, 1000);
    world.leave(one, 1000);
    world.session();
    let fifth = world.upgraded_and_more(UPGRADE);
    assert_eq!(world.closed(fifth).0, 1008);
}

#[test]
fn a_user_has_so_many_connections_and_others_have_theirs() {
    let mut world = World::new(|it| it.admission.seats.user_max = 2);
    let connect = |world: &mut World, login: &str| {
        let id = world.upgraded(UPGRADE);
        world.frame(id, "CONNECT", &format!("accept-version:1.2\nlogin:{login}\n"), b"");
        id
    };
    let ids: Vec<_> = ["amy", "amy", "bob"].iter().map(|it| connect(&mut world, it)).collect();
    for id in &ids {
        assert_eq!(world.only_frame(*id).command, "CONNECTED");
    }
    let third = connect(&mut world, "amy");
    let (code, said) = world.closed(third);
    let Some(Said::Stomp(error)) = said.last() else { panic!("{said:?}") };
    assert_eq!((code, &*error.command), (1008, "ERROR"));
    assert_eq!(world.counters().rejected.of(Rejected::User).get(), 1);
    world.hang_up(ids[0]);
    let fourth = connect(&mut world, "amy");
    assert_eq!(world.only_frame(fourth).command, "CONNECTED");
    world.session();
}

#[test]
fn who_came_last_goes_when_its_user_has_too_many_elsewhere() {
    let mut world = World::new(|it| it.admission.seats.user_max = 3);
    let ids = [(); 3].map(|()| session_of(&mut world, "amy"));
    let bob = session_of(&mut world, "bob");
    let crowded = |allowed| Notice::Crowded([("amy".into(), allowed)].into());
    world.notice(&crowded(3));
    ids.iter().for_each(|id| world.assert_open(*id));
    world.notice(&crowded(1));
    for id in &ids[1..] {
        let (code, said) = world.closed(*id);
        let Some(Said::Stomp(error)) = said.last() else { panic!("{said:?}") };
        assert_eq!((code, error.header("message")), (1008, "too many connections"));
    }
    assert_eq!(world.counters().rejected.of(Rejected::User).get(), 2);
    world.assert_open(ids[0]);
    world.assert_open(bob);
    // Their places are free again, and are given back no second time.
    ids[1..].iter().for_each(|id| world.hang_up(*id));
    for _ in 0..2 {
        session_of(&mut world, "amy");
    }
    let fourth = world.upgraded(UPGRADE);
    world.frame(fourth, "CONNECT", "accept-version:1.2\nlogin:amy\n", b"");
    assert_eq!(world.closed(fourth).0, 1008);
}

#[test]
fn a_seat_that_comes_too_late_goes_back() {
    let mut world = World::of_two(|it| it.admission.seats.user_max = 1);
    // Some of these have their home on the other shard, which has not answered yet.
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let id = world.upgraded(UPGRADE);
        world.frame(id, "CONNECT", &format!("accept-version:1.2\nlogin:{name}\n"), b"");
        assert_eq!(world.only_frame(id).command, "CONNECTED");
        world.hang_up(id);
    }
    let asked = world.mail.len();
    assert!(0 < asked && asked < 8, "{asked} of 8");
    world.answer_mail(asked);
    assert_eq!(world.mail.len(), asked, "each is given back");
    world.answer_mail(asked);
    world.shard.check_empty();
}

/// A world in which the peers' address is trusted, with this use of the PROXY protocol.
fn behind_a_proxy(proxy_protocol: ProxyProtocol, trusted: &str) -> World {
    World::new(|it| {
        it.admission.proxy_protocol = proxy_protocol;
        it.admission.trusted_proxies = vec![Cidr::parse(trusted).expect("a range")];
        it.admission.seats.address_max = 1;
    })
}

const PROXY_LINE: &str = "PROXY TCP4 203.0.113.1 192.0.2.2 1 2\r\n";
const OURS: &str = "192.0.2.0/24";

#[track_caller]
fn check_status(world: &mut World, head: &str, expected: u16) {
    let id = world.accept().expect("there is room");
    // In two parts, of which the first ends within the line or the head.
    world.send(id, &head.as_bytes()[..20]);
    world.send(id, &head.as_bytes()[20..]);
    let said = world.said(id);
    assert!(matches!(said[..], [Said::Http(status, _), ..] if status == expected), "{said:?}");
}

#[test]
fn the_proxy_protocol_is_taken_where_it_is_asked_for_and_from_whom() {
    use ProxyProtocol::Off;
    use ProxyProtocol::Optional;
    use ProxyProtocol::Required;
    let with_line = format!("{PROXY_LINE}{UPGRADE}");
    for (mode, trusted, head, status) in [
        (Off, OURS, UPGRADE, 101),
        (Off, OURS, &with_line, 400),
        (Optional, OURS, UPGRADE, 101),
        (Optional, OURS, &with_line, 101),
        (Optional, "10.0.0.0/8", &with_line, 400),
        (Required, OURS, UPGRADE, 400),
        (Required, OURS, &with_line, 101),
        (Required, "10.0.0.0/8", &with_line, 400),
        (Required, OURS, &format!("PROXY TCP4 x 192.0.2.2 1 2\r\n{UPGRADE}"), 400),
        (Required, OURS, &format!("{PROXY_LINE}{with_line}"), 400),
    ] {
        check_status(&mut behind_a_proxy(mode, trusted), head, status);
    }
}

#[test]
fn an_address_is_that_of_whoever_is_behind_trusted_proxies() {
    let far = |address: &str| upgrade_with(&format!("X-Forwarded-For: {address}\r\n"));
    // One seat per address: who is taken for another gets one.
    let mut trusting = behind_a_proxy(ProxyProtocol::Off, OURS);
    for address in ["203.0.113.1", "203.0.113.2", "6.6.6.6, 203.0.113.3"] {
        let id = trusting.upgraded(&far(address));
        trusting.frame(id, "CONNECT", "accept-version:1.2\n", b"");
        assert_eq!(trusting.only_frame(id).command, "CONNECTED");
    }
    let id = trusting.upgraded_and_more(&far("6.6.6.6, 203.0.113.3"));
    assert_eq!(trusting.closed(id).0, 1008, "a hop that the client made up is not looked at");
    let mut wary = behind_a_proxy(ProxyProtocol::Off, "10.0.0.0/8");
    wary.upgraded(&far("203.0.113.1"));
    let id = wary.upgraded_and_more(&far("203.0.113.2"));
    assert_eq!(wary.closed(id).0, 1008, "from a stranger it is not believed");
    let mut balanced = behind_a_proxy(ProxyProtocol::Required, OURS);
    for address in ["203.0.113.1", "203.0.113.2"] {
        balanced.upgraded(&format!("PROXY TCP4 {address} 192.0.2.2 1 2\r\n{UPGRADE}"));
    }
    balanced.wait(Duration::from_millis(100));
}
