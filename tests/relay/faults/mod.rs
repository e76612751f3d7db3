//! Faults under load, repeated with seeds: what was promised before is kept, and the relay comes
//! back by itself.
//!
//! Read `judge` for the promises. A failure prints the seed; `FAULT_SEEDS=7..40` tries
//! others.

mod cluster;
mod judge;
mod load;

use std::env;
use std::ops::Range;
use std::process::Command;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use self::judge::Fault;
use self::judge::Id;
use self::judge::Sent;
use self::judge::judge;
use self::load::FENCE;
use self::load::Load;
use crate::support::Client;
use crate::support::Driver;
use crate::support::on_each_driver;
use crate::support::program;
use crate::world::Name;
use crate::world::Proxy;
use crate::world::Redis;
use crate::world::ReplicaPair;
use crate::world::Resp;
use crate::world::Ringway;
use crate::world::await_true;

on_each_driver!(
    a_redis_that_dies_and_returns_costs_nothing_that_was_promised,
    a_redis_that_stalls_costs_nothing_that_was_promised,
    a_promoted_replica_takes_over,
    a_former_primary_that_goes_on_is_left_when_a_name_has_moved,
    a_name_that_moves_is_followed_although_nothing_was_lost,
);

/// So that nothing but the relay refuses, and a dead link shows within the test's patience.
const SETTINGS: &[&str] = &["limits.refusals=100000", "limits.receipts_pending=10000"];

/// Chance from a seed: SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.below(range.end - range.start))
    }
}

/// The seeds to try: three, or those of the environment (`FROM..TO`).
fn seeds() -> Range<u64> {
    let Ok(text) = env::var("FAULT_SEEDS") else { return 1..4 };
    let ends = text.split_once("..").map(|(from, to)| (from.parse(), to.parse()));
    match ends {
        Some((Ok(from), Ok(to))) => from..to,
        Some(_) | None => panic!("FAULT_SEEDS is FROM..TO, not {text:?}"),
    }
}

/// Runs `fault` once per seed, the seeds side by side: most of the time is waiting.
fn with_seeds(run: impl Fn(u64) + Copy + Send + 'static) {
    let seeds: Vec<u64> = seeds().collect();
    for few in seeds.chunks(3) {
        let threads: Vec<_> = few
            .iter()
            .map(|seed| {
                let seed = *seed;
                thread::Builder::new()
                    .name(format!("seed {seed}"))
                    .spawn(move || run(seed))
                    .expect("there is room for a thread")
            })
            .collect();
        for (seed, ended) in few.iter().zip(threads.into_iter().map(thread::JoinHandle::join)) {
            assert!(ended.is_ok(), "failed with FAULT_SEEDS={seed}..{}", seed + 1);
        }
    }
}

/// Two servers of `redis` under load; `fault` is made while they work, and returns the Redis that
/// they have when it is over.
fn run(
    driver: Driver,
    seed: u64,
    relays: [&str; 2],
    redis: Resp,
    fault: impl FnOnce(&mut Dice) -> Resp,
) {
    let servers = relays.map(|relay| start(program(), driver, &[relay]));
    run_on(&servers, seed, counter(redis), |dice| counter(fault(dice)));
}

fn start(command: Command, driver: Driver, relay: &[&str]) -> Ringway {
    let server = Ringway::start_as(command, driver, &[SETTINGS, relay].concat());
    server.await_up();
    server
}

/// Counts the subscribers of a channel, all at one Redis.
fn counter(mut redis: Resp) -> impl FnMut(&str) -> i64 {
    move |channel| redis.subscribers_count(channel)
}

/// As [`run`], on servers that were started otherwise; `count` and what `fault` returns count the
/// subscribers of a channel, before it and after it.
fn run_on<C: FnMut(&str) -> i64>(
    servers: &[Ringway; 2],
    seed: u64,
    count: impl FnMut(&str) -> i64,
    fault: impl FnOnce(&mut Dice) -> C,
) {
    run_through(servers, seed, false, count, fault);
}

