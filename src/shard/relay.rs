//! A shard's dealings with its relay: mail of other shards, the links to Redis, credit, and what
//! comes out of it.

use std::net::SocketAddr;

use crate::broker::relay::Event;
use crate::broker::relay::Mail;
use crate::broker::relay::Reply;
use crate::broker::relay::Request;
use crate::broker::relay::ShardId;
use crate::broker::relay::redis::Control;
use crate::broker::relay::redis::Dropped;
use crate::broker::relay::redis::Level;
use crate::broker::relay::redis::LinkAction;
use crate::broker::relay::redis::LinkId;
use crate::broker::relay::redis::Note;
use crate::broker::relay::redis::State;
use crate::broker::relay::redis::Taken;
use crate::metrics::IS_METERED;
use crate::metrics::RelayDropped;
use crate::shard::answer::Answer;
use crate::shard::state::Shard;
use crate::shard::state::TICK;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

impl Shard {
    /// Takes what another shard sent; a request only while [`Shard::has_reply_room`].
    pub fn handle_mail(&mut self, now: Now, from: ShardId, mail: Mail) {
        match mail {
            Mail::Request(Request::Seat(ask)) => self.seats.handle_ask(from, ask),
            Mail::Reply(Reply::Seat(answer)) => self.seats.handle_answer(answer),
            mail @ (Mail::Request(_) | Mail::Reply(_)) => self.relay.handle_mail(from, mail),
        }
        self.settle(now);
    }

    /// The next request for another shard.
    pub fn poll_request(&mut self, to: ShardId) -> Option<Request> {
        let seat = self.seats.poll_ask(to).map(Request::Seat);
        let request = seat.or_else(|| self.relay.poll_request(to))?;
        self.counters.relay_mail.add(1);
        Some(request)
    }

    /// The next reply to another shard.
    pub fn poll_reply(&mut self, to: ShardId) -> Option<Reply> {
        let seat = self.seats.poll_answer(to).map(Reply::Seat);
        let reply = seat.or_else(|| self.relay.poll_reply(to))?;
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
        self.relay.has_mail() || self.seats.has_mail()
    }

    /// Whether requests of other shards may be handed in.
    #[must_use]
    pub fn has_reply_room(&self) -> bool {
        self.relay.has_reply_room() && self.seats.has_room(self.options.mailbox_max)
    }

    /// Whether connections may be read. Notes when that changes, because a peer is not blamed for
    /// a silence that is ours.
    pub fn has_credit(&mut self, now: Instant) -> bool {
        let has_credit = self.relay.has_credit() && !self.is_silenced;
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
        while let Some(answer) = self.seats.poll_event() {
            self.seat(now, answer);
        }
        while let Some(event) = self.relay.poll_event() {
            match event {
                Event::Deliver { publication, audience } => {
                    self.deliver(now, &publication, &audience);
                }
                Event::Settled(token) => self.settle_token(now, token),
                Event::Stored(token, place) => self.answer(now, token, Answer::Stored(place)),
                Event::Deferred(token, place) => self.answer(now, token, Answer::Deferred(place)),
                Event::Page(token, page) => self.handle_page(now, token, Some(page)),
                Event::Refused(token, refusal) => self.refuse_token(now, token, refusal),
                Event::Control(control) => self.handle_control(now, &control),
            }
        }
        while let Some(token) = self.replays.poll_cancelled() {
            self.relay.forget_reading(token);
            self.answer(now, token, Answer::Recovered(false, None));
        }
        self.close_slow(now);
        self.hold_total(now);
        if IS_METERED {
            self.counters.replays.queue.set(self.relay.unstored_count() as u64);
            self.counters.outbox_bytes.set(self.meter.bytes() as u64);
            self.counters.subscriptions_active.set(self.table.subscriptions_count() as u64);
        }
    }

    /// What to do with the links to Redis next.
    pub fn poll_link_action(&mut self) -> Option<LinkAction> {
        self.relay.redis_mut()?.poll_action()
    }

    /// A link is connected to `peer`, TLS included.
    pub fn handle_link_connected(&mut self, now: Now, link: LinkId, peer: SocketAddr) {
        if let Some(redis) = self.relay.redis_mut() {
            redis.handle_connected(now.instant, link, peer);
        }
        self.settle(now);
    }

