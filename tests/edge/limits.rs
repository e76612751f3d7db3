//! Limits and faults: peers that are slow, silent, gone or too many, and who notices.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::session::longest_gap;
use crate::support::Client;
use crate::support::Driver;
use crate::support::PATIENCE;
use crate::support::Server;
use crate::support::UPGRADE;
use crate::support::ask;
use crate::support::bytes;
use crate::support::on_each_driver;
use crate::support::program;
use crate::support::read_response;
use crate::websocket::frame;
use crate::websocket::read_frame;
use crate::websocket::upgraded;

on_each_driver!(
    headers_that_trickle_in_are_cut_off,
    a_connection_that_never_asks_is_cut_off,
    an_upgrade_that_never_speaks_is_closed_with_4500,
    a_slow_consumer_is_closed_and_delays_nobody,
    a_peer_that_answers_no_ping_is_given_up,
    a_peer_that_answers_pings_stays,
    too_many_connections_are_told_to_come_back,
    running_out_of_descriptors_hurts_newcomers_only,
    a_busy_peer_lets_the_others_go_on,
    time_passes_beside_busy_peers,
    who_never_asks_the_operators_listener_is_cut_off,
);

const HEALTH: &str = "GET /actuator/health HTTP/1.1\r\nHost: edge.test\r\n\r\n";

/// Reads until the server ends the stream, and returns what it said before.
#[track_caller]
fn read_to_end(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the server keeps the connection: {error}"),
    }
    String::from_utf8_lossy(&said).into_owned()
}

fn headers_that_trickle_in_are_cut_off(driver: Driver) {
    let server = Server::start_with(driver, &["server.handshake_timeout=1s"]);
    let mut bystander = Client::session(&server, "bystander");
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("an open socket");
    let started = Instant::now();
    let mut byte = [0];
    // Each byte alone is progress; the deadline is for the whole head.
    for piece in UPGRADE.as_bytes().iter().cycle().take(2_000) {
        if stream.write_all(&[*piece]).is_err() {
            break;
        }
        match stream.read(&mut byte) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => break,
        }
    }
    let patience = started.elapsed();
    assert!(Duration::from_millis(900) <= patience, "cut off after {patience:?}");
    assert!(patience < Duration::from_secs(5), "cut off after {patience:?}");
    bystander.assert_open();
}

fn a_connection_that_never_asks_is_cut_off(driver: Driver) {
    let server = Server::start_with(driver, &["server.handshake_timeout=1s"]);
    let started = Instant::now();
    let mut silent = server.connect();
    let mut half = server.connect();
    half.write_all(&UPGRADE.as_bytes()[..40]).expect("the connection is open");
    for stream in [&mut silent, &mut half] {
        let said = read_to_end(stream);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
    }
    let patience = started.elapsed();
    assert!(Duration::from_millis(900) <= patience, "cut off after {patience:?}");
    assert!(patience < Duration::from_secs(5), "cut off after {patience:?}");
}

fn an_upgrade_that_never_speaks_is_closed_with_4500(driver: Driver) {
    let server = Server::start_with(driver, &["server.first_frame_timeout=1s"]);
    let mut speaker = Client::session(&server, "speaker");
    let started = Instant::now();
    let mut silent = Client::open(&server);
    // Heart-beats are no frames.
    let mut beating = Client::open(&server);
    beating.send("|");
    assert_eq!(silent.closed(), 4500);
    assert_eq!(beating.closed(), 4500);
    let patience = started.elapsed();
    assert!(Duration::from_millis(900) <= patience, "closed after {patience:?}");
    assert!(patience < Duration::from_secs(5), "closed after {patience:?}");
    speaker.assert_open();
    server.await_metric("websocket_closed_total", "4500", 2.0);
}

