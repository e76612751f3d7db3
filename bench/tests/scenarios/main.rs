//! Each scenario at small size: against a plain peer, and against a STOMP server that misbehaves on
//! purpose.

mod command_line;
mod ringway;
mod support;

use std::path::Path;
use std::sync::Arc;

use ringway_bench::experiment;
use ringway_bench::experiment::Manner;
use ringway_bench::outcome::Outcome;
use ringway_bench::plan::Experiment;
use ringway_bench::plan::Knobs;
use ringway_bench::record::Record;

use support::Addresses;
use support::Fault;

/// Runs what the file `text` says.
fn try_to_measure(text: &str) -> anyhow::Result<Record> {
    let experiment = Experiment::parse(text, Path::new("."), &Knobs::default())?;
    let manner = Manner { rounds: 1, quiet: true, ..Manner::default() };
    let program = Path::new(env!("CARGO_BIN_EXE_ringway-bench"));
    experiment::run(&experiment, &manner, program)
}

/// The outcome of the only run.
#[track_caller]
fn measure(text: &str) -> Outcome {
    let mut record = try_to_measure(text).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(record.runs.len(), 1);
    record.runs.remove(0).outcome
}

/// A scenario against the plain peer.
fn peer(scenario: &str, settings: &str) -> String {
    let path = if scenario == "echo" { "path = '/echo'" } else { "" };
    format!(
        "scenario = '{scenario}'\nlaunch = '{{bin}}/peer-tungstenite'\ndialect = 'plain'\n{path}\n\
         connections = 20\nwarm-up = 0.2\nseconds = 0.5\nsettle = 1.0\ntimeout = 20.0\n\
         [[case]]\n{settings}"
    )
}

fn misbehaving(fault: Fault, every: usize) -> Addresses {
    support::start(support::Manner { fault, every }, None, None)
}

/// A scenario against the STOMP server.
fn stomp(scenario: &str, addresses: &Addresses, settings: &str) -> String {
    format!(
        "scenario = '{scenario}'\nurl = 'ws://{}/ws'\nconnections = 4\nwarm-up = 0.1\n\
         seconds = 0.5\nsettle = 2.0\ntimeout = 5.0\nheart-beat = 0\n[[case]]\n{settings}",
        addresses.websocket
    )
}

/// 20 messages, each for two of four subscribers, with one fault.
fn rooms(fault: Fault) -> Outcome {
    rooms_with(fault, 1)
}

fn rooms_with(fault: Fault, senders: u16) -> Outcome {
    let settings = format!("rooms = 2\nsenders = {senders}\nrate = 40\nwarm-up = 0\npayload = 100");
    measure(&stomp("rooms", &misbehaving(fault, usize::MAX), &settings))
}

#[track_caller]
fn assert_clean(outcome: &Outcome) {
    assert!(outcome.is_clean, "{:?} {:?}", outcome.faults, outcome.first_trouble);
}

#[test]
fn the_peer_delivers_everything_once_and_its_cost_is_seen() {
    for in_flight in [1, 4] {
        let settings = format!("messages = 12\nin-flight = {in_flight}");
        let outcome = measure(&peer("fanout", &settings));
        assert_clean(&outcome);
        assert_eq!((outcome.verdict.expected_count, outcome.counts.deliveries), (240, 240));
        assert_eq!(outcome.latency.as_ref().unwrap().count, 240);
        assert_eq!(outcome.latency_last.as_ref().unwrap().count, 12 / in_flight);
        assert!(outcome.warm_up_verdict.received_count >= 20);
        assert!(0 < outcome.usage.server_cpu_ns.unwrap());
        assert_eq!(outcome.metrics[0].name, "server CPU");
    }
}

#[test]
fn a_rate_is_kept_and_several_processes_share_the_work() {
    let outcome = measure(&peer("fanout", "rate = 50\nsenders = 3\nprocesses = 2"));
    assert_clean(&outcome);
    assert_eq!((outcome.counts.sent, outcome.verdict.expected_count), (25, 500));
    assert_eq!(outcome.counts.ready, 23);
    assert!(!outcome.series.is_empty() && outcome.series[0].open == 23);
    let lag = outcome.lag.unwrap();
    assert_eq!(lag.count, 25);
}

