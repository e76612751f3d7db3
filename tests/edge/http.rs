//! The handshake: what is refused, with which status, header and words; origins; sub-protocols.

use std::io::Read;
use std::io::Write;

use crate::support::Client;
use crate::support::Driver;
use crate::support::Response;
use crate::support::Server;
use crate::support::UPGRADE;
use crate::support::ask;
use crate::support::bytes;
use crate::support::on_each_driver;
use crate::support::read_response;
use crate::support::upgrade_head;

on_each_driver!(
    the_model_request_is_upgraded_as_the_rfc_says,
    a_refusal_names_its_status_and_what_is_wrong,
    a_wrong_method_is_told_which_is_allowed,
    a_request_is_answered_although_its_sender_says_no_more,
    a_wrong_version_is_told_the_right_one,
    bytes_that_are_not_http_are_answered_400,
    a_proxy_line_that_nobody_asked_for_is_answered_400,
    a_header_block_over_8_kib_is_answered_431,
    a_header_block_just_under_8_kib_is_accepted,
    another_origin_is_refused_and_the_same_one_is_not,
    forwarded_headers_are_not_believed,
    allowed_origins_may_be_patterns,
    the_first_known_sub_protocol_in_the_clients_order_is_chosen,
    a_head_may_come_in_single_bytes_and_frames_right_behind_it,
    an_answered_refusal_ends_its_connection_only,
    echo_is_off_until_it_is_asked_for,
    health_has_the_shape_of_springs,
);

/// [`UPGRADE`] with `from` replaced by `to`.
#[track_caller]
fn changed(from: &str, to: &str) -> String {
    assert!(UPGRADE.contains(from), "{from:?} is part of the model request");
    UPGRADE.replacen(from, to, 1)
}

/// Asserts the status of the answer to `request`, and that its body says `words`.
#[track_caller]
fn check(server: &Server, request: &str, status: u16, words: &str) -> Response {
    let response = ask(server.public, request);
    assert_eq!(response.status, status, "{request}\n{response:?}");
    let (body, words) = (response.body.to_lowercase(), words.to_lowercase());
    assert!(body.contains(&words), "the body of a {status} should say {words:?}: {response:?}");
    response
}

#[track_caller]
fn check_upgraded(server: &Server, request: &str) -> Response {
    let mut stream = server.connect();
    stream.write_all(request.as_bytes()).expect("the socket takes a small request");
    let response = read_response(&mut stream).expect("a request is answered");
    assert_eq!(response.status, 101, "{request}\n{response:?}");
    response
}

fn the_model_request_is_upgraded_as_the_rfc_says(driver: Driver) {
    let server = Server::start(driver);
    let response = check_upgraded(&server, UPGRADE);
    // The key and its answer of RFC 6455 §1.3.
    let accept = Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(response.header("sec-websocket-accept"), accept, "{response:?}");
    let upgrade = response.header("upgrade").unwrap_or_default();
    assert!(upgrade.eq_ignore_ascii_case("websocket"), "{response:?}");
    let connection = response.header("connection").unwrap_or_default();
    assert!(connection.eq_ignore_ascii_case("upgrade"), "{response:?}");
    assert_eq!(response.header("sec-websocket-extensions"), None, "{response:?}");

    // Names and tokens in any case, `Connection` as a list, a query: all the same to us.
    check_upgraded(&server, &changed("Upgrade: websocket", "uPGRADE: WebSocket"));
    check_upgraded(&server, &changed("Connection: Upgrade", "connection: keep-alive, upgrade"));
    check_upgraded(&server, &changed("/ws HTTP", "/ws?token=x%20y HTTP"));
}

