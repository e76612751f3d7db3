//! Readers that have fallen behind what back ends say: a batch waits for those who read on.
//!
//! Only messages without a sender of their own put somebody here, so nobody is looked at because of
//! what clients say to each other.

use std::time::Duration;

use crate::shard::state::Shard;
use crate::stdx::time::Instant;

/// Most readers that are noted; one is enough to be waited for.
const NOTED_MAX: usize = 16;
/// The part of an outbox beyond which its reader is behind.
const BEHIND_PART: usize = 4;
/// The part from which on it has caught up.
const CAUGHT_UP_PART: usize = 16;
/// Who has taken nothing for so long does not read, and is not waited for.
const STALLED: Duration = Duration::from_secs(2);

/// Places of connections whose outboxes had more than their ample part.
///
/// A place may have got another owner since: it is looked at like the one before.
#[derive(Debug, Default)]
pub(super) struct Behind {
    slots: Vec<u32>,
}

impl Behind {
    /// Bytes that may wait for a reader before it is behind, of `bytes_max` in all.
    pub(super) fn ample_bytes(bytes_max: usize) -> usize {
        bytes_max / BEHIND_PART
    }

    /// The reader in this place is behind.
    pub(super) fn note(&mut self, slot: u32) {
        if self.slots.len() < NOTED_MAX && !self.slots.contains(&slot) {
            self.slots.push(slot);
        }
    }
}

impl Shard {
    /// Forgets those that have caught up, have gone or do not read, and tells all shards how many
    /// are left.
    #[inline]
    pub(super) fn look_behind(&mut self, now: Instant) {
        if !self.behind.slots.is_empty() {
            self.forget_caught_up(now);
        }
    }

    fn forget_caught_up(&mut self, now: Instant) {
        let caught_up_bytes = self.options.outbox_bytes_max / CAUGHT_UP_PART;
        let connections = &self.connections;
        self.behind.slots.retain(|slot| {
            let key = connections.key_at(*slot);
            key.and_then(|key| connections.get(key)).is_some_and(|it| {
                let is_behind = caught_up_bytes < it.outbox.queued_bytes();
                it.is_open() && is_behind && !it.outbox.is_overdue(now, STALLED)
            })
        });
        self.counters.behind.set(self.behind.slots.len() as u64);
    }
}
