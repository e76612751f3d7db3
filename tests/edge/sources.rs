//! Where tokens, keys and addresses may come from, and from where they may not.
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test, and says which it was")]

use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use ringway::policy::auth::SigningKey;
use rustix::process::Signal;
use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::StreamOwned;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use serde_json::json;

use crate::support::Client;
use crate::support::Driver;
use crate::support::PATIENCE;
use crate::support::Server;
use crate::support::UPGRADE;
use crate::support::ask;
use crate::support::bytes;
use crate::support::on_each_driver;
use crate::support::read_response;
use crate::support::upgrade_head;
use crate::tls::testing::Authority;
use crate::websocket::frame;
use crate::websocket::read_frame;

on_each_driver!(
    the_user_is_who_the_configured_claim_says,
    a_token_counts_in_the_places_that_are_asked_for_and_in_no_other,
    a_token_in_the_query_counts_only_when_asked_for_and_is_never_written,
    two_authorizations_or_origins_are_one_too_many,
    keys_are_fetched_over_tls_from_whom_the_own_authority_vouches_for,
    a_file_of_keys_changes_under_a_hundred_clients_by_itself_and_by_signal,
    forwarded_addresses_are_believed_of_trusted_proxies_only,
    forwarded_hosts_and_schemes_are_believed_of_trusted_proxies,
);

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SECRET_SETTING: &str = "auth.jwt.secret=0123456789abcdef0123456789abcdef";
const EXP: u64 = 9_999_999_999;

fn token(claims: &Value) -> String {
    SigningKey::secret(SECRET.as_bytes()).sign(claims).unwrap()
}

fn key_path(name: &str) -> String {
    format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A token of `user` by the private key of this name.
fn token_by(key: &str, kid: &str, user: &str) -> String {
    let key = SigningKey::private_pem(&fs::read(key_path(key)).unwrap()).unwrap();
    key.with_kid(kid).sign(&json!({"sub": user, "exp": EXP})).unwrap()
}

/// The set of the tests with the keys of these names only.
fn jwks(kids: &[&str]) -> String {
    let mut all: Value =
        serde_json::from_str(&fs::read_to_string(key_path("jwks.json")).unwrap()).unwrap();
    let keys = all["keys"].as_array_mut().unwrap();
    keys.retain(|it| kids.contains(&it["kid"].as_str().unwrap()));
    all.to_string()
}

/// Connects with a token; the code of the close when that is refused.
fn try_connect(server: &Server, token: &str) -> Result<Client, u16> {
    let mut client = Client::open(server);
    client.send(&format!("CONNECT|accept-version:1.2|Authorization:Bearer {token}||^@"));
    let is_in = client.answer().command == "CONNECTED";
    if is_in { Ok(client) } else { Err(client.closed()) }
}

/// Connects with a token whose key comes soon.
#[track_caller]
fn connect_soon(server: &Server, token: &str) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match try_connect(server, token) {
            Ok(client) => return client,
            Err(code) => assert!(Instant::now() < deadline, "refused with {code} for too long"),
        }
    }
}

/// Upgrades with a head; the status, and after 101 the command that a CONNECT is answered with.
fn connected(server: &Server, head: &str) -> (u16, String) {
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    let status = read_response(&mut stream).expect("an answer").status;
    if status != 101 {
        return (status, String::new());
    }
    stream.write_all(&frame(0x81, &bytes("CONNECT|accept-version:1.2||^@"))).unwrap();
    let (_, answer) = read_frame(&mut stream).expect("an answer");
    let answer = String::from_utf8(answer).unwrap();
    (status, answer.lines().next().unwrap().to_owned())
}

