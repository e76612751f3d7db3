//! How the relay is, and how much of what it has.

use std::time::Duration;

use crate::broker::relay::redis::Counts;
use crate::broker::relay::redis::Redis;
use crate::broker::relay::redis::State;
use crate::broker::relay::redis::history::History;

impl Redis {
    /// Whether the relay works.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// What was counted since the start.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Bytes of commands that wait to be written.
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.publisher.waiting_bytes()
    }

    /// Publications and stream entries that are written and not answered.
    #[must_use]
    pub fn unanswered_count(&self) -> usize {
        self.publisher.unanswered_count()
    }

    /// Publications with a place that are not known to be stored.
    #[must_use]
    pub fn unstored_count(&self) -> usize {
        self.history.as_ref().map_or(0, History::unstored_count)
    }

    /// Whether nothing waits to be written, answered or stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let is_quiet = self.waiting_bytes() == 0 && self.unanswered_count() == 0;
        is_quiet && self.history.as_ref().is_none_or(History::is_empty)
    }

    /// Channels and globs that are subscribed to, or will be; those that linger are among them.
    #[must_use]
    pub fn interests_count(&self) -> usize {
        self.interests.count()
    }

    /// Appends how long each publication took from its writing to its answer, since the last call.
    pub fn take_round_trips(&mut self, out: &mut Vec<Duration>) {
        self.publisher.take_round_trips(out);
    }
}
