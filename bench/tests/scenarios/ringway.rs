//! Each scenario once at small size against Ringway: the counts, not the times.

use std::net::TcpListener;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use ringway_bench::outcome::Outcome;

use crate::assert_clean;
use crate::measure;

/// The server, which the workspace builds beside this tool.
fn server() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_ringway-bench")).with_file_name("ringway");
    assert!(path.exists(), "{} is not there: cargo build --workspace --bins", path.display());
    path
}

#[track_caller]
fn run(scenario: &str, settings: &str) -> Outcome {
    run_with("", scenario, settings)
}

/// The same with `prefix` before the command that starts the server.
#[track_caller]
fn run_with(prefix: &str, scenario: &str, settings: &str) -> Outcome {
    let path = if scenario == "echo" { "path = '/echo'" } else { "" };
    let outcome = measure(&format!(
        "scenario = '{scenario}'\nlaunch = '{prefix} {} --listen 127.0.0.1:0 \
         --admin-listen 127.0.0.1:0 --cores {{cores}} --echo \
         --log-level warn'\n{path}\nconnections = 20\nwarm-up = 0.2\n\
         seconds = 0.5\nsettle = 2.0\ntimeout = 20.0\n[[case]]\n{settings}",
        server().display()
    ));
    assert_clean(&outcome);
    outcome
}

#[test]
fn ringway_holds_idle_sessions() {
    let outcome = run("idle", "connections = 100");
    assert_eq!((outcome.counts.ready, outcome.counts.closings), (100, 0));
}

#[test]
fn ringway_echoes() {
    let outcome = run("echo", "messages = 500\nseconds = 20");
    assert!(500 <= outcome.verdict.received_count);
}

#[test]
fn ringway_gives_every_message_to_every_subscriber_across_cores() {
    for settings in ["messages = 12\nin-flight = 4", "rate = 50\nprocesses = 2\ncores = 2"] {
        let outcome = run("fanout", settings);
        assert_eq!(outcome.verdict.received_count, outcome.counts.sent * 20);
    }
}

#[test]
fn ringway_keeps_rooms_apart_and_private_messages_private() {
    let outcome = run("rooms", "rooms = 4\nsenders = 3\nrate = 100\nheart-beat = 1000");
    assert_eq!((outcome.counts.sent, outcome.verdict.received_count), (50, 250));
    assert_eq!(outcome.counts.receipts, 50);
    let outcome = run("users", "senders = 2\nrate = 100");
    assert_eq!((outcome.counts.sent, outcome.verdict.received_count), (50, 50));
}

#[test]
fn ringway_takes_all_back_after_a_storm() {
    let outcome = run("storm", "connections = 200\nseconds = 0");
    assert_eq!((outcome.counts.ready, outcome.counts.failures), (200, 0));
}

#[test]
fn ringway_gives_a_crowd_what_was_said_with_a_few_reads_of_its_store() {
    let outcome = run("replay-storm", "connections = 200\nrooms = 4\nhistory = 30\nprocesses = 2");
    let counts = outcome.counts;
    assert_eq!((counts.ready, counts.failures, counts.replayed), (200, 0, 200 * 30));
    let reads = outcome.store_reads.expect("its admin listener was found");
    assert!((4..=20).contains(&reads), "{reads}");
}

/// A storm of 40 clients with good tokens and as many with `rejected` ones.
fn storm_with_rejected(rejected: &str) -> Outcome {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let tokens = folder.path().join("rejected.txt");
    std::fs::write(&tokens, rejected).expect("it can be written");
    let secret = "0123456789abcdef0123456789abcdef";
    measure(&format!(
        "scenario = 'storm'\nlaunch = '{} --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
         --cores {{cores}} --log-level warn --set auth.jwt.secret={secret}'\nconnections = 40\n\
         timeout = 20.0\nsettle = 2.0\nseconds = 0\njwt-secret = '{secret}'\nrejected = 40\n\
         rejected-token-file = '{}'\nprocesses = 2\n",
        server().display(),
        tokens.display()
    ))
}

#[test]
fn ringway_takes_back_those_with_good_tokens_and_refuses_the_others() {
    let outcome = storm_with_rejected("a.b.c\nnonsense\n");
    assert_clean(&outcome);
    let counts = outcome.counts;
    assert_eq!((counts.ready, counts.refused, counts.failures), (40, 40, 0));
}

#[test]
fn a_token_that_should_be_rejected_and_is_not_is_a_fault() {
    let setting = "auth.jwt.secret=0123456789abcdef0123456789abcdef";
    let made = Command::new(server()).args(["token", "--set", setting]).output();
    let token = String::from_utf8(made.expect("the server is there").stdout).expect("it is text");
    let outcome = storm_with_rejected(&token);
    let faults = outcome.faults.join(", ");
    assert!(
        !outcome.is_clean && faults.contains("40 rejected tokens were not refused"),
        "{faults}"
    );
    assert_eq!((outcome.counts.ready, outcome.counts.refused), (40, 0));
}

#[test]
fn ringway_does_not_let_those_who_read_wait_for_those_who_do_not() {
    let outcome = run("slow", "rate = 200\npayload = 20000\nslow-share = 0.1\nseconds = 1.0");
    assert_eq!((outcome.counts.slow, outcome.verdict.expected_count), (2, 200 * 18));
}

#[test]
fn ringway_closes_all_when_it_is_told_to_end() {
    let outcome = run("drain", "rate = 100\nseconds = 20\ndrain-after = 0.3");
    assert_eq!(outcome.counts.closings, 21, "{:?}", outcome.closings);
    let first = outcome.closings.keys().next().unwrap();
    assert!(first.contains("1012"), "{first}");
}

#[test]
fn ringway_stays_as_it_is_in_a_short_soak() {
    let outcome = run("soak", "rooms = 2\nsenders = 2\nrate = 100");
    assert_eq!((outcome.counts.receipts, outcome.verdict.received_count), (50, 500));
}

/// A Redis of our own, on a port that was free a moment ago.
struct Redis {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Redis {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("there is a place for files");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Self { child, url: format!("redis://127.0.0.1:{port}"), _folder: folder };
        let deadline = ringway_bench::clock::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(ringway_bench::clock::now() < deadline, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().expect("redis-server is our child");
        self.child.wait().expect("redis-server is our child");
    }
}

#[test]
fn ringway_hands_on_what_a_back_end_publishes_through_redis() {
    let redis = Redis::start();
    let settings = format!("redis = '{}'\nrate = 100\nrooms = 2\nprocesses = 2", redis.url);
    let prefix = format!("env REDIS_URL={}", redis.url);
    let outcome = run_with(&prefix, "redis-fanout", &settings);
    assert_eq!((outcome.counts.receipts, outcome.verdict.received_count), (50, 500));
}