fn the_user_is_who_the_configured_claim_says(driver: Driver) {
    let settings = [SECRET_SETTING, "auth.jwt.user_claim=profile.login"];
    let server = Server::start_with(driver, &settings);
    let connect = |claims: Value| {
        let mut client = Client::open(&server);
        client.send(&format!("CONNECT|accept-version:1.2|token:{}||^@", token(&claims)));
        let answer = client.answer();
        (answer.command.clone(), answer, client)
    };
    let (_, connected, mut amy) =
        connect(json!({"sub": "1234", "profile": {"login": "amy"}, "exp": EXP}));
    assert_eq!(connected.header("user-name"), "amy");
    // It is who messages are for as well.
    amy.subscribe("own", "/user/queue/private");
    let (_, _, mut bob) = connect(json!({"profile": {"login": "bob"}, "exp": EXP}));
    bob.publish("/app/private.amy", "for you");
    amy.expect("own", "for you");
    for claims in [
        json!({"sub": "amy", "exp": EXP}),
        json!({"profile": "amy", "exp": EXP}),
        json!({"profile": {"login": ["amy"]}, "exp": EXP}),
        json!({"profile": {"login": ""}, "exp": EXP}),
    ] {
        let (command, error, _) = connect(claims.clone());
        assert_eq!((&*command, error.header("code")), ("ERROR", "user"), "{claims}");
    }
}

fn a_token_counts_in_the_places_that_are_asked_for_and_in_no_other(driver: Driver) {
    let good = token(&json!({"sub": "amy", "exp": EXP}));
    let bearer = format!("Authorization: Bearer {good}\r\n");
    let entry = format!("Sec-WebSocket-Protocol: v12.stomp, bearer.{good}\r\n");
    // The place, lines of the upgrade, and lines of CONNECT.
    let places = [
        ("authorization", "", format!("|Authorization:Bearer {good}")),
        ("token", "", format!("|token:{good}")),
        ("passcode", "", format!("|passcode:{good}")),
        ("http", &*bearer, String::new()),
        ("subprotocol", &*entry, String::new()),
    ];
    for (asked, ..) in &places {
        let server =
            Server::start_with(driver, &[SECRET_SETTING, &format!("auth.sources={asked}")]);
        for (place, upgrade, connect) in &places {
            let expected = if place == asked { "CONNECTED" } else { "ERROR" };
            let mut stream = server.connect();
            stream.write_all(upgrade_head(upgrade).as_bytes()).unwrap();
            assert_eq!(read_response(&mut stream).expect("an answer").status, 101, "{place}");
            let connect = format!("CONNECT|accept-version:1.2{connect}||^@");
            stream.write_all(&frame(0x81, &bytes(&connect))).unwrap();
            let (_, answer) = read_frame(&mut stream).expect("an answer");
            let answer = String::from_utf8(answer).unwrap();
            assert_eq!(
                answer.lines().next(),
                Some(expected),
                "{asked} is asked for, {place} given"
            );
        }
    }
}

fn a_token_in_the_query_counts_only_when_asked_for_and_is_never_written(driver: Driver) {
    let good = token(&json!({"sub": "amy", "exp": EXP}));
    let head = |path: &str| UPGRADE.replace("/ws", &format!("{path}?access_token={good}"));
    for (setting, expected) in [
        ("auth.jwt.leeway=10s", (101, "ERROR".to_owned())),
        ("auth.query=access_token", (101, "CONNECTED".to_owned())),
        ("auth.query=token", (101, "ERROR".to_owned())),
    ] {
        let settings = [SECRET_SETTING, setting, "log.level=trace"];
        let mut server = Server::start_with(driver, &settings);
        assert_eq!(connected(&server, &head("/ws")), expected, "{setting}");
        // Neither in what is refused for another reason, nor in the answer to that.
        let answer = ask(server.public, &head("/nowhere"));
        assert_eq!(answer.status, 404);
        assert!(!answer.body.contains(&good), "{answer:?}");
        assert_eq!(ask(server.public, &head("/ws").replace(": 13", ": 12")).status, 426);
        assert!(!server.end().join("\n").contains(&good[..40]), "{setting}");
    }
}

