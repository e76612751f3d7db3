//! Commands that change subscriptions: many names in one, answered name by name.

use std::collections::BTreeMap;

use crate::broker::relay::redis::options::Mode;
use crate::stdx::slab::Key;

/// Most names of one command.
pub(super) const NAMES_MAX: usize = 512;

/// What a command does to its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Verb {
    pub(super) enters: bool,
    pub(super) is_glob: bool,
}

impl Verb {
    /// The name of the command.
    pub(super) const fn command(self, mode: Mode) -> &'static [u8] {
        match (self.enters, self.is_glob, mode) {
            (true, false, Mode::PubSub) => b"SUBSCRIBE",
            (false, false, Mode::PubSub) => b"UNSUBSCRIBE",
            (true, true, _) => b"PSUBSCRIBE",
            (false, true, _) => b"PUNSUBSCRIBE",
            (true, false, Mode::Sharded) => b"SSUBSCRIBE",
            (false, false, Mode::Sharded) => b"SUNSUBSCRIBE",
        }
    }
}

/// One command under way.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) verb: Verb,
    pub(super) keys: Vec<Key>,
    /// How many of the keys, from the front, are confirmed.
    pub(super) confirmed_count: usize,
}

/// Sorts keys into as few commands as may be: by what is done and, in a cluster, by slot, because
/// one command may only name channels of one slot.
#[derive(Debug)]
pub(super) struct Batches {
    mode: Mode,
    groups: BTreeMap<(Verb, u16), Vec<Key>>,
    full: Vec<Batch>,
}

impl Batches {
    pub(super) const fn new(mode: Mode) -> Self {
        Self { mode, groups: BTreeMap::new(), full: Vec::new() }
    }

    pub(super) fn push(&mut self, verb: Verb, slot: u16, is_alone: bool, key: Key) {
        if is_alone {
            self.full.push(Batch { verb, keys: vec![key], confirmed_count: 0 });
            return;
        }
        let slot = if self.mode == Mode::Sharded { slot } else { 0 };
        let keys = self.groups.entry((verb, slot)).or_default();
        keys.push(key);
        if keys.len() == NAMES_MAX {
            let keys = std::mem::take(keys);
            self.full.push(Batch { verb, keys, confirmed_count: 0 });
        }
    }

    pub(super) fn finish(self) -> impl Iterator<Item = Batch> {
        let rest = self.groups.into_iter().filter(|(_, keys)| !keys.is_empty());
        let rest = rest.map(|((verb, _), keys)| Batch { verb, keys, confirmed_count: 0 });
        self.full.into_iter().chain(rest)
    }
}
