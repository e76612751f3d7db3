//! From what a session decided to its effects on the table, the relay and the outbox.

use std::mem;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;

use crate::broker::close::CloseReason;
use crate::broker::refusal::Code;
use crate::broker::relay::Target;
use crate::broker::relay::Token;
use crate::broker::router::Interest;
use crate::broker::session::Output;
use crate::broker::session::Publications;
use crate::broker::session::Session;
use crate::broker::session::Subscribe;
use crate::broker::table;
use crate::broker::table::Format;
use crate::broker::table::Slot;
use crate::broker::table::SubscriptionKey;
use crate::metrics::Refusal;
use crate::proto::ws;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Phase;
use crate::shard::state::Owed;
use crate::shard::state::Shard;
use crate::stdx::bytes::Shared;
use crate::stdx::time::Now;

impl Shard {
    /// Does what the session put into `outputs`; an error is the reason to close.
    pub(super) fn apply(
        &mut self,
        now: Now,
        id: ConnectionId,
        session: &mut Session,
    ) -> Result<(), CloseReason> {
        let mut outputs = mem::take(&mut self.outputs);
        let mut result = Ok(());
        for output in outputs.drain(..) {
            if result.is_ok() {
                result = self.apply_one(now, id, session, output);
            }
        }
        self.outputs = outputs;
        result
    }

    fn apply_one(
        &mut self,
        now: Now,
        id: ConnectionId,
        session: &mut Session,
        output: Output,
    ) -> Result<(), CloseReason> {
        match output {
            Output::Reply(frame) => {
                let mut bytes = Vec::with_capacity(frame.len() + 10);
                // Clients in the field take one message for one frame, so never two in one.
                let is_text = simdutf8::basic::from_utf8(&frame).is_ok();
                let opcode = if is_text { ws::Opcode::Text } else { ws::Opcode::Binary };
                ws::push_frame(&mut bytes, opcode, &frame);
                self.counters.messages_sent.add(1);
                return self.push_bounded(now, id, Shared::new(bytes, &self.meter.clone()));
            }
            Output::Subscribe(subscribe) => self.subscribe(id, session, subscribe),
            Output::Unsubscribe(key) => self.remove_subscription(key),
            Output::Publish { publications, receipt } => self.publish(id, publications, receipt),
            Output::Refused(refusal) => {
                self.counters.refusals.of(label_of(refusal.code)).add(1);
                if let Some(suppressed) = self.log_limit.admit(now.instant) {
                    let peer = self.connections.get(id.0).map(|it| it.peer);
                    tracing::info!(?peer, session = session.id(), suppressed, "refused: {refusal}");
                }
            }
            Output::Close(reason) => return Err(reason),
        }
        Ok(())
    }

    fn subscribe(&mut self, id: ConnectionId, session: &mut Session, subscribe: Subscribe) {
        let Subscribe { id: name, shown_id, interest, version, receipt } = subscribe;
        let slot = Slot(id.0.index);
        let (inserted, target) = match &interest {
            Interest::Exact { channel, shown } => {
                let format = Format { id: shown_id.as_deref(), version, shown: shown.as_deref() };
                let inserted = self.table.insert_exact(channel, slot, format);
                (inserted, Target::Channel(channel.as_str().into()))
            }
            Interest::Pattern(pattern) => {
                let format = Format { id: shown_id.as_deref(), version, shown: None };
                let inserted = self.table.insert_pattern(pattern, slot, format);
                (inserted, Target::Pattern(pattern.as_str().into()))
            }
        };
        let token = receipt.map(|receipt| self.owe(id, receipt, 1));
        if inserted.first || token.is_some() {
            self.relay.subscribe(target, token);
        }
        // The same id again replaces: the new one is in before the old one goes, so nothing is
        // missed.
        if let Some(replaced) = session.subscribed(&name, inserted.subscription) {
            self.remove_subscription(replaced);
        }
    }

    /// Takes a subscription out of the table and, with the last one, the interest from the relay.
    pub(super) fn remove_subscription(&mut self, key: SubscriptionKey) {
        let target = match self.table.target(key) {
            table::Target::Exact(channel) => Target::Channel(channel.into()),
            table::Target::Pattern(pattern) => Target::Pattern(pattern.into()),
        };
        if self.table.remove(key).last {
            self.relay.unsubscribe(&target);
        }
    }

    fn publish(&mut self, id: ConnectionId, publications: Publications, receipt: Option<Box<str>>) {
        match publications {
            Publications::One(publication) => {
                let token = receipt.map(|receipt| self.owe(id, receipt, 1));
                self.relay.publish(publication, token);
            }
            Publications::Many(publications) => {
                let token = receipt.map(|receipt| self.owe(id, receipt, publications.len()));
                for publication in publications {
                    self.relay.publish(Arc::clone(&publication), token);
                }
            }
        }
    }

    fn owe(&mut self, to: ConnectionId, receipt: Box<str>, missing_count: usize) -> Token {
        self.tokens_count += 1;
        let token = Token(self.tokens_count);
        self.receipts.insert(token, Owed { to, receipt, missing_count });
        token
    }

    /// One of the things that a receipt waits for is done; with the last one the client gets it.
    pub(super) fn settle_token(&mut self, now: Now, token: Token) {
        let Some(owed) = self.receipts.get_mut(&token) else {
            return;
        };
        owed.missing_count -= 1;
        if 0 < owed.missing_count {
            return;
        }
        let Some(Owed { to, receipt, .. }) = self.receipts.remove(&token) else {
            return;
        };
        self.with_session(now, to, |session, outputs| session.handle_settled(&receipt, outputs));
    }

    /// Lets the session of an open connection act, then does what it decided.
    pub(super) fn with_session(
        &mut self,
        now: Now,
        id: ConnectionId,
        act: impl FnOnce(&mut Session, &mut Vec<Output>),
    ) {
        let Some(connection) = self.connections.get_mut(id.0) else {
            return;
        };
        let mut stomp = match mem::replace(&mut connection.phase, Phase::Taken) {
            Phase::Stomp(stomp) => stomp,
            other @ (Phase::Head(_) | Phase::Echo(_) | Phase::Closing(_) | Phase::Taken) => {
                connection.phase = other;
                return;
            }
        };
        let mut outputs = mem::take(&mut self.outputs);
        let acted = catch_unwind(AssertUnwindSafe(|| act(&mut stomp.session, &mut outputs)));
        self.outputs = outputs;
        let result = match acted {
            Ok(()) => self.apply(now, id, &mut stomp.session),
            Err(_) => {
                self.outputs.clear();
                Err(CloseReason::Internal)
            }
        };
        if let Some(connection) = self.connections.get_mut(id.0) {
            connection.phase = Phase::Stomp(stomp);
        }
        match result {
            Ok(()) => self.rearm(id),
            Err(reason) => self.close(now, id, reason),
        }
    }
}

fn label_of(code: Code) -> Refusal {
    match code {
        Code::NoRoute => Refusal::NoRoute,
        Code::Forbidden => Refusal::Forbidden,
        Code::BadDestination => Refusal::BadDestination,
        Code::BadPattern => Refusal::BadPattern,
        Code::Limit => Refusal::Limit,
        Code::Transaction => Refusal::Transaction,
    }
}
