//! What a session answers: receipts, the one ERROR, and refusals that do not end it.

use crate::broker::close::CloseReason;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::router;
use crate::broker::session::Asked;
use crate::broker::session::Context;
use crate::broker::session::Fault;
use crate::broker::session::Options;
use crate::broker::session::Output;
use crate::broker::session::REFUSAL_INTERVAL;
use crate::broker::session::Session;
use crate::broker::session::State;
use crate::broker::table::SubscriptionKey;
use crate::proto::stomp;
use crate::stdx::time::Instant;

impl Session {
    /// The receipt that the frame asks for, if there is room for one more that waits.
    pub(super) fn receipt_of(
        &self,
        frame: &stomp::Frame<'_>,
        context: &Context<'_>,
    ) -> Result<Option<Box<str>>, Fault> {
        let receipt = frame.headers.get_filled("receipt");
        if receipt.is_some() && context.options.receipts_pending_max <= self.receipts_pending {
            let text = format!("{} receipts are owed, wait for them", self.receipts_pending);
            return Err(Refusal::new(Code::Limit, text).into());
        }
        Ok(receipt.map(Box::from))
    }

    pub(super) fn receipt_now(&self, frame: &stomp::Frame<'_>, out: &mut Vec<Output>) {
        if let Some(receipt) = frame.headers.get_filled("receipt") {
            self.push_receipt(receipt, out);
        }
    }

    pub(super) fn push_receipt(&self, receipt: &str, out: &mut Vec<Output>) {
        self.push_receipt_with(receipt, &[], out);
    }

    pub(super) fn push_receipt_with(
        &self,
        receipt: &str,
        more: &[(&str, &str)],
        out: &mut Vec<Output>,
    ) {
        let mut bytes = Vec::new();
        let mut headers = vec![("receipt-id", receipt)];
        headers.extend_from_slice(more);
        stomp::push_frame(&mut bytes, self.version, "RECEIPT", &headers, b"");
        out.push(Output::Reply(bytes));
    }

    pub(super) fn push_error(
        &self,
        message: &str,
        receipt: Option<&str>,
        body: &str,
        out: &mut Vec<Output>,
    ) {
        let mut headers = vec![("message", message)];
        headers.extend(receipt.map(|it| ("receipt-id", it)));
        if !body.is_empty() {
            headers.push(("content-type", "text/plain"));
        }
        let mut bytes = Vec::new();
        stomp::push_frame(&mut bytes, self.version, "ERROR", &headers, body.as_bytes());
        out.push(Output::Reply(bytes));
    }

    /// A protocol error: one ERROR, then the close.
    pub(super) fn break_off(
        &mut self,
        frame: &stomp::Frame<'_>,
        text: &str,
        out: &mut Vec<Output>,
    ) {
        self.push_error(text, frame.headers.get_filled("receipt"), "", out);
        self.state = State::Ended;
        out.push(Output::Close(CloseReason::Protocol));
    }

    /// A refusal: told on `/user/queue/errors` and by an ERROR for the receipt; the session goes
    /// on.
    pub(super) fn refuse(
        &mut self,
        frame: &stomp::Frame<'_>,
        refusal: Refusal,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) {
        let receipt = frame.headers.get_filled("receipt");
        let destination = frame.headers.get("destination").unwrap_or("");
        let asked = Asked { destination, receipt };
        self.refuse_asked(asked, refusal, context.options, context.now.instant, out);
    }

    /// As [`Session::refuse`], also long after the frame: for `asked`.
    pub(super) fn refuse_asked(
        &mut self,
        asked: Asked<'_>,
        refusal: Refusal,
        options: &Options,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Asked { destination, receipt } = asked;
        self.push_notices(&refusal, destination, receipt, out);
        let closes = options.refusal_closes;
        if receipt.is_some() || closes {
            self.push_error(refusal.code.as_str(), receipt, &refusal.text, out);
        }
        let is_ours = refusal.code.is_ours();
        out.push(Output::Refused(refusal));
        let refusals = self.refusals.as_mut().expect("an open session has its bucket");
        let is_over = !is_ours && !refusals.take(now, REFUSAL_INTERVAL);
        if closes || is_over {
            self.state = State::Ended;
            let reason = if closes { CloseReason::Refused } else { CloseReason::RefusalLimit };
            out.push(Output::Close(reason));
        }
    }

    /// What was handed out in an [`Output`] was refused by the relay. `subscription` is the
    /// session's name for what was asked and its place in the table, unless it was a SEND: that is
    /// taken out again, where no other has taken its name since.
    pub fn handle_refused(
        &mut self,
        asked: Asked<'_>,
        subscription: Option<(&str, SubscriptionKey)>,
        refusal: Refusal,
        context: (&Options, Instant),
        out: &mut Vec<Output>,
    ) {
        if asked.receipt.is_some() {
            assert!(0 < self.receipts_pending);
            self.receipts_pending -= 1;
        }
        if self.state != State::Ended {
            if let Some((id, key)) = subscription
                && self.subscriptions.get(id).is_some_and(|it| it.key == Some(key))
            {
                self.subscriptions.remove(id);
                out.push(Output::Unsubscribe(key));
            }
            let (options, now) = context;
            self.refuse_asked(asked, refusal, options, now, out);
        }
        self.end_if_settled(out);
    }

    pub(super) fn push_notices(
        &mut self,
        refusal: &Refusal,
        destination: &str,
        receipt: Option<&str>,
        out: &mut Vec<Output>,
    ) {
        let mut ids: Vec<&str> = self
            .subscriptions
            .iter()
            .filter(|(_, entry)| entry.hears_errors)
            .map(|(id, entry)| if entry.has_id { &**id } else { "" })
            .collect();
        ids.sort_unstable();
        for id in ids {
            self.notices_count += 1;
            let message_id = format!("{}-e{:x}", self.id, self.notices_count);
            let mut headers = vec![
                ("destination", router::ERRORS),
                ("content-type", "text/plain"),
                ("subscription", id),
                ("message-id", &message_id),
                ("code", refusal.code.as_str()),
            ];
            // A destination with white space stays out: no header value of ours holds any.
            if !destination.contains(char::is_whitespace) {
                headers.push(("refused-destination", destination));
            }
            headers.extend(receipt.map(|it| ("receipt-id", it)));
            let mut bytes = Vec::new();
            let body = refusal.text.as_bytes();
            stomp::push_frame(&mut bytes, self.version, "MESSAGE", &headers, body);
            out.push(Output::Reply(bytes));
        }
    }
}
