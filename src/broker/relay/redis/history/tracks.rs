//! Tracks: the last place that this core has seen of each destination with a history that it is
//! subscribed to; a hole before a message is filled before the message goes on.
//!
//! ```text
//!  subscribed ─► basing ─ the end of the stream ─► live ─ a hole, or subscribed again ─► healing
//!                                                   ▲                                      │
//!                                                   └──────── what was missed, in order ◄──┘
//! ```
//!
//! What goes out of here for one channel has places that rise, with no hole that could be filled.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::relay::Page;
use crate::broker::relay::Query;
use crate::broker::relay::Token;
use crate::stdx::planted;
use crate::stdx::planted::Duty;

/// Messages of a channel that are held while it heals; more are read again.
const HELD_COUNT_MAX: usize = 256;
/// Bytes of their bodies.
const HELD_BYTES_MAX: usize = 1 << 20;
/// The tokens of our own readings have this bit.
pub(super) const OWN: u64 = 1 << 63;

/// One channel.
#[derive(Debug, Default)]
struct Track {
    last: Option<Place>,
    /// The reading under way.
    reading: Option<u64>,
    is_healing: bool,
    held: VecDeque<Arc<Publication>>,
    held_bytes: usize,
    /// The greatest place that was held and is not any more.
    lost: Option<Place>,
    /// Of `held`, those that had come when the reading began.
    asked_count: usize,
    /// Something was missing and has come since the reading began.
    has_moved: bool,
    /// Subscribers who wait for the base.
    tokens: Vec<Token>,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is for the subscribers now.
    Give,
    /// It came before.
    Repeated,
    /// It waits for what is missing, which is to be read.
    Read(Query),
    /// It waits with others.
    Held,
}

/// What a page of a reading leads to.
#[derive(Debug, Default)]
pub(super) struct Healed {
    /// For the subscribers now, in order.
    pub(super) give: Vec<Arc<Publication>>,
    /// What they get that nobody pushed to us.
    pub(super) filled_count: u64,
    /// Messages whose place nobody has: they go out without one.
    pub(super) strange: Vec<Arc<Publication>>,
    /// What is to be read next, by the same name.
    pub(super) read: Option<Query>,
    /// Those who waited for the base.
    pub(super) tokens: Vec<Token>,
}

/// All tracks of a core.
///
/// Invariants: `readings` names the channel of each reading that a track has under way, `waiting`
/// that of each token of a subscriber that the relay has not confirmed.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    all: BTreeMap<Arc<str>, Track>,
    readings: BTreeMap<u64, Arc<str>>,
    waiting: HashMap<Token, Arc<str>>,
    readings_count: u64,
}

impl Tracks {
    /// A subscriber comes, with the token that it waits for.
    pub(super) fn subscribe(&mut self, channel: &Arc<str>, token: Option<Token>) {
        self.all.entry(Arc::clone(channel)).or_default();
        if let Some(token) = token {
            self.waiting.insert(token, Arc::clone(channel));
        }
    }

    /// The last subscriber has gone: returns who waited, and the reading that is of no use now.
    pub(super) fn unsubscribe(&mut self, channel: &str) -> (Vec<Token>, Option<u64>) {
        let Some(track) = self.all.remove(channel) else { return (Vec::new(), None) };
        if let Some(reading) = track.reading {
            self.readings.remove(&reading);
        }
        (track.tokens, track.reading)
    }

    /// The last place that went out.
    pub(super) fn last(&self, channel: &str) -> Option<Place> {
        self.all.get(channel)?.last
    }

    pub(super) fn has(&self, channel: &str) -> bool {
        self.all.contains_key(channel)
    }

    pub(super) fn is_own(&self, reading: u64) -> bool {
        self.readings.contains_key(&reading)
    }

    /// What `token` waited for is confirmed by the relay; `true` when it waits for the base, too.
    /// The second is what is to be read for it.
    pub(super) fn confirm(&mut self, token: Token) -> (bool, Option<(u64, Arc<str>, Query)>) {
        let Some(channel) = self.waiting.remove(&token) else { return (false, None) };
        let Some(track) = self.all.get_mut(&channel) else { return (false, None) };
        if track.last.is_some() {
            return (false, None);
        }
        track.tokens.push(token);
        if track.reading.is_some() {
            return (true, None);
        }
        (true, self.begin(&channel).map(|(reading, query)| (reading, channel, query)))
    }

    /// What `token` waited for is refused.
    pub(super) fn refuse(&mut self, token: Token) {
        self.waiting.remove(&token);
    }

    /// Redis tells us of the channel from now on, for the first time or again: what is to be read.
    pub(super) fn enter(&mut self, channel: &Arc<str>) -> Option<(u64, Query)> {
        let track = self.all.get_mut(channel)?;
        if track.reading.is_some() {
            // It may have been done before; what it has missed then is seen as lost.
            track.lost = track.lost.max(Some(Place { epoch: u64::MAX, seq: 0 }));
            return None;
        }
        track.is_healing = track.last.is_some() && !planted::lacks(Duty::GapHealing);
        self.begin(channel)
    }

    fn begin(&mut self, channel: &Arc<str>) -> Option<(u64, Query)> {
        let track = self.all.get_mut(channel)?;
        self.readings_count += 1;
        let reading = OWN | self.readings_count;
        self.readings.insert(reading, Arc::clone(channel));
        track.reading = Some(reading);
        track.begin_round();
        Some((reading, track.last.map_or(Query::Last(0), Query::After)))
    }

