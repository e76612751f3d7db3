//! From what a session decided to its effects on the table, the relay and the outbox.

use std::mem;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;

use crate::broker::close::CloseReason;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::relay::Target;
use crate::broker::relay::Token;
use crate::broker::router::Interest;
use crate::broker::seats::Holder;
use crate::broker::session::Asked;
use crate::broker::session::Output;
use crate::broker::session::Publications;
use crate::broker::session::Session;
use crate::broker::session::Subscribe;
use crate::broker::table;
use crate::broker::table::Format;
use crate::broker::table::Slot;
use crate::broker::table::SubscriptionKey;
use crate::metrics;
use crate::proto::ws;
use crate::shard::answer::Answer;
use crate::shard::answer::headers_of;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Phase;
use crate::shard::replay::Whose;
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
            Output::Subscribe(subscribe) => self.subscribe(now, id, session, subscribe),
            Output::Unsubscribe(key) => self.remove_subscription(now, key),
            Output::Publish { publications, destination, receipt } => {
                self.publish(now, id, publications, destination, receipt);
            }
            Output::Refused(refusal) => {
                self.counters.refusals.of(label_of(refusal.code)).add(1);
                self.log_refused(now, id, session, &refusal);
            }
            Output::Entered(user) => {
                self.note_user(id, &user);
                self.take_seat(id, Holder::User(user));
            }
            Output::Rejected(reject) => self.count_rejected(now, id, session, reject),
            Output::Close(reason) => return Err(reason),
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        now: Now,
        id: ConnectionId,
        session: &mut Session,
        subscribe: Subscribe,
    ) {
        let Subscribe { id: name, shown_id, interest, version, receipt, replay, is_once } =
            subscribe;
        let is_replaying = replay.is_some() && self.options.history.is_some();
        let slot = Slot(id.0.index);
        let (inserted, target) = match &interest {
            Interest::Exact { channel, shown } => {
                let format = Format {
                    id: shown_id.as_deref(),
                    version,
                    shown: shown.as_deref(),
                    is_replaying,
                };
                let inserted = self.table.insert_exact(channel, slot, format);
                (inserted, Target::Channel(channel.as_str().into()))
            }
            Interest::Pattern(pattern) => {
                let format =
                    Format { id: shown_id.as_deref(), version, shown: None, is_replaying: false };
                let inserted = self.table.insert_pattern(pattern, slot, format);
                (inserted, Target::Pattern(pattern.as_str().into()))
            }
        };
        let needs_answer = is_replaying || self.needs_answer(receipt.as_deref());
        let token = needs_answer.then(|| {
            self.owe(Owed {
                to: id,
                receipt,
                destination: shown_of(&interest).into(),
                subscription: Some((name.clone(), inserted.subscription)),
                missing_count: 1,
                refusal: None,
                // Where nothing is stored, nothing was recovered.
                answer: replay.map_or(Answer::Done, |_| Answer::Recovered(false, None)),
                is_single: true,
            })
        });
        if let (Some(wish), Some(token), Interest::Exact { channel, shown }) =
            (replay.filter(|_| is_replaying), token, interest)
        {
            let whose = Whose {
                to: id,
                name: name.clone(),
                key: inserted.subscription,
                channel: channel.into(),
                shown: shown.map(String::into_boxed_str),
                shown_id,
                version,
                is_once,
            };
            self.replays.begin(token, wish, whose);
        }
        if inserted.first || token.is_some() {
            let is_stored = match &target {
                Target::Channel(channel) => self.options.router.is_stored(channel),
                Target::Pattern(_) => false,
            };
            self.relay.subscribe(now.instant, target, token, is_stored);
        }
        // The same id again replaces: the new one is in before the old one goes, so nothing is
        // missed.
        if let Some(replaced) = session.subscribed(&name, inserted.subscription) {
            self.remove_subscription(now, replaced);
        }
    }

    /// Takes a subscription out of the table and, with the last one, the interest from the relay.
    pub(super) fn remove_subscription(&mut self, now: Now, key: SubscriptionKey) {
        if !self.replays.is_empty() {
            self.replays.cancel(key);
        }
        let target = match self.table.target(key) {
            table::Target::Exact(channel) => Target::Channel(channel.into()),
            table::Target::Pattern(pattern) => Target::Pattern(pattern.into()),
        };
        if self.table.remove(key).last {
            self.relay.unsubscribe(now.instant, &target);
        }
    }

    fn publish(
        &mut self,
        now: Now,
        id: ConnectionId,
        publications: Publications,
        destination: Box<str>,
        receipt: Option<Box<str>>,
    ) {
        let missing_count = match &publications {
            Publications::One(_) => 1,
            Publications::Many(publications) => publications.len(),
        };
        tracing::trace!(?id, %destination, receipt = receipt.as_deref(), "said");
        let has_history = match &publications {
            Publications::One(publication) => publication.history.is_some(),
            Publications::Many(publications) => publications.iter().any(|it| it.history.is_some()),
        };
        // The store may refuse.
        let needs_answer = has_history || self.needs_answer(receipt.as_deref());
        let token = needs_answer.then(|| {
            self.owe(Owed {
                to: id,
                receipt,
                destination,
                subscription: None,
                missing_count,
                refusal: None,
                answer: Answer::Done,
                is_single: missing_count == 1,
            })
        });
        match publications {
            Publications::One(publication) => self.relay.publish(now.instant, publication, token),
            Publications::Many(publications) => {
                for publication in publications {
                    self.relay.publish(now.instant, publication, token);
                }
            }
        }
    }

    /// Whether the relay has to answer: for a receipt, or because it may refuse.
    fn needs_answer(&self, receipt: Option<&str>) -> bool {
        receipt.is_some() || self.relay.may_refuse()
    }

    fn owe(&mut self, owed: Owed) -> Token {
        self.tokens_count += 1;
        let token = Token(self.tokens_count);
        self.owed.insert(token, owed);
        token
    }

    /// One of the things that an answer waits for is done.
    pub(super) fn settle_token(&mut self, now: Now, token: Token) {
        if self.replays.has(token) {
            return self.start_replay(now, token);
        }
        self.answer(now, token, Answer::Done);
    }

    /// One of the things that an answer waits for is refused.
    pub(super) fn refuse_token(&mut self, now: Now, token: Token, refusal: Refusal) {
        self.answer(now, token, Answer::Refused(refusal));
    }

    /// Refuses what the relay has not answered, oldest first: the end has come.
    pub(super) fn refuse_owed(&mut self, now: Now) {
        let mut tokens: Vec<Token> = self.owed.keys().copied().collect();
        tokens.sort_unstable();
        for token in tokens {
            let Some(owed) = self.owed.get_mut(&token) else { continue };
            owed.missing_count = 1;
            let (code, text) = match owed.subscription {
                None => (Code::RelayUnknown, "it may have been sent, or not"),
                Some(_) => (Code::RelayUnconfirmed, "subscribe again elsewhere"),
            };
            let text = format!("the server ends before this was answered; {text}");
            self.refuse_token(now, token, Refusal::new(code, text));
        }
    }

    /// With the last thing the client gets its answer: the receipt, or the first refusal.
    pub(super) fn answer(&mut self, now: Now, token: Token, answer: Answer) {
        let Some(owed) = self.owed.get_mut(&token) else {
            let refusal = match answer {
                Answer::Refused(refusal) => Some(refusal),
                Answer::Done | Answer::Stored(_) | Answer::Deferred(_) | Answer::Recovered(..) => {
                    None
                }
            };
            return self.inquiries.sayings.answer(token, refusal);
        };
        owed.missing_count -= 1;
        match answer {
            Answer::Done => {}
            Answer::Refused(refusal) => {
                owed.refusal.get_or_insert(refusal);
            }
            // Of several the weakest counts.
            Answer::Stored(_) if matches!(owed.answer, Answer::Deferred(_)) => {}
            answer @ (Answer::Stored(_) | Answer::Deferred(_) | Answer::Recovered(..)) => {
                owed.answer = answer;
            }
        }
        if 0 < owed.missing_count {
            return;
        }
        let Some(owed) = self.owed.remove(&token) else {
            return;
        };
        let Owed { to, receipt, destination, subscription, refusal, answer, is_single, .. } = owed;
        let options = Arc::clone(&self.options);
        self.with_session(now, to, |session, outputs| match (refusal, receipt) {
            (Some(refusal), receipt) => {
                let asked = Asked { destination: &destination, receipt: receipt.as_deref() };
                let subscription = subscription.as_ref().map(|(id, key)| (&**id, *key));
                let context = (&options.session, now.instant);
                session.handle_refused(asked, subscription, refusal, context, outputs);
            }
            (None, Some(receipt)) => {
                let more = headers_of(&answer, options.history, is_single);
                let more: Vec<_> = more.iter().map(|(name, it)| (*name, it.as_str())).collect();
                session.handle_settled(&receipt, &more, outputs);
            }
            (None, None) => {}
        });
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

/// What a SUBSCRIBE asked for, as the client named it.
fn shown_of(interest: &Interest) -> &str {
    match interest {
        Interest::Exact { channel, shown } => shown.as_deref().unwrap_or(channel),
        Interest::Pattern(pattern) => pattern.as_str(),
    }
}

fn label_of(code: Code) -> metrics::Refusal {
    match code {
        Code::NoRoute => metrics::Refusal::NoRoute,
        Code::Forbidden => metrics::Refusal::Forbidden,
        Code::BadDestination => metrics::Refusal::BadDestination,
        Code::BadPattern => metrics::Refusal::BadPattern,
        Code::BadHistory => metrics::Refusal::BadHistory,
        Code::Limit => metrics::Refusal::Limit,
        Code::Rate => metrics::Refusal::Rate,
        Code::Transaction => metrics::Refusal::Transaction,
        Code::BadPayload => metrics::Refusal::BadPayload,
        Code::RelayUnconfirmed => metrics::Refusal::RelayUnconfirmed,
        Code::RelayUnavailable => metrics::Refusal::RelayUnavailable,
        Code::RelayUnknown => metrics::Refusal::RelayUnknown,
        Code::RelayRefused => metrics::Refusal::RelayRefused,
        Code::StoreUnavailable => metrics::Refusal::StoreUnavailable,
        Code::StoreFull => metrics::Refusal::StoreFull,
        Code::StoreUnknown => metrics::Refusal::StoreUnknown,
        Code::StoreRefused => metrics::Refusal::StoreRefused,
    }
}
