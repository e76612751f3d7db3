//! Many STOMP sessions held and served at a fixed rate: nothing may be lost, doubled or reordered.

use std::time::Duration;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::clock;
use crate::measure::Latencies;
use crate::measure::LatencySummary;
use crate::measure::Reading;
use crate::measure::Usage;
use crate::memory::Memory;
use crate::payload::Payloads;
use crate::scenario::REST;
use crate::scenario::Target;
use crate::scenario::run_number;
use crate::sequence::Verdict;
use crate::stomp;
use crate::swarm::Dialect;
use crate::swarm::Swarm;

pub mod crowd;
pub mod schedule;

use crowd::Crowd;
use schedule::Schedule;

/// How often heart-beats are looked after.
const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// How often the terminal hears of the progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// After the last delivery, doubles may still come.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// Subscribed STOMP sessions in rooms, and senders who keep to a schedule whatever the server does.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Parameters {
    /// Where the server is.
    #[command(flatten)]
    pub target: Target,
    /// Sessions, each subscribed to one /topic/room.N.
    #[arg(long, default_value_t = 10_000)]
    pub connections: usize,
    /// Seconds to send for.
    #[arg(long, default_value_t = 60.0)]
    pub seconds: f64,
    /// Sessions that send through /app/room.N.
    #[arg(long, default_value_t = 2)]
    pub senders: u16,
    /// Messages in a second, of all senders together.
    #[arg(long, default_value_t = 5.0)]
    pub rate: f64,
    /// Rooms that sessions and messages are spread over.
    #[arg(long, default_value_t = 1)]
    pub rooms: usize,
    /// Size of the payload in bytes.
    #[arg(long, default_value_t = 200)]
    pub payload: usize,
    /// STOMP heart-beats offered and wanted, in milliseconds; 0 is none.
    #[arg(long, default_value_t = 10_000)]
    pub heart_beat: u32,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Loss, doubles and order, for each subscriber and sender.
    pub verdict: Verdict,
    /// Subscribers who saw a room's messages in another order than the first one of that room.
    pub other_orders_count: u64,
    /// Messages sent.
    pub sent_count: u64,
    /// Messages that the server confirmed with a RECEIPT.
    pub receipts_count: u64,
    /// ERROR frames that the server sent.
    pub errors_count: u64,
    /// Connections that the server ended.
    pub closings_count: u64,
    /// The first error or end, in the server's words.
    pub first_trouble: Option<String>,
    /// STOMP heart-beats that came.
    pub heart_beats_count: u64,
    /// Times a session heard nothing for more than twice the heart-beat's interval.
    pub silences_count: u64,
    /// WebSocket pings that came and were answered.
    pub pings_count: u64,
    /// Time and processor time from the first message to the last delivery.
    pub usage: Usage,
    /// Server CPU for one delivery, with everything else it did meanwhile.
    pub server_ns_per_delivery: Option<f64>,
    /// The server's memory when all were subscribed.
    pub memory_before: Option<Memory>,
    /// The server's memory after the last delivery.
    pub memory_after: Option<Memory>,
    /// From when a message should have been sent to each of its deliveries: a server that makes
    /// the senders late does not hide it (corrected for coordinated omission).
    pub latency: LatencySummary,
    /// How late the generator was with its messages.
    pub lag: LatencySummary,
    /// What a reader of the figures must know.
    pub warnings: Vec<String>,
}

impl Report {
    /// Nothing went wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean()
            && self.other_orders_count == 0
            && self.receipts_count == self.sent_count
            && self.errors_count == 0
            && self.closings_count == 0
            && self.silences_count == 0
    }
}

/// Runs the scenario.
///
/// # Errors
///
/// The server refused or ended before all were subscribed, or its process ended.
pub fn run(parameters: &Parameters) -> anyhow::Result<Report> {
    let schedule = Schedule::new(parameters)?;
    let run_number = run_number();
    let mut swarm = Swarm::new(u64::from(run_number))?;
    let opening = parameters.target.opening(Dialect::Stomp, parameters.heart_beat);
    swarm.open(&opening, parameters.connections, |position| {
        Some(format!("/topic/room.{}", 1 + position % schedule.rooms_count))
    })?;
    swarm.open(&opening, usize::from(parameters.senders), |_| None)?;
    eprintln!("  all {} sessions are subscribed", parameters.connections);
    let pid = parameters.target.server_pid;
    let memory_before = pid.map(Memory::of).transpose()?;
    let start = Reading::take(pid)?;
    let payloads = Payloads::new(run_number, parameters.payload)?;
    let mut run = Run {
        crowd: Crowd::new(&schedule, payloads.clone(), parameters.connections, clock::now()),
        schedule: &schedule,
        payloads,
        lag: Latencies::default(),
        swarm,
        sweep_at: clock::now(),
        progress_at: clock::now() + PROGRESS_EVERY,
        next_message: 0,
    };
    run.send_all()?;
    let work_ended_at = run.drain(parameters.target.timeout())?;
    std::thread::sleep(REST);
    let usage = Usage::between(start, Reading::take(pid)?, work_ended_at);
    let memory_after = pid.map(Memory::of).transpose()?;
    Ok(run.report(usage, memory_before, memory_after))
}