fn a_slow_consumer_is_closed_and_delays_nobody(driver: Driver) {
    // 16 MiB: more than two sockets' buffers and any outbox hold.
    const MESSAGES_COUNT: usize = 512;
    const MESSAGE_BYTES: usize = 32 * 1024;
    let server = Server::start_with(driver, &["limits.outbox_bytes=512KiB"]);
    let mut slow = Client::session(&server, "slow");
    slow.subscribe("s", "/topic/flood");
    let mut quick = Client::session(&server, "quick");
    quick.subscribe("s", "/topic/flood");
    let mut sender = Client::session(&server, "sender");
    let body = "x".repeat(MESSAGE_BYTES);
    for _ in 0..MESSAGES_COUNT {
        sender.publish("/topic/flood", &body);
        // `slow` does not read; `quick` gets each message at once.
        quick.expect("s", &body);
    }
    server.await_metric("websocket_slow_consumers_total", "", 1.0);
    server.await_metric("websocket_closed_total", "4500", 1.0);
    server.await_metric("websocket_subscriptions_active", "", 1.0);
    server.await_metric("websocket_outbox_bytes", "", 0.0);

    // What it had not read ends in the close frame, or the socket was given up with it.
    let mut rest = Vec::new();
    if slow.stream().read_to_end(&mut rest).is_ok() {
        let code = 4500_u16.to_be_bytes();
        let closed = rest.windows(4).rposition(|it| it[0] == 0x88 && it[2..] == code);
        let cut_short = rest.len() < MESSAGES_COUNT * MESSAGE_BYTES;
        assert!(closed.is_some() || cut_short, "the slow consumer got everything");
    }
}

fn a_peer_that_answers_no_ping_is_given_up(driver: Driver) {
    let settings = ["server.ping_interval=1s", "server.pong_timeout=1s"];
    let server = Server::start_with(driver, &settings);
    let mut half_open = upgraded(&server);
    half_open
        .write_all(&frame(0x81, &bytes("CONNECT|accept-version:1.2||^@")))
        .expect("the connection is open");
    let (first, _) = read_frame(&mut half_open).expect("CONNECTED comes");
    assert_eq!(first, 0x81);
    let started = Instant::now();
    let (first, _) = read_frame(&mut half_open).expect("a ping comes");
    assert_eq!(first, 0x89);
    // No pong. What follows, if anything, is a close frame; then the stream ends.
    while let Some((first, _)) = read_frame(&mut half_open) {
        assert_eq!(first, 0x88);
    }
    let patience = started.elapsed();
    assert!(Duration::from_millis(1_500) <= patience, "given up after {patience:?}");
    assert!(patience < Duration::from_secs(10), "given up after {patience:?}");
    server.await_metric("websocket_connections_active", "", 0.0);
}

fn a_peer_that_answers_pings_stays(driver: Driver) {
    let settings = ["server.ping_interval=1s", "server.pong_timeout=1s"];
    let server = Server::start_with(driver, &settings);
    let mut client = Client::session(&server, "patient");
    // Reading is what makes this client answer.
    for _ in 0..3 {
        assert!(client.websocket_message().is_ping());
    }
    client.assert_open();
}

fn too_many_connections_are_told_to_come_back(driver: Driver) {
    let server = Server::start_with(driver, &["limits.connections=4"]);
    let mut clients: Vec<Client> =
        (0..4).map(|index| Client::session(&server, &format!("user-{index}"))).collect();
    let refused = ask(server.public, UPGRADE);
    assert_eq!(refused.status, 503, "{refused:?}");
    let after = refused.header("retry-after").unwrap_or_default();
    assert!(after.parse::<u32>().is_ok_and(|seconds| 0 < seconds), "{refused:?}");
    assert!(!refused.body.is_empty(), "{refused:?}");

    // Full is not unhealthy.
    for address in [server.public, server.admin] {
        let health = ask(address, HEALTH);
        assert_eq!(health.status, 200, "{health:?}");
    }
    for client in &mut clients {
        client.assert_open();
    }
    drop(clients.pop());
    server.await_metric("websocket_connections_active", "", 3.0);
    Client::session(&server, "next").assert_open();
    assert!(server.metric("websocket_rejected_total", "") >= 1.0);
}

fn running_out_of_descriptors_hurts_newcomers_only(driver: Driver) {
    const DESCRIPTORS: usize = 96;
    let mut shell = Command::new("sh");
    let limited = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\"");
    shell.args(["-c", &limited]).arg(program().get_program());
    let server = Server::start_as(shell, driver, &["limits.connections=90"]);
    let mut first = Client::session(&server, "first");
    let mut last = Client::session(&server, "last");
    for client in [&mut first, &mut last] {
        client.subscribe("s", "/topic/full");
    }

    // The kernel accepts for a server that cannot, so none of these is an error here.
    let mut crowd: Vec<TcpStream> = (0..2 * DESCRIPTORS).map(|_| server.connect()).collect();
    let mut answered_count = 0;
    for stream in &mut crowd {
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("an open socket");
        let asked = stream.write_all(UPGRADE.as_bytes()).is_ok();
        answered_count += usize::from(asked && read_response(stream).is_some());
    }
    assert!(answered_count < crowd.len(), "the server never ran out");

    // Who was in stays in.
    first.publish("/topic/full", "still served");
    first.expect("s", "still served");
    last.expect("s", "still served");

    // And when there is room again, newcomers are served: on both cores.
    drop(crowd);
    let deadline = Instant::now() + PATIENCE;
    let mut newcomers: Vec<Client> =
        (0..8).map(|index| Client::session(&server, &format!("newcomer-{index}"))).collect();
    for newcomer in &mut newcomers {
        newcomer.assert_open();
    }
    assert!(Instant::now() < deadline, "the way back took longer than {PATIENCE:?}");
}

