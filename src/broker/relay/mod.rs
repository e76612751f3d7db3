//! The relay: what joins the shards of one process, or of many tasks, to one order per channel.
//!
//! `embedded` joins the shards of one process with nothing beside it; `redis` joins many tasks
//! through Redis Pub/Sub. Both are machines without I/O and have one shape: `subscribe`,
//! `unsubscribe` and `publish` with tokens go in, [`Event`]s come out; [`Relay`] is either.

mod book;
mod embedded;
mod joined;
mod pages;
pub mod redis;

use std::sync::Arc;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::refusal::Refusal;
use crate::broker::seats::Answer;
use crate::broker::seats::Ask;

pub use self::redis::Redis;
pub use book::KEY_LIFE_MS;
pub use book::KEYS_MAX;
pub use book::Kept;
pub use book::RECORDS_MAX;
pub use book::Stored;
pub use embedded::Embedded;
pub use joined::Relay;
pub(crate) use pages::PAGE_COUNT;
pub use pages::Page;
pub use pages::Query;
pub use pages::Read;

/// Most shards of one process; a set of shards is one word.
pub const SHARDS_MAX: usize = 64;

/// One shard of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u8);

/// What a client waits for, named by the shard that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What a shard is interested in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One channel.
    Channel(Arc<str>),
    /// Every channel that the pattern matches.
    Pattern(Arc<str>),
}

/// From one shard to another: immutable once made.
#[derive(Clone, Debug)]
pub enum Mail {
    /// To a home shard.
    Request(Request),
    /// From a home shard.
    Reply(Reply),
}

/// Asked of a home shard.
#[derive(Clone, Debug)]
pub enum Request {
    /// Order this and give it to all that are interested.
    Publish {
        /// What is said.
        publication: Arc<Publication>,
        /// Answered with [`Reply::Accepted`] where somebody waits.
        token: Option<Token>,
    },
    /// The sender's interest begins or ends.
    Interest {
        /// In what.
        target: Target,
        /// Whether it begins.
        is_wanted: bool,
        /// The asking shard's number for this begin; answered with it.
        number: u64,
    },
    /// About a seat; the shard's own, not the relay's.
    Seat(Ask),
}

impl Request {
    /// Bytes of the body that it carries.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        match self {
            Self::Publish { publication, .. } => publication.body().len(),
            Self::Interest { .. } | Self::Seat(_) => 0,
        }
    }
}

/// Answered by a home shard.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The publication has its place in the order.
    Accepted(Token),
    /// The publication is stored, at this place.
    Stored(Token, Place),
    /// The publication is not stored, or not known to be.
    Refused(Token, Refusal),
    /// The interest of this number is known here.
    Confirmed {
        /// In what.
        target: Target,
        /// The number of the request.
        number: u64,
    },
    /// A publication for the subscribers of the receiving shard.
    Deliver(Arc<Publication>),
    /// About a seat; the shard's own, not the relay's.
    Seat(Answer),
}

impl Reply {
    /// Bytes of the body that it carries.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        match self {
            Self::Deliver(publication) => publication.body().len(),
            Self::Accepted(_)
            | Self::Stored(..)
            | Self::Refused(..)
            | Self::Confirmed { .. }
            | Self::Seat(_) => 0,
        }
    }
}

/// What the shard has to do.
#[derive(Debug)]
pub enum Event {
    /// What this token waited for is done.
    Settled(Token),
    /// The publication that this token waited for is stored.
    Stored(Token, Place),
    /// The publication that this token waited for is where it can be stored from, no more.
    Deferred(Token, Place),
    /// A page that was asked for by this token.
    Page(Token, Arc<Page>),
    /// What this token waited for is not done, or not known to be done.
    Refused(Token, Refusal),
    /// Give this to subscribers here.
    Deliver {
        /// What is said.
        publication: Arc<Publication>,
        /// To whom.
        audience: Audience,
    },
    /// A proved word to the whole fleet, or to one task of it.
    Control(self::redis::Control),
}

/// Which of the subscriptions here a delivery is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All that match the channel.
    All,
    /// Those to the channel itself, not those to patterns.
    Exact,
    /// Those to this pattern, which matches the channel.
    Pattern(Arc<str>),
}
