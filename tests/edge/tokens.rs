//! Tokens with real keys: those of a secret, of a file, and of a set that is fetched; and keys that
//! change under connected clients.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use ringway::policy::auth::SigningKey;
use rustix::process::Resource;
use rustix::process::Rlimit;
use serde_json::Value;
use serde_json::json;

use crate::support::Client;
use crate::support::Driver;
use crate::support::PATIENCE;
use crate::support::Server;
use crate::support::bytes;
use crate::support::on_each_driver;
use crate::support::program;
use crate::websocket::frame;
use crate::websocket::read_frame;
use crate::websocket::upgraded;

on_each_driver!(
    a_token_of_the_command_is_let_in_and_nobody_else,
    a_file_of_keys_is_read_again_when_it_changes,
    keys_that_are_fetched_change_under_a_hundred_clients,
    strangers_have_keys_fetched_no_sooner_than_the_cooldown,
    a_session_is_cut_when_its_token_ends,
    a_storm_of_connects_leaves_room_for_the_established,
    a_token_is_never_written_down,
);

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SECRET_SETTING: &str = "auth.jwt.secret=0123456789abcdef0123456789abcdef";

/// What `ringway token` prints.
#[track_caller]
fn token(arguments: &[&str]) -> String {
    let output = program().arg("token").args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("a token is text").trim().to_owned()
}

fn key_path(name: &str) -> String {
    format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A token of `user` by the private key of this name.
fn token_by(key: &str, kid: &str, user: &str) -> String {
    token(&["--user", user, "--key", &key_path(key), "--kid", kid])
}

/// Connects with a token; the code of the close when that is refused.
fn try_connect(server: &Server, token: &str) -> Result<Client, u16> {
    let mut client = Client::open(server);
    client.send(&format!("CONNECT|accept-version:1.2|Authorization:Bearer {token}||^@"));
    let answer = client.answer();
    match answer.command.as_str() {
        "CONNECTED" => Ok(client),
        "ERROR" => Err(client.closed()),
        _ => panic!("{answer:?}"),
    }
}

/// Connects with a token that is accepted at once or soon.
#[track_caller]
fn connect_soon(server: &Server, token: &str) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match try_connect(server, token) {
            Ok(client) => return client,
            Err(code) => assert!(Instant::now() < deadline, "refused with {code} for too long"),
        }
        // Keys come when they come: asking again is the only way to know.
        thread::sleep(Duration::from_millis(50));
    }
}

fn a_token_of_the_command_is_let_in_and_nobody_else(driver: Driver) {
    let mut server = Server::start_with(driver, &[SECRET_SETTING]);
    server.await_line("authentication is on");
    let mut amy = Client::open(&server);
    let good = token(&["--user", "amy", "--set", SECRET_SETTING]);
    let connected = amy.connect(&format!("accept-version:1.2|token:{good}"));
    assert_eq!(connected.header("user-name"), "amy");
    let expired = token(&["--set", SECRET_SETTING, "--expires-in", "-60"]);
    let confused = token(&["--set", SECRET_SETTING, "--alg", "HS384"]);
    let foreign = token(&["--set", "auth.jwt.secret=another secret, just as long as it must be"]);
    for (token, code) in [(expired, 4401), (confused, 1008), (foreign, 1008), (String::new(), 1008)]
    {
        assert_eq!(try_connect(&server, &token).err(), Some(code), "{token}");
    }
    server.await_metric("websocket_auth_failures_total", "reason=\"expired\"", 1.0);
    server.await_metric("websocket_auth_failures_total", "reason=\"signature\"", 1.0);
    server.await_line("a token was rejected: the token has expired");
}

fn a_file_of_keys_is_read_again_when_it_changes(driver: Driver) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("keys.pem");
    let pem = |name: &str| fs::read_to_string(key_path(name)).expect("a key of the tests");
    fs::write(&path, pem("p256.pub.pem")).expect("room");
    let setting = format!("auth.jwt.keys={}", path.display());
    let server = Server::start_with(driver, &[&setting]);
    let by_old = token_by("p256.pem", "x", "amy");
    let by_new = token_by("ed25519.pem", "y", "bob");
    let mut amy = try_connect(&server, &by_old).expect("its key is there");
    assert_eq!(try_connect(&server, &by_new).err(), Some(1008));

    fs::write(&path, "not a key").expect("room");
    fs::write(&path, pem("p256.pub.pem") + &pem("ed25519.pub.pem")).expect("room");
    connect_soon(&server, &by_new);
    amy.assert_open();
    fs::write(&path, pem("ed25519.pub.pem")).expect("room");
    amy.error_then_close(4401);
    assert_eq!(try_connect(&server, &by_old).err(), Some(1008));
}

