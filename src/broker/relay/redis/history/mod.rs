//! The history through Redis: places, the write-ahead stream, the stored watermark, replays from
//! the stream, and what fills holes.
//!
//! ```text
//! SEND ─► place script: seq, XADD, PUBLISH ─► ledger ─► store ─► mark script: watermark, trim
//!                                │                          ▲
//!                                └── stands for 2 s ── any task copies it
//! ```
//!
//! What must stay true, whoever dies when:
//! 1. A place is given, appended and published in one script, so by all or by none; a key stands
//!    for one place for as long as it is known.
//! 2. The watermark moves from one entry of the stream to the next, only onto what the store has
//!    committed; a stream is trimmed below its watermark only. So each entry is in the stream, in
//!    the store, or in both, unless Redis itself lost it.
//! 3. A destination is in `ringway:unstored` while something is above its watermark, put there by
//!    the script that appended it: so whoever looks there finds all that the dead have left.
//! 4. A RECEIPT follows a commit, or says that it does not.
//! 5. Places of one destination go out of a core in order, each once, and what was between two of
//!    them and can still be read goes out between them.
//!
//! Read `script` and the Lua files, `ledger`, `asks`, `readings`, `tracks`, then `placing`,
//! `reading`, `tracking` and `copying`.

mod asks;
mod copying;
mod ledger;
mod placing;
mod reading;
mod readings;
mod script;
mod tracking;
mod tracks;

use std::collections::BTreeMap;
use std::collections::HashMap;

use crate::broker::publication::Place;
use crate::broker::relay::redis::history::ledger::Ledger;
use crate::broker::relay::redis::history::readings::Readings;
use crate::broker::relay::redis::history::script::Scripts;
use crate::broker::relay::redis::history::tracks::Tracks;
use crate::stdx::time::Instant;

pub(super) use asks::Ask;
pub(super) use asks::Asks;
pub use script::PLACE;

/// Destinations whose highest place is remembered; with more, all are forgotten.
const SEEN_MAX: usize = 100_000;

/// How histories are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Whether all tasks share a store; else the streams are all there is.
    pub has_store: bool,
    /// Whether messages are taken while the store is away.
    pub defers: bool,
    /// How many messages of a destination stay in its stream when they are stored.
    pub kept_max: usize,
    /// How many messages of a destination may wait for the store.
    pub unstored_max: usize,
}

/// One core's part in the histories.
#[derive(Debug)]
pub(super) struct History {
    keeping: Keeping,
    scripts: Scripts,
    ledger: Ledger,
    pub(super) asks: Asks,
    readings: Readings,
    tracks: Tracks,
    /// The highest place that was given to us or read, by channel.
    seen: HashMap<Box<str>, Place>,
    /// Whether a place script that was not known is on its way as a whole.
    is_loading: bool,
    /// When this core looks for what others have left; none when it never does.
    copies_at: Option<Instant>,
    /// Destinations that are copied: the last place that was given to the store, and whether there
    /// is more behind it.
    copying: BTreeMap<Box<str>, (Place, bool)>,
}

impl History {
    pub(super) fn new(keeping: Keeping) -> Self {
        Self {
            keeping,
            scripts: Scripts::default(),
            ledger: Ledger::new(keeping.defers),
            asks: Asks::default(),
            readings: Readings::new(keeping.has_store),
            tracks: Tracks::default(),
            seen: HashMap::new(),
            is_loading: false,
            copies_at: None,
            copying: BTreeMap::new(),
        }
    }

    /// Remembers a place that Redis has given.
    fn note_seen(&mut self, channel: &str, place: Place) {
        if let Some(seen) = self.seen.get_mut(channel) {
            *seen = place.max(*seen);
            return;
        }
        if SEEN_MAX <= self.seen.len() {
            self.seen.clear();
        }
        self.seen.insert(channel.into(), place);
    }

    /// The same command with its script in place of the name.
    pub(super) fn whole(&self, command: &[u8]) -> Option<Vec<u8>> {
        self.scripts.whole(command)
    }

    /// Records that are not known to be stored.
    pub(super) fn unstored_count(&self) -> usize {
        self.ledger.waiting_count()
    }

    /// Whether nobody waits for anything.
    pub(super) fn is_empty(&self) -> bool {
        let is_quiet = self.ledger.waiting_count() == 0 && self.asks.is_empty();
        is_quiet && self.readings.is_empty() && self.tracks.is_empty()
    }

    /// Walks everything and compares it with the invariants; for simulations and tests.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub(super) fn check_invariants(&self) {
        self.ledger.check_invariants();
        self.tracks.check_invariants();
    }
}