    /// Takes what a link received, however little of it is whole: the caller keeps what is not
    /// consumed and puts what comes next behind it.
    pub fn handle_link_bytes(&mut self, now: Now, link: LinkId, bytes: &mut [u8]) -> Taken {
        let Some(redis) = self.relay.redis_mut() else {
            return Taken { consumed: bytes.len(), bytes_min: 0 };
        };
        let taken = redis.handle_bytes(now, link, bytes);
        self.settle(now);
        taken
    }

    /// A link could not be connected, or has ended.
    pub fn handle_link_lost(&mut self, now: Now, link: LinkId, why: &str) {
        if let Some(redis) = self.relay.redis_mut() {
            redis.handle_lost(now.instant, link, why);
        }
        self.settle(now);
    }

    /// The name of a link, which was to be looked up, leads to these addresses now.
    pub fn handle_link_looked(&mut self, now: Now, link: LinkId, found: &[SocketAddr]) {
        if let Some(redis) = self.relay.redis_mut() {
            redis.handle_looked(now.instant, link, found);
        }
        self.settle(now);
    }

    /// A link that has something to write; each is named once until it is transmitted.
    pub fn poll_link_dirty(&mut self) -> Option<LinkId> {
        self.relay.redis_mut()?.poll_dirty()
    }

    /// Appends what the link is to write next; asked only while it has no write under way.
    pub fn poll_link_transmit(&mut self, now: Now, link: LinkId, out: &mut Vec<u8>) {
        if let Some(redis) = self.relay.redis_mut() {
            redis.poll_transmit(now.instant, link, out);
        }
    }

    /// Lets time pass for the relay, and says how it is.
    pub(super) fn tick_relay(&mut self, now: Now) {
        let Some(redis) = self.relay.redis_mut() else {
            return;
        };
        redis.handle_timer(now);
        while let Some(Note { level, text }) = redis.poll_note() {
            let Some(suppressed) = self.log_limit.admit(now.instant) else { continue };
            match level {
                Level::Info => tracing::info!(suppressed, "relay: {text}"),
                Level::Warn => tracing::warn!(suppressed, "relay: {text}"),
            }
        }
        self.count_relay();
    }

    fn count_relay(&mut self) {
        let counters = &self.counters.relay;
        let Some(redis) = self.relay.redis_mut() else {
            return;
        };
        let counts = *redis.counts();
        let is_up = redis.state() == State::Up;
        counters.up.set(u64::from(is_up));
        counters.reconnects.raise_to(counts.reconnects);
        counters.gap_ns.raise_to(u64::try_from(counts.gap.as_nanos()).unwrap_or(u64::MAX));
        counters.published.raise_to(counts.published);
        counters.refused.raise_to(counts.refused);
        counters.received.raise_to(counts.received);
        counters.commands.raise_to(counts.commands);
        counters.outbox_bytes.set(redis.waiting_bytes() as u64);
        for why in Dropped::ALL {
            counters.dropped.of(label_of(why)).raise_to(counts.dropped[why.index()]);
        }
        redis.take_round_trips(&mut self.round_trips);
        for round_trip in self.round_trips.drain(..) {
            counters
                .round_trip
                .observe_ns(u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX));
        }
        let shard = usize::from(self.identity.id.0);
        match is_up {
            true => self.identity.health.relay_up(shard),
            false => self.identity.health.relay_down(shard),
        }
    }

    /// Does what the fleet is told to do; each shard of each task hears it, once.
    fn handle_control(&mut self, now: Now, control: &Control) {
        let Some(options) = &self.options.redis else {
            return;
        };
        match control {
            Control::Drain { task } if task.as_ref().is_none_or(|it| *it == options.origin) => {
                tracing::info!("told over the relay to drain");
                self.identity.health.drain();
            }
            Control::Drain { .. } => {}
            Control::Revoke(revocations) => self.revoke(now, revocations),
            Control::Disconnect { user } => self.disconnect(now, user),
        }
    }
}

const fn label_of(why: Dropped) -> RelayDropped {
    match why {
        Dropped::Malformed => RelayDropped::Malformed,
        Dropped::Mismatch => RelayDropped::Mismatch,
        Dropped::Oversize => RelayDropped::Oversize,
        Dropped::Unsigned => RelayDropped::Unsigned,
        Dropped::BadSignature => RelayDropped::BadSignature,
        Dropped::Stale => RelayDropped::Stale,
        Dropped::Control => RelayDropped::Control,
    }
}
