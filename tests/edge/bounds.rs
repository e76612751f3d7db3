//! Limits over real sockets, each at its bound and one beyond; `tests/limits` has the rest of them
//! with a clock of its own.

use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::ask;
use crate::support::bytes;
use crate::support::on_each_driver;
use crate::support::upgrade_head;
use crate::websocket::frame;

on_each_driver!(
    sizes_and_counts_are_taken_at_their_bound_and_not_beyond,
    a_head_of_http_has_so_many_lines_and_not_one_more,
    the_connections_of_a_user_share_its_frames_and_others_do_not_pay,
    who_sends_more_bytes_than_allowed_is_slowed_then_refused,
);

/// What a server makes of a message: what it answers, or the code that it closes with.
#[derive(Debug, PartialEq)]
enum Fate {
    Receipt,
    /// The connection stays.
    Refused(String),
    Closed(u16),
}

/// Sends a message that asks for the receipt `r`.
fn fate(client: &mut Client, message: &[u8]) -> Fate {
    client.write_raw(&frame(0x81, message));
    // A message that is too large has no answer of its own.
    if message.len() > MESSAGE_BYTES {
        return Fate::Closed(client.until_closed().1);
    }
    let answer = client.answer();
    match answer.command.as_str() {
        "RECEIPT" => Fate::Receipt,
        "ERROR" if ["bad-destination", "limit"].contains(&answer.header("message")) => {
            Fate::Refused(answer.header("message").to_owned())
        }
        _ => Fate::Closed(client.closed()),
    }
}

const MESSAGE_BYTES: usize = 1024;

/// A frame, its head, and the message around it padded to so many bytes.
fn send_of(message_bytes: usize) -> Vec<u8> {
    let head = "SEND|destination:/topic/t|receipt:r||";
    let body = message_bytes - bytes(&format!("{head}^@")).len();
    bytes(&format!("{head}{}^@", "x".repeat(body)))
}

/// One whose command and headers have so many bytes.
fn head_of(head_bytes: usize) -> Vec<u8> {
    let lines = "SEND|destination:/topic/t|receipt:r|x:";
    let padding = head_bytes - bytes(&format!("{lines}||")).len();
    bytes(&format!("{lines}{}||^@", "p".repeat(padding)))
}

fn lines_of(count: usize) -> Vec<u8> {
    let more = "|x:1".repeat(count - 2);
    bytes(&format!("SEND|destination:/topic/t|receipt:r{more}||^@"))
}

fn to(destination_bytes: usize) -> Vec<u8> {
    let name = "d".repeat(destination_bytes - "/topic/".len());
    bytes(&format!("SEND|destination:/topic/{name}|receipt:r||^@"))
}

fn sizes_and_counts_are_taken_at_their_bound_and_not_beyond(driver: Driver) {
    let settings = [
        "limits.message_bytes=1KiB",
        "limits.stomp_header_bytes=512",
        "limits.stomp_headers=10",
        "limits.destination_bytes=40",
        "limits.subscriptions_per_session=2",
    ];
    let server = Server::start_with(driver, &settings);
    let subscribe =
        |id: u32| bytes(&format!("SUBSCRIBE|id:{id}|destination:/topic/s|receipt:r||^@"));
    type Case = (&'static str, Vec<u8>, Vec<u8>, Fate);
    let refused = |code: &str| Fate::Refused(code.to_owned());
    let cases: [Case; 5] = [
        ("message_bytes", send_of(MESSAGE_BYTES), send_of(MESSAGE_BYTES + 1), Fate::Closed(1009)),
        ("stomp_header_bytes", head_of(512), head_of(513), Fate::Closed(1002)),
        ("stomp_headers", lines_of(10), lines_of(11), Fate::Closed(1002)),
        ("destination_bytes", to(40), to(41), refused("bad-destination")),
        ("subscriptions_per_session", subscribe(2), subscribe(3), refused("limit")),
    ];
    for (limit, fits, does_not, expected) in cases {
        let mut client = Client::session(&server, "amy");
        assert_eq!(fate(&mut client, &subscribe(1)), Fate::Receipt, "{limit}");
        assert_eq!(fate(&mut client, &fits), Fate::Receipt, "{limit}, at its bound");
        assert_eq!(fate(&mut client, &does_not), expected, "{limit}, beyond");
    }
}

fn a_head_of_http_has_so_many_lines_and_not_one_more(driver: Driver) {
    let server = Server::start_with(driver, &["limits.http_headers=12"]);
    // The request of these tests has five of its own.
    for (count, status) in [(7, 101), (8, 431)] {
        let head = upgrade_head(&"X: y\r\n".repeat(count));
        assert_eq!(ask(server.public, &head).status, status, "{count} more");
    }
}

/// So many frames that each ask for a receipt.
fn burst(count: usize) -> Vec<u8> {
    let one = frame(0x81, &bytes("UNSUBSCRIBE|id:x|receipt:r||^@"));
    one.repeat(count)
}

/// How many of so many answers are receipts; the others say that it was too fast.
fn receipts(client: &mut Client, count: usize) -> usize {
    let answers: Vec<_> = (0..count).map(|_| client.answer()).collect();
    let is_refused = |it: &&crate::support::Frame| it.command == "ERROR";
    for refused in answers.iter().filter(is_refused) {
        assert_eq!(refused.header("message"), "rate", "{refused:?}");
    }
    answers.iter().filter(|it| it.command == "RECEIPT").count()
}

fn the_connections_of_a_user_share_its_frames_and_others_do_not_pay(driver: Driver) {
    let settings = ["limits.user_frames_per_second=20", "server.cores=1", "limits.refusals=1000"];
    let server = Server::start_with(driver, &settings);
    let [mut one, mut two] = ["amy", "amy"].map(|it| Client::session(&server, it));
    let mut bob = Client::session(&server, "bob");
    // Within two seconds' worth of both together all is answered.
    one.write_raw(&burst(16));
    assert_eq!(receipts(&mut one, 16), 16);
    two.write_raw(&burst(16));
    assert_eq!(receipts(&mut two, 16), 16);
    assert_eq!(server.metric("websocket_refusals_total", "reason=\"rate\""), 0.0);
    // Beyond it what is too much is refused, whichever connection it comes by.
    one.write_raw(&burst(200));
    let granted = receipts(&mut one, 200);
    assert!((1..=100).contains(&granted), "{granted} of 200");
    bob.write_raw(&burst(16));
    assert_eq!(receipts(&mut bob, 16), 16);
}

fn who_sends_more_bytes_than_allowed_is_slowed_then_refused(driver: Driver) {
    for limit in ["bytes_per_second", "user_bytes_per_second"] {
        let setting = format!("limits.{limit}=2KiB");
        let settings = [&*setting, "server.cores=1", "limits.refusals=1000"];
        let server = Server::start_with(driver, &settings);
        let mut amy = Client::session(&server, "amy");
        let frame_bytes = burst(1).len();
        // More than a second's worth, and less than two: it waits, and all is answered.
        let count = 3 * 1024 / frame_bytes;
        amy.write_raw(&burst(count));
        assert_eq!(receipts(&mut amy, count), count, "{limit}");
        assert!(1.0 <= server.metric("websocket_throttled_total", ""), "{limit}");
        assert_eq!(server.metric("websocket_refusals_total", "reason=\"rate\""), 0.0, "{limit}");
        // Far more in one go.
        let count = 12 * 1024 / frame_bytes;
        amy.write_raw(&burst(count));
        let granted = receipts(&mut amy, count);
        assert!((1..count).contains(&granted), "{limit}: {granted} of {count}");
        Client::session(&server, "bob").assert_open();
    }
}
