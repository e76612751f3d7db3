//! How large things may be: WebSocket messages, STOMP frames, their heads, names, destinations.

use ringway::broker::router::Router;
use ringway::metrics::CloseCode;
use ringway::metrics::ConnectionError;
use ringway::metrics::Refusal;
use ringway::shard::ConnectionId;

use crate::wire;
use crate::wire::Said;
use crate::wire::UPGRADE;
use crate::wire::masked;
use crate::wire::stomp;
use crate::wire::text;
use crate::world::World;

const TOPIC: &str = "/topic/t";
const MESSAGE_BYTES: usize = 1024;

/// A world with `limits.message_bytes` of 1,024, and one that hears what it sends.
fn world() -> (World, ConnectionId) {
    let mut world = World::new(|it| {
        it.ws.frame_bytes_max = MESSAGE_BYTES as u64;
        it.ws.message_bytes_max = MESSAGE_BYTES as u64;
        it.stomp.frame_bytes_max = MESSAGE_BYTES;
    });
    let id = world.subscriber(TOPIC);
    (world, id)
}

/// A SEND of exactly so many bytes from its command to its NUL.
fn send_of(bytes: usize) -> Vec<u8> {
    let lines = format!("destination:{TOPIC}\n");
    let body = vec![b'x'; bytes - stomp("SEND", &lines, b"").len()];
    stomp("SEND", &lines, &body)
}

/// The first bytes of a masked text frame that announces so many bytes in 64 bits.
fn announced(first_byte: u8, bytes: u64) -> Vec<u8> {
    [&[first_byte, 0xFF], &bytes.to_be_bytes()[..], &[0; 4]].concat()
}

#[track_caller]
fn assert_too_large(world: &mut World, id: ConnectionId) {
    assert_eq!(world.closed(id), (1009, vec![]));
    assert_eq!(world.counters().closed.of(CloseCode::TooLarge).get(), 1);
    assert_eq!(world.counters().connection_errors.of(ConnectionError::TooLarge).get(), 1);
}

/// The one ERROR of a protocol error, then 1002.
#[track_caller]
fn assert_broken(world: &mut World, id: ConnectionId, error: ConnectionError) {
    let (code, said) = world.closed(id);
    assert_eq!(code, 1002);
    assert!(matches!(&said[..], [Said::Stomp(it)] if it.command == "ERROR"), "{said:?}");
    assert_eq!(world.counters().closed.of(CloseCode::Protocol).get(), 1);
    assert_eq!(world.counters().connection_errors.of(error).get(), 1);
}

#[test]
fn a_message_in_one_frame_is_as_large_as_the_limit_and_no_byte_larger() {
    let (mut world, id) = world();
    world.send(id, &text(&send_of(MESSAGE_BYTES)));
    assert_eq!(world.bodies(id).len(), 1);
    let next = text(&[b'\n'; MESSAGE_BYTES + 1]);
    world.send(id, &next[..3]);
    assert_eq!(world.said(id), [], "the length is not there yet");
    world.send(id, &next[3..8]);
    assert_too_large(&mut world, id);
}

#[test]
fn a_message_of_several_frames_is_as_large_as_the_limit_and_no_byte_larger() {
    let (mut world, id) = world();
    let whole = send_of(MESSAGE_BYTES);
    for cut in [1, 500, 1023] {
        let (one, two) = whole.split_at(cut);
        world.send(id, &[masked(0x01, one), masked(0x89, b"ping"), masked(0x80, two)].concat());
        let said = world.said(id);
        assert!(matches!(&said[..], [Said::Pong(_), Said::Stomp(_)]), "{said:?}");
    }
    world.send(id, &masked(0x01, &whole[..1000]));
    assert_eq!(world.said(id), []);
    world.send(id, &masked(0x80, &[b'\n'; 25])[..6]);
    assert_too_large(&mut world, id);
}

#[test]
fn a_length_that_is_announced_is_judged_before_anything_is_kept() {
    for bytes in [65_536, 1 << 40, (1 << 63) - 1] {
        let (mut world, id) = world();
        world.send(id, &announced(0x82, bytes));
        assert_too_large(&mut world, id);
    }
}

