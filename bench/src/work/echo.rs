//! Every connection's messages come back to it: in a closed loop, or at fixed times.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use crate::clock;
use crate::latency::Latencies;
use crate::payload::Payloads;
use crate::payload::SEQUENCE_MAX;
use crate::sequence::Seen;
use crate::sequence::Tracker;
use crate::sequence::Verdict;
use crate::speech::Client;
use crate::speech::Heard;
use crate::speech::Speech;
use crate::swarm::Incoming;
use crate::swarm::Outlet;
use crate::wire::Finished;
use crate::wire::Note;
use crate::wire::Order;
use crate::wire::Part;
use crate::wire::Tick;
use crate::work::LOOK_EVERY;
use crate::work::Pulse;
use crate::work::Work;
use crate::work::tell;
use crate::work::told;

/// What one phase of one process knows.
struct Echoes {
    payloads: Payloads,
    lines: Vec<Line>,
    /// Whether an answer is followed by the next message.
    is_closed: bool,
    sent_count: u64,
    answers_count: u64,
    damaged_count: u64,
    heard_at: Instant,
    latency: Latencies,
    recent: Latencies,
    lag: Latencies,
    body: Vec<u8>,
}

/// One connection.
#[derive(Default)]
struct Line {
    number: usize,
    tracker: Tracker,
    next: u64,
    /// Numbers that are under way, and since when they should be.
    under_way: VecDeque<(u64, Instant)>,
}

/// Opens the clients, runs the two phases, and tells what came of them.
///
/// # Errors
///
/// Not all could connect, or the reporting process is gone.
pub fn run(work: &mut Work) -> anyhow::Result<Part> {
    let clients = work.clients(false);
    let opened = work.open(&clients, None)?;
    tell(&Note::Ready(told(&opened)))?;
    let mut warm_up_verdict = Verdict::default();
    let mut order = work.await_order(&mut |_, _, _, _| Ok(()))?;
    if let Order::WarmUp { at_ns } = order {
        let mut echoes = Echoes::new(work, &clients, false)?;
        echoes.run(work, clock::from_shared_ns(at_ns), false)?;
        warm_up_verdict = echoes.verdict();
        tell(&Note::WarmedUp)?;
        order = work.await_order(&mut |_, _, _, _| Ok(()))?;
    }
    let Order::Go { at_ns } = order else { anyhow::bail!("{order:?} is out of turn") };
    let started_at = clock::from_shared_ns(at_ns);
    let mut echoes = Echoes::new(work, &clients, true)?;
    let idle_ns = work.swarm.idle_ns();
    echoes.run(work, started_at, true)?;
    let idle_ns = work.swarm.idle_ns() - idle_ns;
    let took_ns = clock::elapsed_ns(started_at, clock::now()).max(1);
    tell(&Note::Finished(Finished {
        at_ns: clock::to_shared_ns(echoes.heard_at),
        busy_share: (1.0 - idle_ns as f64 / took_ns as f64).max(0.0),
        ..Finished::default()
    }))?;
    let order = work.await_order(&mut |speech, outlet, index, incoming| {
        echoes.handle(speech, outlet, index, incoming);
        Ok(())
    })?;
    anyhow::ensure!(matches!(order, Order::End { .. }), "{order:?} is out of turn");
    let mut part = Part {
        verdict: echoes.verdict(),
        warm_up_verdict,
        sent_count: echoes.sent_count,
        deliveries_count: echoes.answers_count,
        latency: echoes.latency.buckets(),
        lag: echoes.lag.buckets(),
        ..Part::default()
    };
    work.add_closings(&mut part, started_at);
    Ok(part)
}

impl Echoes {
    fn new(work: &Work, clients: &[Client], is_measured: bool) -> anyhow::Result<Self> {
        let run = work.assignment.run ^ u32::from(is_measured);
        let line = |client: &Client| Line { number: client.number, ..Line::default() };
        Ok(Self {
            payloads: Payloads::new(run, work.plan().load.payload)?,
            lines: clients.iter().map(line).collect(),
            is_closed: work.plan().is_closed(),
            sent_count: 0,
            answers_count: 0,
            damaged_count: 0,
            heard_at: clock::now(),
            latency: Latencies::default(),
            recent: Latencies::with_digits(2),
            lag: Latencies::default(),
            body: Vec::new(),
        })
    }

