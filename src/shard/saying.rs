//! What operators and back ends say over HTTP: to the relay message by message, and back to them
//! what became of each.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rustc_hash::FxBuildHasher;
use serde_json::Value;

use crate::broker::publication::Carried;
use crate::broker::publication::Historic;
use crate::broker::publication::Publication;
use crate::broker::publication::message_id;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::relay::Token;
use crate::broker::router::CHANNEL_BYTES_MAX;
use crate::shard::ask::Answer;
use crate::shard::ask::Failure;
use crate::shard::ask::Message;
use crate::shard::state::Shard;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

/// The header by which a repeat is known, and the most bytes that it may have.
const KEY: &str = "idempotency-key";
const KEY_BYTES_MAX: usize = 1000;
/// Bytes of one saying after which what they gave is sent first: a part of what an outbox holds, so
/// that nobody is slow who had no chance to read.
const SHARE_BYTES: usize = 32 << 10;
/// How long that takes at the least.
const SHARE_PAUSE: Duration = Duration::from_millis(1);
/// What a message takes besides its body, about.
const HEAD_BYTES: usize = 256;
/// Bytes of one saying that the relay may have and not have answered.
const UNANSWERED_BYTES_MAX: usize = 256 << 10;
/// Bytes of one saying before anybody is waited for.
const FREE_BYTES: usize = 2 * SHARE_BYTES;
/// How long one saying waits for readers that are behind, in all: less than it is waited for.
const PATIENCE: Duration = Duration::from_secs(8);

/// All that is being said, by number.
///
/// Invariant: `tokens` holds just what the relay has not answered, and each saying's
/// `missing_count` is how many of them are its own, of `missing_bytes` together.
#[derive(Debug, Default)]
pub(super) struct Sayings {
    numbers_count: u64,
    all: BTreeMap<u64, Saying>,
    tokens: HashMap<Token, Spoken, FxBuildHasher>,
}

/// A message that the relay has.
#[derive(Clone, Copy, Debug)]
struct Spoken {
    /// Whose it is, and which.
    number: u64,
    at: usize,
    bytes: usize,
}

/// Messages of one request.
#[derive(Debug)]
struct Saying {
    /// None of them is kept once all are handed over.
    messages: Arc<[Message]>,
    messages_count: usize,
    reply: mpsc::Sender<Answer>,
    /// Ids of those that were handed to the relay, unless it has refused them.
    ids: Vec<Option<String>>,
    missing_count: usize,
    /// Bytes of those that are missing.
    missing_bytes: usize,
    /// Bytes that were handed over, and those of them since `resumes_at`.
    said_bytes: usize,
    share_bytes: usize,
    /// Nothing more is handed over before this.
    resumes_at: Instant,
    /// Nobody is waited for after this; set when that begins.
    patience_ends_at: Option<Instant>,
    /// The first that was refused; nothing is handed over from then on.
    failure: Option<Failure>,
}

/// How far a saying is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// All of it was handed over, or will never be.
    All,
    /// There is more.
    Some,
    /// There is more, and no room for it, or not yet.
    NoRoom,
}

impl Saying {
    fn is_all_said(&self) -> bool {
        self.failure.is_some() || self.ids.len() == self.messages_count
    }

    /// Whether the next message waits: for what was said to leave, to be answered, or to be read.
    fn has_to_wait(&mut self, now: Instant, is_somebody_behind: impl FnOnce() -> bool) -> bool {
        if now < self.resumes_at || UNANSWERED_BYTES_MAX <= self.missing_bytes {
            return true;
        }
        if self.said_bytes < FREE_BYTES || !is_somebody_behind() {
            return false;
        }
        now < *self.patience_ends_at.get_or_insert(now.after(PATIENCE))
    }

    /// `bytes` go to the relay.
    fn hand_over(&mut self, now: Instant, bytes: usize) {
        self.missing_count += 1;
        self.missing_bytes += bytes;
        self.said_bytes += bytes;
        self.share_bytes += bytes;
        if SHARE_BYTES <= self.share_bytes {
            self.share_bytes = 0;
            self.resumes_at = now.after(SHARE_PAUSE);
        }
    }

    fn fail(&mut self, at: usize, refusal: Refusal) {
        if self.failure.as_ref().is_none_or(|it| at < it.at) {
            self.failure = Some(Failure::new(at, refusal));
        }
    }

    fn finish(mut self) {
        self.ids.resize(self.messages_count, None);
        let answer = Answer {
            count: self.ids.iter().flatten().count() as u64,
            rows: self.ids.into_iter().map(Value::from).collect(),
            failure: self.failure,
        };
        // Whoever asked may have given up.
        drop(self.reply.send(answer));
    }
}

