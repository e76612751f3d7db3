//! TLS of the public listener, with a client of rustls over real sockets.
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test, and says which it was")]

#[path = "../../src/io/tls/testing.rs"]
mod testing;

use std::fs;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustix::process::Signal;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::RootCertStore;
use rustls::StreamOwned;
use rustls::SupportedProtocolVersion;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::version::TLS12;
use rustls::version::TLS13;
use serde_json::Value;

use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::UPGRADE;
use crate::support::Wire;
use crate::support::ask;
use crate::support::on_each_driver;
use crate::support::program;

use testing::Authority;

on_each_driver!(
    both_versions_carry_sessions_of_any_size,
    a_fan_out_reaches_every_secure_client_once_and_in_order,
    a_client_that_comes_back_is_resumed,
    a_new_certificate_is_shown_without_a_drop_and_a_bad_one_changes_nothing,
    with_a_client_ca_only_known_clients_come_in,
    a_client_that_speaks_plain_http_is_told,
    a_handshake_in_small_pieces_succeeds_and_one_that_stops_is_given_up,
    a_storm_of_handshakes_leaves_room_for_the_established,
    a_client_that_does_not_read_is_closed_alone,
    cipher_text_of_a_slow_peer_counts_with_what_waits,
    the_end_is_told_inside_tls,
    pages_of_the_same_secure_origin_may_connect,
);

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn shake_hands(socket: TcpStream, config: &Arc<ClientConfig>) -> io::Result<Stream> {
    let name = ServerName::try_from("edge.test").unwrap();
    let session = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// A server that speaks TLS, and the CA that its clients trust.
pub(crate) struct Secure {
    pub(crate) server: Server,
    authority: Authority,
}

impl Secure {
    pub(crate) fn start(driver: Driver, settings: &[&str]) -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.issue("server", &["edge.test"]);
        let set = |key: &str, path: &Path| format!("{key}={}", path.display());
        let mut all = vec![set("tls.cert", &certificate), set("tls.key", &key)];
        all.extend(settings.iter().map(|it| (*it).to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        Self { server: Server::start_with(driver, &all), authority }
    }

    /// A client's side of TLS 1.3.
    pub(crate) fn newest(&self) -> Arc<ClientConfig> {
        Arc::new(self.config(&[&TLS13]))
    }

    fn config(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.authority.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    /// Connects and shakes hands.
    fn connect(&self, config: &Arc<ClientConfig>) -> io::Result<Stream> {
        shake_hands(self.server.connect(), config)
    }

    /// Upgrades and says nothing yet.
    #[track_caller]
    pub(crate) fn open(&self, config: &Arc<ClientConfig>) -> Client {
        let stream = self.connect(config).expect("the handshake succeeds");
        Client::over(&self.server, Wire::Tls(Box::new(stream)), "/ws")
    }

    #[track_caller]
    fn session(&self, config: &Arc<ClientConfig>, login: &str) -> Client {
        let mut client = self.open(config);
        client.connect(&format!("accept-version:1.2|login:{login}"));
        client
    }

    fn handshakes(&self, result: &str) -> f64 {
        self.server.metric("websocket_tls_handshakes_total", &format!("result=\"{result}\""))
    }

    /// The certificate that a new connection is shown.
    fn shown(&self) -> CertificateDer<'static> {
        let stream = self.connect(&Arc::new(self.config(&[&TLS13]))).unwrap();
        stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

fn both_versions_carry_sessions_of_any_size(driver: Driver) {
    let secure = Secure::start(driver, &["server.echo=true"]);
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(secure.config(&[version]));
        let stream = secure.connect(&config).unwrap();
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(stream.conn.protocol_version(), Some(version.version));
        let mut client = Client::over(&secure.server, Wire::Tls(Box::new(stream)), "/ws");
        client.connect("accept-version:1.2|login:alice");
        client.subscribe("s", "/topic/room.1");
        for bytes in [0, 1, 125, 126, 16_300, 16_384, 16_400, 40_000, 60_000] {
            let body = "x".repeat(bytes);
            client.publish("/app/room.1", &body);
            client.expect("s", &body);
        }
    }
    assert_eq!(secure.handshakes("full"), 2.0);
    let health = "GET /actuator/health/liveness HTTP/1.1\r\nHost: edge.test\r\n\r\n";
    let mut stream = secure.connect(&Arc::new(secure.config(&[&TLS13]))).unwrap();
    stream.write_all(health.as_bytes()).unwrap();
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

fn a_fan_out_reaches_every_secure_client_once_and_in_order(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let config = Arc::new(secure.config(&[&TLS13]));
    let mut clients: Vec<Client> =
        (0..12).map(|index| secure.session(&config, &format!("user-{index}"))).collect();
    for client in &mut clients {
        client.subscribe("s", "/topic/room.1");
    }
    let bodies: Vec<String> =
        (0..60_usize).map(|index| format!("{index}:{}", "y".repeat(index * 97))).collect();
    let (first, _) = clients.split_first_mut().unwrap();
    for body in &bodies {
        first.send(&format!("SEND|destination:/app/room.1||{body}^@"));
    }
    for client in &mut clients {
        for body in &bodies {
            client.expect("s", body);
        }
        client.assert_open();
    }
}

fn a_client_that_comes_back_is_resumed(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    for (version, resumed_before) in [(&TLS12, 0.0), (&TLS13, 1.0)] {
        let config = Arc::new(secure.config(&[version]));
        assert_eq!(secure.handshakes("resumed"), resumed_before);
        secure.session(&config, "alice").assert_open();
        secure.session(&config, "alice").assert_open();
        assert_eq!(secure.handshakes("resumed"), resumed_before + 1.0);
    }
    assert_eq!((secure.handshakes("full"), secure.handshakes("failed")), (2.0, 0.0));
}

fn a_new_certificate_is_shown_without_a_drop_and_a_bad_one_changes_nothing(driver: Driver) {
    let mut secure = Secure::start(driver, &[]);
    let mut client = secure.session(&Arc::new(secure.config(&[&TLS13])), "alice");
    let first = secure.shown();
    // The same files with another certificate.
    secure.authority.issue("server", &["edge.test"]);
    assert_eq!(secure.shown(), first, "nobody said that it should be read again");
    secure.server.signal(Signal::HUP);
    secure.server.await_line("the certificate was read again");
    let second = secure.shown();
    assert_ne!(first, second);
    let key = secure.authority.path("server.key");
    fs::write(key, "no key").unwrap();
    secure.server.signal(Signal::HUP);
    secure.server.await_line("the certificate stays as it was");
    assert_eq!(secure.shown(), second);
    client.subscribe("s", "/topic/room.1");
    client.publish("/app/room.1", "still here");
    client.expect("s", "still here");
}

fn with_a_client_ca_only_known_clients_come_in(driver: Driver) {
    let other = Authority::new();
    let ca = format!("tls.client_ca={}", other.ca().display());
    let secure = Secure::start(driver, &[&ca]);
    let unknown = Arc::new(secure.config(&[&TLS13]));
    // A client of TLS 1.3 is done before the server has looked at what it shows.
    if let Ok(mut stream) = secure.connect(&unknown) {
        let error = stream.read(&mut [0]).unwrap_err().to_string();
        assert!(error.contains("CertificateRequired"), "{error}");
    }
    secure.server.await_metric("websocket_tls_handshakes_total", "result=\"failed\"", 1.0);
    let (certificate, key) = other.issue("client", &["somebody"]);
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let mut known = secure.config(&[&TLS13]);
    let signer = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let certified = rustls::sign::CertifiedKey::new(chain, signer);
    known.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    secure.session(&Arc::new(known), "alice").assert_open();
}

fn a_client_that_speaks_plain_http_is_told(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let answer = ask(secure.server.public, UPGRADE);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("wss://"), "{answer:?}");
    secure.server.await_metric("websocket_tls_handshakes_total", "result=\"failed\"", 1.0);
}

fn a_handshake_in_small_pieces_succeeds_and_one_that_stops_is_given_up(driver: Driver) {
    let secure = Secure::start(driver, &["server.handshake_timeout=2s"]);
    let config = Arc::new(secure.config(&[&TLS13]));
    let name = ServerName::try_from("edge.test").unwrap();
    let mut session = ClientConnection::new(Arc::clone(&config), name.clone()).unwrap();
    let mut socket = secure.server.connect();
    let mut greeting = Vec::new();
    session.write_tls(&mut greeting).unwrap();
    for piece in greeting.chunks(7) {
        socket.write_all(piece).unwrap();
    }
    while session.is_handshaking() {
        session.complete_io(&mut socket).unwrap();
    }
    let stream = StreamOwned::new(session, socket);
    let mut client = Client::over(&secure.server, Wire::Tls(Box::new(stream)), "/ws");
    client.connect("accept-version:1.2|login:alice");

    let mut silent = secure.server.connect();
    let mut halfway = secure.server.connect();
    halfway.write_all(&greeting[..greeting.len() / 2]).unwrap();
    for socket in [&mut silent, &mut halfway] {
        // Closed without a word, whichever way the kernel puts it.
        let read = socket.read(&mut [0; 16]);
        assert!(!matches!(read, Ok(1..)), "{read:?}");
    }
    client.assert_open();
}

fn a_storm_of_handshakes_leaves_room_for_the_established(driver: Driver) {
    let secure = Secure::start(driver, &["server.cores=1"]);
    let config = Arc::new(secure.config(&[&TLS13]));
    let mut client = secure.session(&config, "alice");
    client.subscribe("s", "/topic/room.1");
    let mut each_new = secure.config(&[&TLS13]);
    // No ticket, so that each costs the server a signature.
    each_new.resumption = Resumption::disabled();
    let (each_new, public) = (Arc::new(each_new), secure.server.public);
    thread::scope(|scope| {
        let shake_many = || {
            for _ in 0..50 {
                let socket = TcpStream::connect(public).unwrap();
                shake_hands(socket, &each_new).expect("the handshake succeeds");
            }
        };
        let storm: Vec<_> = (0..4).map(|_| scope.spawn(shake_many)).collect();
        for index in 0_u32.. {
            client.publish("/app/room.1", &index.to_string());
            client.expect("s", &index.to_string());
            if storm.iter().all(thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
    });
    // A client may be done a moment before the server has counted it.
    secure.server.await_metric("websocket_tls_handshakes_total", "full", 201.0);
    assert!(secure.handshakes("failed") == 0.0);
}

fn a_client_that_does_not_read_is_closed_alone(driver: Driver) {
    let secure = Secure::start(driver, &["limits.outbox_seconds=1s"]);
    let config = Arc::new(secure.config(&[&TLS13]));
    let [mut slow, mut quick] = ["slow", "quick"].map(|login| {
        let mut client = secure.session(&config, login);
        client.subscribe("s", "/topic/room.1");
        client
    });
    let body = "z".repeat(60_000);
    for _ in 0..200 {
        quick.publish("/app/room.1", &body);
        quick.expect("s", &body);
    }
    secure.server.await_metric("websocket_slow_consumers_total", "", 1.0);
    quick.assert_open();
    // What the slow one did not take is dropped; its connection ends.
    let end = std::iter::from_fn(|| slow.stream().read(&mut [0; 65_536]).ok());
    assert!(end.take_while(|bytes| 0 < *bytes).count() < 10_000);
}

/// What the outboxes hold of all there is: the bytes of the API's rows are those of the queues.
fn cipher_text_of_a_slow_peer_counts_with_what_waits(driver: Driver) {
    // About what is encrypted at once.
    const BODY_BYTES: usize = 60_000;
    let settings = ["server.cores=1", "limits.outbox_bytes=64MiB", "limits.outbox_seconds=60s"];
    let secure = Secure::start(driver, &settings);
    let mut slow = secure.session(&secure.newest(), "slow");
    slow.subscribe("s", "/topic/room.1");
    let mut quick = secure.session(&secure.newest(), "quick");
    let body = "z".repeat(BODY_BYTES);
    let queued = |server: &Server| {
        let request = "GET /api/users/slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let page: Value = serde_json::from_str(&ask(server.admin, request).body).unwrap();
        page["connections"][0]["outboxBytes"].as_f64().unwrap()
    };
    // Until the kernel takes no more for it.
    let mut held = (0.0, 0.0);
    while held.0 < 1_000_000.0 {
        for _ in 0..8 {
            quick.publish("/app/room.1", &body);
        }
        held = (queued(&secure.server), secure.server.metric("websocket_outbox_bytes", ""));
    }
    let (queued, held) = held;
    // Of a run that was sent in part all is held.
    let sealed = 60_000.0..130_000.0;
    assert!(sealed.contains(&(held - queued)), "{held} are held, of which {queued} are queued");
    drop(slow);
    secure.server.await_metric("websocket_outbox_bytes", "", 0.0);
    quick.assert_open();
}

fn the_end_is_told_inside_tls(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let mut stream = secure.connect(&Arc::new(secure.config(&[&TLS13]))).unwrap();
    stream.write_all(b"GET /nowhere HTTP/1.1\r\nHost: edge.test\r\n\r\n").unwrap();
    let mut answer = String::new();
    // An end without the alert would be an error here.
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

fn pages_of_the_same_secure_origin_may_connect(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let config = Arc::new(secure.config(&[&TLS13]));
    for (origin, status) in [("https://edge.test", "101"), ("http://edge.test", "403")] {
        let mut stream = secure.connect(&config).unwrap();
        let open = UPGRADE.strip_suffix("\r\n").unwrap();
        stream.write_all(format!("{open}Origin: {origin}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer[9..], status.as_bytes(), "{origin}");
    }
}

#[test]
fn files_that_cannot_serve_are_a_start_error() {
    let authority = Authority::new();
    let (certificate, _) = authority.issue("one", &["edge.test"]);
    let (_, key) = authority.issue("two", &["edge.test"]);
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--cores", "1"]);
    command.args(["--set", &format!("tls.cert={}", certificate.display())]);
    command.args(["--set", &format!("tls.key={}", key.display())]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("is not the key of"), "{said}");
}
