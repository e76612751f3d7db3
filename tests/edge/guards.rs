//! Who is let on, how fast, and what each may do, as a configuration says it: addresses, seats,
//! rates, rights and what bodies must be like, over real sockets.
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test, and says which it was")]

use std::fs;
use std::io::Write;
use std::net::TcpStream;

use ringway::policy::auth::SigningKey;
use serde_json::Value;
use serde_json::json;

use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::UPGRADE;
use crate::support::ask;
use crate::support::bytes;
use crate::support::on_each_driver;
use crate::support::program;
use crate::support::read_response;
use crate::support::upgrade_head;
use crate::websocket::frame;
use crate::websocket::read_frame;

on_each_driver!(
    a_token_may_come_with_the_upgrade,
    rules_say_who_may_subscribe_and_send_where,
    a_body_must_fit_the_schema_of_its_route,
    a_proxy_says_who_somebody_is_where_it_is_trusted,
    a_user_has_so_many_connections_over_all_cores,
    an_address_has_so_many_connections_over_all_cores,
    upgrades_over_the_rate_are_told_to_come_back,
    who_sends_too_fast_is_slowed_then_refused_then_closed,
    refusals_are_events_of_the_audit_that_hold_no_token,
);

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SECRET_SETTING: &str = "auth.jwt.secret=0123456789abcdef0123456789abcdef";

fn token(claims: &Value) -> String {
    SigningKey::secret(SECRET.as_bytes()).sign(claims).unwrap()
}

/// Sends a head, and what it is answered with.
#[track_caller]
fn answered(server: &Server, head: impl AsRef<[u8]>) -> (u16, TcpStream) {
    let mut stream = server.connect();
    stream.write_all(head.as_ref()).unwrap();
    let response = read_response(&mut stream).expect("an answer");
    (response.status, stream)
}

/// Sends a frame in the notation over an upgraded connection; the first line of what comes back.
#[track_caller]
fn said(stream: &mut TcpStream, notation: &str) -> String {
    stream.write_all(&frame(0x81, &bytes(notation))).unwrap();
    let (_, answer) = read_frame(stream).expect("an answer");
    String::from_utf8(answer).unwrap().lines().next().unwrap_or_default().to_owned()
}

fn a_token_may_come_with_the_upgrade(driver: Driver) {
    let settings = [SECRET_SETTING, "auth.cookie=session", "auth.query=access_token"];
    let server = Server::start_with(driver, &settings);
    let good = token(&json!({"sub": "amy", "exp": 9_999_999_999_u64}));
    let protocol = format!("Sec-WebSocket-Protocol: v12.stomp, bearer.{good}\r\n");
    let origin = "Origin: http://edge.test\r\n";
    for head in [
        upgrade_head(&format!("Authorization: Bearer {good}\r\n")),
        upgrade_head(&format!("{origin}Cookie: a=b; session={good}\r\n")),
        upgrade_head(&protocol),
        UPGRADE.replace("/ws", &format!("/ws?access_token={good}")),
    ] {
        let (status, mut stream) = answered(&server, &head);
        assert_eq!(status, 101, "{head}");
        assert_eq!(said(&mut stream, "CONNECT|accept-version:1.2||^@"), "CONNECTED", "{head}");
    }
    // A page of another origin has no use for the cookie of its visitor.
    let strange = format!("Origin: https://evil.test\r\nCookie: session={good}\r\n");
    assert_eq!(answered(&server, upgrade_head(&strange)).0, 403);
    let (_, mut stream) = answered(&server, UPGRADE);
    assert_eq!(said(&mut stream, "CONNECT|accept-version:1.2||^@"), "ERROR");
}

/// A server with a configuration file, and whatever stands beside it.
fn configured(driver: Driver, text: &str, beside: &[(&str, &str)]) -> Server {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("ringway.toml", text)].iter().chain(beside) {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mut command = program();
    command.current_dir(folder.path()).args(["--config", "ringway.toml"]);
    // It is read before the server says that it listens.
    Server::start_as(command, driver, &[])
}

