//! `limits.*` of memory and of sizes; those of access are in `admission`.

use std::time::Duration;

use crate::config::value::Values;

/// `limits.*`: what everything may take at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Connections of the process; `None` is from the host.
    pub connections: Option<usize>,
    /// Connections of the process whose handshake is not finished.
    pub handshakes_pending: usize,
    /// Bytes of a whole HTTP head.
    pub header_block_bytes: usize,
    /// Header lines of an HTTP head.
    pub http_headers: usize,
    /// Bytes of a WebSocket message, and of a STOMP frame across messages.
    pub message_bytes: usize,
    /// Bytes of one outbox; `None` is max(512 KiB, 2 × `message_bytes`).
    pub outbox_bytes: Option<usize>,
    /// How long an outbox may hold bytes that the peer does not take.
    pub outbox_seconds: Duration,
    /// Bytes of all outboxes; `None` is from the host.
    pub outbox_total_bytes: Option<usize>,
    /// Header lines of a STOMP frame.
    pub stomp_headers: usize,
    /// Bytes of one header line of a STOMP frame.
    pub stomp_header_bytes: usize,
    /// Bytes of a destination.
    pub destination_bytes: usize,
    /// Subscriptions of one session.
    pub subscriptions_per_session: usize,
    /// Open transactions of one session.
    pub transactions_per_session: usize,
    /// Frames in one transaction.
    pub transaction_messages: usize,
    /// Bytes of bodies and headers in one transaction.
    pub transaction_bytes: usize,
    /// Receipts that one session waits for.
    pub receipts_pending: usize,
    /// Refusals a session may collect; one is forgiven per second.
    pub refusals: usize,
}

impl LimitSettings {
    pub(super) fn build(values: &mut Values) -> Self {
        Self {
            connections: values.number_or_auto("limits.connections"),
            handshakes_pending: values.number("limits.handshakes_pending"),
            header_block_bytes: values.number("limits.header_block_bytes"),
            http_headers: values.number("limits.http_headers"),
            message_bytes: values.number("limits.message_bytes"),
            outbox_bytes: values.number_or_auto("limits.outbox_bytes"),
            outbox_seconds: values.time("limits.outbox_seconds"),
            outbox_total_bytes: values.number_or_auto("limits.outbox_total_bytes"),
            stomp_headers: values.number("limits.stomp_headers"),
            stomp_header_bytes: values.number("limits.stomp_header_bytes"),
            destination_bytes: values.number("limits.destination_bytes"),
            subscriptions_per_session: values.number("limits.subscriptions_per_session"),
            transactions_per_session: values.number("limits.transactions_per_session"),
            transaction_messages: values.number("limits.transaction_messages"),
            transaction_bytes: values.number("limits.transaction_bytes"),
            receipts_pending: values.number("limits.receipts_pending"),
            refusals: values.number("limits.refusals"),
        }
    }
}
