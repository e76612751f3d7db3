//! The frames of an open session: SEND, SUBSCRIBE, transactions and the good-bye.

use std::sync::Arc;

use crate::broker::close::CloseReason;
use crate::broker::identity;
use crate::broker::publication::Origin;
use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::router;
use crate::broker::router::Interest;
use crate::broker::session::Context;
use crate::broker::session::DISCONNECT_TIMEOUT;
use crate::broker::session::Entry;
use crate::broker::session::Fault;
use crate::broker::session::Output;
use crate::broker::session::Publications;
use crate::broker::session::Replay;
use crate::broker::session::Session;
use crate::broker::session::State;
use crate::broker::session::Subscribe;
use crate::broker::session::Transaction;
use crate::broker::session::destination_of;
use crate::broker::session::transaction_of;
use crate::broker::session::unknown_transaction;
use crate::policy::rules::Action;
use crate::proto::stomp;
use crate::proto::stomp::Version;

/// Longest `idempotency-key` with its user: a store keeps both in an index.
const KEY_BYTES_MAX: usize = 1024;

/// Messages that answer a SUBSCRIBE below `/app/` that does not say how many.
const ONCE: u32 = 50;
/// Most messages of `history`.
const REPLAY_COUNT_MAX: u32 = 10_000;

impl Session {
    pub(super) fn send(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let destination = destination_of(frame, "SEND has no destination")?;
        if destination == router::TOKEN && self.token.is_some() {
            self.renew(frame, out);
            return Ok(());
        }
        let receipt = self.receipt_of(frame, context)?;
        self.check_right(Action::Send, destination, context)?;
        let delivery = context.router.resolve_send(destination)?;
        let key = frame.headers.get("idempotency-key").filter(|_| delivery.has_history);
        if key.is_some_and(|it| KEY_BYTES_MAX < self.user.len() + 1 + it.len()) {
            let text = format!("idempotency-key and user are longer than {KEY_BYTES_MAX} bytes");
            return Err(Refusal::new(Code::Limit, text).into());
        }
        context.router.check_body(destination, frame.body)?;
        *context.messages_count += 1;
        let origin = Origin {
            node: context.node,
            number: *context.messages_count,
            session: &self.id,
            scope: &self.user,
            user: (self.is_named && identity::is_plain_value(&self.user)).then_some(&*self.user),
            unix_ms: context.now.unix_ms,
            received_at: context.now.instant,
        };
        let publication = Arc::new(Publication::from_send(frame, delivery, origin));
        let Some(name) = frame.headers.get("transaction") else {
            self.receipts_pending += usize::from(receipt.is_some());
            let publications = Publications::One(publication);
            let destination = Box::from(destination);
            out.push(Output::Publish { publications, destination, receipt });
            return Ok(());
        };
        let transaction = self.transactions.iter_mut().find(|it| &*it.name == name);
        let transaction = transaction.ok_or_else(|| unknown_transaction(name))?;
        let body_bytes = transaction.body_bytes + publication.body().len();
        let options = context.options;
        if options.transaction_messages_max <= transaction.publications.len()
            || options.transaction_bytes_max < body_bytes
        {
            let text = format!(
                "transaction {name} is full: {} messages or {} bytes at most",
                options.transaction_messages_max, options.transaction_bytes_max
            );
            return Err(Refusal::new(Code::Limit, text).into());
        }
        transaction.body_bytes = body_bytes;
        transaction.publications.push(publication);
        // Taken into the transaction; what COMMIT promises comes with COMMIT's own receipt.
        if let Some(receipt) = receipt {
            self.push_receipt(&receipt, out);
        }
        Ok(())
    }

    pub(super) fn subscribe(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let destination = destination_of(frame, "SUBSCRIBE has no destination")?;
        // STOMP 1.0 clients may leave the id out; the destination then serves as one.
        let shown_id = frame.headers.get_filled("id");
        let id = match shown_id {
            Some(id) => id,
            None if self.version == Version::V1_0 => destination,
            None => return Err(Fault::Broken("SUBSCRIBE has no id")),
        };
        let receipt = self.receipt_of(frame, context)?;
        self.check_right(Action::Subscribe, destination, context)?;
        let interest = context.router.resolve_subscribe(destination, &self.user)?;
        // Nothing is live below `/app/`.
        let is_once = destination.starts_with("/app/");
        let replay = replay_of(frame)?.or(is_once.then_some(Replay::Last(ONCE)));
        if replay.is_some() && matches!(interest, Interest::Pattern(_)) {
            let text = "a pattern has no history; subscribe to one destination";
            return Err(Refusal::new(Code::BadHistory, text).into());
        }
        let is_new = !self.subscriptions.contains_key(id);
        if is_new && context.options.subscriptions_max <= self.subscriptions.len() {
            let text = format!(
                "the session has {} subscriptions, limits.subscriptions_per_session allows no more",
                self.subscriptions.len()
            );
            return Err(Refusal::new(Code::Limit, text).into());
        }
        let entry = self.subscriptions.entry(Box::from(id)).or_insert(Entry {
            key: None,
            hears_errors: false,
            hears_session: false,
            hears_events: false,
            has_id: false,
        });
        entry.hears_errors = destination == router::ERRORS;
        entry.hears_session = destination == router::SESSION;
        entry.hears_events = match &interest {
            Interest::Exact { .. } => destination == router::SERVER_EVENTS,
            Interest::Pattern(pattern) => pattern.matches(router::SERVER_EVENTS),
        };
        let is_late = entry.hears_session && self.token.as_ref().is_some_and(|it| it.is_warned());
        entry.has_id = shown_id.is_some();
        self.receipts_pending += usize::from(receipt.is_some());
        out.push(Output::Subscribe(Subscribe {
            id: Box::from(id),
            shown_id: shown_id.map(Box::from),
            interest,
            version: self.version,
            receipt,
            replay,
            is_once,
        }));
        if is_late {
            self.warn(shown_id.unwrap_or(""), context.now, out);
        }
        Ok(())
    }