fn rules_say_who_may_subscribe_and_send_where(driver: Driver) {
    let text = format!(
        r#"
        [auth.jwt]
        secret = "{SECRET}"
        [[rule]]
        subscribe = ["/topic/news.**", "/user/queue/**"]
        [[rule]]
        send = "/topic/news.**"
        roles = ["editor"]
        claims = {{ tenant = "acme" }}
        [[rule]]
        subscribe = "/topic/room.{{claims.rooms}}"
        send = "/app/room.{{claims.rooms}}"
        "#
    );
    let server = configured(driver, &text, &[]);
    let connect = |claims: Value| {
        let mut client = Client::open(&server);
        client.connect(&format!("accept-version:1.2|token:{}", token(&claims)));
        client
    };
    let exp = 9_999_999_999_u64;
    let mut reader = connect(json!({"sub": "amy", "exp": exp, "rooms": ["1", "*", "b/c"]}));
    let mut editor = connect(
        json!({"sub": "bob", "exp": exp, "roles": ["editor"], "tenant": "acme", "rooms": "2"}),
    );
    let stranger =
        connect(json!({"sub": "eve", "exp": exp, "roles": ["editor"], "tenant": "other"}));
    reader.subscribe("n", "/topic/news.**");
    reader.subscribe("r", "/topic/room.1");
    editor.publish("/topic/news.today", "told");
    reader.expect("n", "told");
    reader.publish("/app/room.1", "here");
    reader.expect("r", "here");
    let mut clients = [reader, stranger];
    for (client, ask) in [
        (0, "SEND|destination:/topic/news.today"),
        (0, "SUBSCRIBE|id:x|destination:/topic/room.2"),
        // A claim's value is no pattern, and no pattern goes beyond what one rule covers.
        (0, "SUBSCRIBE|id:x|destination:/topic/room.*"),
        (0, "SUBSCRIBE|id:x|destination:/topic/**"),
        (0, "SEND|destination:/user/bob/queue/private"),
        (1, "SEND|destination:/topic/news.today"),
        (1, "SUBSCRIBE|id:x|destination:/topic/room.1"),
        (1, "SUBSCRIBE|id:x|destination:/user/bob/queue/private"),
    ] {
        let error = clients[client].refused(ask, "");
        assert_eq!(error.header("message"), "forbidden", "{ask}");
        let destination = ask.rsplit_once(':').unwrap().1;
        assert!(error.text().contains(destination), "{error:?}");
        assert!(!error.text().contains("claims."), "the rule's internals: {error:?}");
    }
    server.await_metric("websocket_refusals_total", "reason=\"forbidden\"", 8.0);
}