/// As [`run_on`]; two servers may take messages for a while when it `is_split`.
fn run_through<C: FnMut(&str) -> i64>(
    servers: &[Ringway; 2],
    seed: u64,
    is_split: bool,
    mut count: impl FnMut(&str) -> i64,
    fault: impl FnOnce(&mut Dice) -> C,
) {
    let mut dice = Dice(seed);
    let room = format!("load-{seed}");
    let addresses: Vec<_> = [0, 1, 0, 1].map(|it: usize| servers[it].public).to_vec();
    let load = Load::start(&addresses, &room);
    load.await_accepted(25);
    let channel = format!("ws:/topic/{room}");
    let subscribers_count = count(&channel);
    drop(count);
    thread::sleep(dice.millis(0..300));

    let begin = Instant::now();
    let mut count = fault(&mut dice);
    // One probe tells of one shard only; each shard that had interest must have it again.
    await_true("all shards to be back", || count(&channel) == subscribers_count);
    load.await_accepted(5);
    let mut clients = [0, 1].map(|it: usize| Client::session(&servers[it], "watch"));
    await_all_hear(servers, &mut clients, &room);
    let end = Instant::now();

    load.await_accepted(50);
    let accounts = load.finish(|| clients[0].publish(&format!("/topic/{room}"), FENCE));
    let sent: Vec<Sent> = accounts.iter().flat_map(|it| it.sent.clone()).collect();
    let heard: Vec<Vec<Id>> = accounts.into_iter().map(|it| it.heard).collect();
    match judge(&sent, &heard, Fault { begin, end, is_split }) {
        Ok(figures) => eprintln!("seed {seed}, {:?} without relay: {figures:?}", end - begin),
        Err(told) => panic!("seed {seed}: {told}"),
    }
}

/// Without it a judge that is owed nothing would be content with all.
#[test]
fn a_load_without_a_fault_is_owed_everything() {
    let server = Ringway::start_early(Driver::IoUring, SETTINGS);
    let begin = Instant::now();
    let load = Load::start(&[server.public; 4], "load");
    load.await_accepted(100);
    let mut client = Client::session(&server, "watch");
    let accounts = load.finish(|| client.publish("/topic/load", FENCE));
    let sent: Vec<Sent> = accounts.iter().flat_map(|it| it.sent.clone()).collect();
    let heard: Vec<Vec<Id>> = accounts.into_iter().map(|it| it.heard).collect();
    let fault = Fault { begin, end: begin, is_split: false };
    let figures = judge(&sent, &heard, fault).expect("nothing went wrong");
    assert!(400 <= figures.owed_count, "{figures:?}");
    assert_eq!((figures.owed_count, figures.refused_count), (sent.len(), 0));
}

/// Waits until each server's own probes reach the other: not only health says that all is well.
fn await_all_hear(servers: &[Ringway; 2], clients: &mut [Client; 2], room: &str) {
    servers.iter().for_each(|it| it.await_up());
    let destination = format!("/topic/{room}.probe");
    clients.iter_mut().for_each(|it| it.subscribe("probe", &destination));
    for from in 0..2 {
        let body = format!("from {from}");
        clients[from].publish(&destination, &body);
        clients.iter_mut().for_each(|it| it.expect("probe", &body));
    }
}

fn a_redis_that_dies_and_returns_costs_nothing_that_was_promised(driver: Driver) {
    with_seeds(move |seed| {
        let mut redis = Redis::plain();
        let relay = redis.setting();
        run(driver, seed, [&relay, &relay], redis.client(), |dice| {
            redis.kill();
            thread::sleep(dice.millis(0..2_000));
            redis.restart();
            redis.client()
        });
    });
}

