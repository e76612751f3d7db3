//! How connections end: the close frame, what is given back, and the fullest first.

use std::mem;

use crate::broker::close::CloseReason;
use crate::metrics::CloseCode;
use crate::metrics::ConnectionError;
use crate::metrics::health::Phase as LifePhase;
use crate::proto::stomp;
use crate::proto::ws;
use crate::shard::connection::Closing;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Phase;
use crate::shard::drain;
use crate::shard::flush::Action;
use crate::shard::state::Shard;
use crate::stdx::bytes::Shared;
use crate::stdx::slab::Key;
use crate::stdx::time::Now;

impl Shard {
    /// Begins to close an open connection: its subscriptions go at once, its close frame is queued.
    pub(super) fn close(&mut self, now: Now, id: ConnectionId, reason: CloseReason) {
        let is_normal = reason.is_normal();
        let span = if is_normal { self.span_for_debug(id) } else { self.span(id, None) };
        let Some(connection) = self.connections.get_mut(id.0) else {
            return;
        };
        let awaits_peer = !matches!(
            reason,
            CloseReason::PeerClosed(_) | CloseReason::Frame(_) | CloseReason::Internal
        );
        let ws = match mem::replace(&mut connection.phase, Phase::Taken) {
            Phase::Stomp(mut stomp) => {
                let subscriptions = stomp.session.take_subscriptions();
                for key in subscriptions {
                    self.remove_subscription(now, key);
                }
                awaits_peer.then(|| Box::new(stomp.ws))
            }
            Phase::Echo(decoder) => awaits_peer.then_some(decoder),
            other @ (Phase::Head(_) | Phase::Closing(_) | Phase::Taken) => {
                connection.phase = other;
                return;
            }
        };
        let closing = Closing {
            deadline: now.instant.after(self.options.close_timeout),
            ws,
            is_write_ended: false,
            is_aborted: false,
            was_active: true,
        };
        let Some(connection) = self.connections.get_mut(id.0) else {
            return;
        };
        connection.phase = Phase::Closing(closing);
        if reason.drops_outbox() {
            connection.outbox.drop_unsent(connection.in_flight_bytes);
        }
        let mut frame = Vec::new();
        if reason == CloseReason::PeerClosed(None) {
            // A close without a code is answered in kind (RFC 6455 §5.5.1).
            ws::push_frame(&mut frame, ws::Opcode::Close, b"");
        } else {
            ws::push_close(&mut frame, reason.code(), &reason.said());
        }
        self.push_raw(now, id, Shared::new(frame, &self.meter.clone()));
        self.leaving_bytes += self.connections.get_mut(id.0).map_or(0, |it| it.leaving_bytes());
        span.in_scope(|| self.count_close(now, reason));
        self.rearm(id);
    }

    /// The peer is gone, or its socket failed: nothing more can be said to it.
    pub(super) fn close_lost(&mut self, now: Now, id: ConnectionId) {
        let span = self.span_for_debug(id);
        let Some(connection) = self.connections.get_mut(id.0) else {
            return;
        };
        let was_open = connection.is_open();
        match mem::replace(&mut connection.phase, Phase::Taken) {
            Phase::Stomp(mut stomp) => {
                for key in stomp.session.take_subscriptions() {
                    self.remove_subscription(now, key);
                }
            }
            Phase::Echo(_) => {}
            Phase::Closing(mut closing) => {
                if !mem::replace(&mut closing.is_aborted, true) {
                    self.actions.push_back((id, Action::Abort));
                }
                connection.phase = Phase::Closing(closing);
                return;
            }
            other @ (Phase::Head(_) | Phase::Taken) => {
                connection.phase = other;
                self.actions.push_back((id, Action::Abort));
                return;
            }
        }
        let closing = Closing {
            deadline: now.instant,
            ws: None,
            is_write_ended: true,
            is_aborted: true,
            was_active: was_open,
        };
        if let Some(connection) = self.connections.get_mut(id.0) {
            connection.phase = Phase::Closing(closing);
            self.leaving_bytes += connection.leaving_bytes();
        }
        self.actions.push_back((id, Action::Abort));
        self.counters.closed.of(CloseCode::Abnormal).add(1);
        self.counters.connection_errors.of(ConnectionError::Reset).add(1);
        span.in_scope(|| tracing::debug!("connection lost without a close frame"));
    }

    /// Closes those whose outbox was full when something was to be pushed.
    pub(super) fn close_slow(&mut self, now: Now) {
        for key in mem::take(&mut self.slow) {
            self.close(now, ConnectionId(key), CloseReason::SlowConsumer);
        }
    }