#[test]
fn a_message_too_large_costs_no_other_connection() {
    let (mut world, id) = world();
    let other = world.subscriber(TOPIC);
    world.publish(other, TOPIC, b"before");
    world.send(id, &announced(0x81, 1 << 20));
    world.publish(other, TOPIC, b"after");
    assert_eq!(world.bodies(other), ["before", "after"]);
    assert_eq!(world.closed(id).0, 1009);
}

#[test]
fn a_stomp_frame_over_many_messages_is_as_large_as_the_limit_and_no_byte_larger() {
    for piece_bytes in [1, 100, 1000] {
        let (mut world, id) = world();
        let pieces = |whole: &[u8]| whole.chunks(piece_bytes).map(text).collect::<Vec<_>>();
        pieces(&send_of(MESSAGE_BYTES)).iter().for_each(|it| world.send(id, it));
        assert_eq!(world.bodies(id).len(), 1);
        pieces(&send_of(MESSAGE_BYTES + 1)).iter().for_each(|it| world.send(id, it));
        assert_broken(&mut world, id, ConnectionError::TooLarge);
    }
}

#[test]
fn a_content_length_too_large_is_refused_before_its_body_comes() {
    let (mut world, id) = world();
    let head = |bytes: usize| format!("SEND\ncontent-length:{bytes}\ndestination:{TOPIC}\n\n");
    let room = MESSAGE_BYTES - head(900).len() - 1;
    assert_eq!(head(room).len(), head(900).len());
    world.send(id, &text(head(room).as_bytes()));
    assert_eq!(world.said(id), []);
    world.send(id, &text(&[vec![b'x'; room], vec![0]].concat()));
    assert_eq!(world.bodies(id).len(), 1);
    world.send(id, &text(head(room + 1).as_bytes()));
    assert_broken(&mut world, id, ConnectionError::TooLarge);
}

#[test]
fn several_stomp_frames_in_one_message_are_measured_one_by_one() {
    let (mut world, id) = world();
    let both = [send_of(500), send_of(MESSAGE_BYTES - 500)].concat();
    world.send(id, &text(&both));
    assert_eq!(world.bodies(id).len(), 2);
    // The second of these begins in one message and ends in the next.
    let two = send_of(MESSAGE_BYTES).repeat(2);
    two.chunks(700).for_each(|it| world.send(id, &text(it)));
    assert_eq!(world.bodies(id).len(), 2);
}

#[test]
fn a_stomp_frame_has_64_header_lines_and_not_65() {
    let mut world = World::new(|_| {});
    let id = world.subscriber(TOPIC);
    let lines = |count: usize| format!("destination:{TOPIC}\n{}", "x:1\n".repeat(count - 1));
    world.frame(id, "SEND", &lines(64), b"");
    assert_eq!(world.only_frame(id).command, "MESSAGE");
    world.frame(id, "SEND", &lines(65), b"");
    assert_broken(&mut world, id, ConnectionError::Stomp);
}

/// A SEND with a body, whose command, headers and blank line have exactly so many bytes.
fn send_with_head_of(head_bytes: usize) -> Vec<u8> {
    let lines = format!("destination:{TOPIC}\nx:");
    let padding = head_bytes - format!("SEND\n{lines}\n\n").len();
    stomp("SEND", &format!("{lines}{}\n", "p".repeat(padding)), &[b'b'; 10_000])
}

#[test]
fn a_stomp_head_has_8192_bytes_and_no_more() {
    let mut world = World::new(|_| {});
    for cut in [1, 8191, 8192] {
        let id = world.subscriber(TOPIC);
        let whole = send_with_head_of(8192);
        world.send(id, &[text(&whole[..cut]), text(&whole[cut..])].concat());
        assert_eq!(world.bodies(id), ["b".repeat(10_000)]);
        world.hang_up(id);
    }
    let id = world.subscriber(TOPIC);
    world.send(id, &text(&send_with_head_of(8193)));
    assert_broken(&mut world, id, ConnectionError::Stomp);
}

