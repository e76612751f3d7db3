//! Ringway and the peer in one run: rounds that take turns, ratios with their spread.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use crate::cpu;
use crate::launch::Cpus;
use crate::launch::Server;
use crate::measure::Spread;
use crate::scenario::Target;
use crate::scenario::echo;
use crate::scenario::fanout;
use crate::scenario::idle;
use crate::swarm::Dialect;

pub mod subject;

use subject::PEER;
use subject::Subject;

/// A driver of Ringway, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// Completion of batches.
    IoUring,
    /// Readiness and one call each.
    Epoll,
    /// One after the other in every round.
    Both,
}

/// A scenario with the sizes that the goals are stated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// Fan-out with one message in flight.
    Fanout1,
    /// Fan-out with four messages in flight.
    Fanout4,
    /// Echo.
    Echo,
    /// Memory of idle connections.
    Idle,
}

impl Suite {
    fn unit(self) -> &'static str {
        match self {
            Self::Fanout1 | Self::Fanout4 => "ns CPU per delivery",
            Self::Echo => "ns CPU per message",
            Self::Idle => "bytes PSS per connection",
        }
    }
}

/// Starts Ringway and the peer by turns, measures both and compares.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Parameters {
    /// The ringway binary; without it only the peer is measured.
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    /// The peer-broadcast binary; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    pub peer: Option<PathBuf>,
    /// Drivers of Ringway to measure.
    #[arg(long, value_enum, default_value = "both")]
    pub driver: Driver,
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "fanout1,fanout4,echo,idle")]
    pub suite: Vec<Suite>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// CPU of the servers.
    #[arg(long, default_value_t = 0, value_name = "CPU")]
    pub server_cpu: usize,
    /// CPU of this generator.
    #[arg(long, default_value_t = 1, value_name = "CPU")]
    pub client_cpu: usize,
    /// Subscribers of the fan-out.
    #[arg(long, default_value_t = 1000)]
    pub subscribers: usize,
    /// Deliveries to each subscriber that are measured.
    #[arg(long, default_value_t = 600)]
    pub messages: u64,
    /// Connections of the echo.
    #[arg(long, default_value_t = 1000)]
    pub connections: usize,
    /// Seconds of echo that are measured.
    #[arg(long, default_value_t = 4.0)]
    pub seconds: f64,
    /// Connections that are idle.
    #[arg(long, default_value_t = 10_000)]
    pub idle_connections: usize,
    /// Seconds that they are held.
    #[arg(long, default_value_t = 3)]
    pub hold: u64,
    /// Seconds after which a phase has failed.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub timeout: u64,
    /// Buffers of the peer in bytes; 131072 is what its library does by default.
    #[arg(long, default_value_t = 4096, value_name = "BYTES")]
    pub peer_buffer_bytes: usize,
    /// A further argument for Ringway; may be repeated.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub server_argument: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version and command of each subject.
    pub subjects: Vec<subject::Record>,
    /// Every measurement, in the order they were made.
    pub measurements: Vec<Measurement>,
    /// One row for each suite and subject.
    pub rows: Vec<Row>,
    /// Whether nothing was lost, doubled, reordered or damaged anywhere.
    pub is_clean: bool,
}

/// One scenario of one subject in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// From 1.
    pub round: usize,
    /// What was measured.
    pub suite: Suite,
    /// Who.
    pub subject: String,
    /// The driver that ran, as its health says.
    pub driver: Option<String>,
    /// The cost of one thing, in the unit of the suite.
    pub cost: f64,
    /// The whole report of the scenario.
    pub report: Value,
}

impl Measurement {
    /// What a reader of the figures must know.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.report["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }
}

/// The rounds of one suite and subject together.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub suite: Suite,
    /// Who.
    pub subject: String,
    /// What the figures count.
    pub unit: &'static str,
    /// The cost over the rounds.
    pub cost: Spread,
    /// The median divided by that of the peer.
    pub ratio: Option<f64>,
    /// The cost divided by the peer's of the same round.
    pub round_ratios: Option<Spread>,
}

/// Runs all rounds.
///
/// # Errors
///
/// A server cannot be started, ended, or runs with another driver than was asked for; or a scenario
/// failed.
pub fn run(parameters: &Parameters) -> anyhow::Result<Report> {
    anyhow::ensure!(0 < parameters.rounds, "at least one round is needed");
    let cpus = Cpus { server: parameters.server_cpu, generator: parameters.client_cpu };
    if cpus.server == cpus.generator {
        eprintln!("  server and generator share CPU {}: they disturb each other", cpus.server);
    }
    cpu::pin(cpus.generator)?;
    let subjects = subject::subjects(parameters)?;
    let mut measurements = Vec::new();
    let mut is_clean = true;
    for round in 1..=parameters.rounds {
        for suite in &parameters.suite {
            for subject in &subjects {
                let (measurement, clean) = measure(parameters, *suite, subject, cpus, round)
                    .with_context(|| format!("{suite:?} of {} in round {round}", subject.name))?;
                for warning in measurement.warnings() {
                    eprintln!("  warning: {warning}");
                }
                eprintln!(
                    "  round {round}, {suite:?}, {}: {:.0} {}{}",
                    subject.name,
                    measurement.cost,
                    suite.unit(),
                    if clean { "" } else { ", NOT CLEAN" }
                );
                is_clean &= clean;
                measurements.push(measurement);
            }
        }
    }
    let rows = rows(&measurements);
    let subjects = subjects.iter().map(Subject::record).collect();
    Ok(Report { subjects, measurements, rows, is_clean })
}