fn two_authorizations_or_origins_are_one_too_many(driver: Driver) {
    let server = Server::start_with(driver, &[SECRET_SETTING]);
    let [amy, eve] =
        ["amy", "eve"].map(|it| format!("Bearer {}", token(&json!({"sub": it, "exp": EXP}))));
    let one = upgrade_head(&format!("Authorization: {amy}\r\n"));
    assert_eq!(connected(&server, &one), (101, "CONNECTED".to_owned()));
    for (first, second) in [(&amy, &eve), (&amy, &amy), (&"Basic x".to_owned(), &amy)] {
        let two = format!("Authorization: {first}\r\nauthorization: {second}\r\n");
        assert_eq!(connected(&server, &upgrade_head(&two)).0, 400, "{two}");
    }
    let (own, other) = ("Origin: http://edge.test\r\n", "Origin: https://evil.test\r\n");
    assert_eq!(connected(&server, &upgrade_head(own)).0, 101);
    for lines in [[own, other], [other, own], [own, own]] {
        assert_eq!(connected(&server, &upgrade_head(&lines.concat())).0, 400, "{lines:?}");
    }
    // Of repeated headers of STOMP the first counts, whoever comes behind it.
    let mut client = Client::open(&server);
    let answer =
        client.connect(&format!("accept-version:1.2|Authorization:{amy}|Authorization:{eve}"));
    assert_eq!(answer.header("user-name"), "amy");
}

/// A server of HTTPS that gives one document to whoever asks.
fn issuer_over_tls(authority: &Authority, document: String) -> SocketAddr {
    let (certificate, key) = authority.issue("issuer", &["localhost"]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(session, stream.unwrap());
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|it| it == 1) {
                head.extend(byte);
            }
            let length = document.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{document}");
            // Who does not trust us has gone.
            drop(stream.write_all(answer.as_bytes()));
            stream.conn.send_close_notify();
            drop(stream.flush());
        }
    });
    address
}

fn keys_are_fetched_over_tls_from_whom_the_own_authority_vouches_for(driver: Driver) {
    let (own, other) = (Authority::new(), Authority::new());
    let address = issuer_over_tls(&own, jwks(&["ec-1"]));
    let amy = token_by("p256.pem", "ec-1", "amy");
    let url = format!("auth.jwt.jwks_url=https://localhost:{}/keys", address.port());
    let trusting = format!("auth.jwt.jwks_ca={}", own.ca().display());
    let server = Server::start_with(driver, &[&url, &trusting]);
    connect_soon(&server, &amy).assert_open();
    let wary = format!("auth.jwt.jwks_ca={}", other.ca().display());
    for settings in [&[&*url, &wary][..], &[&*url]] {
        let mut server = Server::start_with(driver, settings);
        let line = server.await_line("auth.jwt.jwks_url: ");
        assert!(line.contains("certificate"), "{line}");
        assert_eq!(try_connect(&server, &amy).err(), Some(1008));
    }
}

/// Puts other keys into a file; with a stamp that does not tell it from before.
fn write_unnoticed(path: &Path, text: &str) {
    let stamp = fs::metadata(path).unwrap();
    let bytes = usize::try_from(stamp.len()).unwrap();
    let other = path.with_extension("new");
    // JSON may be followed by spaces.
    fs::write(&other, format!("{text:<bytes$}")).unwrap();
    assert_eq!(fs::metadata(&other).unwrap().len(), stamp.len(), "it fits");
    let file = File::options().write(true).open(&other).unwrap();
    file.set_modified(stamp.modified().unwrap()).unwrap();
    fs::rename(other, path).unwrap();
}

fn a_file_of_keys_changes_under_a_hundred_clients_by_itself_and_by_signal(driver: Driver) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let padded = |kids: &[&str]| format!("{:<2000}", jwks(kids));
    fs::write(&path, padded(&["ec-1"])).unwrap();
    let setting = format!("auth.jwt.keys={}", path.display());
    let mut server = Server::start_with(driver, &[&setting]);
    let old = token_by("p256.pem", "ec-1", "amy");
    let mut clients: Vec<Client> =
        (0..100).map(|_| try_connect(&server, &old).expect("its key is there")).collect();

    // By itself, when the file shows that it has changed.
    fs::write(&path, padded(&["ec-1", "ed-1"])).unwrap();
    connect_soon(&server, &token_by("ed25519.pem", "ed-1", "bob")).assert_open();
    clients.iter_mut().for_each(Client::assert_open);

    // By signal, when it does not.
    write_unnoticed(&path, &padded(&["ec-1", "ec-2"]));
    server.signal(Signal::HUP);
    server.await_line("ec-2");
    let mut carol = try_connect(&server, &token_by("p384.pem", "ec-2", "carol")).unwrap();
    assert_eq!(try_connect(&server, &token_by("ed25519.pem", "ed-1", "bob")).err(), Some(1008));
    clients.iter_mut().for_each(Client::assert_open);

    // What is no set changes nothing.
    write_unnoticed(&path, "nonsense");
    server.signal(Signal::HUP);
    server.await_line("the keys that it held stay in force");
    clients.iter_mut().for_each(Client::assert_open);
    fs::write(&path, padded(&["ec-2"])).unwrap();
    for client in &mut clients {
        client.error_then_close(4401);
    }
    carol.assert_open();
}