struct Run<'a> {
    schedule: &'a Schedule,
    crowd: Crowd<'a>,
    payloads: Payloads,
    lag: Latencies,
    swarm: Swarm,
    sweep_at: Instant,
    progress_at: Instant,
    next_message: u64,
}

impl Run<'_> {
    /// Sends every message as soon as its time has come.
    fn send_all(&mut self) -> anyhow::Result<()> {
        let mut body = Vec::new();
        let mut frame = Vec::new();
        while self.next_message < self.schedule.messages_count {
            let now = clock::now();
            let due_at = self.crowd.started_at + self.schedule.due_after(self.next_message);
            if now < due_at {
                self.wait(due_at.saturating_duration_since(now))?;
                continue;
            }
            let message = self.schedule.message(self.next_message);
            let receipt = self.next_message;
            self.lag.record(clock::elapsed_ns(due_at, now));
            self.payloads.write(message.sender, message.sequence, &mut body);
            let destination = format!("/app/room.{}", 1 + message.room);
            frame.clear();
            stomp::encode_send(&destination, Some(receipt), &body, &mut frame);
            let index = self.crowd.subscribers_count() + usize::from(message.sender);
            self.swarm.send(index, now, |outlet| outlet.text(&frame))?;
            self.next_message += 1;
        }
        Ok(())
    }

    /// Waits for what is under way; returns when the last delivery came.
    fn drain(&mut self, timeout: Duration) -> anyhow::Result<Instant> {
        let deadline = clock::now() + timeout;
        while !self.crowd.has_all() && clock::now() < deadline {
            self.wait(SWEEP_EVERY)?;
        }
        let work_ended_at = self.crowd.heard_at;
        let until = clock::now() + AFTERWARDS;
        while clock::now() < until {
            self.wait(SWEEP_EVERY)?;
        }
        Ok(work_ended_at)
    }

    /// Reads what comes within `timeout`, or less, and looks after heart-beats.
    fn wait(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let Self { crowd, swarm, .. } = self;
        let timeout = timeout.min(self.sweep_at.saturating_duration_since(clock::now()));
        // The kernel rounds up to milliseconds, which would make the next message late by up to
        // one: the last of them passes without a pause.
        let timeout = timeout.saturating_sub(Duration::from_millis(1));
        swarm.poll(timeout, &mut |outlet, index, incoming| {
            crowd.handle(outlet.now, index, incoming);
            Ok(())
        })?;
        if swarm.closings().len() == swarm.connections_count() {
            let why = swarm.closings().first().map_or("", |closing| &closing.why);
            anyhow::bail!("no connection is left: {why}");
        }
        let now = clock::now();
        if self.sweep_at <= now {
            self.sweep_at = now + SWEEP_EVERY;
            crowd.beat(swarm, now)?;
        }
        if self.progress_at <= now {
            self.progress_at = now + PROGRESS_EVERY;
            eprintln!(
                "  {} of {} messages sent, {} deliveries, {} closed",
                self.next_message,
                self.schedule.messages_count,
                crowd.deliveries_count,
                swarm.closings().len()
            );
        }
        Ok(())
    }

    fn report(
        self,
        usage: Usage,
        memory_before: Option<Memory>,
        memory_after: Option<Memory>,
    ) -> Report {
        let Self { crowd, swarm, lag, schedule, .. } = self;
        let closings_count = swarm.closings().len() as u64;
        let first_closing = swarm.closings().first();
        let first_closing = first_closing.map(|it| format!("connection {}: {}", it.index, it.why));
        let pings_count = swarm.pings_count();
        swarm.close();
        Report {
            verdict: crowd.verdict(),
            other_orders_count: crowd.other_orders_count(),
            sent_count: schedule.messages_count,
            receipts_count: crowd.receipts_count,
            errors_count: crowd.errors_count,
            closings_count,
            heart_beats_count: crowd.heart_beats_count,
            silences_count: crowd.silences_count,
            pings_count,
            usage,
            server_ns_per_delivery: usage.server_ns_each(crowd.deliveries_count),
            memory_before,
            memory_after,
            latency: crowd.latency.summary(),
            lag: lag.summary(),
            warnings: usage.warnings(),
            first_trouble: crowd.first_error.or(first_closing),
        }
    }
}