    fn run(
        &mut self,
        work: &mut Work,
        started_at: Instant,
        is_measured: bool,
    ) -> anyhow::Result<()> {
        let load = work.plan().load.clone();
        let seconds = if is_measured { load.seconds } else { load.warm_up };
        let until = started_at + Duration::from_secs_f64(seconds);
        let mut pulse = is_measured.then(|| Pulse::new(started_at, work.plan().tick()));
        work.sleep_until(started_at);
        if self.is_closed {
            let workers = work.assignment.workers as u64;
            let max = if is_measured { load.messages.div_ceil(workers) } else { 0 };
            for index in 0..self.lines.len() {
                let now = clock::now();
                work.swarm.send(index, now, |outlet| {
                    for _ in 0..load.in_flight {
                        self.send_next(outlet, index, now);
                    }
                })?;
            }
            let count_max = if max == 0 { u64::MAX } else { max };
            while clock::now() < until && self.sent_count < count_max {
                self.serve(work, until, &mut pulse)?;
            }
            self.is_closed = false;
        } else {
            self.run_open(work, started_at, until, &mut pulse)?;
        }
        let settle = Duration::from_secs_f64(work.plan().generator.settle);
        while self.lines.iter().any(|line| !line.under_way.is_empty()) {
            let now = clock::now();
            let last_at = self.heard_at.max(until.min(now));
            if last_at + settle <= now || work.swarm.open_count() == 0 {
                break;
            }
            self.serve(work, now + LOOK_EVERY, &mut pulse)?;
        }
        Ok(())
    }

    /// Connections take turns, and each message leaves when its time has come.
    fn run_open(
        &mut self,
        work: &mut Work,
        started_at: Instant,
        until: Instant,
        pulse: &mut Option<Pulse>,
    ) -> anyhow::Result<()> {
        let (rate, count) = (work.plan().load.rate, work.plan().load.connections as u64);
        let places: Vec<(u64, usize)> = self
            .lines
            .iter()
            .enumerate()
            .map(|(index, line)| (line.number as u64, index))
            .collect();
        for turn in 0..SEQUENCE_MAX {
            for (number, index) in &places {
                let message = turn * count + number;
                let due_at = started_at + Duration::from_secs_f64(message as f64 / rate);
                if until <= due_at {
                    return Ok(());
                }
                while clock::now() < due_at {
                    self.serve(work, due_at, pulse)?;
                }
                let now = clock::now();
                self.lag.record(clock::elapsed_ns(due_at, now));
                if work.swarm.is_open(*index) {
                    work.swarm.send(*index, now, |outlet| {
                        self.send_next(outlet, *index, due_at);
                    })?;
                }
            }
        }
        Ok(())
    }

    fn serve(
        &mut self,
        work: &mut Work,
        until: Instant,
        pulse: &mut Option<Pulse>,
    ) -> anyhow::Result<()> {
        let Work { swarm, speech, .. } = work;
        let timeout = until.saturating_duration_since(clock::now()).min(LOOK_EVERY);
        // The kernel rounds up to milliseconds: the last of them passes without a pause.
        let timeout = timeout.saturating_sub(Duration::from_millis(1));
        swarm.poll(timeout, &mut |outlet, index, incoming| {
            self.handle(speech, outlet, index, incoming);
            Ok(())
        })?;
        let Some(pulse) = pulse else { return Ok(()) };
        pulse.beat(clock::now(), || Tick {
            slice: 0,
            open_count: swarm.open_count() as u64,
            sent_count: self.sent_count,
            deliveries_count: self.answers_count,
            troubles_count: self.damaged_count + swarm.closings().len() as u64,
            latency: self.recent.take(),
        })
    }

    fn send_next(&mut self, outlet: &mut Outlet<'_>, index: usize, due_at: Instant) {
        let line = &mut self.lines[index];
        // The sender's number goes round: it tells neighbours apart, not all connections.
        let sender = u16::try_from(line.number & 0xffff).unwrap_or_default();
        self.payloads.write(sender, line.next, &mut self.body);
        line.under_way.push_back((line.next, due_at));
        line.next += 1;
        self.sent_count += 1;
        outlet.message(&self.body);
    }

    fn handle(
        &mut self,
        speech: &Speech,
        outlet: &mut Outlet<'_>,
        index: usize,
        incoming: Incoming<'_>,
    ) {
        let Incoming::Message(message) = incoming else { return };
        if let Heard::Question(answer) = speech.understand(message) {
            return outlet.message(answer.as_bytes());
        }
        let line = &mut self.lines[index];
        let stamp = self.payloads.read(message);
        let stamp = stamp.filter(|it| usize::from(it.sender) == line.number & 0xffff);
        let Some(stamp) = stamp.filter(|it| it.sequence < line.next) else {
            self.damaged_count += 1;
            return;
        };
        if line.tracker.observe(stamp.sequence) == Seen::Double {
            return;
        }
        let found = line.under_way.iter().position(|(number, _)| *number == stamp.sequence);
        let Some((_, due_at)) = found.and_then(|position| line.under_way.remove(position)) else {
            return;
        };
        self.answers_count += 1;
        self.heard_at = outlet.now;
        let latency_ns = clock::elapsed_ns(due_at, outlet.now);
        self.latency.record(latency_ns);
        self.recent.record(latency_ns);
        if self.is_closed {
            let now = outlet.now;
            self.send_next(outlet, index, now);
        }
    }

    fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for line in &self.lines {
            verdict.add(line.tracker.verdict(line.next));
        }
        verdict.damaged_count = self.damaged_count;
        verdict
    }
}