/// The addresses that operators are shown, without ports.
fn addresses(server: &Server) -> Vec<String> {
    let page = ask(server.admin, "GET /api/connections HTTP/1.1\r\nHost: localhost\r\n\r\n").body;
    let page: Value = serde_json::from_str(&page).unwrap();
    let rows = page["connections"].as_array().unwrap().iter();
    let address = |row: &Value| {
        let address: SocketAddr = row["address"].as_str().unwrap().parse().unwrap();
        address.ip().to_string()
    };
    rows.map(address).collect()
}

fn forwarded_addresses_are_believed_of_trusted_proxies_only(driver: Driver) {
    let settings = |trusted: &str| {
        let trusted = format!("server.trusted_proxies={trusted}");
        Server::start_with(driver, &[&trusted, "limits.connections_per_address=1"])
    };
    let upgraded = |server: &Server, lines: &str| {
        let mut stream = server.connect();
        stream.write_all(upgrade_head(lines).as_bytes()).unwrap();
        assert_eq!(read_response(&mut stream).expect("an answer").status, 101, "{lines}");
        stream.write_all(&frame(0x81, &bytes("CONNECT|accept-version:1.2||^@"))).unwrap();
        let (first, answer) = read_frame(&mut stream).expect("an answer");
        (first, answer, stream)
    };
    let trusting = settings("127.0.0.0/8,10.0.0.0/8");
    let mut open = Vec::new();
    for (lines, expected) in [
        ("X-Forwarded-For: 203.0.113.1\r\n", "203.0.113.1"),
        // The rightmost that nobody vouches for: what stands left of it is the client's own word.
        ("X-Forwarded-For: 198.51.100.1, 203.0.113.2, 10.1.2.3\r\n", "203.0.113.2"),
        ("X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.3\r\n", "203.0.113.3"),
        ("X-Forwarded-For: [2001:db8::1]:4711\r\n", "2001:db8::1"),
        ("X-Forwarded-For: 203.0.113.4:1234\r\n", "203.0.113.4"),
        ("", "127.0.0.1"),
    ] {
        let (first, answer, stream) = upgraded(&trusting, lines);
        assert_eq!(first, 0x81, "{lines} {answer:?}");
        assert!(addresses(&trusting).contains(&expected.to_owned()), "{lines}");
        open.push(stream);
    }
    // Each of them counts by itself: a second one of an address is one too many, whoever it says
    // that it was before.
    let again = "X-Forwarded-For: 192.0.2.77, 203.0.113.2\r\n";
    let (mut first, mut answer, mut stream) = upgraded(&trusting, again);
    if first == 0x81 {
        // It may have been let in before its seat was counted.
        (first, answer) = read_frame(&mut stream).expect("a close frame");
    }
    assert_eq!((first, &answer[..2]), (0x88, &1008_u16.to_be_bytes()[..]));

    let wary = settings("10.0.0.0/8");
    let (_, _, _stays) = upgraded(&wary, "X-Forwarded-For: 203.0.113.1\r\n");
    assert_eq!(addresses(&wary), ["127.0.0.1"]);
}

fn forwarded_hosts_and_schemes_are_believed_of_trusted_proxies(driver: Driver) {
    let lines =
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: chat.test\r\nOrigin: https://chat.test\r\n";
    let head = upgrade_head(lines);
    for (trusted, status) in [("127.0.0.0/8", 101), ("10.0.0.0/8", 403)] {
        let setting = format!("server.trusted_proxies={trusted}");
        let server = Server::start_with(driver, &[&setting]);
        assert_eq!(connected(&server, &head).0, status, "{trusted}");
    }
}