#[test]
fn the_peer_echoes_in_a_closed_loop_and_at_a_rate() {
    let outcome = measure(&peer("echo", "messages = 1000\nseconds = 20\nin-flight = 2"));
    assert_clean(&outcome);
    assert!(1000 <= outcome.counts.deliveries && outcome.counts.deliveries < 1100);
    let outcome = measure(&peer("echo", "rate = 200\nprocesses = 2"));
    assert_clean(&outcome);
    assert_eq!((outcome.counts.sent, outcome.counts.deliveries), (100, 100));
}

#[test]
fn idle_connections_cost_what_the_peers_buffers_do() {
    let outcome = measure(&peer("idle", "connections = 200"));
    assert_clean(&outcome);
    assert_eq!(outcome.counts.ready, 200);
    let pss = outcome.metrics.iter().find(|it| it.name == "server PSS").unwrap();
    // Two buffers of 4 KiB are held for each, and not a hundred.
    assert!(2_000.0 < pss.value && pss.value < 100_000.0, "{} bytes", pss.value);
    assert!(outcome.memory_before.slab_bytes != 0);
}

#[test]
fn all_come_back_after_a_storm() {
    let outcome = measure(&peer("storm", "connections = 100\nprocesses = 2\nseconds = 0"));
    assert_clean(&outcome);
    assert_eq!((outcome.counts.ready, outcome.ready.as_ref().unwrap().count), (100, 100));
    assert!(outcome.metrics.iter().any(|it| it.name == "until the last is ready"));
}

#[test]
fn those_who_stop_reading_are_not_waited_for() {
    let settings = "rate = 100\npayload = 5000\nslow-share = 0.2\nslow-buffer = 4096";
    let outcome = measure(&peer("slow", settings));
    assert_clean(&outcome);
    assert_eq!((outcome.counts.slow, outcome.verdict.expected_count), (4, 50 * 16));
}

#[test]
fn a_server_that_is_told_to_end_closes_all_and_the_loss_is_told() {
    let outcome = measure(&peer("drain", "rate = 100\nseconds = 5\ndrain-after = 0.3"));
    assert_clean(&outcome);
    assert_eq!(outcome.counts.closings, 21);
    assert!((0.3..2.0).contains(&outcome.told_to_end_at.unwrap()));
    assert_eq!(outcome.closed_after.as_ref().unwrap().count, 21);
    assert!(outcome.counts.sent < 500 && 20 * 20 < outcome.counts.deliveries);
}

#[test]
fn a_soak_tells_of_growth() {
    let outcome = measure(&peer("soak", "rate = 40\nsenders = 2\nrooms = 1\nreceipts = false"));
    assert_clean(&outcome);
    assert!(outcome.series.iter().filter(|it| it.rss_bytes.is_some()).count() >= 3);
}

#[test]
fn a_stomp_server_without_fault_is_clean_in_rooms_and_for_users() {
    let outcome = rooms(Fault::None);
    assert_clean(&outcome);
    assert_eq!((outcome.counts.sent, outcome.verdict.expected_count), (20, 40));
    assert_eq!((outcome.counts.receipts, outcome.confirmed.as_ref().unwrap().count), (20, 20));
    let addresses = misbehaving(Fault::None, usize::MAX);
    let outcome = measure(&stomp("users", &addresses, "rate = 40\nsenders = 2\nprocesses = 2"));
    assert_clean(&outcome);
    // Private: each message reaches one client, not all.
    assert_eq!((outcome.counts.sent, outcome.verdict.expected_count), (20, 20));
}

#[test]
fn what_is_published_through_redis_reaches_the_subscribers() {
    let addresses = misbehaving(Fault::None, usize::MAX);
    let settings = format!("rate = 40\nredis = 'redis://{}'", addresses.redis);
    let outcome = measure(&stomp("redis-fanout", &addresses, &settings));
    assert_clean(&outcome);
    assert_eq!((outcome.counts.receipts, outcome.verdict.expected_count), (20, 80));
}

