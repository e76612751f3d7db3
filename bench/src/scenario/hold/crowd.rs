//! The receiving side of a hold: what each session got, and its heart-beats.

use std::time::Duration;
use std::time::Instant;

use crate::clock;
use crate::measure::Latencies;
use crate::payload::Payloads;
use crate::scenario::hold::schedule::Message;
use crate::scenario::hold::schedule::Schedule;
use crate::sequence::Seen;
use crate::sequence::Tracker;
use crate::sequence::Verdict;
use crate::stomp::Frame;
use crate::stomp::Inbound;
use crate::swarm::Incoming;
use crate::swarm::Swarm;

/// All sessions: first the subscribers, then the senders.
pub struct Crowd<'a> {
    /// When message 0 is due.
    pub started_at: Instant,
    /// When the last delivery came.
    pub heard_at: Instant,
    /// Deliveries that were not doubles.
    pub deliveries_count: u64,
    /// SENDs that the server confirmed.
    pub receipts_count: u64,
    /// ERROR frames.
    pub errors_count: u64,
    /// The first of them.
    pub first_error: Option<String>,
    /// STOMP heart-beats that came.
    pub heart_beats_count: u64,
    /// Sessions that heard nothing for too long, each time.
    pub silences_count: u64,
    /// From due to delivered.
    pub latency: Latencies,
    schedule: &'a Schedule,
    payloads: Payloads,
    subscribers: Vec<Subscriber>,
    expected_count: u64,
    damaged_count: u64,
}

struct Subscriber {
    room: u64,
    /// One for each sender.
    trackers: Vec<Tracker>,
    /// The order of all that came, in one number.
    order: u64,
    is_silent: bool,
}

impl<'a> Crowd<'a> {
    /// `count` subscribers spread over the rooms, who got nothing yet.
    #[must_use]
    pub fn new(schedule: &'a Schedule, payloads: Payloads, count: usize, now: Instant) -> Self {
        let subscribers: Vec<_> = (0..count)
            .map(|position| Subscriber {
                room: (position % schedule.rooms_count) as u64,
                trackers: vec![Tracker::default(); usize::from(schedule.senders_count)],
                order: 0,
                is_silent: false,
            })
            .collect();
        let expected_count = subscribers.iter().map(|it| it.expected(schedule).sum::<u64>()).sum();
        Self {
            started_at: now,
            heard_at: now,
            deliveries_count: 0,
            receipts_count: 0,
            errors_count: 0,
            first_error: None,
            heart_beats_count: 0,
            silences_count: 0,
            latency: Latencies::default(),
            schedule,
            payloads,
            subscribers,
            expected_count,
            damaged_count: 0,
        }
    }

    /// How many subscribers there are; the senders come after them.
    #[must_use]
    pub fn subscribers_count(&self) -> usize {
        self.subscribers.len()
    }

    /// Every delivery and every receipt has come.
    #[must_use]
    pub fn has_all(&self) -> bool {
        self.expected_count <= self.deliveries_count
            && self.schedule.messages_count <= self.receipts_count
    }

