//! Whole shards in a world made of chance: short reads, partial sends, resets, slow peers,
//! late mail and a clock that jumps. A seed is a run; the same seed is the same run.
//!
//! `SIM_SEED=7 cargo test --test sim` runs one seed and tells all of it; `SIM_SEEDS=100000` runs
//! more than the usual ones. Read `plan` (what a seed decides), `world` (the turns), `carry` (the
//! driver), `client`, `act`, `talk` and `hostile` (the peers), `tap`, `judge` and `ledger` (what
//! must hold of all that is said), then `ending` (what must hold when all is carried).
#![expect(
    clippy::disallowed_methods,
    reason = "the seeds are chosen from outside, and two threads share them"
)]

mod act;
mod carry;
mod client;
mod dice;
mod ending;
mod hostile;
mod judge;
mod ledger;
mod places;
mod plan;
mod talk;
mod tap;
mod wire;
mod world;

use std::any::Any;
use std::collections::BTreeMap;
use std::env;
use std::panic;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;

use crate::world::Report;
use crate::world::World;

const SEEDS_COUNT: u64 = 1_000;
/// Failures after which no further seed is begun.
const FAILURES_MAX: usize = 20;

/// What must have happened in so many runs: a simulation that avoids it would prove nothing.
const HAPPENINGS: &[&str] = &[
    "sent",
    "sent in part",
    "send failed",
    "closed in flight",
    "no credit",
    "jump",
    "message",
    "receipt",
    "error",
    "notice",
    "echo",
    "answer",
    "ping",
    "pong",
    "heart-beat",
    "drain",
    "disconnected",
    "closed as slow",
    "closed for the total",
    "closed as silent",
    "due and delivered",
];

#[test]
fn every_promise_holds_under_every_seed() {
    if let Some(seed) = number("SIM_SEED") {
        if let Err(why) = run(seed, true) {
            panic!("seed {seed}: {why}");
        }
        return;
    }
    let seeds_count = number("SIM_SEEDS").unwrap_or(SEEDS_COUNT);
    let next = AtomicU64::new(0);
    let work = || {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seeds_count <= seed || FAILURES_MAX <= failures.len() {
                return (counts, failures);
            }
            match run(seed, false) {
                Ok(report) => {
                    for (what, count) in report.counts {
                        *counts.entry(what).or_default() += count;
                    }
                }
                Err(why) => failures.push((seed, why)),
            }
        }
    };
    let (mut counts, mut failures) = (BTreeMap::new(), Vec::new());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let (more, failed) = thread.join().expect("failures are caught");
            for (what, count) in more {
                *counts.entry(what).or_insert(0) += count;
            }
            failures.extend(failed);
        }
    });
    failures.sort();
    let told: Vec<String> = failures
        .iter()
        .map(|(seed, why)| format!("seed {seed}: {why}\n  SIM_SEED={seed} cargo test --test sim"))
        .collect();
    assert!(told.is_empty(), "{} seeds failed\n{}", told.len(), told.join("\n"));
    eprintln!("{counts:#?}");
    for what in HAPPENINGS.iter().filter(|_| SEEDS_COUNT <= seeds_count) {
        assert!(counts.contains_key(what), "it never came to pass: {what}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let first = number("SIM_SEED").unwrap_or(0);
    let mut hashes = Vec::new();
    for seed in first..first + 20 {
        // Whether the run holds is the other test's matter.
        if let Ok(report) = run(seed, false) {
            assert_eq!(run(seed, false), Ok(report.clone()), "seed {seed}");
            hashes.push(report.hash);
        }
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 20, "different seeds are different runs");
}

/// Runs one seed; the error says which promise was broken.
fn run(seed: u64, is_told: bool) -> Result<Report, String> {
    let world = move || World::new(seed, is_told).run();
    panic::catch_unwind(world).map_err(|why| text_of(&*why))
}

fn text_of(why: &(dyn Any + Send)) -> String {
    let text = why.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| why.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}
