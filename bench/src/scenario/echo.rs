//! Many connections, each waiting for its own message to come back: the cost of an echo.

use std::time::Duration;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::clock;
use crate::measure::Deadline;
use crate::measure::Latencies;
use crate::measure::LatencySummary;
use crate::measure::Reading;
use crate::measure::Usage;
use crate::payload::Payloads;
use crate::payload::Stamp;
use crate::scenario::REST;
use crate::scenario::Target;
use crate::scenario::ensure_all_open;
use crate::scenario::run_number;
use crate::swarm::Dialect;
use crate::swarm::Incoming;
use crate::swarm::Outlet;
use crate::swarm::Swarm;

/// A closed loop of echoes over plain WebSocket, one message in flight per connection.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Parameters {
    /// Where the echo is, such as ws://127.0.0.1:8080/echo.
    #[command(flatten)]
    pub target: Target,
    /// Connections, each with one message in flight.
    #[arg(long, default_value_t = 1000)]
    pub connections: usize,
    /// Size of the payload in bytes.
    #[arg(long, default_value_t = 125)]
    pub payload: usize,
    /// Seconds to measure; with --messages whichever ends first.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Messages to measure, of all connections together.
    #[arg(long)]
    pub messages: Option<u64>,
    /// Seconds before that, which are not measured.
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Echoes in the measured part.
    pub messages_count: u64,
    /// Answers that were not what was sent.
    pub damaged_count: u64,
    /// Messages without an answer at the end.
    pub lost_count: u64,
    /// Time and processor time of the measured part.
    pub usage: Usage,
    /// Server CPU for one echo.
    pub server_ns_per_message: Option<f64>,
    /// Generator CPU for one echo.
    pub generator_ns_per_message: Option<f64>,
    /// Echoes in a second.
    pub messages_per_second: f64,
    /// From each write to its answer.
    pub latency: LatencySummary,
    /// What a reader of the figures must know.
    pub warnings: Vec<String>,
}

impl Report {
    /// Every message came back as it was sent.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost_count == 0 && self.damaged_count == 0
    }
}

struct Loop {
    payloads: Payloads,
    /// Number and time of the message that each connection waits for.
    in_flight: Vec<Option<(u64, Instant)>>,
    is_stopping: bool,
    messages_count: u64,
    damaged_count: u64,
    latencies: Latencies,
    body: Vec<u8>,
}

/// Runs the scenario.
///
/// # Errors
///
/// The server refused or ended; or a connection ended.
pub fn run(parameters: &Parameters) -> anyhow::Result<Report> {
    let seconds = Duration::try_from_secs_f64(parameters.seconds)?;
    let warm_up = Duration::try_from_secs_f64(parameters.warm_up)?;
    let run_number = run_number();
    let mut swarm = Swarm::new(u64::from(run_number))?;
    let opening = parameters.target.opening(Dialect::Plain, 0);
    swarm.open(&opening, parameters.connections, |_| None)?;
    let mut echoes = Loop::new(parameters, run_number)?;
    for index in 0..parameters.connections {
        let now = clock::now();
        swarm.send(index, now, |outlet| echoes.send_next(outlet, index))?;
    }
    echoes.run_until(&mut swarm, clock::now() + warm_up, u64::MAX)?;
    echoes.messages_count = 0;
    echoes.latencies = Latencies::default();
    let pid = parameters.target.server_pid;
    let start = Reading::take(pid)?;
    let count_max = parameters.messages.unwrap_or(u64::MAX);
    echoes.run_until(&mut swarm, clock::now() + seconds, count_max)?;
    // Both are read at once: what is in flight now is as much as what was at the start.
    let end = Reading::take(pid)?;
    let messages_count = echoes.messages_count;
    let usage = Usage::between(start, end, clock::now());
    let latency = echoes.latencies.summary();
    let lost_count = echoes.drain(&mut swarm, parameters.target.timeout())?;
    std::thread::sleep(REST);
    swarm.close();
    Ok(Report {
        messages_count,
        damaged_count: echoes.damaged_count,
        lost_count,
        usage,
        server_ns_per_message: usage.server_ns_each(messages_count),
        generator_ns_per_message: usage.generator_ns_each(messages_count),
        messages_per_second: messages_count as f64 / usage.seconds,
        latency,
        warnings: usage.warnings(),
    })
}

impl Loop {
    fn new(parameters: &Parameters, run_number: u32) -> anyhow::Result<Self> {
        Ok(Self {
            payloads: Payloads::new(run_number, parameters.payload)?,
            in_flight: vec![None; parameters.connections],
            is_stopping: false,
            messages_count: 0,
            damaged_count: 0,
            latencies: Latencies::default(),
            body: Vec::new(),
        })
    }

    fn send_next(&mut self, outlet: &mut Outlet<'_>, index: usize) {
        let sequence = self.in_flight[index].map_or(0, |(sequence, _)| sequence + 1);
        self.in_flight[index] = Some((sequence, outlet.now));
        // The sender's number goes round: it tells neighbours apart, not all connections.
        let sender = u16::try_from(index & 0xffff).unwrap_or_default();
        self.payloads.write(sender, sequence, &mut self.body);
        outlet.text(&self.body);
    }

    fn handle(
        &mut self,
        outlet: &mut Outlet<'_>,
        index: usize,
        incoming: Incoming<'_>,
    ) -> anyhow::Result<()> {
        let message = match incoming {
            Incoming::Message(message) => message,
            Incoming::Upgraded | Incoming::Ping(_) => return Ok(()),
            Incoming::Closed(why) => anyhow::bail!("connection {index} ended: {why}"),
        };
        let stamp: Option<Stamp> = self.payloads.read(message);
        let expected = self.in_flight[index];
        let (Some(stamp), Some((sequence, sent_at))) = (stamp, expected) else {
            self.damaged_count += 1;
            return Ok(());
        };
        if stamp.sequence != sequence || usize::from(stamp.sender) != index & 0xffff {
            self.damaged_count += 1;
            return Ok(());
        }
        self.messages_count += 1;
        self.latencies.record(clock::elapsed_ns(sent_at, outlet.now));
        if self.is_stopping {
            self.in_flight[index] = None;
        } else {
            self.send_next(outlet, index);
        }
        Ok(())
    }

    fn run_until(
        &mut self,
        swarm: &mut Swarm,
        until: Instant,
        count_max: u64,
    ) -> anyhow::Result<()> {
        while clock::now() < until && self.messages_count < count_max {
            let left = until.saturating_duration_since(clock::now());
            swarm.poll(left.min(Duration::from_millis(100)), &mut |outlet, index, incoming| {
                self.handle(outlet, index, incoming)
            })?;
            ensure_all_open(swarm)?;
        }
        Ok(())
    }

    /// Waits for what is in flight; returns how many never came back.
    fn drain(&mut self, swarm: &mut Swarm, timeout: Duration) -> anyhow::Result<u64> {
        self.is_stopping = true;
        let deadline = Deadline::after(clock::now(), timeout);
        while self.in_flight.iter().any(Option::is_some) {
            if deadline.check(clock::now(), "the last echoes").is_err() {
                break;
            }
            swarm.poll(Duration::from_millis(100), &mut |outlet, index, incoming| {
                self.handle(outlet, index, incoming)
            })?;
        }
        Ok(self.in_flight.iter().filter(|it| it.is_some()).count() as u64)
    }
}
