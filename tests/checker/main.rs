//! The history checker: seeded runs of clients that send and listen while tasks and stores are
//! killed below them, and a judge of what everybody was told in the end.
//!
//! Read `judge` for the promises, `plan` for what a seed stands for, `run` for how a run goes. A
//! failure prints its seed, its faults and the first broken promise; `HISTORY_SEEDS=17..18` runs
//! that seed alone, `HISTORY_SEEDS=200` the seeds from 1 to 200.
#![expect(
    clippy::disallowed_methods,
    reason = "a peer of the server has clocks, threads and an environment of its own"
)]

#[path = "../history/world.rs"]
#[expect(dead_code, reason = "the tests of the history use the rest")]
mod databases;
#[path = "../history/disk.rs"]
#[expect(dead_code, reason = "the tests of the history fill disks")]
mod disk;
#[path = "../edge/support/mod.rs"]
#[expect(dead_code, unused_imports, unused_macros, reason = "the tests of the edge use the rest")]
mod support;
#[path = "../relay/world/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests of the relay use the rest")]
mod world;

mod judge;
mod listener;
mod plan;
mod planted;
mod record;
mod redises;
mod run;
mod seeds;
mod sender;
mod stage;
mod store;
mod view;
mod wire;