fn a_refusal_names_its_status_and_what_is_wrong(driver: Driver) {
    let server = Server::start(driver);
    let only = "Can \"Upgrade\" only to \"WebSocket\".";
    check(&server, &changed("Upgrade: websocket", "Upgrade: h2c"), 400, only);
    check(&server, &changed("Upgrade: websocket\r\n", ""), 400, only);
    let must = "\"Connection\" must be \"upgrade\".";
    check(&server, &changed("Connection: Upgrade", "Connection: keep-alive"), 400, must);
    check(&server, &changed("Connection: Upgrade\r\n", ""), 400, must);

    let key = "Sec-WebSocket-Key";
    check(&server, &changed("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), 400, key);
    check(&server, &changed("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400, key);
    check(&server, &changed("dGhlIHNhbXBsZSBub25jZQ==", "not base64 at all !!!!!"), 400, key);

    check(&server, &changed("Host: edge.test\r\n", ""), 400, "host");
    check(&server, &changed("/ws HTTP", "/nowhere HTTP"), 404, "/ws");
    check(&server, "GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n", 404, "/ws");
}

fn a_wrong_method_is_told_which_is_allowed(driver: Driver) {
    let server = Server::start(driver);
    for method in ["POST", "PUT", "HEAD", "OPTIONS", "DELETE"] {
        let request = changed("GET /ws", &format!("{method} /ws"));
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).expect("the socket takes a small request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("a refusal ends its connection");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        assert!(head.starts_with("HTTP/1.1 405 "), "{request}\n{answer}");
        // RFC 9110 §9.3.2: the answer to a HEAD has no content.
        assert_eq!(body.is_empty(), method == "HEAD", "{request}\n{answer}");
        let allow = head.lines().find_map(|line| line.strip_prefix("Allow: ")).unwrap_or_default();
        assert!(allow.split(", ").any(|it| it == "GET"), "{answer}");
    }
}

fn a_request_is_answered_although_its_sender_says_no_more(driver: Driver) {
    let server = Server::start(driver);
    for _ in 0..20 {
        let mut stream = server.connect();
        let request = "GET /nowhere HTTP/1.1\r\nHost: edge.test\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("the socket takes a small request");
        stream.shutdown(std::net::Shutdown::Write).expect("the connection is open");
        let response = read_response(&mut stream).expect("a request is answered");
        assert_eq!(response.status, 404, "{response:?}");
    }
}

fn a_wrong_version_is_told_the_right_one(driver: Driver) {
    let server = Server::start(driver);
    let line = "Sec-WebSocket-Version: 13\r\n";
    for other in ["Sec-WebSocket-Version: 8\r\n", "Sec-WebSocket-Version: x\r\n", ""] {
        let response = check(&server, &changed(line, other), 426, "version");
        assert_eq!(response.header("sec-websocket-version"), Some("13"), "{response:?}");
    }
}

fn bytes_that_are_not_http_are_answered_400(driver: Driver) {
    let server = Server::start(driver);
    for noise in [
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\r\n\r\n",
        "CONNECT\naccept-version:1.2\n\n\0\r\n\r\n",
        "GET /ws\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost edge.test\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHo st: edge.test\r\n\r\n",
    ] {
        let response = ask(server.public, noise);
        assert_eq!(response.status, 400, "{noise:?} {response:?}");
        assert!(!response.body.is_empty(), "{noise:?} {response:?}");
    }
    let old = ask(server.public, &changed("HTTP/1.1", "HTTP/1.0"));
    assert!([400, 426, 505].contains(&old.status), "{old:?}");
    assert!(!old.body.is_empty(), "{old:?}");
}

fn a_proxy_line_that_nobody_asked_for_is_answered_400(driver: Driver) {
    let server = Server::start(driver);
    let request = format!("PROXY TCP4 192.0.2.1 192.0.2.2 40000 80\r\n{UPGRADE}");
    let response = ask(server.public, &request);
    assert_eq!(response.status, 400, "{response:?}");
}

/// The model request padded to `bytes` with one long header.
fn of_bytes(bytes: usize) -> String {
    let empty = upgrade_head("X-Padding: \r\n").len();
    upgrade_head(&format!("X-Padding: {}\r\n", "x".repeat(bytes - empty)))
}

fn a_header_block_over_8_kib_is_answered_431(driver: Driver) {
    let server = Server::start(driver);
    check(&server, &of_bytes(8 * 1024 + 1), 431, "too large");
    // Without an end in sight it is not awaited either.
    let endless = format!("GET /ws HTTP/1.1\r\nX-Padding: {}", "x".repeat(9 * 1024));
    check(&server, &endless, 431, "too large");
    let many = upgrade_head(&"a:b\r\n".repeat(1_500));
    check(&server, &many, 431, "header");
}

fn a_header_block_just_under_8_kib_is_accepted(driver: Driver) {
    let server = Server::start(driver);
    check_upgraded(&server, &of_bytes(8 * 1024 - 1));
}

fn another_origin_is_refused_and_the_same_one_is_not(driver: Driver) {
    let server = Server::start(driver);
    for origin in [
        "http://elsewhere.test",
        "http://edge.test.elsewhere.test",
        "http://edge.test:8080",
        "https://edge.test",
        "null",
        "edge.test",
    ] {
        check(&server, &upgrade_head(&format!("Origin: {origin}\r\n")), 403, "origin");
    }
    check_upgraded(&server, &upgrade_head("Origin: http://edge.test\r\n"));
    check_upgraded(&server, &upgrade_head("Origin: http://EDGE.test:80\r\n"));
    let with_port = changed("Host: edge.test", "Host: edge.test:8080");
    let same = "Host: edge.test:8080\r\nOrigin: http://edge.test:8080";
    check_upgraded(&server, &with_port.replacen("Host: edge.test:8080", same, 1));
}

fn forwarded_headers_are_not_believed(driver: Driver) {
    let request = upgrade_head(
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: chat.test\r\nOrigin: https://chat.test\r\n",
    );
    let server = Server::start(driver);
    check(&server, &request, 403, "origin");
}

fn allowed_origins_may_be_patterns(driver: Driver) {
    let allowed = "auth.origins=https://chat.test,https://*.example.test:808*";
    let server = Server::start_with(driver, &[allowed]);
    for origin in ["https://chat.test", "https://a.b.example.test:8081"] {
        check_upgraded(&server, &upgrade_head(&format!("Origin: {origin}\r\n")));
    }
    for origin in ["http://chat.test", "https://a.example.test", "https://example.test:8080"] {
        check(&server, &upgrade_head(&format!("Origin: {origin}\r\n")), 403, "origin");
    }
}

fn the_first_known_sub_protocol_in_the_clients_order_is_chosen(driver: Driver) {
    let server = Server::start(driver);
    for (offer, chosen) in [
        ("Sec-WebSocket-Protocol: v12.stomp, v11.stomp\r\n", Some("v12.stomp")),
        ("Sec-WebSocket-Protocol: v10.stomp,v12.stomp\r\n", Some("v10.stomp")),
        ("Sec-WebSocket-Protocol: mqtt, V11.STOMP\r\n", Some("V11.STOMP")),
        (
            "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: v12.stomp\r\n",
            Some("v12.stomp"),
        ),
        ("Sec-WebSocket-Protocol: mqtt\r\n", None),
        ("", None),
    ] {
        let response = check_upgraded(&server, &upgrade_head(offer));
        assert_eq!(response.header("sec-websocket-protocol"), chosen, "{offer}");
    }
}

fn a_head_may_come_in_single_bytes_and_frames_right_behind_it(driver: Driver) {
    let server = Server::start(driver);
    let mut stream = server.connect();
    let request = upgrade_head("");
    for byte in request.as_bytes() {
        stream.write_all(&[*byte]).expect("the connection is open");
    }
    let response = read_response(&mut stream).expect("a request is answered");
    assert_eq!(response.status, 101, "{response:?}");

    // Head and first frame in one segment: the frame must not be lost with the head's buffer.
    let mut stream = server.connect();
    let connect = bytes("CONNECT|accept-version:1.2||^@");
    let frame = crate::websocket::frame(0x81, &connect);
    stream.write_all(&[request.as_bytes(), &frame].concat()).expect("the connection is open");
    let response = read_response(&mut stream).expect("a request is answered");
    assert_eq!(response.status, 101, "{response:?}");
    let (first, connected) = crate::websocket::read_frame(&mut stream).expect("CONNECTED comes");
    assert_eq!(first, 0x81);
    assert!(connected.starts_with(b"CONNECTED\n"));
}

fn an_answered_refusal_ends_its_connection_only(driver: Driver) {
    let server = Server::start(driver);
    let mut bystander = Client::session(&server, "bystander");
    bystander.subscribe("s", "/topic/calm");
    for _ in 0..50 {
        check(&server, &changed("Connection: Upgrade", "Connection: close"), 400, "upgrade");
        check(&server, &of_bytes(20_000), 431, "too large");
    }
    bystander.publish("/topic/calm", "still here");
    bystander.expect("s", "still here");
    assert!(server.metric("websocket_handshakes_total", "") >= 100.0);
}

fn echo_is_off_until_it_is_asked_for(driver: Driver) {
    let request = changed("/ws HTTP", "/echo HTTP");
    let server = Server::start(driver);
    check(&server, &request, 404, "echo");
    let server = Server::start_with(driver, &["server.echo=true"]);
    check_upgraded(&server, &request);
}

fn health_has_the_shape_of_springs(driver: Driver) {
    let server = Server::start(driver);
    for address in [server.public, server.admin] {
        for part in ["", "/liveness", "/readiness"] {
            let path = format!("/actuator/health{part}");
            let response = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: edge.test\r\n\r\n"));
            assert_eq!(response.status, 200, "{path} {response:?}");
            let body: serde_json::Value = serde_json::from_str(&response.body).expect("JSON");
            assert_eq!(body["status"], "UP", "{path} {response:?}");
        }
    }
    let response = ask(server.public, "GET /actuator/health HTTP/1.1\r\nHost: edge.test\r\n\r\n");
    let body: serde_json::Value = serde_json::from_str(&response.body).expect("JSON");
    for name in ["driver", "kernel", "version"] {
        let detail = body["details"][name].as_str().unwrap_or_default();
        assert!(!detail.is_empty(), "details.{name} is missing: {response:?}");
    }
    assert_eq!(body["components"]["shards"]["status"], "UP", "{response:?}");
}
