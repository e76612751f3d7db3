//! One sender, many subscribers, a fixed number of messages in flight: the cost of a delivery.

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
use crate::scenario::REST;
use crate::scenario::Target;
use crate::scenario::ensure_all_open;
use crate::scenario::run_number;
use crate::sequence::Seen;
use crate::sequence::Tracker;
use crate::sequence::Verdict;
use crate::stomp;
use crate::stomp::Inbound;
use crate::swarm::Dialect;
use crate::swarm::Incoming;
use crate::swarm::Swarm;

const DESTINATION: &str = "/topic/bench";

/// One sender and many subscribers of one destination.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Parameters {
    /// Where the server is.
    #[command(flatten)]
    pub target: Target,
    /// What the server speaks: stomp subscribes to /topic/bench; plain expects a server that gives
    /// every message to all others.
    #[arg(long = "target", value_enum, default_value = "stomp", value_name = "DIALECT")]
    pub dialect: Dialect,
    /// Connections that receive every message.
    #[arg(long, default_value_t = 1000)]
    pub subscribers: usize,
    /// Messages that leave in one write; the next ones follow when all subscribers have them.
    #[arg(long, default_value_t = 1)]
    pub in_flight: u64,
    /// Size of the payload in bytes.
    #[arg(long, default_value_t = 200)]
    pub payload: usize,
    /// Messages to measure.
    #[arg(long, default_value_t = 400)]
    pub messages: u64,
    /// Messages before that, which are not measured.
    #[arg(long, default_value_t = 40)]
    pub warm_up: u64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Loss, doubles and order over the whole run, warm-up included.
    pub verdict: Verdict,
    /// Deliveries in the measured part.
    pub deliveries_count: u64,
    /// Time and processor time of the measured part.
    pub usage: Usage,
    /// Server CPU for one delivery.
    pub server_ns_per_delivery: Option<f64>,
    /// Generator CPU for one delivery.
    pub generator_ns_per_delivery: Option<f64>,
    /// Deliveries in a second.
    pub deliveries_per_second: f64,
    /// From the write of a batch to each of its deliveries.
    pub latency_each: LatencySummary,
    /// From the write of a batch to the last of its deliveries.
    pub latency_last: LatencySummary,
    /// What a reader of the figures must know.
    pub warnings: Vec<String>,
}

/// Runs the scenario.
///
/// # Errors
///
/// The server refused, ended or went silent; or a connection ended.
pub fn run(parameters: &Parameters) -> anyhow::Result<Report> {
    anyhow::ensure!(0 < parameters.in_flight, "at least one message must be in flight");
    anyhow::ensure!(0 < parameters.subscribers, "at least one subscriber is needed");
    let mut run = Run::open(parameters)?;
    let batches = |messages: u64| messages.div_ceil(parameters.in_flight);
    for _ in 0..batches(parameters.warm_up) {
        run.batch()?;
    }
    run.start_measuring();
    let pid = parameters.target.server_pid;
    let start = Reading::take(pid)?;
    for _ in 0..batches(parameters.messages).max(1) {
        run.batch()?;
    }
    let work_ended_at = clock::now();
    run.rest()?;
    let usage = Usage::between(start, Reading::take(pid)?, work_ended_at);
    Ok(run.report(usage))
}

struct Run<'a> {
    parameters: &'a Parameters,
    swarm: Swarm,
    payloads: Payloads,
    subscribers: Subscribers,
    sent_count: u64,
    latency_last: Latencies,
}

/// The receiving side.
struct Subscribers {
    dialect: Dialect,
    payloads: Payloads,
    trackers: Vec<Tracker>,
    batch_sent_at: Instant,
    /// Deliveries that the batch still waits for.
    awaited_count: u64,
    deliveries_count: u64,
    damaged_count: u64,
    latency_each: Latencies,
}

impl<'a> Run<'a> {
    fn open(parameters: &'a Parameters) -> anyhow::Result<Self> {
        let run_number = run_number();
        let payloads = Payloads::new(run_number, parameters.payload)?;
        let mut swarm = Swarm::new(u64::from(run_number))?;
        let opening = parameters.target.opening(parameters.dialect, 0);
        swarm.open(&opening, parameters.subscribers, |_| Some(DESTINATION.to_owned()))?;
        // The sender is the last connection and subscribes to nothing.
        swarm.open(&opening, 1, |_| None)?;
        let subscribers = Subscribers {
            dialect: parameters.dialect,
            payloads: payloads.clone(),
            trackers: vec![Tracker::default(); parameters.subscribers],
            batch_sent_at: clock::now(),
            awaited_count: 0,
            deliveries_count: 0,
            damaged_count: 0,
            latency_each: Latencies::default(),
        };
        let latency_last = Latencies::default();
        Ok(Self { parameters, swarm, payloads, subscribers, sent_count: 0, latency_last })
    }