/// Starts the subject, runs one scenario against it and ends it; also says whether all was clean.
fn measure(
    parameters: &Parameters,
    suite: Suite,
    subject: &Subject,
    cpus: Cpus,
    round: usize,
) -> anyhow::Result<(Measurement, bool)> {
    let has_admin = subject.driver.is_some();
    let mut server = Server::start(&subject.name, subject.command(), cpus, has_admin)?;
    let driver = server.driver()?;
    anyhow::ensure!(
        subject.driver.is_none() || driver.as_deref() == subject.driver,
        "the driver {:?} was asked for and {driver:?} runs",
        subject.driver
    );
    let outcome = run_suite(parameters, suite, subject.dialect, &server);
    // That the server died explains whatever else went wrong.
    server.ensure_alive()?;
    let (cost, report, is_clean) = outcome?;
    server.stop()?;
    let cost = cost.context("the server's CPU could not be read")?;
    let subject = subject.name.clone();
    Ok((Measurement { round, suite, subject, driver, cost, report }, is_clean))
}

fn run_suite(
    parameters: &Parameters,
    suite: Suite,
    dialect: Dialect,
    server: &Server,
) -> anyhow::Result<(Option<f64>, Value, bool)> {
    let target = Target {
        url: server.url.clone(),
        server_pid: Some(server.pid()),
        source: Vec::new(),
        timeout: parameters.timeout,
    };
    let fan_out = |target, in_flight| fanout::Parameters {
        target,
        dialect,
        subscribers: parameters.subscribers,
        in_flight,
        payload: 200,
        messages: parameters.messages,
        warm_up: (parameters.messages / 10).max(in_flight),
    };
    match suite {
        Suite::Fanout1 | Suite::Fanout4 => {
            let in_flight = if suite == Suite::Fanout1 { 1 } else { 4 };
            let report = fanout::run(&fan_out(target, in_flight))?;
            let value = serde_json::to_value(&report)?;
            Ok((report.server_ns_per_delivery, value, report.verdict.is_clean()))
        }
        Suite::Echo => {
            let report = echo::run(&echo::Parameters {
                target: Target { url: target.url.with_path("/echo"), ..target },
                connections: parameters.connections,
                payload: 125,
                seconds: parameters.seconds,
                messages: None,
                warm_up: 1.0,
            })?;
            let value = serde_json::to_value(&report)?;
            Ok((report.server_ns_per_message, value, report.is_clean()))
        }
        Suite::Idle => {
            let report = idle::run(&idle::Parameters {
                target,
                dialect,
                connections: parameters.idle_connections,
                hold: parameters.hold,
                rooms: 100,
            })?;
            let value = serde_json::to_value(&report)?;
            Ok((Some(report.pss_bytes_per_connection), value, true))
        }
    }
}

fn rows(measurements: &[Measurement]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for first in measurements {
        if rows.iter().any(|row| row.suite == first.suite && row.subject == first.subject) {
            continue;
        }
        let costs = |subject: &str| -> Vec<f64> {
            let of = measurements.iter().filter(|it| it.suite == first.suite);
            of.filter(|it| it.subject == subject).map(|it| it.cost).collect()
        };
        let (ours, peers) = (costs(&first.subject), costs(PEER));
        let Some(cost) = Spread::of(&ours) else { continue };
        let ratios: Vec<f64> = ours.iter().zip(&peers).map(|(ours, peer)| ours / peer).collect();
        let is_peer = first.subject == PEER;
        rows.push(Row {
            suite: first.suite,
            subject: first.subject.clone(),
            unit: first.suite.unit(),
            cost,
            ratio: Spread::of(&peers).filter(|_| !is_peer).map(|peer| cost.median / peer.median),
            round_ratios: Spread::of(&ratios).filter(|_| !is_peer),
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_hold_medians_and_ratios_of_the_same_round() {
        let measurement = |round, subject: &str, cost| Measurement {
            round,
            suite: Suite::Echo,
            subject: subject.to_owned(),
            driver: None,
            cost,
            report: Value::Null,
        };
        let rows = rows(&[
            measurement(1, "ringway epoll", 4.0),
            measurement(1, PEER, 8.0),
            measurement(2, "ringway epoll", 6.0),
            measurement(2, PEER, 6.0),
            measurement(3, "ringway epoll", 5.0),
            measurement(3, PEER, 10.0),
        ]);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].cost, Spread { median: 5.0, min: 4.0, max: 6.0 });
        assert_eq!(rows[0].ratio, Some(5.0 / 8.0));
        assert_eq!(rows[0].round_ratios, Some(Spread { median: 0.5, min: 0.5, max: 1.0 }));
        assert_eq!((rows[1].ratio, rows[1].round_ratios), (None, None));
    }
}