    /// A message of a channel, with its place.
    pub(super) fn arrive(
        &mut self,
        publication: &Arc<Publication>,
        place: Place,
    ) -> (Arrival, Option<u64>) {
        let channel = &*publication.channel;
        let Some((channel, _)) = self.all.get_key_value(channel) else {
            return (Arrival::Give, None);
        };
        let channel = Arc::clone(channel);
        let Some(track) = self.all.get_mut(&channel) else { return (Arrival::Give, None) };
        if Some(place) <= track.last {
            return (Arrival::Repeated, None);
        }
        if track.is_healing {
            track.hold(publication, place);
            return (Arrival::Held, None);
        }
        let is_neglected = planted::lacks(Duty::GapHealing);
        if is_neglected || track.last.is_none_or(|last| follows(last, place)) {
            track.last = Some(place);
            return (Arrival::Give, None);
        }
        track.is_healing = true;
        track.hold(publication, place);
        match self.begin(&channel) {
            Some((reading, query)) => (Arrival::Read(query), Some(reading)),
            None => (Arrival::Held, None),
        }
    }

    /// A message of a channel without a place; `true` when it waits for those before it.
    pub(super) fn hold_plain(&mut self, publication: &Arc<Publication>) -> bool {
        let Some(track) = self.all.get_mut(&*publication.channel) else { return false };
        let has_room = track.held.len() < HELD_COUNT_MAX && track.held_bytes < HELD_BYTES_MAX;
        let is_held = track.is_healing && has_room;
        if is_held {
            track.held_bytes += publication.body().len();
            track.held.push_back(Arc::clone(publication));
        }
        is_held
    }

    /// A page of reading `reading`; `end` is the end of the stream, where that was asked.
    pub(super) fn handle_page(
        &mut self,
        reading: u64,
        page: &Page,
        end: Option<Place>,
    ) -> Option<(Arc<str>, Healed)> {
        let channel = Arc::clone(self.readings.get(&reading)?);
        let track = self.all.get_mut(&channel)?;
        let mut healed = Healed::default();
        if track.is_healing {
            track.take(page, &mut healed);
        } else if !page.is_broken {
            // What came before this was said before anybody was told that it is subscribed.
            track.last = track.last.or(end);
        }
        if healed.read.is_none() {
            healed.tokens = std::mem::take(&mut track.tokens);
            track.reading = None;
            self.readings.remove(&reading);
        }
        Some((channel, healed))
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.readings.is_empty() && self.waiting.is_empty()
    }

    /// Walks everything and compares it with the invariants; for simulations and tests.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub(super) fn check_invariants(&self) {
        for (reading, channel) in &self.readings {
            assert!(self.all.get(channel).is_some_and(|it| it.reading == Some(*reading)));
        }
        for track in self.all.values() {
            assert!(track.reading.is_none_or(|it| self.readings.contains_key(&it)));
            assert!(track.is_healing || track.held.is_empty());
            assert!(!track.is_healing || track.reading.is_some());
            assert!(track.tokens.is_empty() || track.reading.is_some());
        }
    }
}

/// Whether nothing can be between the two. What comes first of all follows the base of a channel
/// that nobody had said anything on.
fn follows(last: Place, place: Place) -> bool {
    let is_first = last.seq == 0 && place.seq == 1 && last.epoch <= place.epoch;
    is_first || last.epoch == place.epoch && last.seq + 1 == place.seq
}

impl Track {
    fn begin_round(&mut self) {
        self.asked_count = self.held.len();
        self.has_moved = false;
        self.lost = None;
    }

    fn hold(&mut self, publication: &Arc<Publication>, place: Place) {
        self.held_bytes += publication.body().len();
        self.held.push_back(Arc::clone(publication));
        if HELD_COUNT_MAX < self.held.len() || HELD_BYTES_MAX < self.held_bytes {
            // All of them are in the stream.
            self.lost = self.lost.max(Some(place));
            self.held.retain(|it| it.place().is_none());
            self.held_bytes = self.held.iter().map(|it| it.body().len()).sum();
            self.asked_count = 0;
        }
    }

    /// Gives what a page brings and what was held behind it.
    fn take(&mut self, page: &Page, healed: &mut Healed) {
        for record in &page.records {
            let Some(place) = record.place().filter(|it| self.last < Some(*it)) else { continue };
            self.last = Some(place);
            self.has_moved = true;
            healed.filled_count += 1;
            healed.give.push(Arc::clone(record));
        }
        let last = self.last.unwrap_or_default();
        if !page.is_end {
            healed.read = Some(Query::After(last));
            return;
        }
        while let Some(held) = self.held.pop_front() {
            self.held_bytes -= held.body().len();
            let had_come = 0 < self.asked_count;
            self.asked_count = self.asked_count.saturating_sub(1);
            let Some(place) = held.place() else {
                healed.give.push(held);
                continue;
            };
            let last = self.last.unwrap_or_default();
            if place <= last {
                healed.filled_count -=
                    u64::from(healed.give.iter().any(|it| it.place() == Some(place)));
                continue;
            }
            if follows(last, place) {
                self.last = Some(place);
                healed.give.push(held);
                continue;
            }
            if had_come || page.is_broken {
                // It was there before the reading, which has not found it.
                healed.strange.push(held);
                continue;
            }
            self.held_bytes += held.body().len();
            self.held.push_front(held);
            self.begin_round();
            healed.read = Some(Query::After(last));
            return;
        }
        let last = self.last.unwrap_or_default();
        if Some(last) < self.lost && !page.is_broken {
            self.begin_round();
            healed.read = Some(Query::After(last));
            return;
        }
        self.begin_round();
        self.is_healing = false;
    }
}
