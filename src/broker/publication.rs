//! A publication: one thing said once, to be given to many, immutable from the moment it is made.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::OnceLock;

use crate::broker::router::Delivery;
use crate::proto::stomp;
use crate::stdx::planted;
use crate::stdx::planted::Duty;
use crate::stdx::time::Instant;

/// Headers of a SEND that are the server's business and never reach a receiver.
const OWN_HEADERS: &[&str] = &[
    "destination",
    "content-type",
    "content-length",
    "receipt",
    "transaction",
    "message-id",
    "subscription",
    "ack",
    "user-id",
    "timestamp",
    "seq",
    "epoch",
    "idempotency-key",
    "stored",
    "simpOrigDestination",
    // Credentials stay between a client and the server.
    "Authorization",
    "authorization",
    "token",
    "login",
    "passcode",
];

/// A place in the history of a destination: what was said later has a greater one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Rises when the numbers begin anew, so with each start of the server.
    pub epoch: u64,
    /// Counts from 1 in each epoch, without a gap.
    pub seq: u64,
}

/// What makes a publication one to be stored.
#[derive(Debug, Default)]
pub struct Historic {
    /// The sender's user and `idempotency-key`, by which a repeat is known.
    pub key: Option<Box<str>>,
    /// Set once, by the home shard of its channel.
    place: OnceLock<Place>,
}

impl Historic {
    /// What is to be stored and has no place yet.
    #[must_use]
    pub const fn new(key: Option<Box<str>>) -> Self {
        Self { key, place: OnceLock::new() }
    }

    /// What has this place.
    #[must_use]
    pub fn at(place: Place) -> Self {
        Self { key: None, place: place.into() }
    }

    /// Gives it its place; a second one is not taken.
    pub fn settle(&self, place: Place) {
        let _already_placed = self.place.set(place);
    }
}

/// One thing said once.
#[derive(Debug)]
pub struct Publication {
    /// Where the relay carries it: a destination, or `user.<id>/queue/…`.
    pub channel: Box<str>,
    /// The destination that receivers see, unless they subscribed under another name.
    pub destination: Box<str>,
    /// Made by the server, equal for all receivers.
    pub message_id: Box<str>,
    /// As the sender said it, without white space; `None` when the sender said nothing.
    pub content_type: Option<Box<str>>,
    /// The sender's user id, where it has one that fits a header.
    pub sender: Option<Box<str>>,
    /// When the server took it, in milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// When its bytes were received here, on the clock that all shards share.
    pub received_at: Instant,
    /// The sender's own headers, in order.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// The body and the NUL that ends its frame, so that both are shared and never copied apart.
    pub body_nul: Arc<[u8]>,
    /// Whether it leaves as a text message: UTF-8, and not declared as octets.
    pub is_text: bool,
    /// The session that said it, where `channel` is a stream for a back end and not for
    /// subscribers.
    pub forwarded_by: Option<Box<str>>,
    /// What history has to know, where its route has one.
    pub history: Option<Box<Historic>>,
}

impl Publication {
    /// Makes the publication of a SEND frame that goes where `delivery` says.
    #[must_use]
    pub fn from_send(frame: &stomp::Frame<'_>, delivery: Delivery, origin: Origin<'_>) -> Self {
        let Delivery { channel, destination, is_stream, has_history } = delivery;
        let content_type = frame.headers.get("content-type").and_then(without_space);
        let is_text = is_text(frame.body, content_type.as_deref());
        let headers = frame
            .headers
            .iter()
            .filter(|(name, value)| passes(name, value))
            .map(|(name, value)| (Box::from(name), Box::from(value)))
            .collect();
        Self {
            channel: channel.into_boxed_str(),
            destination: destination.into_boxed_str(),
            message_id: message_id(origin.node, origin.number).into_boxed_str(),
            content_type,
            sender: origin.user.map(Box::from),
            timestamp_ms: origin.unix_ms,
            received_at: origin.received_at,
            headers,
            body_nul: with_nul(frame.body),
            is_text,
            forwarded_by: is_stream.then(|| origin.session.into()),
            history: has_history.then(|| {
                let key = frame.headers.get("idempotency-key");
                let key = key.filter(|_| !planted::lacks(Duty::Deduplication));
                let key = key.map(|key| format!("{}\0{key}", origin.scope).into_boxed_str());
                Box::new(Historic::new(key))
            }),
        }
    }