/// A peer that never stops sending: pongs that nobody asked for, so many that the shard always
/// finds more to receive.
struct Flood {
    client: Client,
    is_over: Arc<AtomicBool>,
    writer: JoinHandle<u64>,
}

impl Flood {
    fn start(server: &Server) -> Self {
        let flood = frame(0x8A, &[0; 125]).repeat(8 * 1024);
        let mut client = Client::session(server, "busy");
        let mut stream = client.stream().try_clone().expect("an open socket");
        let is_over = Arc::new(AtomicBool::new(false));
        let has_flooded = Arc::clone(&is_over);
        let writer = thread::spawn(move || {
            let mut written_bytes = 0;
            while !has_flooded.load(Ordering::Relaxed) {
                stream.write_all(&flood).expect("the server reads all that comes");
                written_bytes += flood.len() as u64;
            }
            written_bytes
        });
        Self { client, is_over, writer }
    }

    /// Ends it; it was served as well.
    #[track_caller]
    fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let written_bytes = self.writer.join().expect("the flood ends when it is told to");
        assert!(0 < written_bytes, "nobody was busy");
        self.client.assert_open();
    }
}

fn a_busy_peer_lets_the_others_go_on(driver: Driver) {
    let server = Server::start_with(driver, &["server.cores=1"]);
    let busy = Flood::start(&server);
    let mut other = Client::session(&server, "other");
    other.subscribe("s", "/topic/served");
    for number in 0..20 {
        let body = number.to_string();
        other.publish("/topic/served", &body);
        other.expect("s", &body);
    }
    busy.end();
}

/// The shard has something to receive all the time, and yet looks at its clocks.
fn time_passes_beside_busy_peers(driver: Driver) {
    let settings = ["server.cores=1", "server.first_frame_timeout=2s"];
    let server = Server::start_with(driver, &settings);
    let mut beating = Client::open(&server);
    beating.connect("accept-version:1.2|heart-beat:0,1000");
    let busy = [(); 2].map(|()| Flood::start(&server));
    let started = Instant::now();
    let mut silent = Client::open(&server);
    assert_eq!(silent.closed(), 4500);
    let patience = started.elapsed();
    assert!(patience < Duration::from_secs(4), "closed after {patience:?}");
    // A client may give up at twice the interval.
    let gap = longest_gap(&mut beating, 6, |text| text == "\n");
    assert!(gap < Duration::from_millis(1900), "{gap:?} without a heart-beat");
    busy.into_iter().for_each(Flood::end);
}

/// It has 512 places, each for 15 s.
fn who_never_asks_the_operators_listener_is_cut_off(driver: Driver) {
    let server = Server::start(driver);
    let started = Instant::now();
    let connect = || TcpStream::connect(server.admin).expect("the admin listener accepts");
    let mut crowd: Vec<TcpStream> = (0..512).map(|_| connect()).collect();
    for stream in &mut crowd {
        stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket takes options");
    }
    let mut late = connect();
    late.set_read_timeout(Some(Duration::from_secs(5))).expect("a fresh socket takes options");
    assert_eq!(read_to_end(&mut late), "", "there is no place for one more");
    assert_eq!(ask(server.public, HEALTH).status, 200);
    // A byte now and then is no excuse; the first have asked for half of something.
    for piece in HEALTH.as_bytes().iter().take(8) {
        for stream in crowd.iter_mut().take(9) {
            stream.write_all(&[*piece]).expect("the connection is open");
        }
        thread::sleep(Duration::from_millis(500));
    }
    for stream in &mut crowd {
        let said = read_to_end(stream);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    let patience = started.elapsed();
    assert!(Duration::from_secs(14) <= patience, "cut off after {patience:?}");
    assert!(patience < Duration::from_secs(23), "cut off after {patience:?}");
    assert_eq!(ask(server.admin, HEALTH).status, 200);
}