/// A server of HTTP that gives what it was told last, and counts how often it was asked.
struct Issuer {
    address: SocketAddr,
    documents: mpsc::Sender<String>,
    asked_count: Arc<AtomicUsize>,
}

impl Issuer {
    fn start(document: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (documents, told) = mpsc::channel();
        let asked_count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked_count);
        thread::spawn(move || {
            let mut document = document;
            for stream in listener.incoming() {
                let mut stream = stream.expect("it accepts");
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|it| it == 1)
                {
                    head.extend(byte);
                }
                document = told.try_iter().last().unwrap_or(document);
                counted.fetch_add(1, Ordering::Relaxed);
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{document}",
                    document.len()
                );
                // Who has asked may be gone.
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        Self { address, documents, asked_count }
    }

    fn give(&self, document: String) {
        self.documents.send(document).expect("it serves until the test ends");
    }
}

/// The set of the tests with the keys of these names only.
fn jwks(kids: &[&str]) -> String {
    let all = fs::read_to_string(key_path("jwks.json")).expect("the keys of the tests");
    let mut all: Value = serde_json::from_str(&all).expect("JSON");
    let keys = all["keys"].as_array_mut().expect("a list");
    keys.retain(|it| kids.contains(&it["kid"].as_str().expect("named")));
    all.to_string()
}

fn keys_that_are_fetched_change_under_a_hundred_clients(driver: Driver) {
    let issuer = Issuer::start(jwks(&["ec-1"]));
    let url = format!("auth.jwt.jwks_url=http://{}/keys", issuer.address);
    let settings = [&*url, "auth.jwt.jwks_cooldown=100ms", "auth.jwt.jwks_refresh=1h"];
    let server = Server::start_with(driver, &settings);
    let old = token_by("p256.pem", "ec-1", "amy");
    let mut clients = vec![connect_soon(&server, &old)];
    while clients.len() < 100 {
        clients.push(try_connect(&server, &old).expect("its key is there"));
    }
    // A new key, unknown until a token names it, beside the old one: a session that renews with it
    // waits for it as whoever comes with it does.
    let mut renewed = clients.pop().expect("one of a hundred");
    let renewal = token_by("ed25519.pem", "ed-1", "amy");
    issuer.give(jwks(&["ec-1", "ed-1"]));
    let send = "SEND|destination:/app/_session/token|Authorization:Bearer ";
    renewed.granted(&format!("{send}{renewal}"), "");
    let new = token_by("ed25519.pem", "ed-1", "bob");
    let mut bob = try_connect(&server, &new).expect("it waits until its key has been fetched");
    for client in &mut clients {
        client.assert_open();
    }
    // The old one goes, and whoever lives by it.
    issuer.give(jwks(&["ed-1"]));
    let third = token_by("rsa.pem", "rsa-1", "eve");
    assert_eq!(try_connect(&server, &third).err(), Some(1008));
    for client in &mut clients {
        client.error_then_close(4401);
    }
    renewed.assert_open();
    bob.assert_open();
    // A source that fails changes nothing.
    issuer.give("nonsense".into());
    let asked_count = issuer.asked_count.load(Ordering::Relaxed);
    let deadline = Instant::now() + PATIENCE;
    while issuer.asked_count.load(Ordering::Relaxed) == asked_count {
        assert!(Instant::now() < deadline, "the set is not fetched again");
        let other = token_by("rsa.pem", "rsa-2", "eve");
        assert_eq!(try_connect(&server, &other).err(), Some(1008));
    }
    bob.assert_open();
    try_connect(&server, &new).expect("its key is there");
}