    /// Makes the publication of what a relay carried here; `headers` pass the same sieve as those
    /// of a SEND.
    #[must_use]
    pub fn from_relay<'h>(
        carried: Carried<'_>,
        headers: impl Iterator<Item = (&'h str, &'h str)>,
    ) -> Self {
        let content_type = carried.content_type.and_then(without_space);
        let is_text = is_text(carried.body, content_type.as_deref());
        let headers = headers.filter(|(name, value)| !name.is_empty() && passes(name, value));
        Self {
            channel: carried.channel.into(),
            destination: carried.destination.into_boxed_str(),
            message_id: carried.message_id.into_boxed_str(),
            content_type,
            sender: carried.sender.map(Box::from),
            timestamp_ms: carried.timestamp_ms,
            received_at: carried.received_at,
            headers: headers.map(|(name, value)| (Box::from(name), Box::from(value))).collect(),
            body_nul: with_nul(carried.body),
            is_text,
            forwarded_by: None,
            history: None,
        }
    }

    /// Its place in the history of its channel, once it has one.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.history.as_ref()?.place.get().copied()
    }

    /// The same without its place.
    #[must_use]
    pub fn without_place(&self) -> Self {
        Self {
            channel: self.channel.clone(),
            destination: self.destination.clone(),
            message_id: self.message_id.clone(),
            content_type: self.content_type.clone(),
            sender: self.sender.clone(),
            timestamp_ms: self.timestamp_ms,
            received_at: self.received_at,
            headers: self.headers.clone(),
            body_nul: Arc::clone(&self.body_nul),
            is_text: self.is_text,
            forwarded_by: None,
            history: None,
        }
    }

    /// The body without the NUL.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.body_nul.split_last().map_or(&[], |(_, body)| body)
    }
}

/// The id of the message of this number among those of a shard, `node` being the shard's own
/// prefix.
#[must_use]
pub fn message_id(node: &str, number: u64) -> String {
    let mut id = String::with_capacity(node.len() + 20);
    // Writing to a String cannot fail.
    write!(id, "{node}-{number:x}").expect("a String takes all");
    id
}

/// Who says it, when, and as the how-manieth.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Prefix of message ids, unique among shards that share a relay.
    pub node: &'a str,
    /// Number of the message on this shard.
    pub number: u64,
    /// The sender's session id.
    pub session: &'a str,
    /// The sender's user id, if it has one.
    pub user: Option<&'a str>,
    /// Within which `idempotency-key`s of the sender are told apart: its user, or its session.
    pub scope: &'a str,
    /// Now, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Now, on the clock that all shards share.
    pub received_at: Instant,
}

/// What a relay carried here, checked by the relay but for its headers and content type.
#[derive(Debug)]
pub struct Carried<'a> {
    /// Where the relay carried it.
    pub channel: &'a str,
    /// The destination that receivers see.
    pub destination: String,
    /// Equal for all receivers.
    pub message_id: String,
    /// As it was said.
    pub content_type: Option<&'a str>,
    /// The sender's user id, fit for a header.
    pub sender: Option<&'a str>,
    /// In milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// When its bytes were received here.
    pub received_at: Instant,
    /// The body.
    pub body: &'a [u8],
}

/// Whether a body leaves as text: UTF-8, and not declared as octets.
fn is_text(body: &[u8], content_type: Option<&str>) -> bool {
    let is_octets = content_type.is_some_and(|it| it.starts_with("application/octet-stream"));
    body.is_empty() || (!is_octets && simdutf8::basic::from_utf8(body).is_ok())
}

/// The body and its NUL in one allocation: the zeros are laid out first, because a shared slice can
/// only be made at its full length.
fn with_nul(body: &[u8]) -> Arc<[u8]> {
    let mut body_nul: Arc<[u8]> = std::iter::repeat_n(0, body.len() + 1).collect();
    let bytes = Arc::get_mut(&mut body_nul).expect("nobody else has it yet");
    bytes[..body.len()].copy_from_slice(body);
    body_nul
}

/// Whether a sender's own header is handed on. Values that are empty or show white space make whole
/// frames unreadable for clients in the field, so they are left out (`docs/protocol.md`); line ends
/// are escaped and show none.
fn passes(name: &str, value: &str) -> bool {
    let shows_space =
        |text: &str| text.contains(|it: char| it.is_whitespace() && it != '\n' && it != '\r');
    !value.is_empty() && !shows_space(value) && !shows_space(name) && !OWN_HEADERS.contains(&name)
}

fn without_space(value: &str) -> Option<Box<str>> {
    let value: String = value.chars().filter(|it| !it.is_whitespace()).collect();
    (!value.is_empty()).then(|| value.into_boxed_str())
}
