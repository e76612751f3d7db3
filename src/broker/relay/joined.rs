//! Either relay, behind the one interface that a shard knows.

use std::sync::Arc;

use crate::broker::identity;
use crate::broker::publication::Publication;
use crate::broker::relay::Embedded;
use crate::broker::relay::Event;
use crate::broker::relay::Mail;
use crate::broker::relay::Page;
use crate::broker::relay::Query;
use crate::broker::relay::Read;
use crate::broker::relay::Redis;
use crate::broker::relay::Reply;
use crate::broker::relay::Request;
use crate::broker::relay::ShardId;
use crate::broker::relay::Stored;
use crate::broker::relay::Target;
use crate::broker::relay::Token;
use crate::broker::relay::redis::Forward;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

/// One shard's side of the relay of its process.
#[derive(Debug)]
pub enum Relay {
    /// Between the shards of this process.
    Embedded(Box<Embedded>),
    /// Between tasks, through Redis.
    Redis(Box<Redis>),
}

impl Relay {
    /// Says that this shard wants `target`; `token` is answered once that is confirmed.
    /// `is_stored`: the target is a destination with a history.
    pub fn subscribe(
        &mut self,
        now: Instant,
        target: Target,
        token: Option<Token>,
        is_stored: bool,
    ) {
        match self {
            Self::Embedded(relay) => relay.subscribe(target, token),
            Self::Redis(relay) => {
                if is_stored {
                    relay.track(&target, token);
                }
                relay.subscribe(now, &target, token);
            }
        }
    }

    /// Says that this shard no longer wants `target`.
    pub fn unsubscribe(&mut self, now: Instant, target: &Target) {
        match self {
            Self::Embedded(relay) => relay.unsubscribe(target),
            Self::Redis(relay) => relay.unsubscribe(now, target),
        }
    }

    /// Sends a publication on its way, to subscribers or to a stream; `token` is answered when the
    /// relay has taken it.
    pub fn publish(&mut self, now: Instant, publication: Arc<Publication>, token: Option<Token>) {
        match self {
            Self::Embedded(relay) => relay.publish(publication, token),
            Self::Redis(relay) => match &publication.forwarded_by {
                None if publication.history.is_some() => relay.place(now, publication, token),
                None => relay.publish(now, &publication, token),
                Some(session) => {
                    let user = publication.sender.as_deref().and_then(identity::decode);
                    let forward = Forward {
                        destination: &publication.destination,
                        content_type: publication.content_type.as_deref(),
                        headers: &publication.headers,
                        body: publication.body(),
                        user: user.as_deref(),
                        session,
                        id: &publication.message_id,
                        timestamp_ms: publication.timestamp_ms,
                    };
                    relay.forward(now, &publication.channel, &forward, token);
                }
            },
        }
    }

    /// Whether it may refuse what it was asked, so that each asker needs a token.
    #[must_use]
    pub fn may_refuse(&self) -> bool {
        match self {
            Self::Embedded(relay) => relay.may_refuse(),
            Self::Redis(relay) => relay.may_refuse(),
        }
    }

    /// Whether it carries subscriptions to patterns.
    #[must_use]
    pub fn serves_patterns(&self) -> bool {
        match self {
            Self::Embedded(_) => true,
            Self::Redis(relay) => relay.serves_patterns(),
        }
    }

    /// Refuses what waits for a server that is away: it will never be sent.
    pub fn give_up(&mut self) {
        match self {
            Self::Embedded(_) => {}
            Self::Redis(relay) => relay.give_up(),
        }
    }

    /// Whether connections may be read.
    #[must_use]
    pub fn has_credit(&self) -> bool {
        match self {
            Self::Embedded(relay) => relay.has_credit(),
            Self::Redis(relay) => relay.has_credit(),
        }
    }

