//! STOMP frames over the wire: what is decoded, kept for later, thrown out, and sent.

use tungstenite::Message;

use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::bytes;
use crate::support::on_each_driver;

on_each_driver!(
    a_body_ends_at_nul_or_where_content_length_says,
    a_content_length_that_does_not_fit_is_an_error,
    a_content_length_that_is_no_number_is_ignored,
    line_ends_may_be_cr_lf_but_never_a_lone_cr,
    escapes_are_undone_in_and_done_again_out,
    an_unknown_escape_is_an_error,
    connect_is_never_unescaped,
    only_send_carries_a_body,
    broken_headers_are_an_error,
    commands_are_exact_and_only_a_clients,
    the_first_of_repeated_headers_counts,
    many_frames_may_share_a_message,
    a_frame_may_be_cut_anywhere,
    a_frame_that_grows_past_the_limit_is_an_error,
    heart_beats_between_frames_are_swallowed,
    text_and_binary_messages_both_carry_frames,
    a_body_that_is_not_utf8_goes_out_as_binary,
    one_message_never_holds_two_frames,
);

/// A session that hears its own `/topic/d`.
fn listener(server: &Server) -> Client {
    let mut client = Client::session(server, "listener");
    client.subscribe("s", "/topic/d");
    client
}

/// Sends `frame` in a fresh session and asserts that it ends it: one ERROR, then 1002.
#[track_caller]
fn check_broken(server: &Server, frame: &str) {
    let mut client = Client::session(server, "breaker");
    client.send(frame);
    let error = client.error_then_close(1002);
    assert!(!error.text().is_empty() || 8 < error.header("message").len(), "{frame}: {error:?}");
}

fn a_body_ends_at_nul_or_where_content_length_says(driver: Driver) {
    let server = Server::start(driver);
    let mut client = listener(&server);
    let mut check = |headers: &str, body: &[u8]| {
        let mut frame = bytes(&format!("SEND|destination:/topic/d{headers}||"));
        frame.extend(body);
        frame.push(0);
        client.send_binary(&frame);
        assert_eq!(client.message().body, body, "{headers}");
    };
    check("", b"The body of the message");
    check("|content-length:23", b"The body of the message");
    check("|content-length:23", b"The b\0dy \0f the message");
    check("|content-length:0", b"");
    check("", b"");
    check("", b"\n\nline ends are part of a body\r\n\n");
    check("|content-length:6", "\u{20ac}\u{20ac}".as_bytes());
}

fn a_content_length_that_does_not_fit_is_an_error(driver: Driver) {
    let server = Server::start(driver);
    check_broken(&server, "SEND|destination:/topic/d|content-length:3||abcdef^@");
    check_broken(&server, "SEND|destination:/topic/d|content-length:5||abcde*");
}

fn a_content_length_that_is_no_number_is_ignored(driver: Driver) {
    let server = Server::start(driver);
    for length in ["abc", "3, 4", "0x10"] {
        let mut client = listener(&server);
        client.send(&format!("SEND|destination:/topic/d|content-length:{length}||body^@"));
        // As Spring does: the body ends at the NUL, and the length that goes out is the true one.
        client.expect("s", "body");
    }
    // These are numbers, and wrong.
    for length in ["-1", "99999999999999999999999"] {
        check_broken(&server, &format!("SEND|destination:/topic/d|content-length:{length}||b^@"));
    }
}

fn line_ends_may_be_cr_lf_but_never_a_lone_cr(driver: Driver) {
    let server = Server::start(driver);
    let mut client = listener(&server);
    client.send("SEND\r|destination:/topic/d\r|x:1\r|receipt:7\r|\r|body^@");
    let message = client.message();
    assert_eq!((message.header("x"), message.text()), ("1", "body"));
    assert_eq!(client.answer().header("receipt-id"), "7");
    check_broken(&server, "SE\rND|destination:/topic/d||^@");
    check_broken(&server, "SEND|destination:/topic/d|a:b\rc||^@");
}

