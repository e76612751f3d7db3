//! The driver: carries bytes, completions and mail between clients and shards, in parts and late.

use ringway::broker::relay::Mail;
use ringway::broker::relay::ShardId;
use ringway::shard::Action;

use crate::world::World;
use crate::world::Wreck;

/// What the frames of the protocol itself may take above the limit of an outbox.
const OWN_BYTES_MAX: usize = 1024;

impl World {
    /// Hands a part of what the client wrote to its shard, if that reads.
    pub(crate) fn hand(&mut self, number: usize) {
        let shard = self.clients[number].shard;
        if self.clients[number].outgoing.is_empty() || self.clients[number].flags.is_gone {
            return;
        }
        if !self.shards[shard].has_credit(self.now.instant) {
            *self.report.counts.entry("no credit").or_default() += 1;
            return;
        }
        let waiting = self.clients[number].outgoing.len();
        let bytes_max = *self.dice.pick(&[1, 3, 20, 200, 5_000, 65_536, 65_536]);
        let bytes_count = if waiting <= bytes_max || self.dice.percent(20) {
            bytes_max.min(waiting)
        } else {
            1 + self.dice.below(bytes_max)
        };
        let client = &mut self.clients[number];
        let mut bytes: Vec<u8> = client.outgoing.drain(..bytes_count).collect();
        client.handed_bytes += bytes_count as u64;
        client.silence = client.silence.max(self.now.instant.since(client.handed_at));
        client.handed_at = self.now.instant;
        let is_whole = |frame: usize| client.frames[frame].done_at <= client.handed_bytes;
        if client.disconnected_at.is_none() && client.disconnect.is_some_and(is_whole) {
            client.disconnected_at = Some(self.now.instant);
        }
        let id = client.id;
        self.note("handed", bytes_count as u64);
        self.tell(|| format!("by client {number}"));
        self.shards[shard].handle_bytes(self.now, id, &mut bytes);
    }

    /// The kernel answers the client's send: it took all, a part, or failed.
    pub(crate) fn complete(&mut self, number: usize) {
        let client = &self.clients[number];
        let (shard, id) = (client.shard, client.id);
        let Some(batch) = &client.in_flight else { return };
        let batch_bytes = batch.len();
        let is_lost = client.flags.is_aborted || client.flags.is_broken;
        if is_lost || self.dice.permille(self.plan.resets / 8) {
            self.note("send failed", number as u64);
            self.clients[number].in_flight = None;
            self.clients[number].flags.is_broken = true;
            self.shards[shard].handle_send_failed(self.now, id);
            return;
        }
        let most = batch_bytes.min(client.room_bytes);
        if most == 0 && (client.flags.is_stalled || self.dice.percent(95)) {
            return;
        }
        let sent_bytes = if self.dice.percent(75) { most } else { self.dice.below(most + 1) };
        let part = if sent_bytes < batch_bytes { "sent in part" } else { "sent" };
        self.note(part, sent_bytes as u64);
        self.tell(|| format!("to client {number}"));
        let client = &mut self.clients[number];
        let batch = client.in_flight.take().expect("it was there");
        let mut bytes: Vec<u8> = batch.slices().flatten().copied().collect();
        assert_eq!(bytes.len(), batch_bytes, "a batch says how long it is");
        bytes.truncate(sent_bytes);
        client.room_bytes -= sent_bytes;
        let heard = client.tap.feed(&bytes);
        self.mix_bytes(&bytes);
        for it in heard {
            self.judge(number, it);
        }
        self.shards[shard].handle_sent(self.now, id, sent_bytes);
    }