#[test]
fn a_head_without_an_end_is_broken_off_at_its_limit() {
    let mut world = World::new(|_| {});
    let id = world.subscriber(TOPIC);
    let endless = format!("SEND\nx:{}", "p".repeat(9000));
    world.send(id, &text(&endless.as_bytes()[..8191]));
    assert_eq!(world.said(id), []);
    world.send(id, &text(&endless.as_bytes()[8191..8192]));
    assert_broken(&mut world, id, ConnectionError::Stomp);
}

#[test]
fn a_name_has_256_bytes_and_not_257() {
    let frames: [(&str, &str, &str); 5] = [
        ("receipt", "UNSUBSCRIBE", "id:x\nreceipt:"),
        ("receipt", "SEND", "destination:/topic/t\nreceipt:"),
        ("id", "SUBSCRIBE", "destination:/topic/t\nid:"),
        ("transaction", "BEGIN", "transaction:"),
        ("id", "UNSUBSCRIBE", "id:"),
    ];
    for (name, command, lines) in frames {
        let mut world = World::new(|_| {});
        let id = world.session();
        world.frame(id, command, &format!("{lines}{}\n", "n".repeat(256)), b"");
        let said = world.frames(id);
        assert!(said.iter().all(|it| it.command == "RECEIPT"), "{command} {name}: {said:?}");
        world.assert_open(id);
        world.frame(id, command, &format!("{lines}{}\n", "n".repeat(257)), b"");
        assert_broken(&mut world, id, ConnectionError::Stomp);
    }
}

#[test]
fn a_user_has_a_name_of_256_bytes_and_not_257() {
    let mut world = World::new(|_| {});
    for (bytes, answer) in [(256, "CONNECTED"), (257, "ERROR")] {
        let id = world.upgraded(UPGRADE);
        let lines = format!("accept-version:1.2\nlogin:{}\n", "u".repeat(bytes));
        world.frame(id, "CONNECT", &lines, b"");
        let said = world.said(id);
        assert!(matches!(&said[0], Said::Stomp(it) if it.command == answer), "{bytes}: {said:?}");
    }
    assert_eq!(world.counters().closed.of(CloseCode::Protocol).get(), 1);
}

#[test]
fn a_destination_has_as_many_bytes_as_its_limit_and_one_more_is_refused() {
    let mut world = World::new(|it| it.router = Router::new(&[], 16).expect("no route"));
    let id = world.session();
    let (fits, too_long) = ("/topic/345678901", "/topic/3456789012");
    assert_eq!((fits.len(), too_long.len()), (16, 17));
    world.frame(id, "SUBSCRIBE", &format!("id:s\nreceipt:a\ndestination:{fits}\n"), b"");
    world.assert_receipts(id, &["a"]);
    world.publish(id, fits, b"x");
    assert_eq!(world.bodies(id), ["x"]);
    for (command, receipt) in [("SUBSCRIBE", "b"), ("SEND", "c")] {
        let lines = format!("id:t\nreceipt:{receipt}\ndestination:{too_long}\n");
        world.frame(id, command, &lines, b"");
        world.assert_refused(id, receipt, "bad-destination");
    }
    assert_eq!(world.counters().refusals.of(Refusal::BadDestination).get(), 2);
    assert_eq!(world.counters().subscriptions_active.get(), 1);
    world.assert_open(id);
}

#[test]
fn a_control_frame_of_126_bytes_is_broken() {
    let (mut world, id) = world();
    world.send(id, &wire::masked(0x89, &[b'p'; 125]));
    assert_eq!(world.said(id), [Said::Pong(vec![b'p'; 125])]);
    world.send(id, &wire::masked(0x89, &[b'p'; 126]));
    assert_eq!(world.closed(id), (1002, vec![]));
    assert_eq!(world.counters().connection_errors.of(ConnectionError::WebSocket).get(), 1);
}