fn escapes_are_undone_in_and_done_again_out(driver: Driver) {
    let server = Server::start(driver);
    let mut client = listener(&server);
    client.send(r"SEND|destination:/topic/d|a\c\r\n\\b:alpha\cbravo\r\n\\|k:a:b:c||^@");
    let message = client.message();
    assert_eq!(message.header(r"a\c\r\n\\b"), r"alpha\cbravo\r\n\\", "{message:?}");
    // Colons in a value come escaped, as 1.2 asks of those who write.
    assert_eq!(message.header("k"), r"a\cb\cc", "{message:?}");

    // A destination is compared unescaped.
    client.subscribe("t", r"/topic/a\cb");
    client.send("SEND|destination:/topic/a:b||found^@");
    let message = client.message();
    assert_eq!((message.header("subscription"), message.text()), ("t", "found"));
    assert_eq!(message.header("destination"), r"/topic/a\cb");
    let receipt = client.granted(r"UNSUBSCRIBE|id:t|x:y", "");
    assert_eq!(receipt.command, "RECEIPT");
    client.send(r"UNSUBSCRIBE|id:s|receipt:a\cb||^@");
    assert_eq!(client.answer().header("receipt-id"), r"a\cb");
}

fn an_unknown_escape_is_an_error(driver: Driver) {
    let server = Server::start(driver);
    for value in [r"alpha\x", r"alpha\", r"\t", r"\q", r"\R"] {
        check_broken(&server, &format!("SEND|destination:/topic/d|a:{value}||b^@"));
    }
}

fn connect_is_never_unescaped(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::open(&server);
    let connected = client.connect(r"accept-version:1.2|login:a\cb|key:\value");
    assert_eq!(connected.header("user-name"), r"a\cb", "{connected:?}");
}

fn only_send_carries_a_body(driver: Driver) {
    let server = Server::start(driver);
    check_broken(&server, "SUBSCRIBE|id:s|destination:/topic/d||body^@");
    check_broken(&server, "UNSUBSCRIBE|id:s||body^@");
    check_broken(&server, "DISCONNECT||body^@");
    let mut client = Client::open(&server);
    client.send("CONNECT|accept-version:1.2||body^@");
    client.error_then_close(1002);
}

fn broken_headers_are_an_error(driver: Driver) {
    let server = Server::start(driver);
    check_broken(&server, "SEND|destination:/topic/d|no colon||^@");
    check_broken(&server, "SEND|destination:/topic/d|:no name||^@");
    // An empty value is none of them, and comes back to nobody: our headers are never empty.
    let mut client = listener(&server);
    client.send("SEND|destination:/topic/d|empty:|x:1||body^@");
    let message = client.message();
    assert!(!message.has("empty") && message.header("x") == "1", "{message:?}");
}

fn commands_are_exact_and_only_a_clients(driver: Driver) {
    let server = Server::start(driver);
    for command in ["FOO", "send", "Send", "SEND ", " SEND", "SENDX", "SEN"] {
        check_broken(&server, &format!("{command}|destination:/topic/d||^@"));
    }
    for command in ["MESSAGE", "CONNECTED", "RECEIPT", "ERROR"] {
        check_broken(&server, &format!("{command}|destination:/topic/d|receipt-id:1||^@"));
    }
}

fn the_first_of_repeated_headers_counts(driver: Driver) {
    let server = Server::start(driver);
    let mut client = listener(&server);
    client.send("SEND|destination:/topic/d|destination:/topic/other|x:1|x:2||body^@");
    let message = client.message();
    assert_eq!((message.header("x"), message.text()), ("1", "body"), "{message:?}");
}

fn many_frames_may_share_a_message(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::open(&server);
    client.send(
        "CONNECT|accept-version:1.2||^@||SUBSCRIBE|id:s|destination:/topic/d|receipt:1||^@|\
         SEND|destination:/topic/d||one^@SEND|destination:/topic/d||two^@|||\
         UNSUBSCRIBE|id:other|receipt:2||^@||",
    );
    assert_eq!(client.answer().command, "CONNECTED");
    // A SUBSCRIBE is receipted when the relay has confirmed it, which may take longer.
    let mut receipts = [client.answer(), client.answer()];
    receipts.sort_by_key(|receipt| receipt.header("receipt-id").to_owned());
    assert_eq!(receipts.each_ref().map(|receipt| receipt.header("receipt-id")), ["1", "2"]);
    client.expect("s", "one");
    client.expect("s", "two");
}

