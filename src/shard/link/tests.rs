//! Links against real servers, with both drivers.
#![expect(clippy::disallowed_methods, reason = "the test is the server here: clocks and threads")]

use std::collections::VecDeque;
use std::io::Read;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use super::*;
use crate::io::clock::Clock;
use crate::io::resolver;
use crate::io::resolver::Lookup;
use crate::io::tls::ClientFiles;
use crate::io::tls::testing::Authority;

const PATIENCE: Duration = Duration::from_secs(20);

/// Speaks to a server line by line; keeps what it hears.
#[derive(Default)]
struct Talker {
    to_send: RefCell<VecDeque<Vec<u8>>>,
    /// Bytes of whole lines.
    heard: RefCell<Vec<u8>>,
    told: RefCell<Vec<String>>,
    peers: RefCell<Vec<SocketAddr>>,
    gives_count: Cell<usize>,
}

impl Owner for Talker {
    fn handle_connected(&self, link: u64, peer: SocketAddr) {
        self.peers.borrow_mut().push(peer);
        self.told.borrow_mut().push(format!("{link} connected"));
    }

    fn handle_bytes(&self, _: u64, bytes: &mut [u8]) -> Taken {
        self.gives_count.set(self.gives_count.get() + 1);
        let end = bytes.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
        self.heard.borrow_mut().extend_from_slice(&bytes[..end]);
        Taken { consumed: end, bytes_min: 0 }
    }

    fn handle_lost(&self, link: u64, why: &str) {
        self.told.borrow_mut().push(format!("{link} lost: {why}"));
    }

    fn handle_looked(&self, link: u64, found: &[SocketAddr]) {
        self.told.borrow_mut().push(format!("{link} leads to {found:?}"));
    }

    fn poll_transmit(&self, _: u64, out: &mut Vec<u8>) {
        while out.len() < 64 * 1024
            && let Some(command) = self.to_send.borrow_mut().pop_front()
        {
            out.extend_from_slice(&command);
        }
    }
}

/// One shard's links and who talks over them.
struct World {
    links: Rc<Links>,
    talker: Rc<Talker>,
}

impl World {
    fn open(&self, link: u64, host: &str, port: u16) {
        self.links.open(&self.talker, link, host, port, None);
    }