    fn start_measuring(&mut self) {
        self.subscribers.deliveries_count = 0;
        self.subscribers.latency_each = Latencies::default();
        self.latency_last = Latencies::default();
    }

    /// Sends as many messages as may be in flight and waits until all subscribers have them.
    fn batch(&mut self) -> anyhow::Result<()> {
        let Self { parameters, swarm, payloads, subscribers, .. } = self;
        let mut body = Vec::new();
        let mut frame = Vec::new();
        let first = self.sent_count;
        self.sent_count += parameters.in_flight;
        subscribers.awaited_count = parameters.in_flight * parameters.subscribers as u64;
        subscribers.batch_sent_at = clock::now();
        let sent_at = subscribers.batch_sent_at;
        swarm.send(parameters.subscribers, sent_at, |outlet| {
            for sequence in first..first + parameters.in_flight {
                payloads.write(0, sequence, &mut body);
                match parameters.dialect {
                    Dialect::Plain => outlet.text(&body),
                    Dialect::Stomp => {
                        frame.clear();
                        stomp::encode_send(DESTINATION, None, &body, &mut frame);
                        outlet.text(&frame);
                    }
                }
            }
        })?;
        let deadline = Deadline::after(sent_at, parameters.target.timeout());
        while subscribers.awaited_count != 0 {
            swarm.poll(parameters.target.timeout(), &mut |outlet, index, incoming| {
                subscribers.handle(outlet.now, index, incoming)
            })?;
            ensure_all_open(swarm)?;
            if let Err(error) = deadline.check(clock::now(), "a batch") {
                let count = subscribers.awaited_count;
                return Err(error.context(format!("{count} deliveries of a batch never came")));
            }
        }
        self.latency_last.record(clock::elapsed_ns(sent_at, clock::now()));
        Ok(())
    }

    /// Gives the server time to finish, and doubles time to come.
    fn rest(&mut self) -> anyhow::Result<()> {
        let until = clock::now() + REST;
        while clock::now() < until {
            self.swarm.poll(REST, &mut |outlet, index, incoming| {
                self.subscribers.handle(outlet.now, index, incoming)
            })?;
        }
        Ok(())
    }

    fn report(self, usage: Usage) -> Report {
        let mut verdict = Verdict::default();
        for tracker in &self.subscribers.trackers {
            verdict.add(tracker.verdict(self.sent_count));
        }
        verdict.damaged_count = self.subscribers.damaged_count;
        let deliveries_count = self.subscribers.deliveries_count;
        let report = Report {
            verdict,
            deliveries_count,
            usage,
            server_ns_per_delivery: usage.server_ns_each(deliveries_count),
            generator_ns_per_delivery: usage.generator_ns_each(deliveries_count),
            deliveries_per_second: deliveries_count as f64 / usage.seconds,
            latency_each: self.subscribers.latency_each.summary(),
            latency_last: self.latency_last.summary(),
            warnings: usage.warnings(),
        };
        self.swarm.close();
        report
    }
}

impl Subscribers {
    fn handle(&mut self, now: Instant, index: usize, incoming: Incoming<'_>) -> anyhow::Result<()> {
        let message = match incoming {
            Incoming::Message(message) => message,
            Incoming::Upgraded | Incoming::Ping(_) => return Ok(()),
            Incoming::Closed(why) => anyhow::bail!("connection {index} ended: {why}"),
        };
        let body = match self.dialect {
            Dialect::Plain => message,
            Dialect::Stomp => match Inbound::parse(message)? {
                Inbound::HeartBeat => return Ok(()),
                Inbound::Frame(frame) if frame.command == b"MESSAGE" => frame.body,
                Inbound::Frame(frame) => anyhow::bail!("the server sent {}", frame.summary()),
            },
        };
        let stamp = self.payloads.read(body);
        let (Some(stamp), Some(tracker)) = (stamp, self.trackers.get_mut(index)) else {
            self.damaged_count += 1;
            return Ok(());
        };
        match tracker.observe(stamp.sequence) {
            Seen::Double => {}
            Seen::InOrder | Seen::Early | Seen::Late => {
                self.awaited_count = self.awaited_count.saturating_sub(1);
                self.deliveries_count += 1;
                self.latency_each.record(clock::elapsed_ns(self.batch_sent_at, now));
            }
        }
        Ok(())
    }
}
