//! The messages that came lately, in a cluster.
//!
//! The nodes that share a slot, a master and its replicas, pass each message on to each other, and
//! each gives it to its own subscribers. Who goes from one to another may hear a message there that
//! it has heard here already.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::time::Duration;

use crate::stdx::time::Instant;

/// How many are known again.
const KNOWN_MAX: usize = 8192;
/// How long after a move a message that is known may be an old one.
const DOUBT: Duration = Duration::from_secs(10);

/// What came lately, and whether it may come again.
///
/// Invariant: `known` holds just what `order` holds.
#[derive(Debug, Default)]
pub(super) struct Recent {
    known: HashSet<u64>,
    order: VecDeque<u64>,
    hasher: RandomState,
    doubt_until: Instant,
}

impl Recent {
    /// A channel has gone from one node to another.
    pub(super) fn note_moved(&mut self, now: Instant) {
        self.doubt_until = now.after(DOUBT);
    }

    /// Notes a message; `false` when it came before, and a channel has moved lately. At other times
    /// whoever gives two messages one name is taken at its word.
    pub(super) fn admit(&mut self, now: Instant, channel: &[u8], id: &str) -> bool {
        let hash = self.hasher.hash_one((channel, id));
        if !self.known.insert(hash) {
            return self.doubt_until <= now;
        }
        self.order.push_back(hash);
        if KNOWN_MAX < self.order.len()
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn what_came_before_is_dropped_for_a_while_after_a_move() {
        let mut recent = Recent::default();
        assert!(recent.admit(at(1), b"a", "1"));
        assert!(recent.admit(at(1), b"a", "1"), "nothing has moved");
        recent.note_moved(at(2));
        assert!(!recent.admit(at(3), b"a", "1"));
        assert!(recent.admit(at(3), b"b", "1") && recent.admit(at(3), b"a", "2"));
        assert!(!recent.admit(at(11), b"a", "2"));
        assert!(recent.admit(at(12), b"a", "2"));
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut recent = Recent::default();
        recent.note_moved(at(1));
        for id in 0..=KNOWN_MAX {
            assert!(recent.admit(at(1), b"a", &id.to_string()));
        }
        assert_eq!((recent.known.len(), recent.order.len()), (KNOWN_MAX, KNOWN_MAX));
        assert!(!recent.admit(at(1), b"a", "1"));
        assert!(recent.admit(at(1), b"a", "0"));
    }
}