impl Sayings {
    /// Whether the relay has not answered everything.
    pub(super) fn are_owed(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Takes messages, of which none is said yet; returns their number.
    pub(super) fn begin(&mut self, messages: Arc<[Message]>, reply: mpsc::Sender<Answer>) -> u64 {
        self.numbers_count += 1;
        let messages_count = messages.len();
        let saying = Saying {
            messages,
            messages_count,
            reply,
            ids: Vec::with_capacity(messages_count),
            missing_count: 0,
            missing_bytes: 0,
            said_bytes: 0,
            share_bytes: 0,
            resumes_at: Instant::default(),
            patience_ends_at: None,
            failure: None,
        };
        self.all.insert(self.numbers_count, saying);
        self.numbers_count
    }

    /// The relay's answer to one message; one to something else is none of ours.
    pub(super) fn answer(&mut self, token: Token, refusal: Option<Refusal>) {
        let Some(Spoken { number, at, bytes }) = self.tokens.remove(&token) else { return };
        let Some(saying) = self.all.get_mut(&number) else { return };
        saying.missing_count -= 1;
        saying.missing_bytes -= bytes;
        if let Some(refusal) = refusal {
            saying.ids[at] = None;
            saying.fail(at, refusal);
        }
        self.finish_if_over(number);
    }

    fn finish_if_over(&mut self, number: u64) {
        let is_over = |it: &Saying| it.missing_count == 0 && it.is_all_said();
        if self.all.get(&number).is_some_and(is_over)
            && let Some(saying) = self.all.remove(&number)
        {
            saying.finish();
        }
    }

    /// The end has come: what the relay has not answered stays unknown, what was not handed over
    /// never will be.
    pub(super) fn give_up(&mut self) {
        let mut tokens: Vec<_> = mem::take(&mut self.tokens).into_values().collect();
        tokens.sort_unstable_by_key(|it| (it.number, it.at));
        for Spoken { number, at, .. } in tokens {
            if let Some(saying) = self.all.get_mut(&number) {
                let text = "the server ends before this was answered; it may be said, or not";
                saying.ids[at] = None;
                saying.fail(at, Refusal::new(Code::RelayUnknown, text));
            }
        }
        for mut saying in mem::take(&mut self.all).into_values() {
            let at = saying.ids.len();
            if at < saying.messages_count {
                let text = "the server ends; say it to another one";
                saying.fail(at, Refusal::new(Code::RelayUnavailable, text));
            }
            saying.finish();
        }
    }
}

impl Shard {
    /// Hands the next message of a saying to the relay: one a step, as it may be for all who are
    /// here.
    pub(super) fn say_next(&mut self, now: Now, number: u64) -> Said {
        let Some(saying) = self.inquiries.sayings.all.get_mut(&number) else { return Said::All };
        if !saying.is_all_said() {
            let counters = &self.identity.counters;
            let is_somebody_behind = || counters.iter().any(|it| 0 < it.behind.get());
            if !self.relay.has_credit() || saying.has_to_wait(now.instant, is_somebody_behind) {
                return Said::NoRoom;
            }
            let (at, messages) = (saying.ids.len(), Arc::clone(&saying.messages));
            self.say(now, number, at, &messages[at]);
        }
        let sayings = &mut self.inquiries.sayings;
        let Some(saying) = sayings.all.get_mut(&number) else { return Said::All };
        if !saying.is_all_said() {
            return Said::Some;
        }
        saying.messages = [].into();
        sayings.finish_if_over(number);
        Said::All
    }

    fn say(&mut self, now: Now, number: u64, at: usize, message: &Message) {
        let said = self.publication_of(now, message);
        self.tokens_count += 1;
        let token = Token(self.tokens_count);
        let sayings = &mut self.inquiries.sayings;
        let Some(saying) = sayings.all.get_mut(&number) else { return };
        match said {
            Ok(publication) => {
                saying.ids.push(Some(publication.message_id.to_string()));
                let bytes = message.body.len() + HEAD_BYTES;
                saying.hand_over(now.instant, bytes);
                sayings.tokens.insert(token, Spoken { number, at, bytes });
                self.relay.publish(now.instant, Arc::new(publication), Some(token));
            }
            Err(refusal) => saying.fail(at, refusal),
        }
    }

    fn publication_of(&mut self, now: Now, message: &Message) -> Result<Publication, Refusal> {
        let options = &self.options;
        if message.destination.starts_with("/app/") {
            let text = "routes are for clients; say where they lead";
            return Err(Refusal::new(Code::NoRoute, text));
        }
        let body_bytes_max = options.stomp.frame_bytes_max;
        if body_bytes_max < message.body.len() {
            let text = format!("the body is over limits.message_bytes = {body_bytes_max}");
            return Err(Refusal::new(Code::Limit, text));
        }
        let delivery = options.router.resolve_send(&message.destination)?;
        self.messages_count += 1;
        let carried = Carried {
            channel: &delivery.channel,
            destination: delivery.destination,
            message_id: message_id(&self.node, self.messages_count),
            content_type: message.content_type.as_deref(),
            sender: None,
            timestamp_ms: now.unix_ms,
            received_at: now.instant,
            body: message.body.as_bytes(),
        };
        let is_stored = options.history.is_some() && options.router.is_stored(&delivery.channel);
        let headers = message.headers.iter().map(|(name, value)| (&**name, &**value));
        let mut publication = Publication::from_relay(carried, headers);
        if is_stored && publication.channel.len() <= CHANNEL_BYTES_MAX {
            let mut headers = message.headers.iter();
            let key = headers.find(|(name, value)| name == KEY && value.len() <= KEY_BYTES_MAX);
            // The API is one sender; no user is called so.
            let key = key.map(|(_, key)| format!("\0{key}").into_boxed_str());
            publication.history = Some(Box::new(Historic::new(key)));
        }
        Ok(publication)
    }
}