    fn say(&self, link: u64, command: &[u8]) {
        self.talker.to_send.borrow_mut().push_back(command.to_vec());
        self.links.notify(link);
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Talker) -> bool) {
        let start = Instant::now();
        while !is_so(&self.talker) {
            let told = self.talker.told.borrow();
            assert!(start.elapsed() < PATIENCE, "{what}: {told:?}");
            drop(told);
            monoio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn until_told(&self, text: &str) {
        self.until(text, |it| it.told.borrow().iter().any(|line| line.contains(text))).await;
    }

    async fn until_heard(&self, bytes: usize) -> Vec<u8> {
        self.until("bytes", |it| bytes <= it.heard.borrow().len()).await;
        self.talker.heard.take()
    }
}

/// Runs `body` with each driver, with names looked up by what `lookup` makes.
fn on_both_drivers(lookup: impl Fn() -> Lookup, tls: Option<&Tls>, body: impl AsyncFn(&World)) {
    for is_ring in [true, false] {
        let (resolver, worker) = Resolver::new(lookup());
        let thread = thread::spawn(move || worker.run());
        let options = Options {
            resolver,
            tls: tls.cloned(),
            connect_timeout: Duration::from_millis(1500),
            user_timeout: Duration::from_secs(5),
        };
        let links = Rc::new(Links::new(options, Clock::start()));
        let world = World { links, talker: Rc::default() };
        let all = async {
            body(&world).await;
            world.until("all tasks ended", |_| Rc::strong_count(&world.links) == 1).await;
        };
        if is_ring {
            crate::io::ring::build(64).unwrap().block_on(all);
        } else {
            let builder = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new();
            builder.enable_timer().build().unwrap().block_on(all);
        }
        drop(world);
        thread.join().unwrap();
    }
}

/// A `redis-server` of this test alone.
struct Redis {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Redis {
    fn start(extra: &[&str]) -> Self {
        let is_tls = !extra.is_empty();
        // A port that was free a moment ago may be taken by now: then another one.
        for _ in 0..10 {
            let port = free_port();
            let folder = tempfile::TempDir::new().unwrap();
            let port_text = port.to_string();
            let ports: [&str; 4] = if is_tls {
                ["--tls-port", &port_text, "--port", "0"]
            } else {
                ["--port", &port_text, "--tls-port", "0"]
            };
            let mut process = Command::new("redis-server")
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
                .arg(folder.path())
                .args(ports)
                .args(extra)
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server is needed: apt-get install redis-server");
            let start = Instant::now();
            while start.elapsed() < PATIENCE && process.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { process, port, _folder: folder };
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
        panic!("redis-server does not start with {extra:?}");
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn tls_options(authority: &Authority, server_name: Option<&str>) -> Tls {
    let files = ClientFiles { ca: Some(authority.ca()), certificate_and_key: None };
    let config = tls::Client::load(&files).unwrap();
    Tls { config, server_name: server_name.map(Into::into) }
}

/// What any link to any Redis must do.
async fn check_talk(world: &World, link: u64) {
    world.until_told(&format!("{link} connected")).await;
    for _ in 0..1000 {
        world.say(link, b"PING\r\n");
    }
    assert_eq!(world.until_heard(7 * 1000).await, b"+PONG\r\n".repeat(1000));
    // Far more than any buffer to begin with, in both directions.
    let long = "x".repeat(3_000_000);
    world.say(
        link,
        format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{long}\r\n", long.len()).as_bytes(),
    );
    assert_eq!(world.until_heard(5).await, b"+OK\r\n");
    world.say(link, b"GET k\r\n");
    let answer = format!("${}\r\n{long}\r\n", long.len());
    assert_eq!(world.until_heard(answer.len()).await, answer.as_bytes());
    world.say(link, b"PING\r\n");
    assert_eq!(world.until_heard(7).await, b"+PONG\r\n");
    assert_eq!(*world.talker.told.borrow(), [format!("{link} connected")]);
}

#[test]
fn a_link_carries_both_ways_ends_quietly_when_closed_and_loudly_when_lost() {
    on_both_drivers(resolver::system, None, async |world| {
        let mut redis = Redis::start(&[]);
        world.open(1, "127.0.0.1", redis.port);
        check_talk(world, 1).await;
        world.links.close(1);
        world.say(1, b"PING\r\n");
        world.talker.told.take();
        world.talker.to_send.take();

        world.open(2, "localhost", redis.port);
        world.until_told("2 connected").await;
        world.say(2, b"PING\r\n");
        assert_eq!(world.until_heard(7).await, b"+PONG\r\n");
        redis.kill();
        world.until_told("2 lost: ").await;
        world.open(3, "127.0.0.1", redis.port);
        world.until_told("3 lost: cannot connect to 127.0.0.1:").await;
        assert!(world.talker.told.borrow()[2].contains("refused"));
        assert_eq!(world.talker.told.borrow().len(), 3, "each end is told once");
        assert!(world.links.links.borrow().is_empty());
    });
}

fn redis_with_tls(authority: &Authority, name: &str, asks: &str) -> Redis {
    let (certificate, key) = authority.issue("redis", &[name]);
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let (certificate, key, ca) = (text(certificate), text(key), text(authority.ca()));
    Redis::start(&[
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        asks,
    ])
}

#[test]
fn a_link_speaks_tls_to_a_server_of_its_own_ca_by_name_by_address_and_by_another_name() {
    let authority = Authority::new();
    for (certificate, host, server_name) in [
        ("localhost", "localhost", None),
        ("127.0.0.1", "127.0.0.1", None),
        ("redis.test", "127.0.0.1", Some("redis.test")),
    ] {
        let redis = redis_with_tls(&authority, certificate, "no");
        let tls = tls_options(&authority, server_name);
        on_both_drivers(resolver::system, Some(&tls), async |world| {
            world.open(1, host, redis.port);
            check_talk(world, 1).await;
            world.links.close(1);
        });
    }
}

#[test]
fn a_tls_link_that_fails_says_what_the_operator_can_do() {
    let (authority, other) = (Authority::new(), Authority::new());
    let redis = redis_with_tls(&authority, "redis.test", "yes");
    let plain = Redis::start(&[]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    for (tls, port, why) in [
        (tls_options(&other, Some("redis.test")), redis.port, "signed by no CA that is trusted"),
        (tls_options(&authority, Some("else.test")), redis.port, "not valid for name"),
        (tls_options(&authority, Some("no name")), redis.port, "`no name` is no name for a"),
        // With TLS 1.3 the server refuses after the client's side of the handshake is done.
        (tls_options(&authority, Some("redis.test")), redis.port, "refused the TLS session"),
        (tls_options(&authority, None), plain.port, "does the port speak TLS?"),
        (tls_options(&authority, None), silent_port, "handshake was not done in time"),
    ] {
        on_both_drivers(resolver::system, Some(&tls), async |world| {
            world.open(7, "127.0.0.1", port);
            world.until_told("7 lost").await;
            let told = world.talker.told.take().pop().unwrap();
            assert!(told.contains(why), "{told}");
        });
    }
}

#[test]
fn a_name_is_resolved_anew_for_every_link_and_all_its_addresses_are_tried() {
    let (gone, redis) = (free_port(), Redis::start(&[]));
    let port = redis.port;
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let lookup = move || -> Lookup {
        let calls = Arc::new(AtomicUsize::new(0));
        Box::new(move |host, _| {
            assert_eq!(host, "redis.test");
            match calls.fetch_add(1, Ordering::SeqCst) {
                0 => Err(std::io::Error::other("no such name")),
                1 => Ok(vec![at(gone)]),
                _ => Ok(vec![at(gone), at(port)]),
            }
        })
    };
    on_both_drivers(lookup, None, async |world| {
        world.open(1, "redis.test", 1);
        world.until_told("1 lost: cannot resolve redis.test: no such name").await;
        world.open(2, "redis.test", 1);
        world.until_told("2 lost: cannot connect to redis.test at 127.0.0.1:").await;
        world.open(3, "redis.test", 1);
        world.until_told("3 connected").await;
        world.links.close(3);
    });
}

#[test]
fn a_link_is_connected_beside_its_pair_where_the_name_still_leads_there() {
    let at = |last: u8, port: u16| SocketAddr::from(([127, 0, 0, last], port));
    let listeners = [1, 2].map(|last| TcpListener::bind(at(last, 0)).unwrap());
    let found = listeners.each_ref().map(|it| it.local_addr().unwrap());
    let lookup = move || -> Lookup { Box::new(move |_, _| Ok(found.to_vec())) };
    on_both_drivers(lookup, None, async |world| {
        let besides = [None, Some(found[1]), Some(found[0]), Some(at(3, 1))];
        for (link, beside) in (1..).zip(besides) {
            world.links.open(&world.talker, link, "redis.test", 1, beside);
            world.until_told(&format!("{link} connected")).await;
            world.links.close(link);
        }
        assert_eq!(*world.talker.peers.borrow(), [found[0], found[1], found[0], found[0]]);
    });
}

#[test]
fn a_server_that_answers_nothing_is_given_up_in_time() {
    // A listener whose backlog is full answers no further greeting.
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = crate::io::listener::bind_all(any, 1, 0).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let _fills: Vec<_> =
        (0..4).map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(100))).collect();
    on_both_drivers(resolver::system, None, async |world| {
        let start = Instant::now();
        world.open(1, "127.0.0.1", address.port());
        world.until_told("1 lost").await;
        assert!(start.elapsed() < Duration::from_secs(10));
        let told = world.talker.told.take().pop().unwrap();
        assert!(told.ends_with("no answer in time"), "{told}");
    });
}

#[test]
fn one_write_at_a_time_and_what_gathers_meanwhile_goes_with_the_next() {
    on_both_drivers(resolver::system, None, async |world| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let reader = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            // Nobody reads until the sender is stuck for sure.
            thread::sleep(Duration::from_millis(300));
            let mut all = Vec::new();
            socket.read_to_end(&mut all).unwrap();
            all
        });
        world.open(1, "127.0.0.1", port);
        world.until_told("1 connected").await;
        let mut sent = Vec::new();
        for index in 0..400_u32 {
            let command = format!("{index}:{}\n", "y".repeat(50_000)).into_bytes();
            sent.extend_from_slice(&command);
            world.say(1, &command);
        }
        world.until("all taken", |it| it.to_send.borrow().is_empty()).await;
        // All is with the kernel once the writer waits for its bell again.
        let link = Rc::clone(&world.links.links.borrow()[&1]);
        world
            .until("all sent", |_| !link.is_sending.get() && link.outgoing.borrow().is_empty())
            .await;
        world.links.close(1);
        let received = thread::spawn(move || reader.join().unwrap());
        while !received.is_finished() {
            monoio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(received.join().unwrap() == sent, "bytes were lost or changed places");
    });
}