    /// Takes what came on connection `index`.
    pub fn handle(&mut self, now: Instant, index: usize, incoming: Incoming<'_>) {
        // The end of a connection is counted by the swarm.
        let Incoming::Message(message) = incoming else { return };
        match Inbound::parse(message) {
            Ok(Inbound::HeartBeat) => self.heart_beats_count += 1,
            Ok(Inbound::Frame(frame)) => match frame.command {
                b"MESSAGE" => self.handle_message(now, index, frame),
                b"RECEIPT" => self.receipts_count += 1,
                _ => {
                    self.errors_count += 1;
                    self.first_error.get_or_insert_with(|| frame.summary());
                }
            },
            Err(error) => {
                self.errors_count += 1;
                self.first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }

    fn handle_message(&mut self, now: Instant, index: usize, frame: Frame<'_>) {
        let stamp = self.payloads.read(frame.body);
        let (Some(stamp), Some(subscriber)) = (stamp, self.subscribers.get_mut(index)) else {
            self.damaged_count += 1;
            return;
        };
        let message =
            Message { sender: stamp.sender, room: subscriber.room, sequence: stamp.sequence };
        let Some(due) = self.schedule.index_of(message) else {
            self.damaged_count += 1;
            return;
        };
        match subscriber.trackers[usize::from(stamp.sender)].observe(stamp.sequence) {
            Seen::Double => return,
            Seen::InOrder | Seen::Early | Seen::Late => {}
        }
        subscriber.order =
            (subscriber.order ^ (due + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        self.deliveries_count += 1;
        self.heard_at = now;
        let due_at = self.started_at + self.schedule.due_after(due);
        self.latency.record(clock::elapsed_ns(due_at, now));
    }

    /// Sends the heart-beats that are due and counts the sessions that the server is silent to.
    ///
    /// # Errors
    ///
    /// The server does not read.
    pub fn beat(&mut self, swarm: &mut Swarm, now: Instant) -> anyhow::Result<()> {
        let Some((server_every, client_every)) = swarm.heart_beats() else { return Ok(()) };
        for index in 0..swarm.connections_count() {
            if !swarm.is_open(index) {
                continue;
            }
            let (heard_at, said_at) = swarm.last_heard_and_said(index);
            // Early enough that a sweep that is late does not make the heart-beat late.
            if !client_every.is_zero() && client_every.mul_f64(0.8) <= now - said_at {
                swarm.send(index, now, |outlet| outlet.text(b"\n"))?;
            }
            let Some(subscriber) = self.subscribers.get_mut(index) else { continue };
            let is_silent = server_every != Duration::ZERO && 2 * server_every < now - heard_at;
            if is_silent && !subscriber.is_silent {
                self.silences_count += 1;
            }
            subscriber.is_silent = is_silent;
        }
        Ok(())
    }

    /// What arrived of what was sent.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for subscriber in &self.subscribers {
            for (tracker, sent_count) in
                subscriber.trackers.iter().zip(subscriber.expected(self.schedule))
            {
                verdict.add(tracker.verdict(sent_count));
            }
        }
        verdict.damaged_count = self.damaged_count;
        verdict
    }

    /// Subscribers who saw another order than the first subscriber of their room.
    #[must_use]
    pub fn other_orders_count(&self) -> u64 {
        let firsts = &self.subscribers[..self.schedule.rooms_count.min(self.subscribers.len())];
        let others = self.subscribers.iter().zip(firsts.iter().cycle());
        others.filter(|(it, first)| it.order != first.order).count() as u64
    }
}

impl Subscriber {
    /// How many messages it should get from each sender.
    fn expected(&self, schedule: &Schedule) -> impl Iterator<Item = u64> {
        (0..schedule.senders_count).map(|sender| schedule.count_of(sender, self.room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Target;
    use crate::scenario::hold::Parameters;

    /// Gives the messages in `orders` to one subscriber each and checks lost, doubled, reordered,
    /// damaged and other orders. Messages are numbered as in the schedule of two senders: even ones
    /// are of sender 0.
    #[track_caller]
    fn check(orders: &[&[u64]], expected: (u64, u64, u64, u64, u64)) {
        let target = Target {
            url: "ws://127.0.0.1:1/".parse().unwrap(),
            server_pid: None,
            source: Vec::new(),
            timeout: 1,
        };
        let schedule = Schedule::new(&Parameters {
            target,
            connections: orders.len(),
            seconds: 1.0,
            senders: 2,
            rate: 4.0,
            rooms: 1,
            payload: 40,
            heart_beat: 0,
        })
        .unwrap();
        let payloads = Payloads::new(1, 40).unwrap();
        let now = clock::now();
        let mut crowd = Crowd::new(&schedule, payloads.clone(), orders.len(), now);
        for (position, order) in orders.iter().enumerate() {
            for index in *order {
                let message = schedule.message(*index);
                let mut body = Vec::new();
                payloads.write(message.sender, message.sequence, &mut body);
                let frame = [b"MESSAGE\n\n", &body[..], b"\0"].concat();
                crowd.handle(now, position, Incoming::Message(&frame));
            }
        }
        let verdict = crowd.verdict();
        assert!(!crowd.has_all(), "no receipt has come");
        assert_eq!(
            (
                verdict.lost_count,
                verdict.doubled_count,
                verdict.reordered_count,
                verdict.damaged_count,
                crowd.other_orders_count()
            ),
            expected
        );
    }

    #[test]
    fn each_fault_of_each_subscriber_is_counted() {
        check(&[&[0, 1, 2, 3], &[0, 1, 2, 3]], (0, 0, 0, 0, 0));
        check(&[&[0, 1, 2, 3], &[0, 1, 2]], (1, 0, 0, 0, 1));
        check(&[&[0, 1, 1, 2, 3], &[0, 1, 2, 3]], (0, 1, 0, 0, 0));
        check(&[&[0, 1, 2, 3], &[2, 1, 0, 3]], (0, 0, 1, 0, 1));
        // Each sender's messages are in order, but the two subscribers disagree about the senders'.
        check(&[&[0, 1, 2, 3], &[1, 0, 2, 3]], (0, 0, 0, 0, 1));
        // A message that nobody sent.
        check(&[&[0, 1, 2, 3], &[0, 1, 2, 3, 4]], (0, 0, 0, 1, 0));
    }
}