    /// Closes the fullest outboxes until all together are within their limit, but for what those
    /// that close have on their way: nobody else is closed for that.
    pub(super) fn hold_total(&mut self, now: Now) {
        if self.is_total_held() {
            return;
        }
        let mut fullest: Vec<(usize, Key)> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_open() && !connection.outbox.is_empty())
            .map(|(key, connection)| (connection.held_bytes(), key))
            .collect();
        fullest.sort_unstable_by(|one, two| two.cmp(one));
        for (_, key) in fullest {
            if self.is_total_held() {
                break;
            }
            self.close(now, ConnectionId(key), CloseReason::OutboxTotal);
        }
    }

    fn is_total_held(&self) -> bool {
        self.meter.bytes() <= self.options.outbox_total_bytes_max + self.leaving_bytes
    }

    /// The end is near: connections are not read any more, so that what they have asked for can be
    /// answered before they are closed.
    pub const fn handle_last_call(&mut self) {
        self.is_silenced = true;
    }

    /// Whether the relay has not answered everything yet.
    #[must_use]
    pub fn owes_answers(&self) -> bool {
        !self.owed.is_empty() || self.inquiries.sayings.are_owed()
    }

    /// Begins the end of all connections; new ones are refused from now on. What was not answered
    /// by now is refused.
    pub fn handle_drain(&mut self, now: Now) {
        self.end_all(now, |reconnect_ms| CloseReason::Draining { reconnect_ms });
    }

    /// The same, for who is still there when the time of the drain is over.
    pub fn handle_deadline(&mut self, now: Now) {
        self.end_all(now, |reconnect_ms| CloseReason::Deadline { reconnect_ms });
    }

    fn end_all(&mut self, now: Now, reason: fn(u32) -> CloseReason) {
        // They are read again, for their close frames.
        self.is_silenced = false;
        if mem::replace(&mut self.is_draining, true) {
            return;
        }
        self.relay.give_up();
        self.settle(now);
        self.refuse_owed(now);
        self.give_inquiries_up();
        let open: Vec<Key> =
            self.connections.iter().filter(|(_, it)| it.is_open()).map(|(key, _)| key).collect();
        for key in open {
            let reconnect_ms = drain::reconnect_ms(&mut self.random);
            self.close(now, ConnectionId(key), reason(reconnect_ms));
        }
        self.settle(now);
    }

    /// Whether the drain has nothing left to wait for.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.is_draining && self.connections.len() == self.handshakes_count
    }

    /// The socket of a connection that was closed is gone.
    pub(super) fn note_gone(&mut self, is_cut: bool) {
        self.leave_active();
        if self.identity.health.phase() == LifePhase::Draining {
            let drain = &self.counters.drain;
            (if is_cut { &drain.cut } else { &drain.flushed }).add(1);
        }
    }

    /// Ends the write side once the last byte has gone, when the peer's close frame has come.
    pub(super) fn end_write_if_flushed(&mut self, id: ConnectionId, closing: &mut Closing) {
        let is_flushed = self.connections.get_mut(id.0).is_some_and(|it| it.outbox.is_empty());
        if is_flushed && !closing.is_write_ended {
            closing.is_write_ended = true;
            self.actions.push_back((id, Action::EndWrite));
        }
    }

    fn count_close(&mut self, now: Now, reason: CloseReason) {
        let is_without_code = reason == CloseReason::PeerClosed(None);
        let code = if is_without_code { CloseCode::None } else { CloseCode::of(reason.code()) };
        self.counters.closed.of(code).add(1);
        if let Some(error) = error_of(reason) {
            self.counters.connection_errors.of(error).add(1);
        }
        if matches!(reason, CloseReason::Draining { .. }) {
            self.counters.drain.closed.add(1);
        }
        if reason.drops_outbox() {
            self.counters.slow_consumers.add(1);
        }
        if reason.is_normal() {
            tracing::debug!(code = reason.code(), "closed: {}", reason.text());
        } else if let Some(suppressed) = self.log_limit.admit(now.instant) {
            let code = reason.code();
            tracing::warn!(code, ?reason, suppressed, "closed: {}", reason.text());
        }
    }
}

fn error_of(reason: CloseReason) -> Option<ConnectionError> {
    Some(match reason {
        CloseReason::Disconnected
        | CloseReason::PeerClosed(_)
        | CloseReason::Expelled
        | CloseReason::Draining { .. }
        | CloseReason::Deadline { .. }
        | CloseReason::Aged { .. }
        | CloseReason::Rebalanced { .. }
        | CloseReason::Refused => return None,
        CloseReason::Frame(error) => match error.close_code() {
            1007 => ConnectionError::Utf8,
            1009 => ConnectionError::TooLarge,
            _ => ConnectionError::WebSocket,
        },
        CloseReason::Stomp(stomp::Error::FrameTooBig) => ConnectionError::TooLarge,
        CloseReason::Stomp(_) | CloseReason::Protocol => ConnectionError::Stomp,
        CloseReason::RefusalLimit => ConnectionError::Refusals,
        CloseReason::TokenStale | CloseReason::TokenRefused => ConnectionError::Token,
        CloseReason::Crowded | CloseReason::Full => ConnectionError::Crowded,
        CloseReason::SlowConsumer | CloseReason::OutboxTotal => ConnectionError::SlowConsumer,
        CloseReason::NoFirstFrame => ConnectionError::FirstFrame,
        CloseReason::HeartBeatLost => ConnectionError::HeartBeat,
        CloseReason::PongLost => ConnectionError::Pong,
        CloseReason::Internal => ConnectionError::Internal,
    })
}
