//! A shard without credit reads nobody, and nobody is blamed for it.

use ringway::broker::relay::Mail;
use ringway::broker::relay::Request;
use ringway::broker::relay::ShardId;
use ringway::broker::relay::Target;
use ringway::shard::ConnectionId;
use ringway::shard::mailbox::Mailboxes;

use crate::wire::Said;
use crate::wire::UPGRADE;
use crate::wire::stomp;
use crate::wire::text;
use crate::wire::upgrade_with;
use crate::world::World;

/// A world whose mailbox of three takes nothing, its publisher, and what has its home over there.
fn starving() -> (World, ConnectionId, String) {
    let mut world = World::of_two(|it| it.mailbox_max = 3);
    let remote = world.remote_destination();
    let publisher = world.session();
    world.fill_mailbox(true);
    (world, publisher, remote)
}

/// Takes the last credit of a world.
fn starve(world: &mut World, publisher: ConnectionId, remote: &str) {
    for _ in 0..3 {
        world.publish(publisher, remote, b"x");
    }
    assert!(!world.has_credit());
}

#[test]
fn credit_goes_with_the_last_place_in_the_mailbox_and_comes_back_with_the_first() {
    let (mut world, publisher, remote) = starving();
    for _ in 0..2 {
        world.publish(publisher, &remote, b"x");
        assert!(world.has_credit());
    }
    world.publish(publisher, &remote, b"x");
    assert!(!world.has_credit());
    assert_eq!(world.counters().relay_paused.get(), 1);
    world.publish(publisher, &remote, b"y");
    assert!(world.shard.poll_request(ShardId(1)).is_some());
    world.fill_mailbox(true);
    assert!(!world.has_credit(), "the place was taken by what had waited");
    assert_eq!(world.counters().relay_paused.get(), 2, "once per pause");
    world.fill_mailbox(false);
    assert!(world.has_credit());
    assert_eq!(world.mail.len(), 3, "nothing is lost");
}

#[test]
fn a_paused_shard_delivers_and_answers_what_it_has_read() {
    let (mut world, publisher, remote) = starving();
    world.fill_mailbox(false);
    let subscriber = world.subscriber(&remote);
    world.fill_mailbox(true);
    starve(&mut world, publisher, &remote);
    world.deliver_from_other(&remote, b"from afar");
    assert_eq!(world.bodies(subscriber), ["from afar"]);
}

#[test]
fn a_home_takes_no_request_while_it_has_no_room_for_the_replies() {
    let mut world = World::of_two(|it| it.mailbox_max = 3);
    world.fill_mailbox(true);
    for number in 0..3 {
        assert!(world.shard.has_reply_room(), "{number} replies wait");
        let target = Target::Channel(format!("/topic/{number}").into());
        let request = Request::Interest { target, is_wanted: true, number };
        world.shard.handle_mail(world.now(), ShardId(1), Mail::Request(request));
    }
    assert!(!world.shard.has_reply_room());
    assert!(world.shard.poll_reply(ShardId(1)).is_some());
    assert!(world.shard.has_reply_room());
}

/// What it gives leaves before more is taken: an outbox must have room for it.
#[test]
fn a_shard_takes_a_share_of_its_mail_at_once() {
    const MESSAGES_COUNT: usize = 40;
    let (mut sender, mut home) = (World::of_two(|_| {}), World::beside(|_| {}));
    let destination = sender.remote_destination();
    let publisher = sender.session();
    sender.fill_mailbox(true);
    for _ in 0..MESSAGES_COUNT {
        sender.publish(publisher, &destination, &[b'x'; 32 * 1024]);
    }
    let (mut mailboxes, _) = Mailboxes::connect(2, MESSAGES_COUNT);
    let now = sender.now();
    mailboxes[0].send(now, &mut sender.shard);
    assert!(!sender.shard.has_mail(), "all is in the ring");
    let mut times_count = 0;
    while mailboxes[1].has_mail() {
        assert!(mailboxes[1].receive(now, &mut home.shard));
        times_count += 1;
    }
    assert_eq!(times_count, MESSAGES_COUNT / 2);
}

#[test]
fn what_waits_for_room_for_replies_goes_on_when_there_is_some() {
    let mut world = World::of_two(|it| it.mailbox_max = 3);
    let local = world.local_destination();
    let (publisher, subscriber) = (world.session(), world.subscriber(&local));
    world.fill_mailbox(true);
    for number in 0..3 {
        let target = Target::Channel(format!("/topic/{number}").into());
        let request = Request::Interest { target, is_wanted: true, number };
        world.shard.handle_mail(world.now(), ShardId(1), Mail::Request(request));
    }
    for _ in 0..3 {
        assert!(world.has_credit());
        world.publish(publisher, &local, b"later");
    }
    assert!(!world.has_credit(), "requests to itself are bounded too");
    assert_eq!(world.said(subscriber), []);
    world.fill_mailbox(false);
    assert_eq!(world.bodies(subscriber), ["later"; 3]);
    assert!(world.has_credit());
}