fn strangers_have_keys_fetched_no_sooner_than_the_cooldown(driver: Driver) {
    let issuer = Issuer::start(jwks(&["ec-1"]));
    let url = format!("auth.jwt.jwks_url=http://{}/keys", issuer.address);
    let settings = [&*url, "auth.jwt.jwks_cooldown=1h", "auth.jwt.jwks_refresh=1h"];
    let server = Server::start_with(driver, &settings);
    let mut amy = connect_soon(&server, &token_by("p256.pem", "ec-1", "amy"));
    let unknown = "reason=\"unknown-key\"";
    let before = server.metric("websocket_auth_failures_total", unknown);
    for index in 0..20 {
        let unknown = token_by("other.pem", &format!("unknown-{index}"), "eve");
        assert_eq!(try_connect(&server, &unknown).err(), Some(1008));
    }
    server.await_metric("websocket_auth_failures_total", unknown, before + 20.0);
    assert_eq!(issuer.asked_count.load(Ordering::Relaxed), 1);
    amy.assert_open();
}

fn a_session_is_cut_when_its_token_ends(driver: Driver) {
    let server = Server::start_with(driver, &[SECRET_SETTING, "auth.jwt.leeway=0"]);
    let short = token(&["--set", SECRET_SETTING, "--expires-in", "3"]);
    let mut client = try_connect(&server, &short).expect("it is good for three seconds");
    client.send("SUBSCRIBE|id:s|destination:/user/queue/_session||^@");
    let warning = client.message();
    assert_eq!(warning.header("event"), "token-expires");
    let begin = Instant::now();
    client.error_then_close(4401);
    assert!(begin.elapsed() < Duration::from_secs(3));
}

/// Each of the storm costs a signature of ES256. Were they judged as they come, what is sent
/// behind them would be answered behind them: 6 echoes come between without the share that
/// they have of a turn, hundreds with it. Their order is counted, not their time, which is the
/// machine's.
fn a_storm_of_connects_leaves_room_for_the_established(driver: Driver) {
    const STORM: usize = 3_000;
    const ECHOES_MIN: u32 = 20;
    allow_sockets();
    let keys = format!("auth.jwt.keys={}", key_path("p256.pub.pem"));
    let server = Server::start_with(driver, &["server.cores=1", &keys]);
    let pem = fs::read(key_path("p256.pem")).expect("a key of the tests");
    let key = SigningKey::private_pem(&pem).expect("a private key");
    let exp = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + 600;
    let connects: Vec<String> = (0..STORM)
        .map(|it| {
            let claims = json!({"sub": format!("user-{it}"), "exp": exp});
            let token = key.sign(&claims).expect("it signs");
            format!("CONNECT|accept-version:1.2|Authorization:Bearer {token}||^@")
        })
        .collect();
    let amy = key.sign(&json!({"sub": "amy", "exp": exp})).expect("it signs");
    let mut amy = try_connect(&server, &amy).expect("its key is there");
    amy.subscribe("s", "/topic/room.1");
    let mut storm: Vec<TcpStream> = (0..STORM).map(|_| upgraded(&server)).collect();

    let echoes_count = thread::scope(|scope| {
        let run = || {
            for (stream, connect) in storm.iter_mut().zip(&connects) {
                stream.write_all(&frame(0x81, &bytes(connect))).expect("the connection is open");
            }
            for stream in &mut storm {
                let (_, answer) = read_frame(stream).expect("an answer");
                assert!(answer.starts_with(b"CONNECTED\n"), "{answer:?}");
            }
        };
        let storm = scope.spawn(run);
        let mut echoes_count = 0;
        while !storm.is_finished() {
            amy.publish("/app/room.1", "between");
            amy.expect("s", "between");
            echoes_count += 1;
        }
        echoes_count
    });
    // The counter is carried over ten times a second.
    server.await_metric("websocket_auth_signatures_total", "", STORM as f64 + 1.0);
    assert!(ECHOES_MIN <= echoes_count, "{echoes_count} echoes during {STORM} CONNECTs");
}

/// This process may have as many sockets as the host lets it.
fn allow_sockets() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(Resource::Nofile, raised).expect("up to the maximum it is free");
}

fn a_token_is_never_written_down(driver: Driver) {
    let settings = [SECRET_SETTING, "auth.query=t", "log.level=trace"];
    let mut server = Server::start_with(driver, &settings);
    let forged = format!("{}x", token(&["--set", SECRET_SETTING]));
    let path = format!("/ws?t={forged}");
    let mut client = Client::open_at(&server, &path);
    client.send("CONNECT|accept-version:1.2||^@");
    assert_eq!(client.answer().command, "ERROR");
    server.await_line("a token was rejected");
    let said = server.end();
    let is_told = |line: &String| line.contains(&forged[..40]) || line.contains(SECRET);
    assert!(!said.iter().any(is_told), "{said:?}");
}
