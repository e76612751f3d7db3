//! RFC 6455 on the STOMP endpoint: what breaks it, and what is odd but legal.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;

use tungstenite::Message;

use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::UPGRADE;
use crate::support::bytes;
use crate::support::on_each_driver;
use crate::support::read_response;

on_each_driver!(
    broken_frames_are_closed_with_1002,
    text_that_is_not_utf8_is_closed_with_1007,
    a_message_over_the_limit_is_closed_with_1009,
    a_message_may_come_in_fragments_with_a_ping_between,
    a_close_frame_is_answered_with_its_code,
    a_peer_that_vanishes_takes_its_session_along,
    frames_may_come_in_single_bytes,
    a_broken_peer_does_not_disturb_another,
    the_echo_endpoint_sends_back_what_it_got,
);

/// A client frame with `first` as its first byte, masked with a fixed key (RFC 6455 §5.2).
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).expect("under 126")),
        long @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(long).expect("under 65,536").to_be_bytes());
        }
        huge => {
            frame.push(0x80 | 127);
            frame.extend(u64::try_from(huge).expect("a length fits").to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Reads one short frame of the server: its first byte and its payload; `None` at the end of the
/// stream.
pub(crate) fn read_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok()?;
            usize::from(u16::from_be_bytes(length))
        }
        short => {
            assert!(short < 126, "a masked or huge frame from the server: {head:?}");
            usize::from(short)
        }
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).ok()?;
    Some((head[0], payload))
}

/// An upgraded connection without any client on it.
#[track_caller]
pub(crate) fn upgraded(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(UPGRADE.as_bytes()).expect("the socket takes a small request");
    let response = read_response(&mut stream).expect("a request is answered");
    assert_eq!(response.status, 101, "{response:?}");
    stream
}

/// Reads until the close frame and returns its code, then asserts that the stream ends.
#[track_caller]
fn close_code(stream: &mut TcpStream) -> u16 {
    loop {
        let (first, payload) = read_frame(stream).expect("a close frame before the end");
        if first == 0x88 {
            assert!(2 <= payload.len(), "the close frame has no code");
            // Our half of the closing handshake; a server that has ended the stream needs none.
            stream.write_all(&frame(0x88, &payload[..2])).ok();
            assert_eq!(read_frame(stream), None, "nothing follows a close frame");
            return u16::from_be_bytes([payload[0], payload[1]]);
        }
    }
}

#[track_caller]
fn check(server: &Server, raw: &[u8], code: u16) {
    let mut stream = upgraded(server);
    stream.write_all(raw).expect("the socket takes a few bytes");
    assert_eq!(close_code(&mut stream), code, "after {raw:02x?}");
}

fn broken_frames_are_closed_with_1002(driver: Driver) {
    let server = Server::start(driver);
    // Not masked.
    check(&server, b"\x81\x05hello", 1002);
    // Reserved bits, reserved opcodes.
    for first in [0xC1, 0xA1, 0x91, 0x83, 0x87, 0x8B, 0x8F] {
        check(&server, &frame(first, b"hello"), 1002);
    }
    // Control frames are short and whole (§5.5).
    check(&server, &frame(0x89, &[b'x'; 126]), 1002);
    check(&server, &frame(0x09, b""), 1002);
    // A continuation of nothing, a start inside a message (§5.4).
    check(&server, &frame(0x80, b"hello"), 1002);
    check(&server, &[frame(0x01, b"a"), frame(0x81, b"b")].concat(), 1002);
    // Lengths in their shortest form; the top bit of 64 is zero (§5.2).
    check(&server, b"\x81\xFE\x00\x05\0\0\0\0hello", 1002);
    check(&server, b"\x81\xFF\0\0\0\0\0\0\x00\x05\0\0\0\0hello", 1002);
    check(&server, b"\x81\xFF\x80\0\0\0\0\0\x00\x05\0\0\0\0hello", 1002);
    // Close frames with half a code, or with one that must not be sent (§7.4).
    check(&server, &frame(0x88, b"\x03"), 1002);
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        check(&server, &frame(0x88, &code.to_be_bytes()), 1002);
    }
}

fn text_that_is_not_utf8_is_closed_with_1007(driver: Driver) {
    let server = Server::start(driver);
    check(&server, &frame(0x81, b"SEND\n\n\xFF\0"), 1007);
    check(&server, &frame(0x81, b"\xED\xA0\x80"), 1007);
    check(&server, &frame(0x81, b"ends in half a letter \xC3"), 1007);
    check(&server, &[frame(0x01, b"\xC3"), frame(0x80, b"(")].concat(), 1007);
    check(&server, &frame(0x88, b"\x03\xE8\xFF"), 1007);
}

