//! The receiving side: what each client got, and its heart-beats.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use crate::clock;
use crate::latency::Latencies;
use crate::payload::Payloads;
use crate::payload::Stamp;
use crate::sequence::Seen;
use crate::sequence::Tracker;
use crate::sequence::Verdict;
use crate::speech::Client;
use crate::speech::Heard;
use crate::speech::Speech;
use crate::swarm::Closing;
use crate::swarm::Incoming;
use crate::swarm::Outlet;
use crate::swarm::Swarm;
use crate::work::schedule::Message;
use crate::work::schedule::Schedule;

/// From when on a message counts as under way.
#[derive(Clone, Copy, Debug)]
pub enum Due {
    /// From its place in the schedule, which began then: whoever makes it late does not hide it.
    Scheduled(Instant),
    /// From when its batch left.
    Sent(Instant),
}

/// All clients of this process in one phase: first the subscribers, then the senders.
pub struct Crowd {
    /// From when messages count.
    pub due: Due,
    /// When the last delivery came.
    pub heard_at: Instant,
    /// Deliveries that were not doubles, to those who read.
    pub deliveries_count: u64,
    /// Messages that the server confirmed.
    pub receipts_count: u64,
    /// ERROR frames, and what could not be understood.
    pub troubles_count: u64,
    /// The first of them.
    pub first_trouble: Option<String>,
    /// STOMP heart-beats that came.
    pub heart_beats_count: u64,
    /// Clients that heard nothing for too long, each time.
    pub silences_count: u64,
    /// From due to delivered.
    pub latency: Latencies,
    /// The same since somebody last took them.
    pub recent: Latencies,
    /// From due to confirmed.
    pub confirmed: Latencies,
    schedule: Schedule,
    payloads: Payloads,
    subscribers: Vec<Subscriber>,
    damaged_count: u64,
}

struct Subscriber {
    room: u64,
    is_slow: bool,
    /// One for each sender.
    trackers: Vec<Tracker>,
    /// The order of all that came, in one number.
    order: u64,
    is_silent: bool,
}

impl Crowd {
    /// Clients who got nothing yet.
    #[must_use]
    pub fn new(schedule: Schedule, payloads: Payloads, clients: &[Client], due: Due) -> Self {
        let subscribers = clients.iter().filter_map(|client| {
            Some(Subscriber {
                room: client.room? as u64,
                is_slow: client.is_slow,
                trackers: vec![Tracker::default(); usize::from(schedule.senders_count)],
                order: 0,
                is_silent: false,
            })
        });
        Self {
            due,
            heard_at: clock::now(),
            deliveries_count: 0,
            receipts_count: 0,
            troubles_count: 0,
            first_trouble: None,
            heart_beats_count: 0,
            silences_count: 0,
            latency: Latencies::default(),
            recent: Latencies::with_digits(2),
            confirmed: Latencies::default(),
            schedule,
            payloads,
            subscribers: subscribers.collect(),
            damaged_count: 0,
        }
    }

    /// How many subscribers there are; the senders come after them.
    #[must_use]
    pub fn subscribers_count(&self) -> usize {
        self.subscribers.len()
    }

    /// Deliveries of the messages below `limit` that those who read should get.
    #[must_use]
    pub fn expected_count(&self, limit: u64) -> u64 {
        let readers = self.subscribers.iter().filter(|it| !it.is_slow);
        let of = |it: &Subscriber| -> u64 {
            let senders = 0..self.schedule.senders_count;
            senders.map(|sender| self.schedule.count_below(sender, it.room, limit)).sum()
        };
        readers.map(of).sum()
    }

    /// Takes what came on connection `index`, and answers questions of the server.
    pub fn handle(
        &mut self,
        speech: &Speech,
        outlet: &mut Outlet<'_>,
        index: usize,
        incoming: Incoming<'_>,
    ) {
        // The end of a connection is counted by the swarm.
        let Incoming::Message(message) = incoming else { return };
        match speech.understand(message) {
            Heard::HeartBeat => self.heart_beats_count += 1,
            Heard::Payload(payload) => {
                let stamp = self.payloads.read(payload);
                self.take(outlet.now, index, stamp);
            }
            Heard::Text(text) => {
                let payloads = self.payloads.clone();
                for stamp in payloads.find_all(text) {
                    self.take(outlet.now, index, stamp);
                }
            }
            Heard::Receipt(number) => {
                self.receipts_count += 1;
                if let Some(number) = number {
                    let due_at = self.due_at(number);
                    self.confirmed.record(clock::elapsed_ns(due_at, outlet.now));
                }
            }
            Heard::Question(answer) => outlet.message(answer.as_bytes()),
            Heard::Trouble(what) => {
                self.troubles_count += 1;
                self.first_trouble.get_or_insert(what);
            }
        }
    }

