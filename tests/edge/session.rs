//! The life of a session: CONNECT and its versions, heart-beats, the order of frames, DISCONNECT.

use std::time::Duration;
use std::time::Instant;

use tungstenite::Message;

use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::on_each_driver;

on_each_driver!(
    the_highest_common_version_is_chosen,
    no_common_version_is_an_error_that_names_ours,
    connected_names_session_server_and_user,
    a_user_name_that_cannot_be_written_is_left_out,
    heart_beats_are_answered_within_our_bounds,
    a_heart_beat_that_is_no_pair_counts_as_none,
    a_heart_beat_that_cannot_be_understood_is_an_error,
    the_server_beats_within_its_interval,
    a_message_takes_the_place_of_a_heart_beat,
    a_client_that_keeps_its_beat_stays,
    a_silent_client_is_given_up,
    nothing_comes_before_connect,
    a_second_connect_is_an_error,
    disconnect_with_a_receipt_is_answered,
    disconnect_without_a_receipt_closes_with_1000,
    disconnect_settles_the_sends_before_it,
    a_send_is_finished_although_its_socket_closes,
    an_error_names_the_receipt_of_its_frame,
);

/// Connects with `headers` and asserts that CONNECTED has `name` with `value`.
#[track_caller]
fn check(server: &Server, headers: &str, name: &str, value: &str) {
    let mut client = Client::open(server);
    let connected = client.connect(headers);
    assert_eq!(connected.header(name), value, "{headers}: {connected:?}");
}

/// Connects with `headers` and asserts that it ends in an ERROR.
#[track_caller]
fn check_broken(server: &Server, headers: &str) {
    let mut client = Client::open(server);
    client.send(&format!("CONNECT|{headers}||^@"));
    client.error_then_close(1002);
}

fn the_highest_common_version_is_chosen(driver: Driver) {
    let server = Server::start(driver);
    check(&server, "accept-version:1.1,1.2|heart-beat:0,0", "version", "1.2");
    check(&server, "accept-version:1.0,1.1,1.2", "version", "1.2");
    check(&server, "accept-version:1.2, 1.1 , 1.0", "version", "1.2");
    check(&server, "accept-version:1.1,1.0", "version", "1.1");
    check(&server, "accept-version:1.0", "version", "1.0");
    check(&server, "accept-version:1.1,9.9", "version", "1.1");
    // A client of 1.0 names none.
    check(&server, "login:old", "version", "1.0");

    let mut client = Client::open(&server);
    client.send("STOMP|accept-version:1.2|host:edge.test||^@");
    assert_eq!(client.answer().header("version"), "1.2");
}

fn no_common_version_is_an_error_that_names_ours(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::open(&server);
    client.send("CONNECT|accept-version:9.9||^@");
    let error = client.error_then_close(1002);
    let mut versions: Vec<&str> = error.header("version").split(',').collect();
    versions.sort_unstable();
    assert_eq!(versions, ["1.0", "1.1", "1.2"], "{error:?}");
    assert_eq!(error.header("content-type"), "text/plain", "{error:?}");
}

fn connected_names_session_server_and_user(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::open(&server);
    let connected = client.connect("accept-version:1.2|login:joe|passcode:any");
    assert_eq!(connected.header("user-name"), "joe", "{connected:?}");
    assert!(connected.header("server").to_lowercase().starts_with("ringway"), "{connected:?}");
    assert!(connected.has("session") && connected.has("heart-beat"), "{connected:?}");

    // Each session has an id of its own, also those of one user.
    let mut other = Client::open(&server);
    let second = other.connect("accept-version:1.2|login:joe");
    assert_ne!(connected.header("session"), second.header("session"));
}

fn a_user_name_that_cannot_be_written_is_left_out(driver: Driver) {
    let server = Server::start(driver);
    for login in ["two words", "with:colon", "tab\there"] {
        let mut client = Client::open(&server);
        let connected = client.connect(&format!("accept-version:1.2|login:{login}"));
        assert!(!connected.has("user-name"), "{connected:?}");
    }
}

fn heart_beats_are_answered_within_our_bounds(driver: Driver) {
    let server = Server::start(driver);
    for (wished, answered) in [
        ("0,0", "0,0"),
        ("10000,10000", "10000,10000"),
        ("100,100", "1000,1000"),
        ("60000,60000", "25000,25000"),
        // Each direction by itself: the client's second is what we send, its first what we await.
        ("0,5000", "5000,0"),
        ("5000,0", "0,5000"),
        ("2000,9000", "9000,2000"),
    ] {
        let headers = format!("accept-version:1.2|heart-beat:{wished}");
        check(&server, &headers, "heart-beat", answered);
    }
    check(&server, "accept-version:1.2", "heart-beat", "0,0");
}

fn a_heart_beat_that_is_no_pair_counts_as_none(driver: Driver) {
    let server = Server::start(driver);
    for wished in ["1000", "abc", "-1,-1"] {
        let headers = format!("accept-version:1.2|heart-beat:{wished}");
        check(&server, &headers, "heart-beat", "0,0");
    }
}

fn a_heart_beat_that_cannot_be_understood_is_an_error(driver: Driver) {
    let server = Server::start(driver);
    for wished in ["1,2,3", ",", "0x1,0", "9223372036854775808,0"] {
        check_broken(&server, &format!("accept-version:1.2|heart-beat:{wished}"));
    }
}