fn a_body_must_fit_the_schema_of_its_route(driver: Driver) {
    let text = r#"
        [[route]]
        match = "/app/chat"
        to = "/topic/chat"
        schema = "chat.schema.json"
    "#;
    let schema = r#"{"type": "object", "required": ["text"],
        "properties": {"text": {"type": "string", "maxLength": 5}}}"#;
    let server = configured(driver, text, &[("chat.schema.json", schema)]);
    let mut client = Client::session(&server, "amy");
    client.subscribe("s", "/topic/chat");
    client.publish("/app/chat", r#"{"text":"hello"}"#);
    client.expect("s", r#"{"text":"hello"}"#);
    let error = client.refused("SEND|destination:/app/chat", r#"{"text":"hello!"}"#);
    assert_eq!(error.header("message"), "bad-payload");
    assert!(error.text().contains("/text"), "{error:?}");
}

/// Version 2 of the PROXY protocol, from 203.0.113.9.
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\x7f\0\0\x01\x10\x00\x1f\x90";

fn a_proxy_says_who_somebody_is_where_it_is_trusted(driver: Driver) {
    let line = |address: &str| format!("PROXY TCP4 {address} 127.0.0.1 4000 8080\r\n{UPGRADE}");
    let required = [
        "server.proxy_protocol=required",
        "server.trusted_proxies=127.0.0.0/8",
        "limits.connections_per_address=1",
        "server.cores=1",
    ];
    let server = Server::start_with(driver, &required);
    assert_eq!(answered(&server, UPGRADE).0, 400, "it does not say who");
    let (status, mut one) = answered(&server, line("203.0.113.1"));
    assert_eq!((status, &*said(&mut one, "CONNECT|accept-version:1.2||^@")), (101, "CONNECTED"));
    let (status, mut two) = answered(&server, [BINARY, UPGRADE.as_bytes()].concat());
    assert_eq!((status, &*said(&mut two, "CONNECT|accept-version:1.2||^@")), (101, "CONNECTED"));
    let request = "GET /api/connections HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let page = ask(server.admin, request).body;
    assert!(page.contains("203.0.113.1:4000") && page.contains("203.0.113.9:4096"), "{page}");
    // Another connection of the first is one too many of that address, not of the proxy's.
    let (_, mut third) = answered(&server, line("203.0.113.1"));
    let (first, close) = read_frame(&mut third).expect("a close frame");
    assert_eq!((first, &close[..2]), (0x88, &1008_u16.to_be_bytes()[..]));

    let wary = ["server.proxy_protocol=optional", "server.trusted_proxies=10.0.0.0/8"];
    let wary = Server::start_with(driver, &wary);
    assert_eq!(answered(&wary, line("203.0.113.1")).0, 400, "it may not speak for others");
    assert_eq!(answered(&wary, UPGRADE).0, 101);
    let off = Server::start_with(driver, &["server.trusted_proxies=127.0.0.0/8"]);
    assert_eq!(answered(&off, line("203.0.113.1")).0, 400);
}

/// Opens so many, on whichever cores; how many of them the server still serves with what is asked,
/// once it has turned the others away.
fn staying(server: &Server, reason: &str, ask: &str, open: impl Fn() -> Client) -> usize {
    const COUNT: usize = 12;
    let label = format!("reason=\"{reason}\"");
    let before = server.metric("websocket_rejected_total", &label);
    let mut clients: Vec<Client> = (0..COUNT).map(|_| open()).collect();
    server.await_metric("websocket_rejected_total", &label, before + 9.0);
    let staying = clients.iter_mut().map(|it| it.is_served(ask)).filter(|it| *it).count();
    drop(clients);
    server.await_metric("websocket_connections_active", "", 0.0);
    staying
}

fn a_user_has_so_many_connections_over_all_cores(driver: Driver) {
    let server = Server::start_with(driver, &["limits.connections_per_user=3"]);
    for _ in 0..3 {
        let ask = "UNSUBSCRIBE|id:x|receipt:r||^@";
        assert_eq!(staying(&server, "user", ask, || Client::session(&server, "amy")), 3);
    }
    // Others have their own.
    for login in ["amy", "bob", "carol", "dora"] {
        Client::session(&server, login).assert_open();
    }
}

fn an_address_has_so_many_connections_over_all_cores(driver: Driver) {
    let server = Server::start_with(driver, &["limits.connections_per_address=3"]);
    for _ in 0..3 {
        let ask = "CONNECT|accept-version:1.2||^@";
        assert_eq!(staying(&server, "address", ask, || Client::open(&server)), 3);
    }
}

fn upgrades_over_the_rate_are_told_to_come_back(driver: Driver) {
    let settings = ["limits.handshakes_per_second=2", "server.cores=1"];
    let server = Server::start_with(driver, &settings);
    let mut amy = Client::session(&server, "amy");
    // However slow the machine is, some of these come within a second.
    let refused = (0..50).find_map(|_| {
        let answer = ask(server.public, UPGRADE);
        (answer.status == 503).then_some(answer)
    });
    let refused = refused.expect("50 upgrades are not all within 2 in a second");
    assert_eq!(refused.header("retry-after"), Some("1"), "{refused:?}");
    assert!(0.0 < server.metric("websocket_rejected_total", "reason=\"handshakes_per_second\""));
    amy.assert_open();
}

fn who_sends_too_fast_is_slowed_then_refused_then_closed(driver: Driver) {
    let settings = ["limits.frames_per_second=10", "limits.refusals=5", "server.cores=1"];
    let server = Server::start_with(driver, &settings);
    let ask = |receipt: usize| format!("UNSUBSCRIBE|id:x|receipt:{receipt}||^@");
    // Ahead by a second, and a little: it waits, and is answered.
    let mut patient = Client::session(&server, "amy");
    let burst = |count: usize| -> Vec<u8> {
        (0..count).flat_map(|it| frame(0x81, &bytes(&ask(it)))).collect()
    };
    patient.write_raw(&burst(15));
    for receipt in 0..15 {
        let answer = patient.answer();
        let found = (&*answer.command, answer.header("receipt-id").to_owned());
        assert_eq!(found, ("RECEIPT", receipt.to_string()));
    }
    assert!(1.0 <= server.metric("websocket_throttled_total", ""));
    assert_eq!(server.metric("websocket_refusals_total", "reason=\"rate\""), 0.0);
    patient.assert_open();
    // Ahead by more than two in one go: refused, and at last closed.
    let mut impatient = Client::session(&server, "bob");
    impatient.write_raw(&burst(100));
    let (answers, code) = impatient.until_closed();
    assert_eq!(code, 1008);
    let refused_count = answers.iter().filter(|it| it.header("message") == "rate").count();
    assert!(5 <= refused_count, "{refused_count}");
    patient.assert_open();
}

fn refusals_are_events_of_the_audit_that_hold_no_token(driver: Driver) {
    let settings = [SECRET_SETTING, "log.format=json", "limits.subscriptions_per_session=1"];
    let mut server = Server::start_with(driver, &settings);
    let forged = format!("{}x", token(&json!({"sub": "eve", "exp": 9_999_999_999_u64})));
    let mut eve = Client::open(&server);
    eve.send(&format!("CONNECT|accept-version:1.2|token:{forged}||^@"));
    eve.error_then_close(1008);
    let line = server.await_line("token-rejected");
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["target"], "ringway::audit", "{line}");
    assert!(line.contains("\"signature\"") && line.contains("127.0.0.1"), "{line}");
    let mut amy = Client::open(&server);
    let good = token(&json!({"sub": "amy", "exp": 9_999_999_999_u64}));
    amy.connect(&format!("accept-version:1.2|token:{good}"));
    amy.refused("SEND|destination:/topic/x", "");
    amy.subscribe("one", "/topic/x");
    amy.refused("SUBSCRIBE|id:two|destination:/topic/y", "");
    for reason in ["\"forbidden\"", "\"limit\""] {
        let line = server.await_line(reason);
        assert!(line.contains("ringway::audit") && line.contains("\"amy\""), "{line}");
    }
    let all = server.end().join("\n");
    assert!(!all.contains(&forged[..40]) && !all.contains(&good[..40]), "{all}");
}