fn a_frame_may_be_cut_anywhere(driver: Driver) {
    let server = Server::start(driver);
    let whole = r"SEND|destination:/topic/d|content-length:7|x:a\cb|receipt:r||b|o^@d|y^@";
    let whole = bytes(whole);
    let mut client = listener(&server);
    let mut check = |cuts: &[usize]| {
        let mut from = 0;
        for to in cuts.iter().copied().chain([whole.len()]) {
            let piece = whole[from..to].to_vec();
            let text = String::from_utf8(piece).expect("the frame is ASCII");
            client.send(&text);
            from = to;
        }
        let message = client.message();
        assert_eq!((message.header("x"), message.text()), (r"a\cb", "b\no\0d\ny"), "{cuts:?}");
        assert_eq!(client.answer().header("receipt-id"), "r");
    };
    for cut in 1..whole.len() {
        check(&[cut]);
    }
    check(&[4, 30]);
    check(&(1..whole.len()).collect::<Vec<_>>());
}

fn a_frame_that_grows_past_the_limit_is_an_error(driver: Driver) {
    let server = Server::start_with(driver, &["limits.message_bytes=16KiB"]);
    // Announced: refused without the body.
    check_broken(&server, "SEND|destination:/topic/d|content-length:16777216||start");

    // Not announced: refused when the pieces have outgrown the limit, at the latest.
    let mut client = Client::session(&server, "grower");
    client.send("SEND|destination:/topic/d||");
    for _ in 0..5 {
        client.send(&"x".repeat(4 * 1024));
    }
    client.error_then_close(1002);

    // A header block without an end, too.
    let mut client = Client::session(&server, "grower");
    client.send("SEND|destination:/topic/d|x:");
    for _ in 0..5 {
        client.send(&"x".repeat(4 * 1024));
    }
    client.error_then_close(1002);
}

fn heart_beats_between_frames_are_swallowed(driver: Driver) {
    let server = Server::start(driver);
    let mut client = listener(&server);
    for beat in ["|", "||||", "\r|", "\r|\r||"] {
        client.send(beat);
        client.publish("/topic/d", "after");
        client.expect("s", "after");
    }
    client.send_binary(b"\n");
    client.send("");
    client.publish("/topic/d", "after");
    client.expect("s", "after");
}

fn text_and_binary_messages_both_carry_frames(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::open(&server);
    client.send_binary(&bytes("CONNECT|accept-version:1.2||^@"));
    assert_eq!(client.answer().command, "CONNECTED");
    client.send("SUBSCRIBE|id:s|destination:/topic/d|receipt:1||^@");
    assert_eq!(client.answer().header("receipt-id"), "1");
    client.send_binary(&bytes("SEND|destination:/topic/d||a"));
    client.send("b^@");
    let message = client.message();
    // What decides is the body, not how it came.
    assert_eq!((message.text(), message.binary), ("ab", false));
}

fn a_body_that_is_not_utf8_goes_out_as_binary(driver: Driver) {
    let server = Server::start(driver);
    let mut client = listener(&server);
    let every_byte: Vec<u8> = (0..=255).collect();
    let head =
        "SEND|destination:/topic/d|content-length:256|content-type:application/octet-stream||";
    client.send_binary(&[bytes(head), every_byte.clone(), vec![0]].concat());
    let message = client.message();
    assert_eq!((message.body.as_slice(), message.binary), (every_byte.as_slice(), true));
    assert_eq!(message.header("content-type"), "application/octet-stream");

    client.send_binary(&[bytes("SEND|destination:/topic/d||"), vec![0xC3, 0x28, 0]].concat());
    let message = client.message();
    assert_eq!((message.body.as_slice(), message.binary), (b"\xC3(".as_slice(), true));
}

fn one_message_never_holds_two_frames(driver: Driver) {
    let server = Server::start(driver);
    let mut client = listener(&server);
    client.subscribe("t", "/topic/d");
    let burst = "SEND|destination:/topic/d||x^@".repeat(50);
    client.send(&burst);
    let mut frames_count = 0;
    while frames_count < 100 {
        if let Message::Text(text) = client.websocket_message() {
            assert!(text.starts_with("MESSAGE\n") && text.ends_with("\n\nx\0"), "{text:?}");
            assert_eq!(text.matches('\0').count(), 1, "{text:?}");
            frames_count += 1;
        }
    }
}
