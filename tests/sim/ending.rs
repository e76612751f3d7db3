//! How runs end: all is carried until nothing moves; what must be there by then is there, and when
//! all have gone nothing is left of them.

use std::time::Duration;

use crate::client::Answer;
use crate::client::Nature;
use crate::places::hears;
use crate::plan::CLOSE_TIMEOUT;
use crate::plan::HANDSHAKE_TIMEOUT;
use crate::world::World;

/// Rounds after which what still moves will move for ever.
const ROUNDS_MAX: usize = 20_000;
/// How much later than its deadline something may end: ticks are 100 ms apart.
const LATE_MAX: Duration = Duration::from_millis(400);

impl World {
    /// Carries everything while the time stands still, until nothing moves; then looks at it all.
    pub(crate) fn calm(&mut self) {
        for client in self.live.clone() {
            let is_still_stalled = self.dice.percent(15);
            self.clients[client].flags.is_stalled &= is_still_stalled;
        }
        for _ in 0..ROUNDS_MAX {
            let before = self.step;
            for client in self.live.clone() {
                let flags = &self.clients[client].flags;
                if !flags.is_stalled {
                    self.clients[client].room_bytes = self.plan.pipe_bytes_max;
                }
                self.react(client, 100);
                self.hand(client);
                self.complete(client);
                if self.clients[client].flags.is_aborted {
                    self.depart(client, 100);
                }
            }
            for shard in 0..self.shards.len() {
                self.flush(shard);
                self.carry(shard, true);
            }
            self.check();
            if self.step == before {
                self.note("calm", 0);
                return self.check_calm();
            }
        }
        panic!("after {ROUNDS_MAX} rounds it still moves");
    }

    /// Nothing moves: what is missing now would be missing for ever.
    fn check_calm(&mut self) {
        for (shard, rings) in self.rings.iter().enumerate() {
            assert!(!self.shards[shard].has_mail(), "mail that nobody takes");
            let is_empty = rings.iter().all(|it| it.requests.is_empty() && it.replies.is_empty());
            assert!(is_empty, "mail that is stuck");
        }
        for number in self.live.clone() {
            let client = &mut self.clients[number];
            assert!(!client.flags.is_broken, "a send failed and the connection stays");
            assert!(client.outgoing.is_empty(), "bytes that the shard does not take");
            if client.flags.is_stalled {
                continue;
            }
            assert!(client.in_flight.is_none(), "a send that is not answered");
            let is_over = client.tap.is_over() && !client.flags.is_hostile;
            if is_over && (client.flags.is_answered || client.closed_with.is_some()) {
                assert!(
                    client.flags.is_write_ended,
                    "client {number} and the server have closed, and it lingers"
                );
            }
            if client.flags.is_close_heard || client.nature != Nature::Stomp || !client.is_well() {
                continue;
            }
            assert!(client.closed_with.is_none(), "a close frame without an answer");
            assert!(client.disconnect.is_none(), "a DISCONNECT without an end");
            let owed = client.frames.iter().position(|it| it.answer == Answer::Owed);
            assert_eq!(owed, None, "a receipt that never comes");
            client.done_count = client.frames.len();
        }
        self.check_delivered();
    }

    /// Every message whose SEND is done is with all who had their receipt before it was written,
    /// and who are still here and read.
    fn check_delivered(&mut self) {
        let mut checked = 0;
        for (number, message) in self.ledger.messages.iter().enumerate() {
            let author = &self.clients[message.sender];
            let is_refused = author.is_refused(message.frame);
            let Some(said_by) = message.said_by.filter(|it| *it < author.done_count) else {
                continue;
            };
            if is_refused || author.is_refused(said_by) {
                continue;
            }
            for receiver in self.live.iter().map(|it| &self.clients[*it]) {
                let flags = &receiver.flags;
                if !receiver.is_well() || flags.is_close_heard || flags.is_stalled {
                    continue;
                }
                for sub in &receiver.subs {
                    let is_due = sub.turns.iter().any(|turn| {
                        turn.ended_by.is_none()
                            && turn.confirmed_at.is_some_and(|it| it < message.said_at)
                            && hears(turn.wish, receiver.user, message.target)
                    });
                    let has_come = !is_due || sub.received.contains(&number);
                    assert!(
                        has_come,
                        "message {number} ({} at {}, {:?}) never came to {} {:?}",
                        message.target,
                        message.said_at,
                        said_by,
                        sub.name,
                        sub.turns
                            .iter()
                            .map(|t| (t.wish, t.frame, t.confirmed_at, t.ended_by))
                            .collect::<Vec<_>>()
                    );
                    checked += u64::from(is_due);
                }
            }
        }
        *self.report.counts.entry("due and delivered").or_default() += checked;
    }

    /// One of the ways in which everything ends.
    pub(crate) fn end(&mut self) {
        match self.dice.below(10) {
            0..=3 => self.drain(),
            4..=5 => {
                for client in self.live.clone() {
                    let is_able =
                        self.clients[client].may_speak() && self.clients[client].is_well();
                    if is_able && self.clients[client].disconnect.is_none() {
                        self.disconnect(client);
                        self.ship(client);
                    }
                }
                self.calm();
            }
            6..=7 => {
                for client in self.live.clone() {
                    self.clients[client].flags.has_ended = true;
                }
                for _ in 0..20 {
                    self.turn();
                }
            }
            _ => {}
        }
        for client in self.live.clone() {
            self.close(client);
        }
        self.clear_wrecks(100);
        for _ in 0..ROUNDS_MAX {
            let before = self.step;
            for shard in 0..self.shards.len() {
                self.flush(shard);
                self.carry(shard, true);
            }
            if self.step == before {
                break;
            }
        }
        self.check();
        for shard in &self.shards {
            shard.check_empty();
        }
        self.ledger.check_order();
    }

    /// Drains all shards: each is done by its deadline, whatever its peers do.
    fn drain(&mut self) {
        self.note("drain", 0);
        self.is_draining = true;
        let is_unfinished = |client: &usize| !self.clients[*client].flags.is_upgraded;
        // A head that is half there may take its own time before it is answered.
        let first =
            if self.live.iter().any(is_unfinished) { HANDSHAKE_TIMEOUT } else { Duration::ZERO };
        let began_at = self.now.instant;
        for shard in 0..self.shards.len() {
            self.shards[shard].handle_drain(self.now);
        }
        while self.now.instant.since(began_at) < first + CLOSE_TIMEOUT + LATE_MAX {
            let pace_ms = self.dice.between(20, 100) as u64;
            self.pass(Duration::from_millis(pace_ms));
            for client in self.live.clone() {
                self.weather(client);
                self.act(client);
                self.react(client, 50);
                self.hand(client);
                self.complete(client);
                self.depart(client, 100);
            }
            for shard in 0..self.shards.len() {
                self.tick(shard);
                self.carry(shard, false);
            }
            self.check();
        }
        assert!(self.shards.iter().all(|it| it.is_drained()), "a drain that does not end");
    }
}
