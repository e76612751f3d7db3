//! What the machine says to the owner of its sockets.

use std::net::SocketAddr;

use crate::broker::relay::redis::link::LinkId;
use crate::broker::relay::redis::options::Address;
use crate::stdx::time::Instant;

/// What the owner of the sockets has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkAction {
    /// Connect, and say so, or why not.
    Open {
        /// The name of the connection from now on.
        link: LinkId,
        /// Where to; resolved anew.
        address: Address,
        /// Where its pair is connected to: tried first when the name still has it.
        beside: Option<SocketAddr>,
    },
    /// Resolve the address anew, and say what it leads to now; if nobody knows, nothing.
    Look {
        /// The connection that is in use.
        link: LinkId,
        /// Its name.
        address: Address,
    },
    /// End the connection, or the attempt; nothing more is said or asked about it.
    Close {
        /// Which.
        link: LinkId,
    },
}

/// What became of bytes that were given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes from the front that are done with.
    pub consumed: usize,
    /// How many bytes there must be, with what was left, before there is something to do; 0 or 1
    /// when that is not known.
    pub bytes_min: usize,
}

/// Whether the relay works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not been up yet.
    Connecting {
        /// The start.
        since: Instant,
    },
    /// All is connected and subscribed to.
    Up,
    /// It was up.
    Down {
        /// When it ceased to be.
        since: Instant,
    },
}
