//! A shard's dealings with its relay: mail of other shards, credit, and what comes out of it.

use crate::broker::relay::Event;
use crate::broker::relay::Mail;
use crate::broker::relay::Reply;
use crate::broker::relay::Request;
use crate::broker::relay::ShardId;
use crate::shard::state::Shard;
use crate::shard::state::TICK;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

impl Shard {
    /// Takes what another shard sent; a request only while [`Shard::has_reply_room`].
    pub fn handle_mail(&mut self, now: Now, from: ShardId, mail: Mail) {
        self.relay.handle_mail(from, mail);
        self.settle(now);
    }

    /// The next request for another shard.
    pub fn poll_request(&mut self, to: ShardId) -> Option<Request> {
        let request = self.relay.poll_request(to)?;
        self.counters.relay_mail.add(1);
        Some(request)
    }

    /// The next reply to another shard.
    pub fn poll_reply(&mut self, to: ShardId) -> Option<Reply> {
        let reply = self.relay.poll_reply(to)?;
        self.counters.relay_mail.add(1);
        Some(reply)
    }

    /// Mail has left: goes on with what waited for its room. `true` when that made more mail.
    pub fn handle_mail_sent(&mut self, now: Now) -> bool {
        self.settle(now);
        self.has_mail()
    }

    /// Whether mail for other shards waits.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        self.relay.has_mail()
    }

    /// Whether requests of other shards may be handed in.
    #[must_use]
    pub fn has_reply_room(&self) -> bool {
        self.relay.has_reply_room()
    }

    /// Whether connections may be read. Notes when that changes, because a peer is not blamed for
    /// a silence that is ours.
    pub fn has_credit(&mut self, now: Instant) -> bool {
        let has_credit = self.relay.has_credit();
        if has_credit == self.paused.is_on {
            self.paused.is_on = !has_credit;
            if !has_credit {
                self.paused.began_at = now;
                self.counters.relay_paused.add(1);
            } else if TICK <= now.since(self.paused.began_at) {
                // Shorter ones make nobody late, and many of them must not keep the dead alive.
                self.paused.ended_at = now;
            }
        }
        has_credit
    }

    /// Does all that the relay has for this shard, then holds the limits.
    pub(super) fn settle(&mut self, now: Now) {
        while let Some(event) = self.relay.poll_event() {
            match event {
                Event::Deliver { publication, audience } => {
                    self.deliver(now, &publication, &audience);
                }
                Event::Settled(token) => self.settle_token(now, token),
                Event::Refused(token, refusal) => self.refuse_token(now, token, refusal),
                Event::Control(_) => {}
            }
        }
        self.close_slow(now);
        self.hold_total(now);
        self.counters.outbox_bytes.set(self.meter.bytes() as u64);
        self.counters.subscriptions_active.set(self.table.subscriptions_count() as u64);
    }
}
