//! Each scenario at small size: against the peer, and against a server that misbehaves on purpose.

mod support;

use std::process::Command;
use std::time::Duration;

use ringway_bench::launch::Cpus;
use ringway_bench::launch::Server;
use ringway_bench::scenario::Target;
use ringway_bench::scenario::echo;
use ringway_bench::scenario::fanout;
use ringway_bench::scenario::hold;
use ringway_bench::scenario::idle;
use ringway_bench::swarm::Dialect;

use support::Fault;

fn peer() -> Server {
    let cpu = rustix::thread::sched_getcpu();
    let command = Command::new(env!("CARGO_BIN_EXE_peer-broadcast"));
    Server::start("peer", command, Cpus { server: cpu, generator: cpu }, false)
        .expect("the peer starts")
}

fn target_of(server: &Server) -> Target {
    Target {
        url: server.url.clone(),
        server_pid: Some(server.pid()),
        source: Vec::new(),
        timeout: 20,
    }
}

fn faulty_target(fault: Fault) -> Target {
    let url = format!("ws://{}/ws", support::start(fault)).parse().expect("an address is a URL");
    Target { url, server_pid: None, source: Vec::new(), timeout: 1 }
}

fn fan_out(target: Target, dialect: Dialect, in_flight: u64) -> anyhow::Result<fanout::Report> {
    fanout::run(&fanout::Parameters {
        target,
        dialect,
        subscribers: 20,
        in_flight,
        payload: 200,
        messages: 12,
        warm_up: 4,
    })
}

fn hold(fault: Fault) -> hold::Report {
    hold::run(&hold::Parameters {
        target: faulty_target(fault),
        connections: 4,
        seconds: 0.5,
        senders: 2,
        rate: 40.0,
        rooms: 2,
        payload: 100,
        heart_beat: 1000,
    })
    .expect("a hold goes on whatever the server does")
}

#[test]
fn the_peer_delivers_everything_once_and_its_cost_is_seen() {
    for in_flight in [1, 4] {
        let server = peer();
        let report = fan_out(target_of(&server), Dialect::Plain, in_flight).unwrap();
        assert!(report.verdict.is_clean(), "{:?}", report.verdict);
        assert_eq!(report.verdict.expected_count, 20 * (12 + 4));
        assert_eq!((report.deliveries_count, report.latency_each.count), (240, 240));
        assert!(0.0 < report.server_ns_per_delivery.unwrap());
        server.stop().unwrap();
    }
}

#[test]
fn the_peer_echoes_and_holds_idle_connections() {
    let server = peer();
    let target = target_of(&server);
    let echo = echo::run(&echo::Parameters {
        target: Target { url: target.url.with_path("/echo"), ..target.clone() },
        connections: 20,
        payload: 125,
        seconds: 10.0,
        messages: Some(1000),
        warm_up: 0.05,
    })
    .unwrap();
    assert!(echo.is_clean());
    assert!(1000 <= echo.messages_count);
    let idle = idle::run(&idle::Parameters {
        target,
        dialect: Dialect::Plain,
        connections: 200,
        hold: 0,
        rooms: 1,
    })
    .unwrap();
    // Two buffers of 4 KiB are held for each, and not a hundred.
    let bytes = idle.pss_bytes_per_connection;
    assert!(2_000.0 < bytes && bytes < 100_000.0, "{bytes} bytes per connection");
    server.stop().unwrap();
}

#[test]
fn a_server_that_dies_is_an_error_and_soon() {
    let server = peer();
    let target = target_of(&server);
    drop(server);
    let started_at = ringway_bench::clock::now();
    assert!(fan_out(target.clone(), Dialect::Plain, 1).is_err());
    assert!(
        idle::run(&idle::Parameters {
            target,
            dialect: Dialect::Plain,
            connections: 1,
            hold: 0,
            rooms: 1,
        })
        .is_err()
    );
    assert!(ringway_bench::clock::now() - started_at < Duration::from_secs(10));
}

#[test]
fn a_stomp_server_without_fault_is_clean() {
    let report = fan_out(faulty_target(Fault::None), Dialect::Stomp, 4).unwrap();
    assert!(report.verdict.is_clean());
    let report = hold(Fault::None);
    assert!(report.is_clean(), "{report:?}");
    // 20 messages, each for the two subscribers of its room.
    assert_eq!((report.sent_count, report.verdict.expected_count), (20, 40));
    assert_eq!(report.latency.count, 40);
}

#[test]
fn a_lost_delivery_is_told() {
    let report = hold(Fault::Lose);
    assert_eq!((report.verdict.lost_count, report.is_clean()), (1, false));
}

#[test]
fn a_doubled_delivery_is_told() {
    let report = hold(Fault::Double);
    assert_eq!((report.verdict.doubled_count, report.is_clean()), (1, false));
}

#[test]
fn another_order_is_told() {
    let report = hold(Fault::Reorder);
    assert_eq!((report.verdict.lost_count, report.is_clean()), (0, false));
    assert_eq!(report.other_orders_count, 1);
}

#[test]
fn a_damaged_delivery_is_told() {
    let report = hold(Fault::Damage);
    let verdict = report.verdict;
    assert_eq!((verdict.damaged_count, verdict.lost_count, report.is_clean()), (1, 1, false));
}

#[test]
fn a_closed_connection_is_told() {
    let report = hold(Fault::HangUp);
    assert_eq!((report.closings_count, report.is_clean()), (1, false));
}

#[test]
fn a_refused_message_is_told() {
    let report = hold(Fault::Refuse);
    assert_eq!((report.errors_count, report.receipts_count), (1, report.sent_count - 1));
    assert!(!report.is_clean());
}

#[test]
fn a_fan_out_stops_at_a_batch_that_never_ends() {
    let error = fan_out(faulty_target(Fault::Lose), Dialect::Stomp, 1).err().unwrap();
    assert!(format!("{error:#}").contains("1 deliveries of a batch never came"), "{error:#}");
    let report = fan_out(faulty_target(Fault::Double), Dialect::Stomp, 1).unwrap();
    assert_eq!((report.verdict.doubled_count, report.verdict.is_clean()), (1, false));
}
