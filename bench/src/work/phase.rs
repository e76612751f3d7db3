//! One phase of a load in one process: the part that is not measured, or the one that is.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use crate::clock;
use crate::latency::Latencies;
use crate::payload::Payloads;
use crate::redis::Redis;
use crate::speech::Client;
use crate::wire::Order;
use crate::wire::Part;
use crate::wire::Tick;
use crate::work::LOOK_EVERY;
use crate::work::Pulse;
use crate::work::Work;
use crate::work::crowd::Crowd;
use crate::work::crowd::Due;
use crate::work::schedule::Schedule;

/// Between two looks for heart-beats that are due.
const BEAT_EVERY: Duration = Duration::from_millis(250);
/// After the last delivery, doubles may still come.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// What one phase has and finds.
pub struct Phase<'a> {
    /// What all phases share.
    pub work: &'a mut Work,
    schedule: Schedule,
    /// Who listens.
    pub crowd: Crowd,
    payloads: Payloads,
    redis: Option<&'a mut Redis>,
    /// Where each of this process's senders is in the swarm.
    senders: BTreeMap<u16, usize>,
    /// Senders that were closed, with the first message that they could not send.
    silenced: BTreeMap<u16, u64>,
    lag: Latencies,
    latency_last: Latencies,
    sent_count: u64,
    pulse: Pulse,
    is_measured: bool,
    beat_at: Instant,
    closings_before: usize,
}

impl<'a> Phase<'a> {
    /// A phase that begins at `at_ns` on the shared clock. `senders` says where each of this
    /// process's senders is in the swarm; those that speak to Redis are nowhere.
    ///
    /// # Errors
    ///
    /// The schedule is empty, or payloads are too small for their stamps.
    pub fn new(
        work: &'a mut Work,
        clients: &[Client],
        senders: &BTreeMap<u16, usize>,
        mut redis: Option<&'a mut Redis>,
        at_ns: u64,
        is_measured: bool,
    ) -> anyhow::Result<Self> {
        let plan = work.plan();
        let load = &plan.load;
        let seconds = if is_measured { load.seconds } else { load.warm_up };
        let schedule = Schedule::new(load.rate, seconds, load.senders, plan.rooms_count())?;
        // Late messages of the first phase are none of the second.
        let run = work.assignment.run ^ u32::from(is_measured);
        let payloads = Payloads::new(run, load.payload)?;
        let started_at = clock::from_shared_ns(at_ns);
        let due = Due::Scheduled(started_at);
        let closings_before = work.swarm.closings().len();
        if let Some(redis) = &mut redis {
            redis.forget();
        }
        Ok(Self {
            schedule,
            crowd: Crowd::new(schedule, payloads.clone(), clients, due),
            payloads,
            redis,
            senders: senders.clone(),
            silenced: BTreeMap::new(),
            lag: Latencies::default(),
            latency_last: Latencies::default(),
            sent_count: 0,
            pulse: Pulse::new(started_at, plan.tick()),
            is_measured,
            beat_at: started_at,
            closings_before,
            work,
        })
    }

    /// Sends all that is to be sent.
    ///
    /// # Errors
    ///
    /// A closed loop was broken, Redis refused, or the reporting process is gone.
    pub fn run(&mut self) -> anyhow::Result<()> {
        if self.work.plan().is_closed() { self.run_closed() } else { self.run_open() }
    }

    /// Sends every message of this process's senders as soon as its time has come.
    fn run_open(&mut self) -> anyhow::Result<()> {
        let Due::Scheduled(started_at) = self.crowd.due else { return Ok(()) };
        for index in 0..self.schedule.messages_count {
            let sender = self.schedule.message(index).sender;
            let Some(place) = self.senders.get(&sender).copied() else { continue };
            let due_at = started_at + self.schedule.due_after(index);
            while clock::now() < due_at {
                self.serve(due_at)?;
            }
            let is_gone = place != usize::MAX && !self.work.swarm.is_open(place);
            if is_gone {
                self.silenced.entry(sender).or_insert(index);
                if self.work.swarm.open_count() == 0 || self.silenced.len() == self.senders.len() {
                    break;
                }
                continue;
            }
            let now = clock::now();
            self.lag.record(clock::elapsed_ns(due_at, now));
            self.send(index, 1, place, now)?;
        }
        // Without senders of its own a process serves its subscribers until the last is due.
        let last = self.schedule.due_after(self.schedule.messages_count.saturating_sub(1));
        while clock::now() < started_at + last && self.work.swarm.open_count() != 0 {
            self.serve(started_at + last)?;
        }
        Ok(())
    }