    pub(super) fn unsubscribe(
        &mut self,
        frame: &stomp::Frame<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        // STOMP 1.0 allows the destination in place of an id.
        let named = match frame.headers.get_filled("id") {
            None if self.version == Version::V1_0 => frame.headers.get("destination"),
            id => id,
        };
        let id = named.ok_or(Fault::Broken("UNSUBSCRIBE has no id"))?;
        if let Some(key) = self.subscriptions.remove(id).and_then(|entry| entry.key) {
            out.push(Output::Unsubscribe(key));
        }
        self.receipt_now(frame, out);
        Ok(())
    }

    pub(super) fn begin(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let name = transaction_of(frame)?;
        if self.transactions.iter().any(|it| &*it.name == name) {
            let text = format!("transaction {name} is open already");
            return Err(Refusal::new(Code::Transaction, text).into());
        }
        if context.options.transactions_max <= self.transactions.len() {
            let text = format!("{} transactions are open, end one first", self.transactions.len());
            return Err(Refusal::new(Code::Limit, text).into());
        }
        let name = Box::from(name);
        self.transactions.push(Transaction { name, publications: Vec::new(), body_bytes: 0 });
        self.receipt_now(frame, out);
        Ok(())
    }

    pub(super) fn commit(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let receipt = self.receipt_of(frame, context)?;
        let transaction = self.take_transaction(frame)?;
        if transaction.publications.is_empty() {
            self.receipt_now(frame, out);
            return Ok(());
        }
        self.receipts_pending += usize::from(receipt.is_some());
        let first = transaction.publications.first();
        let destination = first.map_or_else(Box::default, |it| it.destination.clone());
        let publications = Publications::Many(transaction.publications);
        out.push(Output::Publish { publications, destination, receipt });
        Ok(())
    }

    pub(super) fn abort(
        &mut self,
        frame: &stomp::Frame<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        self.take_transaction(frame)?;
        self.receipt_now(frame, out);
        Ok(())
    }

    pub(super) fn take_transaction(
        &mut self,
        frame: &stomp::Frame<'_>,
    ) -> Result<Transaction, Fault> {
        let name = transaction_of(frame)?;
        let position = self.transactions.iter().position(|it| &*it.name == name);
        let position = position.ok_or_else(|| unknown_transaction(name))?;
        Ok(self.transactions.remove(position))
    }

    pub(super) fn disconnect(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) {
        let receipt = frame.headers.get_filled("receipt").map(Box::from);
        let deadline = context.now.instant.after(DISCONNECT_TIMEOUT);
        self.transactions = Vec::new();
        self.state = State::Ending { receipt, deadline };
        self.end_if_settled(out);
    }

    pub(super) fn end_if_settled(&mut self, out: &mut Vec<Output>) {
        if 0 < self.receipts_pending {
            return;
        }
        let State::Ending { receipt, .. } = &mut self.state else {
            return;
        };
        let receipt = receipt.take();
        self.state = State::Ended;
        if let Some(receipt) = receipt {
            self.push_receipt(&receipt, out);
        }
        out.push(Output::Close(CloseReason::Disconnected));
    }
}

/// What a SUBSCRIBE wants of the history.
fn replay_of(frame: &stomp::Frame<'_>) -> Result<Option<Replay>, Refusal> {
    if let Some(since) = frame.headers.get("since") {
        let numbers = since.split_once(':');
        let place = numbers
            .and_then(|(epoch, seq)| Some(Place { epoch: number(epoch)?, seq: number(seq)? }));
        let wrong = || Refusal::new(Code::BadHistory, "since is <epoch>:<seq> of a message");
        return place.map(|it| Some(Replay::Since(it))).ok_or_else(wrong);
    }
    let Some(count) = frame.headers.get("history") else { return Ok(None) };
    let count = number(count).and_then(|it| u32::try_from(it).ok());
    match count {
        Some(count) if count <= REPLAY_COUNT_MAX => Ok(Some(Replay::Last(count))),
        Some(_) | None => {
            let text = format!("history is a number of messages up to {REPLAY_COUNT_MAX}");
            Err(Refusal::new(Code::BadHistory, text))
        }
    }
}

/// Digits and nothing else, within what a store can hold.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    text.parse().ok().filter(|it| is_number && *it <= i64::MAX.unsigned_abs())
}