#[test]
fn a_pause_ends_nobody_whose_bytes_wait_unread() {
    let (mut world, publisher, remote) = starving();
    let beat = text(b"\n");
    let (beating, _) = world.session_with(UPGRADE, "1000,0");
    let browser = upgrade_with("Origin: https://limits.test\r\n");
    let (sleepy, _) = world.session_with(&browser, "10000,0");
    let fresh = world.upgraded(UPGRADE);
    let head = world.accept().unwrap();
    let pinged = world.session();
    let quiet = [beating, sleepy, pinged];
    world.wait_ms(2_000);
    starve(&mut world, publisher, &remote);
    for (id, bytes) in [
        (beating, &*beat),
        (sleepy, &*beat),
        (pinged, &*beat),
        (fresh, &*text(&stomp("CONNECT", "accept-version:1.2\n", b""))),
        (head, UPGRADE.as_bytes()),
    ] {
        world.send(id, bytes);
    }
    world.wait_ms(600_000);
    for id in [beating, sleepy, pinged, fresh, head] {
        assert_eq!(world.said(id), [], "ten minutes without a read");
    }
    world.fill_mailbox(false);
    assert!(world.has_credit());
    for id in quiet {
        world.assert_open(id);
    }
    assert_eq!(world.only_frame(fresh).command, "CONNECTED");
    assert!(matches!(world.said(head)[..], [Said::Http(101, _)]));
}

#[test]
fn after_a_pause_silence_counts_from_its_end() {
    let (mut world, publisher, remote) = starving();
    let (beating, _) = world.session_with(UPGRADE, "1000,0");
    let fresh = world.upgraded(UPGRADE);
    let head = world.accept().unwrap();
    starve(&mut world, publisher, &remote);
    world.wait_ms(100_000);
    world.fill_mailbox(false);
    world.wait_ms(2_499);
    assert_eq!(world.said(beating), []);
    world.wait_ms(1);
    world.assert_given_up(beating);
    world.wait_ms(7_499);
    assert_eq!(world.said(head), []);
    world.wait_ms(1);
    assert!(matches!(world.said(head)[..], [Said::Http(408, _)]));
    world.wait_ms(49_999);
    assert_eq!(world.said(fresh), []);
    world.wait_ms(1);
    assert_eq!(world.closed(fresh), (4500, vec![]));
}

#[test]
fn many_short_pauses_do_not_keep_a_silent_peer() {
    let (mut world, publisher, remote) = starving();
    let (beating, _) = world.session_with(UPGRADE, "1000,0");
    let head = world.accept().unwrap();
    for second in 0..10 {
        starve(&mut world, publisher, &remote);
        world.wait_ms(99);
        world.fill_mailbox(false);
        world.wait_ms(1);
        world.fill_mailbox(true);
        world.wait_ms(900);
        let said = world.said(beating);
        assert_eq!(said.is_empty(), second != 2, "{second}: {said:?}");
    }
    assert_eq!(world.counters().relay_paused.get(), 10);
    assert!(matches!(world.said(head)[..], [Said::Http(408, _)]));
}

#[test]
fn a_ping_that_waits_for_its_answer_gets_its_time_back() {
    let (mut world, publisher, remote) = starving();
    let pinged = world.session();
    world.wait_ms(59_000);
    world.publish(publisher, &remote, b"x");
    world.wait_ms(1_000);
    assert_eq!(world.said(pinged), [Said::Ping]);
    world.publish(publisher, &remote, b"x");
    world.publish(publisher, &remote, b"x");
    assert!(!world.has_credit());
    world.wait_ms(300_000);
    assert_eq!(world.said(pinged), []);
    world.fill_mailbox(false);
    world.wait_ms(29_999);
    assert_eq!(world.said(pinged), []);
    world.wait_ms(1);
    assert_eq!(world.closed(pinged), (1002, vec![]));
}

#[test]
fn a_paused_shard_goes_on_with_its_own_heart_beats() {
    let (mut world, publisher, remote) = starving();
    let (listening, _) = world.session_with(UPGRADE, "0,1000");
    starve(&mut world, publisher, &remote);
    for _ in 0..60 {
        world.wait_ms(1_000);
        assert!(world.said(listening).contains(&Said::Beat));
    }
}

#[test]
fn a_pause_is_no_excuse_for_reading_slowly() {
    let (mut world, publisher, remote) = starving();
    world.fill_mailbox(false);
    let slow = world.subscriber(&remote);
    world.stall(slow);
    world.fill_mailbox(true);
    starve(&mut world, publisher, &remote);
    world.deliver_from_other(&remote, b"x");
    world.wait_ms(9_999);
    assert_eq!(world.counters().slow_consumers.get(), 0);
    world.wait_ms(1);
    assert_eq!(world.counters().slow_consumers.get(), 1);
}