fn a_message_over_the_limit_is_closed_with_1009(driver: Driver) {
    let server = Server::start_with(driver, &["limits.message_bytes=16KiB"]);
    // The announced length is enough: the payload is not awaited.
    check(&server, &frame(0x81, &vec![b'x'; 16 * 1024 + 1])[..14], 1009);
    let part = vec![b'x'; 9 * 1024];
    check(&server, &[frame(0x01, &part), frame(0x80, &part)].concat(), 1009);

    let mut client = Client::session(&server, "sender");
    client.subscribe("s", "/topic/large");
    let body = "x".repeat(15 * 1024);
    client.publish("/topic/large", &body);
    client.expect("s", &body);
}

fn a_message_may_come_in_fragments_with_a_ping_between(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::open(&server);
    let connect = bytes("CONNECT|accept-version:1.2||^@");
    client.write_raw(&frame(0x01, &connect[..5]));
    client.write_raw(&frame(0x89, b"are you there"));
    assert_eq!(client.websocket_message(), Message::Pong("are you there".into()));
    client.write_raw(&frame(0x00, &connect[5..9]));
    client.write_raw(&frame(0x00, b""));
    client.write_raw(&frame(0x80, &connect[9..]));
    assert_eq!(client.answer().command, "CONNECTED");
}

fn a_close_frame_is_answered_with_its_code(driver: Driver) {
    let server = Server::start(driver);
    for code in [1000_u16, 1001, 3000, 4999] {
        check(&server, &frame(0x88, &code.to_be_bytes()), code);
    }
    let mut stream = upgraded(&server);
    stream.write_all(&frame(0x88, b"")).expect("the socket takes a few bytes");
    let (first, _) = read_frame(&mut stream).expect("a close frame is answered");
    assert_eq!(first, 0x88);
    assert_eq!(read_frame(&mut stream), None, "the server ends the stream");
}

fn a_peer_that_vanishes_takes_its_session_along(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "ghost");
    client.subscribe("s", "/topic/haunted");
    server.await_metric("websocket_connections_active", "", 1.0);
    server.await_metric("websocket_subscriptions_active", "", 1.0);
    drop(client);
    server.await_metric("websocket_connections_active", "", 0.0);
    server.await_metric("websocket_subscriptions_active", "", 0.0);
}

fn frames_may_come_in_single_bytes(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::open(&server);
    let frames = [
        frame(0x81, &bytes("CONNECT|accept-version:1.2||^@")),
        frame(0x81, &bytes("SUBSCRIBE|id:s|destination:/topic/slow|receipt:1||^@")),
        frame(0x81, &bytes("SEND|destination:/topic/slow||piece by piece^@")),
    ];
    for byte in frames.concat() {
        client.write_raw(&[byte]);
    }
    assert_eq!(client.answer().command, "CONNECTED");
    assert_eq!(client.answer().header("receipt-id"), "1");
    client.expect("s", "piece by piece");
}

fn a_broken_peer_does_not_disturb_another(driver: Driver) {
    let server = Server::start(driver);
    let mut bystanders: Vec<Client> =
        (0..8).map(|index| Client::session(&server, &format!("bystander-{index}"))).collect();
    for bystander in &mut bystanders {
        bystander.subscribe("s", "/topic/calm");
    }
    for round in 0..20 {
        check(&server, &frame(0x83, b"?"), 1002);
        check(&server, &frame(0x81, b"\xFF"), 1007);
        check(&server, &frame(0x81, &bytes("NONSENSE||^@")), 1002);
        let body = format!("round {round}");
        bystanders[0].publish("/topic/calm", &body);
        for bystander in &mut bystanders {
            bystander.expect("s", &body);
        }
    }
}

fn the_echo_endpoint_sends_back_what_it_got(driver: Driver) {
    let server = Server::start_with(driver, &["server.echo=true"]);
    let mut client = Client::open_at(&server, "/echo");
    client.send("not STOMP at all");
    assert_eq!(client.websocket_message(), Message::text("not STOMP at all"));
    client.send_binary(b"\0\xFF\x80");
    assert_eq!(client.websocket_message(), Message::binary(b"\0\xFF\x80".to_vec()));
}