/// Longer than a link may be silent, so that it is given up; then what waited in it goes on, or is
/// lost.
fn a_redis_that_stalls_costs_nothing_that_was_promised(driver: Driver) {
    with_seeds(move |seed| {
        let redis = Redis::plain();
        let proxy = Proxy::to(redis.port);
        let direct = redis.setting();
        let relay = proxy.setting();
        // Both servers suffer, or one of them.
        let other = if seed.is_multiple_of(2) { &direct } else { &relay };
        run(driver, seed, [&relay, other], redis.client(), |dice| {
            proxy.stall();
            thread::sleep(dice.millis(7_000..7_500));
            if dice.below(2) == 0 {
                proxy.cut();
            }
            proxy.resume();
            redis.client()
        });
    });
}

/// How many others are connected to a Redis, its primary or replica left out.
fn clients_count(redis: &mut Resp) -> usize {
    let list = redis.ask(&["CLIENT", "LIST"]).text().to_owned();
    let is_other = |line: &&str| {
        let is_client = line.contains(" flags=N") || line.contains(" flags=P");
        is_client && !line.contains(" cmd=client|list")
    };
    list.lines().filter(is_other).count()
}

/// The servers know both addresses, or one name, which moves.
fn a_promoted_replica_takes_over(driver: Driver) {
    with_seeds(move |seed| {
        let mut pair = ReplicaPair::start();
        let name = Name::of(&pair.primary);
        let port = pair.primary.port;
        let both = [&pair.primary, &pair.replica].map(|it| format!("redis://{}:{port}", it.host));
        let both = format!("relay.url={}", both.join(","));
        let servers = [0, 1].map(|_| match seed.is_multiple_of(2) {
            true => start(program(), driver, &[&both]),
            false => start(name.program(), driver, &[&name.setting(port)]),
        });
        run_on(&servers, seed, counter(pair.primary.client()), |dice| {
            let is_killed = dice.below(2) == 0;
            if is_killed {
                pair.primary.kill();
            }
            thread::sleep(dice.millis(0..1_000));
            pair.promote();
            thread::sleep(dice.millis(0..500));
            if is_killed {
                pair.primary.restart();
            }
            pair.demote();
            // Who has a connection to the former primary keeps it: only its role tells.
            thread::sleep(dice.millis(0..500));
            name.lead_to(&pair.replica);
            let mut former = pair.primary.client();
            await_true("the servers to leave the former primary", || {
                clients_count(&mut former) == 0
            });
            counter(pair.replica.client())
        });
    });
}

/// Nobody demotes it: who loses one connection to it must not keep the other.
fn a_former_primary_that_goes_on_is_left_when_a_name_has_moved(driver: Driver) {
    with_seeds(move |seed| {
        let pair = ReplicaPair::start();
        let name = Name::of(&pair.primary);
        let relay = name.setting(pair.primary.port);
        let servers = [0, 1].map(|_| start(name.program(), driver, &[&relay]));
        run_on(&servers, seed, counter(pair.primary.client()), |dice| {
            pair.promote();
            name.lead_to(&pair.replica);
            thread::sleep(dice.millis(0..500));
            let mut former = pair.primary.client();
            let part = if dice.below(2) == 0 { "pubsub" } else { "normal" };
            assert!(4 <= former.ask(&["CLIENT", "KILL", "TYPE", part]).number(), "{part}");
            await_true("the servers to leave the former primary", || {
                clients_count(&mut former) == 0
            });
            counter(pair.replica.client())
        });
    });
}

/// Nobody demotes the former primary or cuts a connection to it: only the name tells.
fn a_name_that_moves_is_followed_although_nothing_was_lost(driver: Driver) {
    with_seeds(move |seed| {
        let pair = ReplicaPair::start();
        let name = Name::of(&pair.primary);
        let relay = [&*name.setting(pair.primary.port), "relay.resolve_seconds=2s"];
        let servers = [0, 1].map(|_| start(name.program(), driver, &relay));
        run_on(&servers, seed, counter(pair.primary.client()), |dice| {
            pair.promote();
            thread::sleep(dice.millis(0..500));
            name.lead_to(&pair.replica);
            let mut former = pair.primary.client();
            await_true("the servers to leave the former primary", || {
                clients_count(&mut former) == 0
            });
            counter(pair.replica.client())
        });
    });
}