    /// Ends a turn of the shard: takes its sends and actions.
    pub(crate) fn flush(&mut self, shard: usize) {
        self.shards[shard].handle_turn_end(self.now.instant);
        self.shards[shard].handle_mail_sent(self.now);
        while let Some((id, batch)) = self.shards[shard].poll_send() {
            let number = *self.owners.get(&(shard, id)).expect("a send to an open connection");
            self.note("send", batch.len() as u64);
            self.tell(|| format!("to client {number}"));
            let bytes_max = self.plan.outbox_bytes_max + OWN_BYTES_MAX;
            let client = &mut self.clients[number];
            assert!(client.in_flight.is_none(), "two sends under way at once");
            assert!(!client.flags.is_write_ended, "a send behind the end");
            assert!(!batch.is_empty(), "an empty send");
            assert!(batch.len() <= bytes_max, "an outbox of {} bytes", batch.len());
            client.in_flight = Some(batch);
            client.polled_at = self.now.instant;
        }
        while let Some((id, action)) = self.shards[shard].poll_action() {
            // As sockets do, it comes too late for a connection that is gone.
            let Some(&number) = self.owners.get(&(shard, id)) else { continue };
            self.note("action", number as u64);
            let client = &mut self.clients[number];
            match action {
                Action::Abort => client.flags.is_aborted = true,
                Action::EndWrite => {
                    assert!(client.in_flight.is_none(), "the end overtakes a send");
                    assert!(client.tap.is_over(), "the end comes before the last frame");
                    assert!(!client.flags.is_write_ended, "the end comes twice");
                    client.flags.is_write_ended = true;
                }
            }
        }
    }

    /// Carries the shard's mail, some of it or all that there is room for.
    pub(crate) fn carry(&mut self, shard: usize, is_all: bool) {
        let mut budget = if is_all { usize::MAX } else { self.dice.below(12) };
        let me = shard_id(shard);
        for other in (0..self.shards.len()).filter(|it| *it != shard) {
            let mailbox_max = self.plan.mailbox_max;
            let ring = &mut self.rings[shard][other];
            let from = &mut self.shards[shard];
            let mut carried = 0;
            while carried < budget && ring.replies.len() < mailbox_max {
                let Some(reply) = from.poll_reply(shard_id(other)) else { break };
                ring.replies.push_back(reply);
                carried += 1;
            }
            while carried < budget && ring.requests.len() < mailbox_max {
                let Some(request) = from.poll_request(shard_id(other)) else { break };
                ring.requests.push_back(request);
                carried += 1;
            }
            if 0 < carried {
                self.note("mail out", carried as u64);
                self.shards[shard].handle_mail_sent(self.now);
            }
            budget = if is_all { budget } else { self.dice.below(12) };
            let ring = &mut self.rings[other][shard];
            let to = &mut self.shards[shard];
            let mut carried = 0;
            while carried < budget {
                let Some(reply) = ring.replies.pop_front() else { break };
                to.handle_mail(self.now, shard_id(other), Mail::Reply(reply));
                carried += 1;
            }
            while carried < budget && to.has_reply_room() {
                let Some(request) = ring.requests.pop_front() else { break };
                to.handle_mail(self.now, shard_id(other), Mail::Request(request));
                carried += 1;
            }
            if 0 < carried {
                self.note("mail in", u64::from(me.0));
            }
        }
    }

    /// The socket of a client is closed, by whomever.
    pub(crate) fn close(&mut self, number: usize) {
        let shard = self.clients[number].shard;
        if self.dice.percent(50) {
            self.flush(shard);
            // Nothing waits and nothing final was said: the session was open to its last byte.
            let client = &mut self.clients[number];
            let is_silent = client.in_flight.is_none() && !client.tap.is_over();
            if client.is_well() && is_silent && client.disconnect.is_none() {
                client.done_count = client.done_count.max(client.handed_count());
            }
        }
        let id = self.clients[number].id;
        self.note("closed", number as u64);
        self.clients[number].flags.is_gone = true;
        self.live.retain(|it| *it != number);
        self.owners.remove(&(shard, id));
        if let Some(batch) = self.clients[number].in_flight.take() {
            self.note("closed in flight", number as u64);
            self.wrecks.push(Wreck { shard, id, batch });
        }
        self.shards[shard].handle_closed(self.now, id);
    }

    /// Sends whose connection is gone end too, sooner or later.
    pub(crate) fn clear_wrecks(&mut self, percent: usize) {
        for Wreck { shard, id, batch } in std::mem::take(&mut self.wrecks) {
            if !self.dice.percent(percent) {
                self.wrecks.push(Wreck { shard, id, batch });
            } else if self.dice.percent(50) {
                self.shards[shard].handle_send_failed(self.now, id);
            } else {
                let sent_bytes = self.dice.below(batch.len() + 1);
                self.shards[shard].handle_sent(self.now, id, sent_bytes);
            }
        }
    }
}

pub(crate) fn shard_id(index: usize) -> ShardId {
    ShardId(u8::try_from(index).expect("few shards"))
}