    fn due_at(&self, index: u64) -> Instant {
        match self.due {
            Due::Scheduled(started_at) => started_at + self.schedule.due_after(index),
            Due::Sent(sent_at) => sent_at,
        }
    }

    fn take(&mut self, now: Instant, index: usize, stamp: Option<Stamp>) {
        let (Some(stamp), Some(subscriber)) = (stamp, self.subscribers.get_mut(index)) else {
            self.damaged_count += 1;
            return;
        };
        let message =
            Message { sender: stamp.sender, room: subscriber.room, sequence: stamp.sequence };
        let Some(number) = self.schedule.index_of(message) else {
            self.damaged_count += 1;
            return;
        };
        match subscriber.trackers[usize::from(stamp.sender)].observe(stamp.sequence) {
            Seen::Double => return,
            Seen::InOrder | Seen::Early | Seen::Late => {}
        }
        if subscriber.is_slow {
            return;
        }
        subscriber.order =
            (subscriber.order ^ (number + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        self.deliveries_count += 1;
        self.heard_at = now;
        let latency_ns = clock::elapsed_ns(self.due_at(number), now);
        self.latency.record(latency_ns);
        self.recent.record(latency_ns);
    }

    /// Sends the heart-beats that are due and counts the clients that the server is silent to.
    ///
    /// # Errors
    ///
    /// The server does not read.
    pub fn beat(&mut self, swarm: &mut Swarm, now: Instant) -> anyhow::Result<()> {
        let Some((server_every, client_every)) = swarm.heart_beats() else { return Ok(()) };
        if server_every.is_zero() && client_every.is_zero() {
            return Ok(());
        }
        for index in 0..swarm.connections_count() {
            if !swarm.is_open(index) {
                continue;
            }
            let (heard_at, said_at) = swarm.last_heard_and_said(index);
            // Early enough that a sweep that is late does not make the heart-beat late.
            if !client_every.is_zero() && client_every.mul_f64(0.8) <= now - said_at {
                swarm.send(index, now, |outlet| outlet.message(b"\n"))?;
            }
            let Some(subscriber) = self.subscribers.get_mut(index) else { continue };
            let is_silent = server_every != Duration::ZERO
                && 2 * server_every < now - heard_at
                && !subscriber.is_slow;
            if is_silent && !subscriber.is_silent {
                self.silences_count += 1;
            }
            subscriber.is_silent = is_silent;
        }
        Ok(())
    }

    /// What arrived of what was sent. `limits` are, for each sender, the messages below which all
    /// its own were sent. Who was closed is not expected to have what came due afterwards; what it
    /// lacks from before is the second number, not a loss of the verdict.
    #[must_use]
    pub fn verdict(&self, limits: &[u64], closings: &[Closing]) -> (Verdict, u64) {
        let closed_at: BTreeMap<usize, Instant> =
            closings.iter().map(|it| (it.index, it.at)).collect();
        let mut sum = Verdict::default();
        let mut lost_at_close_count = 0;
        for (index, subscriber) in self.subscribers.iter().enumerate() {
            if subscriber.is_slow {
                continue;
            }
            let due_before_close = closed_at.get(&index).map(|at| match self.due {
                Due::Scheduled(started_at) => {
                    self.schedule.due_count(at.saturating_duration_since(started_at))
                }
                Due::Sent(_) => u64::MAX,
            });
            for (sender, tracker) in (0..self.schedule.senders_count).zip(&subscriber.trackers) {
                let limit = limits.get(usize::from(sender)).copied().unwrap_or(u64::MAX);
                let limit = limit.min(due_before_close.unwrap_or(u64::MAX));
                let sent_count = self.schedule.count_below(sender, subscriber.room, limit);
                let seen_count = tracker.next();
                if due_before_close.is_some() {
                    lost_at_close_count += sent_count.saturating_sub(seen_count);
                    sum.add(tracker.verdict(seen_count));
                } else {
                    sum.add(tracker.verdict(sent_count));
                }
            }
        }
        sum.damaged_count = self.damaged_count;
        (sum, lost_at_close_count)
    }

    /// The order in which the first reader of each room saw its messages, and how many of this
    /// process's readers saw another one. Those who were closed do not count.
    #[must_use]
    pub fn orders(&self, closings: &[Closing]) -> (BTreeMap<u64, u64>, u64) {
        let closed: std::collections::BTreeSet<usize> =
            closings.iter().map(|it| it.index).collect();
        let mut firsts = BTreeMap::new();
        let mut others_count = 0;
        for (index, subscriber) in self.subscribers.iter().enumerate() {
            if subscriber.is_slow || closed.contains(&index) {
                continue;
            }
            let first = *firsts.entry(subscriber.room).or_insert(subscriber.order);
            others_count += u64::from(first != subscriber.order);
        }
        (firsts, others_count)
    }
}