    /// Sends batches, each when all have the one before.
    fn run_closed(&mut self) -> anyhow::Result<()> {
        let Due::Scheduled(started_at) = self.crowd.due else { return Ok(()) };
        let load = self.work.plan().load.clone();
        let seconds = if self.is_measured { load.seconds } else { load.warm_up };
        let until = started_at + Duration::from_secs_f64(seconds);
        let count_max = if self.is_measured { load.messages } else { 0 };
        let place = self.senders.get(&0).copied().unwrap_or(usize::MAX);
        self.work.sleep_until(started_at);
        let mut next = 0;
        let is_over = |sent_count: u64| match count_max {
            0 => until <= clock::now(),
            max => max <= sent_count,
        };
        while !is_over(self.sent_count) || next == 0 {
            let sent_at = clock::now();
            self.crowd.due = Due::Sent(sent_at);
            self.send(next, load.in_flight, place, sent_at)?;
            next += load.in_flight;
            let expected_count = self.crowd.expected_count(next);
            let deadline = sent_at + self.work.plan().timeout();
            while self.crowd.deliveries_count < expected_count
                || self.crowd.receipts_count < self.receipts_wanted()
            {
                let missing_count = expected_count - self.crowd.deliveries_count;
                anyhow::ensure!(
                    clock::now() < deadline,
                    "a batch took too long: {missing_count} deliveries of it never came"
                );
                self.serve(deadline)?;
                self.ensure_all_open()?;
            }
            self.latency_last.record(clock::elapsed_ns(sent_at, clock::now()));
        }
        self.schedule.messages_count = next;
        Ok(())
    }

    fn ensure_all_open(&self) -> anyhow::Result<()> {
        let closings = self.work.swarm.closings();
        let Some(first) = closings.first() else { return Ok(()) };
        let count = closings.len();
        anyhow::bail!(
            "{count} connections ended, the first (number {}): {}",
            first.index,
            first.why
        )
    }

    /// Sends `count` messages from number `first` on, in one write.
    fn send(&mut self, first: u64, count: u64, place: usize, now: Instant) -> anyhow::Result<()> {
        let Self { work, schedule, payloads, redis, sent_count, .. } = self;
        let Work { swarm, speech, .. } = &mut **work;
        let mut body = Vec::new();
        let mut text = Vec::new();
        let numbers = first..first + count;
        *sent_count += count;
        if let Some(redis) = redis {
            for number in numbers {
                let message = schedule.message(number);
                payloads.write(message.sender, message.sequence, &mut body);
                redis.publish(usize::try_from(message.room)?, &body)?;
            }
            return Ok(());
        }
        swarm.send(place, now, |outlet| {
            for number in numbers {
                let message = schedule.message(number);
                payloads.write(message.sender, message.sequence, &mut body);
                let room = usize::try_from(message.room).unwrap_or_default();
                speech.publish(room, number, &body, &mut text);
                outlet.message(&text);
            }
        })
    }

    /// Reads what comes until `until` or a little earlier, and looks after all that has its time.
    fn serve(&mut self, until: Instant) -> anyhow::Result<()> {
        let Self { crowd, work, redis, pulse, sent_count, closings_before, .. } = self;
        let Work { swarm, speech, .. } = &mut **work;
        let now = clock::now();
        let timeout = until.saturating_duration_since(now).min(LOOK_EVERY);
        // The kernel rounds up to milliseconds, which would make the next message late by up to
        // one: the last of them passes without a pause.
        let timeout = timeout.saturating_sub(Duration::from_millis(1));
        swarm.poll(timeout, &mut |outlet, index, incoming| {
            crowd.handle(speech, outlet, index, incoming);
            Ok(())
        })?;
        let now = clock::now();
        if self.beat_at <= now {
            self.beat_at = now + BEAT_EVERY;
            crowd.beat(swarm, now)?;
        }
        if let Some(redis) = redis {
            let (confirmed_count, error) = redis.confirmed()?;
            crowd.receipts_count = confirmed_count;
            if let Some(error) = error {
                anyhow::bail!("Redis answered {error}");
            }
        }
        if self.is_measured {
            let closings_count = swarm.closings().len() - *closings_before;
            pulse.beat(now, || Tick {
                slice: 0,
                open_count: swarm.open_count() as u64,
                sent_count: *sent_count,
                deliveries_count: crowd.deliveries_count,
                troubles_count: crowd.troubles_count + closings_count as u64,
                latency: crowd.recent.take(),
            })?;
        }
        Ok(())
    }

