//! From outboxes to sends: what became dirty in a turn leaves in one batch per connection.

use std::mem;

use crate::broker::close::CloseReason;
use crate::proto::ws;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Phase;
use crate::shard::state::Shard;
use crate::stdx::bytes::Batch;
use crate::stdx::bytes::Shared;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

/// What the owner of the sockets has to do besides sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// All is sent: end the write side, so that the peer reads to the end and closes.
    EndWrite,
    /// End both sides at once; [`Shard::handle_closed`] follows.
    Abort,
}

impl Shard {
    /// The next batch to send. One send per connection is under way at the most; the owner answers
    /// each with [`Shard::handle_sent`] or [`Shard::handle_send_failed`].
    pub fn poll_send(&mut self) -> Option<(ConnectionId, Batch)> {
        while let Some(key) = self.dirty.pop_front() {
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            connection.is_dirty = false;
            if 0 < connection.in_flight_bytes {
                continue;
            }
            let Some(batch) = connection.outbox.batch() else {
                continue;
            };
            connection.in_flight_bytes = batch.len();
            return Some((ConnectionId(key), batch));
        }
        None
    }

    /// How many sends [`Shard::poll_send`] has now, at the most.
    #[must_use]
    pub fn sends_max(&self) -> usize {
        self.dirty.len()
    }

    /// The next thing to do with a socket.
    pub fn poll_action(&mut self) -> Option<(ConnectionId, Action)> {
        self.actions.pop_front()
    }

    /// Whether a flush has something to do.
    #[must_use]
    pub fn has_output(&self) -> bool {
        let has_output = !self.dirty.is_empty() || !self.actions.is_empty() || self.has_mail();
        let has_output = has_output || self.has_records_or_reads();
        // What the relay's links have to do is not looked for here: it is done with each flush.
        has_output || self.relay.has_links()
    }

    /// The kernel took `sent_bytes` of the batch under way.
    pub fn handle_sent(&mut self, now: Now, id: ConnectionId, sent_bytes: usize) {
        let Some(connection) = self.connections.get_mut(id.0) else {
            return;
        };
        assert!(sent_bytes <= connection.in_flight_bytes);
        connection.in_flight_bytes = 0;
        let leaving_bytes = connection.leaving_bytes();
        if let Some(since) = connection.outbox.waiting_since().filter(|_| 0 < sent_bytes) {
            self.counters.outbox_age.observe(now.instant.since(since));
        }
        connection.outbox.consume(sent_bytes, now.instant);
        self.leaving_bytes -= leaving_bytes - connection.leaving_bytes();
        self.counters.bytes_sent.add(sent_bytes as u64);
        if !connection.outbox.is_empty() {
            self.mark_dirty(id);
            self.resume_replays(now, id);
        } else if let Phase::Closing(closing) = &mut connection.phase
            && closing.ws.is_none()
            && !closing.is_write_ended
        {
            closing.is_write_ended = true;
            self.actions.push_back((id, Action::EndWrite));
        } else {
            self.resume_replays(now, id);
        }
        self.look_behind(now.instant);
    }

    /// The batch under way failed: the connection is over.
    pub fn handle_send_failed(&mut self, now: Now, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id.0) {
            connection.in_flight_bytes = 0;
            self.close_lost(now, id);
        }
    }

    /// So many bytes of cipher text wait for the connection's socket now: they count with what
    /// waits in outboxes, whose bytes they repeat for this one peer.
    pub fn handle_sealed(&mut self, id: ConnectionId, sealed_bytes: usize) {
        let Some(connection) = self.connections.get_mut(id.0) else {
            return;
        };
        self.leaving_bytes -= connection.leaving_bytes();
        self.meter.recount(connection.sealed_bytes, sealed_bytes);
        connection.sealed_bytes = sealed_bytes;
        self.leaving_bytes += connection.leaving_bytes();
    }

    /// The turn is over and its messages are in the outboxes: notes how long each took, and who
    /// is behind.
    pub fn handle_turn_end(&mut self, now: Instant) {
        self.look_behind(now);
        for received_at in self.delivered.drain(..) {
            self.counters.processing_time.observe(now.since(received_at));
        }
    }

    /// Whether something was fanned out since [`Shard::handle_fan_out_end`], which then asks for
    /// the time.
    #[must_use]
    pub fn has_fanned_out(&self) -> bool {
        0 < self.fanned_out_count
    }

    /// What was handed in at `began` is fanned out: each of it took its share of the time.
    pub fn handle_fan_out_end(&mut self, began: Instant, now: Instant) {
        let count = mem::take(&mut self.fanned_out_count);
        if 0 < count {
            let nanos = now.since(began).as_nanos() / u128::from(count);
            let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
            self.counters.fan_out_time.observe_many_ns(nanos, u64::from(count));
        }
    }

    /// Queues bytes of our own side of the protocol, past the limit of the outbox.
    pub(super) fn push_raw(&mut self, now: Now, id: ConnectionId, bytes: Shared) {
        if let Some(connection) = self.connections.get_mut(id.0) {
            connection.outbox.push_run(bytes, now.instant);
            connection.written_at = now.instant;
            self.mark_dirty(id);
        }
    }

    /// Queues an answer to a client's own frame, within the limit of its outbox.
    pub(super) fn push_bounded(
        &mut self,
        now: Now,
        id: ConnectionId,
        bytes: Shared,
    ) -> Result<(), CloseReason> {
        let Some(connection) = self.connections.get_mut(id.0) else {
            return Ok(());
        };
        if self.options.outbox_bytes_max < connection.outbox.queued_bytes() + bytes.len() {
            return Err(CloseReason::SlowConsumer);
        }
        self.push_raw(now, id, bytes);
        Ok(())
    }

    /// Queues a control frame. Pongs to a peer that does not read them are left out: the newest
    /// ping is the one that counts (RFC 6455 §5.5.3).
    pub(super) fn push_control(
        &mut self,
        now: Now,
        id: ConnectionId,
        opcode: ws::Opcode,
        payload: &[u8],
    ) {
        let mut bytes = Vec::with_capacity(payload.len() + 2);
        ws::push_frame(&mut bytes, opcode, payload);
        // A peer that pings and does not read is slow; its limit in time ends it.
        let _left_out = self.push_bounded(now, id, Shared::new(bytes, &self.meter.clone()));
    }

    pub(super) fn mark_dirty(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id.0)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push_back(id.0);
        }
    }
}
