//! One thing that this core wants to hear, and what Redis knows of it.
//!
//! Each has at most one command under way, so that is never in doubt:
//!
//! ```text
//!        ┌──────── lost, or moved to another node ────────┐
//!        ▼                                                │
//!       Out ─wanted: SUBSCRIBE─► Entering ─confirmed─► Inside ─unwanted: UNSUBSCRIBE─► Leaving
//!        ▲                          └─refused─► Out                                      │
//!        └───────────────────────────────── confirmed ──────────────────────────────────┘
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::relay::Token;
use crate::broker::relay::redis::topology::NodeId;
use crate::policy::pattern::Pattern;
use crate::stdx::slab::Key;
use crate::stdx::time::Instant;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// One channel's messages.
    Channel(Arc<str>),
    /// The messages of all patterns that have this glob.
    Glob(Vec<Wanted>),
    /// Destinations with empty segments, for whatever pattern: wanted while any pattern is.
    EmptySegments,
    /// Control messages, always wanted.
    Control,
}

/// One pattern of a glob.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) text: Arc<str>,
    pub(super) pattern: Pattern,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Out,
    Entering,
    Inside,
    Leaving,
}

#[derive(Debug)]
pub(super) struct Interest {
    /// What Redis calls it.
    pub(super) name: Box<str>,
    pub(super) subject: Subject,
    pub(super) is_wanted: bool,
    pub(super) slot: u16,
    /// Whose it is; `None` while the slot has no owner.
    pub(super) node: Option<NodeId>,
    /// Whose it was, until the first message of the other one: none may be missed in between, and
    /// none may come from here after it.
    pub(super) former: Option<NodeId>,
    pub(super) wire: Wire,
    /// In its node's queue.
    pub(super) is_queued: bool,
    /// Goes in a command of its own, because one with others was refused.
    pub(super) is_alone: bool,
    /// The node is not up before this is in.
    pub(super) is_restoring: bool,
    /// Unwanted, but subscribed to until then.
    pub(super) linger_until: Option<Instant>,
    pub(super) waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) token: Token,
    pub(super) deadline: Instant,
    /// Of the patterns of a glob, the one that was asked for.
    pub(super) pattern: Option<Arc<str>>,
}

/// The interests of one node whose subscriber is ready.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) queue: VecDeque<Key>,
    pub(super) restoring_count: usize,
}

impl Interest {
    pub(super) const fn is_glob(&self) -> bool {
        match self.subject {
            Subject::Glob(_) | Subject::EmptySegments => true,
            Subject::Channel(_) | Subject::Control => false,
        }
    }

    /// Whether it is the glob of a pattern that is wanted.
    pub(super) fn has_pattern(&self, text: &str) -> bool {
        match &self.subject {
            Subject::Glob(patterns) => patterns.iter().any(|it| *it.text == *text),
            Subject::EmptySegments => true,
            Subject::Channel(_) | Subject::Control => false,
        }
    }

    pub(super) fn is(&self, is_glob: bool, name: &[u8]) -> bool {
        self.is_glob() == is_glob && self.name.as_bytes() == name
    }

    /// Whether a message that `node` has for it counts: what comes before the confirmation was said
    /// when the channel was there an earlier time.
    pub(super) fn hears(&mut self, node: Option<NodeId>) -> bool {
        let is_confirmed = match self.wire {
            Wire::Inside | Wire::Leaving => true,
            Wire::Out | Wire::Entering => false,
        };
        if self.node == node && is_confirmed {
            self.former = None;
            return true;
        }
        node.is_some() && self.former == node
    }

    /// Redis knows nothing of it any more.
    pub(super) fn reset(&mut self) {
        self.wire = Wire::Out;
        self.is_queued = false;
        self.is_alone = false;
        self.is_restoring = false;
        self.linger_until = None;
    }
}