#[track_caller]
fn check_fault(fault: Fault, expected: &str) {
    let outcome = rooms(fault);
    assert!(!outcome.is_clean);
    assert!(outcome.faults.contains(&expected.to_owned()), "{:?}", outcome.faults);
}

#[test]
fn each_single_fault_is_told() {
    check_fault(Fault::Lose, "1 lost");
    check_fault(Fault::Double, "1 doubled");
    check_fault(Fault::Reorder, "1 reordered");
    check_fault(Fault::Damage, "1 damaged");
    check_fault(Fault::HangUp, "1 connections closed");
    check_fault(Fault::Refuse, "1 ERROR frames, or messages that could not be understood");
}

#[test]
fn subscribers_of_one_room_that_disagree_about_the_order_are_told() {
    // Of two senders by turns, so each sender's messages are in order.
    let outcome = rooms_with(Fault::Reorder, 2);
    let expected = "1 subscribers saw another order than others of their room";
    assert_eq!((outcome.faults, outcome.verdict.reordered_count), (vec![expected.to_owned()], 0));
}

/// A server that does it to one delivery in a hundred: of 1,000 deliveries ten.
#[track_caller]
fn check_percent(fault: Fault, counts: fn(&Outcome) -> u64) {
    let settings = "rate = 500\nrooms = 1\nsenders = 1\nwarm-up = 0\nprocesses = 2";
    let outcome = measure(&stomp("rooms", &misbehaving(fault, 100), settings));
    assert_eq!(outcome.verdict.expected_count, 1000);
    assert_eq!((counts(&outcome), outcome.is_clean), (10, false), "{:?}", outcome.faults);
}

#[test]
fn a_server_that_is_wrong_in_one_of_a_hundred_is_caught_and_counted() {
    check_percent(Fault::Lose, |outcome| outcome.verdict.lost_count);
    check_percent(Fault::Double, |outcome| outcome.verdict.doubled_count);
    check_percent(Fault::Reorder, |outcome| outcome.verdict.reordered_count);
}

#[test]
fn a_closed_loop_stops_at_a_batch_that_never_ends() {
    let addresses = misbehaving(Fault::Lose, usize::MAX);
    let settings = "messages = 9\nwarm-up = 0\ntimeout = 1.0";
    let error = try_to_measure(&stomp("fanout", &addresses, settings)).err().unwrap();
    assert!(format!("{error:#}").contains("1 deliveries of it never came"), "{error:#}");
}

#[test]
fn a_server_that_is_not_there_or_refuses_is_an_error_and_soon() {
    let error = try_to_measure("scenario = 'fanout'\nurl = 'ws://127.0.0.1:1/'").err().unwrap();
    assert!(format!("{error:#}").contains("refused"), "{error:#}");
    let manner = support::Manner { fault: Fault::None, every: 1 };
    let addresses = support::start(manner, Some("Bearer t"), None);
    let error = try_to_measure(&stomp("fanout", &addresses, "")).err().unwrap();
    assert!(format!("{error:#}").contains("who are you?"), "{error:#}");
    assert_clean(&measure(&stomp("fanout", &addresses, "messages = 2\ntoken = 't'")));
}

#[test]
fn a_server_with_tls_is_believed_for_its_authority_or_on_request() {
    let authority = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, authority.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = authority.signing_key.serialize_der().try_into().unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![authority.cert.der().clone()], key)
        .unwrap();
    let manner = support::Manner { fault: Fault::None, every: usize::MAX };
    let addresses = support::start(manner, None, Some(Arc::new(tls).into()));
    let scenario = |settings: &str| {
        // Large payloads: one read of the socket is not one of TLS.
        let text = stomp("fanout", &addresses, "messages = 8\nin-flight = 4\npayload = 40000\n");
        text.replace("ws://", "wss://") + settings
    };
    let error = try_to_measure(&scenario("")).err().unwrap();
    assert!(format!("{error:#}").contains("invalid peer certificate"), "{error:#}");
    assert_clean(&measure(&scenario("insecure = true")));
    assert_clean(&measure(&scenario(&format!("ca = '{}'", path.display()))));
}
