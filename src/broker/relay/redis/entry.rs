//! One command that waits to be written, and what is kept of it when it was.

use std::sync::Arc;

use crate::broker::publication::Publication;
use crate::broker::relay::Token;
use crate::stdx::time::Instant;

/// Bytes of an entry beside those of its command.
pub(super) const ENTRY_BYTES: usize = 64;

/// What a command is for.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// PUBLISH or SPUBLISH; an integer answers it.
    Publish,
    /// XADD; a stream's id answers it.
    Append,
    /// The script that gives this a place, which may be run again.
    Place(Arc<Publication>),
}

/// One command that waits.
#[derive(Debug)]
pub(super) struct Entry {
    /// Place in the order of all entries.
    pub(super) number: u64,
    pub(super) token: Option<Token>,
    pub(super) queued_at: Instant,
    pub(super) slot: u16,
    /// At a node that does not own the slot yet, ASKING goes before it.
    pub(super) is_asking: bool,
    /// It was written before, and not answered.
    pub(super) is_unsure: bool,
    pub(super) kind: Kind,
    pub(super) command: Box<[u8]>,
}

/// One command that was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) token: Option<Token>,
    pub(super) written_at: Instant,
    pub(super) slot: u16,
    pub(super) kind: Kind,
    /// Kept where a cluster may send it on, or where it may be written again.
    pub(super) entry: Option<Entry>,
}

impl Entry {
    pub(super) fn bytes(&self) -> usize {
        self.command.len() + ENTRY_BYTES
    }
}
