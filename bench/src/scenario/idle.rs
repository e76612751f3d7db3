//! Many connections that do nothing: the memory that one costs.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::clock;
use crate::measure::Reading;
use crate::measure::Usage;
use crate::memory::Memory;
use crate::scenario::Target;
use crate::scenario::ensure_all_open;
use crate::scenario::run_number;
use crate::swarm::Dialect;
use crate::swarm::Swarm;

/// Connections that only stay.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Parameters {
    /// Where the server is.
    #[command(flatten)]
    pub target: Target,
    /// What the server speaks: stomp sessions hold one subscription each, plain ones are just
    /// connected.
    #[arg(long = "target", value_enum, default_value = "stomp", value_name = "DIALECT")]
    pub dialect: Dialect,
    /// Connections to hold.
    #[arg(long, default_value_t = 10_000)]
    pub connections: usize,
    /// Seconds to hold them before the memory is read.
    #[arg(long, default_value_t = 5)]
    pub hold: u64,
    /// Destinations that the subscriptions are spread over.
    #[arg(long, default_value_t = 100)]
    pub rooms: usize,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Connections that were held.
    pub connections_count: usize,
    /// The server before the first connection.
    pub before: Memory,
    /// The server at the end of the hold.
    pub after: Memory,
    /// Growth of the proportional set size, per connection.
    pub pss_bytes_per_connection: f64,
    /// Growth of the resident set size, per connection.
    pub rss_bytes_per_connection: f64,
    /// Server CPU to open one connection, subscription included.
    pub opening_server_ns_per_connection: Option<f64>,
    /// Processor time of the hold.
    pub usage: Usage,
    /// What a reader of the figures must know.
    pub warnings: Vec<String>,
}

/// Runs the scenario.
///
/// # Errors
///
/// The server refused, ended, or its process is not named; or a connection ended.
pub fn run(parameters: &Parameters) -> anyhow::Result<Report> {
    anyhow::ensure!(0 < parameters.connections, "at least one connection is needed");
    let rooms_count = parameters.rooms.max(1);
    let pid = parameters.target.server_pid;
    let Some(server_pid) = pid else {
        anyhow::bail!("--server-pid is needed to read the memory of the server")
    };
    let before = Memory::of(server_pid)?;
    let opening_start = Reading::take(pid)?;
    let mut swarm = Swarm::new(u64::from(run_number()))?;
    swarm.open(
        &parameters.target.opening(parameters.dialect, 0),
        parameters.connections,
        |position| Some(format!("/topic/room.{}", 1 + position % rooms_count)),
    )?;
    let start = Reading::take(pid)?;
    let opening = Usage::between(opening_start, start, clock::now());
    let until = clock::now() + Duration::from_secs(parameters.hold);
    while clock::now() < until {
        swarm.poll(Duration::from_millis(100), &mut |_, _, _| Ok(()))?;
        ensure_all_open(&swarm)?;
    }
    let after = Memory::of(server_pid)?;
    let usage = Usage::between(start, Reading::take(pid)?, clock::now());
    swarm.close();
    let count = parameters.connections as f64;
    let growth = |before: u64, after: u64| (after as f64 - before as f64) / count;
    Ok(Report {
        connections_count: parameters.connections,
        before,
        after,
        pss_bytes_per_connection: growth(before.pss_bytes, after.pss_bytes),
        rss_bytes_per_connection: growth(before.rss_bytes, after.rss_bytes),
        opening_server_ns_per_connection: opening.server_ns_each(parameters.connections as u64),
        usage,
        warnings: opening.warnings(),
    })
}
