//! One Redis server that takes writes, and the pair of links to it.

use std::net::SocketAddr;

use crate::broker::relay::redis::link::Link;
use crate::broker::relay::redis::link::Part;
use crate::broker::relay::redis::options::Address;
use crate::stdx::time::Instant;

/// One server: in PubSub mode the only one, reached at whichever of its addresses is a primary.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) addresses: Vec<Address>,
    /// Which address is tried, or used.
    pub(super) at: usize,
    /// Failures since it was up.
    pub(super) failures_count: u32,
    pub(super) subscriber: Side,
    pub(super) publisher: Side,
    /// Whether both links are ready and all that is wanted is subscribed to.
    pub(super) is_up: bool,
    pub(super) was_up: bool,
    /// The cluster has given its slots to others.
    pub(super) is_retiring: bool,
    /// When its name is looked up again; `None` while it is not up.
    pub(super) look_at: Option<Instant>,
    /// Looks in a row that did not find the server in use.
    pub(super) misses_count: u32,
    /// Its name leads elsewhere: it is left once it has answered, or then.
    pub(super) leaving: Option<(SocketAddr, Instant)>,
}

/// One of the two links, or when it is tried again.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) link: Option<Link>,
    pub(super) retry_at: Instant,
    /// Whether the link's owner has been told that there is something to write.
    pub(super) is_dirty: bool,
}

impl Node {
    pub(super) fn new(addresses: Vec<Address>, now: Instant) -> Self {
        let side = || Side { link: None, retry_at: now, is_dirty: false };
        Self {
            addresses,
            at: 0,
            failures_count: 0,
            subscriber: side(),
            publisher: side(),
            is_up: false,
            was_up: false,
            is_retiring: false,
            look_at: None,
            misses_count: 0,
            leaving: None,
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.addresses[self.at % self.addresses.len()]
    }

    pub(super) const fn side(&self, part: Part) -> &Side {
        match part {
            Part::Subscriber => &self.subscriber,
            Part::Publisher | Part::Scout => &self.publisher,
        }
    }

    pub(super) const fn side_mut(&mut self, part: Part) -> &mut Side {
        match part {
            Part::Subscriber => &mut self.subscriber,
            Part::Publisher | Part::Scout => &mut self.publisher,
        }
    }
}

impl Side {
    pub(super) fn is_ready(&self) -> bool {
        self.link.as_ref().is_some_and(Link::is_ready)
    }
}