/// Reads until `count` messages that `wanted` picks have come, and returns the longest gap between
/// reads.
#[track_caller]
pub(crate) fn longest_gap(
    client: &mut Client,
    count: usize,
    wanted: impl Fn(&str) -> bool,
) -> Duration {
    let (mut longest, mut last, mut seen) = (Duration::ZERO, Instant::now(), 0);
    while seen < count {
        let Message::Text(text) = client.websocket_message() else { continue };
        longest = longest.max(last.elapsed());
        last = Instant::now();
        seen += usize::from(wanted(&text));
    }
    longest
}

fn the_server_beats_within_its_interval(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::open(&server);
    client.connect("accept-version:1.2|heart-beat:0,1000");
    let gap = longest_gap(&mut client, 4, |text| text == "\n");
    // A client may give up at twice the interval. Half of one is for a busy machine.
    assert!(gap < Duration::from_millis(1500), "{gap:?} without a heart-beat");
}

fn a_message_takes_the_place_of_a_heart_beat(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::open(&server);
    client.connect("accept-version:1.2|heart-beat:0,1000");
    client.subscribe("s", "/topic/beat");
    let (mut beats_count, started) = (0, Instant::now());
    // Three intervals, never silent for more than the time of one round trip.
    while started.elapsed() < Duration::from_millis(3_200) {
        client.send("SEND|destination:/topic/beat||tick^@");
        loop {
            match client.websocket_message() {
                Message::Text(text) if text == "\n" => beats_count += 1,
                Message::Text(text) if text.starts_with("MESSAGE\n") => break,
                Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(_) | Message::Frame(_) => panic!("the session is in order"),
            }
        }
    }
    assert_eq!(beats_count, 0);
}

fn a_client_that_keeps_its_beat_stays(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::open(&server);
    client.connect("accept-version:1.2|heart-beat:1000,1000");
    for _ in 0..6 {
        longest_gap(&mut client, 1, |text| text == "\n");
        client.send("|");
    }
    client.assert_open();
}

fn a_silent_client_is_given_up(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::open(&server);
    client.connect("accept-version:1.2|heart-beat:1000,0");
    let started = Instant::now();
    client.error_then_close(1002);
    let patience = started.elapsed();
    // 2.5 intervals: never before two.
    assert!(Duration::from_millis(2_000) <= patience, "given up after {patience:?}");
    assert!(patience < Duration::from_secs(10), "given up after {patience:?}");
}

fn nothing_comes_before_connect(driver: Driver) {
    let server = Server::start(driver);
    for frame in [
        "SEND|destination:/topic/d||^@",
        "SUBSCRIBE|id:s|destination:/topic/d||^@",
        "UNSUBSCRIBE|id:s||^@",
        "BEGIN|transaction:t||^@",
        "DISCONNECT||^@",
    ] {
        let mut client = Client::open(&server);
        client.send(frame);
        client.error_then_close(1002);
    }
}

fn a_second_connect_is_an_error(driver: Driver) {
    let server = Server::start(driver);
    for command in ["CONNECT", "STOMP"] {
        let mut client = Client::session(&server, "twice");
        client.send(&format!("{command}|accept-version:1.2||^@"));
        client.error_then_close(1002);
    }
}

fn disconnect_with_a_receipt_is_answered(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "polite");
    client.send("DISCONNECT|receipt:77||^@");
    let receipt = client.answer();
    assert_eq!((receipt.command.as_str(), receipt.header("receipt-id")), ("RECEIPT", "77"));
    // The client is left the time to close first; one that does not is closed.
    assert_eq!(client.closed(), 1000);
}

fn disconnect_without_a_receipt_closes_with_1000(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "brief");
    client.subscribe("s", "/topic/d");
    client.send("DISCONNECT||^@");
    assert_eq!(client.closed(), 1000);
    server.await_metric("websocket_subscriptions_active", "", 0.0);
}

fn disconnect_settles_the_sends_before_it(driver: Driver) {
    let server = Server::start(driver);
    let mut receiver = Client::session(&server, "receiver");
    receiver.subscribe("s", "/topic/last");
    let mut sender = Client::session(&server, "sender");
    for index in 0..200 {
        sender.send(&format!("SEND|destination:/topic/last|receipt:s{index}||{index}^@"));
    }
    sender.send("DISCONNECT|receipt:bye||^@");
    for index in 0..200 {
        assert_eq!(sender.answer().header("receipt-id"), format!("s{index}"));
    }
    assert_eq!(sender.answer().header("receipt-id"), "bye");
    for index in 0..200 {
        receiver.expect("s", &index.to_string());
    }
}

fn a_send_is_finished_although_its_socket_closes(driver: Driver) {
    let server = Server::start(driver);
    let mut receiver = Client::session(&server, "receiver");
    receiver.subscribe("s", "/topic/last");
    for round in 0..20 {
        let mut sender = Client::session(&server, "hasty");
        sender.send(&format!("SEND|destination:/topic/last||{round}^@"));
        drop(sender);
        receiver.expect("s", &round.to_string());
    }
}

fn an_error_names_the_receipt_of_its_frame(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "breaker");
    client.send("MESSAGE|destination:/topic/d|receipt:mine||^@");
    let error = client.error_then_close(1002);
    assert_eq!(error.header("receipt-id"), "mine", "{error:?}");
}