    fn receipts_wanted(&self) -> u64 {
        let asks = self.work.plan().words.receipts || self.redis.is_some();
        if asks { self.sent_count } else { 0 }
    }

    /// Waits for what is under way: all of it, or until nothing more comes.
    ///
    /// # Errors
    ///
    /// As for `run`.
    pub fn drain(&mut self) -> anyhow::Result<()> {
        let settle = Duration::from_secs_f64(self.work.plan().generator.settle);
        let expected_count = self.crowd.expected_count(self.schedule.messages_count);
        let mut heard_at = clock::now();
        let mut seen_count = self.crowd.deliveries_count;
        loop {
            let has_all = expected_count <= self.crowd.deliveries_count
                && self.receipts_wanted() <= self.crowd.receipts_count;
            let now = clock::now();
            if has_all || heard_at + settle <= now || self.work.swarm.open_count() == 0 {
                return Ok(());
            }
            if seen_count != self.crowd.deliveries_count {
                seen_count = self.crowd.deliveries_count;
                heard_at = now;
            }
            self.serve(now + LOOK_EVERY)?;
        }
    }

    /// After a phase that has drained: doubles may still come.
    ///
    /// # Errors
    ///
    /// As for `run`.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        if !self.is_measured {
            self.drain()?;
        }
        let until = clock::now() + AFTERWARDS;
        while clock::now() < until {
            self.serve(until)?;
        }
        Ok(())
    }

    /// For each of this process's senders the first message that it did not send.
    #[must_use]
    pub fn limits(&self) -> BTreeMap<u16, u64> {
        let all = self.schedule.messages_count;
        let limit = |sender: &u16| self.silenced.get(sender).copied().unwrap_or(all);
        self.senders.keys().map(|sender| (*sender, limit(sender))).collect()
    }

    /// Waits for the word to end; returns for each sender the first message that was not sent.
    ///
    /// # Errors
    ///
    /// The reporting process is gone.
    pub fn await_end(&mut self) -> anyhow::Result<Vec<u64>> {
        let Self { crowd, work, .. } = self;
        let order = work.await_order(&mut |speech, outlet, index, incoming| {
            crowd.handle(speech, outlet, index, incoming);
            Ok(())
        })?;
        let Order::End { limits } = order else { anyhow::bail!("{order:?} is out of turn") };
        Ok(limits)
    }

    /// What this phase found; `limits` are those of all processes, empty for its own.
    #[must_use]
    pub fn part(&self, limits: &[u64]) -> Part {
        let Self { crowd, work, .. } = self;
        let mut own = vec![u64::MAX; usize::from(self.schedule.senders_count)];
        for (sender, limit) in self.limits() {
            own[usize::from(sender)] = limit;
        }
        let limits = if limits.is_empty() { &own[..] } else { limits };
        let closings = work.swarm.closings();
        let (verdict, lost_at_close_count) = crowd.verdict(limits, closings);
        let (orders, other_orders_count) = crowd.orders(closings);
        let clients = work.clients(true);
        let slow = clients.iter().enumerate().filter(|(_, client)| client.is_slow);
        let slow: Vec<usize> = slow.map(|(index, _)| index).collect();
        let slow_closed = slow.iter().filter(|index| !work.swarm.is_open(**index));
        let mut part = Part {
            verdict,
            sent_count: self.sent_count,
            deliveries_count: crowd.deliveries_count,
            receipts_count: crowd.receipts_count,
            troubles_count: crowd.troubles_count,
            first_trouble: crowd.first_trouble.clone(),
            lost_at_close_count,
            slow_count: slow.len() as u64,
            slow_closed_count: slow_closed.count() as u64,
            orders,
            other_orders_count,
            heart_beats_count: crowd.heart_beats_count,
            silences_count: crowd.silences_count,
            latency: crowd.latency.buckets(),
            latency_last: self.latency_last.buckets(),
            confirmed: crowd.confirmed.buckets(),
            lag: self.lag.buckets(),
            ..Part::default()
        };
        if let Due::Scheduled(started_at) = crowd.due {
            work.add_closings(&mut part, started_at);
        }
        part
    }
}