    /// What to do next; the owner calls until `None` after every input.
    pub fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::Embedded(relay) => relay.poll_event(),
            Self::Redis(relay) => relay.poll_event(),
        }
    }

    /// Whether it speaks to a server.
    #[must_use]
    pub fn has_links(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Redis(_) => true,
        }
    }

    /// The side that speaks to Redis, where there is one.
    pub fn redis_mut(&mut self) -> Option<&mut Redis> {
        match self {
            Self::Embedded(_) => None,
            Self::Redis(relay) => Some(relay),
        }
    }

    /// Takes what another shard sent; see [`Embedded::handle_mail`].
    pub fn handle_mail(&mut self, from: ShardId, mail: Mail) {
        match self {
            Self::Embedded(relay) => relay.handle_mail(from, mail),
            Self::Redis(_) => unreachable!("shards that share a Redis write no mail"),
        }
    }

    /// The next request for shard `to`.
    pub fn poll_request(&mut self, to: ShardId) -> Option<Request> {
        match self {
            Self::Embedded(relay) => relay.poll_request(to),
            Self::Redis(_) => None,
        }
    }

    /// The next reply to shard `to`.
    pub fn poll_reply(&mut self, to: ShardId) -> Option<Reply> {
        match self {
            Self::Embedded(relay) => relay.poll_reply(to),
            Self::Redis(_) => None,
        }
    }

    /// Whether mail for other shards waits.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        match self {
            Self::Embedded(relay) => relay.has_mail(),
            Self::Redis(_) => false,
        }
    }

    /// Whether another request may be handed in.
    #[must_use]
    pub fn has_reply_room(&self) -> bool {
        match self {
            Self::Embedded(relay) => relay.has_reply_room(),
            Self::Redis(_) => true,
        }
    }

    /// What the store of the history has said.
    pub fn handle_stored(&mut self, now: Instant, stored: Stored) {
        match self {
            Self::Embedded(relay) => relay.handle_stored(stored),
            Self::Redis(relay) => relay.handle_stored(now, &stored),
        }
    }

    /// The next publication to be stored.
    pub fn poll_record(&mut self) -> Option<Arc<Publication>> {
        match self {
            Self::Embedded(relay) => relay.poll_record(),
            Self::Redis(relay) => relay.poll_record(),
        }
    }

    /// Asks for a page of the history, which comes as [`Event::Page`]; `false` where only the store
    /// has it.
    pub fn read(&mut self, now: Instant, token: Token, channel: &Arc<str>, query: Query) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Redis(relay) => {
                relay.read(now, token, channel, query);
                true
            }
        }
    }

    /// Nobody wants pages by this token any more.
    pub fn forget_reading(&mut self, token: Token) {
        if let Self::Redis(relay) = self {
            relay.forget_reading(token);
        }
    }

    /// A page that the store was asked for by the relay.
    pub fn handle_page(&mut self, now: Now, token: u64, page: Option<&Page>) {
        if let Self::Redis(relay) = self {
            relay.handle_page(now, token, page);
        }
    }

    /// The next page that the relay wants of the store.
    pub fn poll_read(&mut self) -> Option<Read> {
        self.redis_mut()?.poll_read()
    }

    /// Whether the relay wants pages of the store.
    #[must_use]
    pub fn has_reads(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Redis(relay) => relay.has_reads(),
        }
    }

    /// Whether publications wait to be stored.
    #[must_use]
    pub fn has_records(&self) -> bool {
        match self {
            Self::Embedded(relay) => relay.has_records(),
            Self::Redis(relay) => relay.has_records(),
        }
    }

    /// Publications of this home that are not known to be stored.
    #[must_use]
    pub fn unstored_count(&self) -> usize {
        match self {
            Self::Embedded(relay) => relay.unstored_count(),
            Self::Redis(relay) => relay.unstored_count(),
        }
    }

    /// How many targets this shard wants; `None` where more may be kept for a while.
    #[must_use]
    pub fn interests_count(&self) -> Option<usize> {
        match self {
            Self::Embedded(relay) => Some(relay.interests_count()),
            Self::Redis(_) => None,
        }
    }

    /// Whether nobody wants anything and nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Embedded(relay) => relay.is_empty(),
            Self::Redis(relay) => relay.is_empty(),
        }
    }

    /// Checks what the relay promises of itself; for simulations.
    ///
    /// # Panics
    ///
    /// When a promise is broken.
    pub fn check_invariants(&self) {
        match self {
            Self::Embedded(relay) => relay.check_invariants(),
            Self::Redis(relay) => relay.check_invariants(),
        }
    }
}
