//! What a session gives out, and what it is told later of it.

use std::sync::Arc;

use crate::broker::close::CloseReason;
use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::refusal::Refusal;
use crate::broker::router::Interest;
use crate::broker::table::SubscriptionKey;
use crate::policy::auth::Reject;
use crate::proto::stomp::Version;

/// What the shard has to do for a session, in this order.
#[derive(Debug)]
pub enum Output {
    /// Put this STOMP frame in the outbox, as one text message.
    Reply(Vec<u8>),
    /// Enter the subscription, then tell `Session::subscribed`; the receipt waits for the relay.
    Subscribe(Subscribe),
    /// Take the subscription out of the table.
    Unsubscribe(SubscriptionKey),
    /// Publish these in order; the receipt waits until the relay has accepted all.
    Publish {
        /// What is said.
        publications: Publications,
        /// Where it was sent to, as the client named it.
        destination: Box<str>,
        /// The client's name for the receipt.
        receipt: Option<Box<str>>,
    },
    /// CONNECT made it this user's session, whose seats may be counted.
    Entered(Arc<str>),
    /// A frame was refused; counted by its code.
    Refused(Refusal),
    /// A token was not, or no longer, believed; counted by its reason.
    Rejected(Reject),
    /// Start to close.
    Close(CloseReason),
}

/// One publication, or those of a transaction.
#[derive(Debug)]
pub enum Publications {
    /// Of a plain SEND.
    One(Arc<Publication>),
    /// Of a COMMIT.
    Many(Vec<Arc<Publication>>),
}

/// A new subscription.
#[derive(Debug)]
pub struct Subscribe {
    /// The session's name for it.
    pub id: Box<str>,
    /// What MESSAGE frames say in `subscription`; `None` for a STOMP 1.0 client without ids.
    pub shown_id: Option<Box<str>>,
    /// In what.
    pub interest: Interest,
    /// The version that its frames are encoded for.
    pub version: Version,
    /// The client's name for the receipt.
    pub receipt: Option<Box<str>>,
    /// What it wants of the history before it is live.
    pub replay: Option<Replay>,
    /// That is all that it gets: it ends with its answer.
    pub is_once: bool,
}

/// What a SUBSCRIBE wants of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// `history`: the last so many.
    Last(u32),
    /// `since`: what came behind this place.
    Since(Place),
}

/// What a frame asked for, as far as an answer that comes later needs it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Where it was to go, or what it was to hear.
    pub destination: &'a str,
    /// The client's name for the receipt.
    pub receipt: Option<&'a str>,
}
