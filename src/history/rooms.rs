//! The table `rooms`: one row for each destination that was ever written to, and the walk over it
//! that forgets what is too old or too much.

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Arc;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::history::store::Retention;

/// Destinations of which one store knows that they have their row.
const KNOWN_MAX: usize = 100_000;
/// Destinations that one step looks at.
pub(super) const STEP_ROOMS: usize = 8;
/// Messages that one step removes from a destination: few enough that nobody waits for long.
pub(super) const STEP_MESSAGES: usize = 1_000;

/// What one store knows of the table.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    known: HashSet<Box<str>>,
    /// The last row that the walk has done with.
    pub(super) walked: u64,
}

impl Rooms {
    /// The destinations of `records` that may have no row yet, in one order for all tasks, so that
    /// none waits for another that waits for it.
    pub(super) fn new_of<'a>(&self, records: &'a [Arc<Publication>]) -> BTreeSet<&'a str> {
        let channels = records.iter().map(|it| &*it.channel);
        channels.filter(|it| !self.known.contains(*it)).collect()
    }

    /// These have their rows.
    pub(super) fn learn(&mut self, channels: BTreeSet<&str>) {
        if KNOWN_MAX < self.known.len() + channels.len() {
            self.known.clear();
        }
        self.known.extend(channels.into_iter().map(Box::from));
    }
}

/// How far a destination is to be forgotten; nothing where its oldest message stays.
///
/// `oldest` are its oldest messages with their times, `surplus` the newest that is beyond the
/// count. Only what has nothing before it goes, so that a place that is there has all behind it.
pub(super) fn end_of(
    oldest: &[(Place, u64)],
    surplus: Option<Place>,
    now_ms: u64,
    retention: Retention,
) -> Option<Place> {
    let goes = |(place, created_at): &&(Place, u64)| {
        let is_old = retention.age_ms.is_some_and(|age| created_at.saturating_add(age) < now_ms);
        is_old || surplus.is_some_and(|it| *place <= it)
    };
    oldest.iter().take_while(goes).last().map(|(place, _)| *place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::store::tests::said;

    #[test]
    fn what_goes_has_nothing_before_it() {
        let at = |seq| Place { epoch: 1, seq };
        let oldest = [(at(1), 100), (at(2), 900), (at(3), 200), (at(4), 950)];
        let check = |age_ms, surplus: Option<u64>, expected: Option<u64>| {
            let retention = Retention { age_ms, count: None };
            let end = end_of(&oldest, surplus.map(at), 1_000, retention);
            assert_eq!(end.map(|it| it.seq), expected, "{age_ms:?} {surplus:?}");
        };
        check(None, None, None);
        check(Some(899), None, Some(1));
        check(Some(900), None, None);
        check(Some(99), None, Some(3));
        check(Some(49), None, Some(4));
        check(None, Some(2), Some(2));
        check(Some(500), Some(2), Some(3));
        check(Some(u64::MAX), None, None);
    }

    #[test]
    fn a_destination_is_new_until_its_row_is_there() {
        let mut rooms = Rooms::default();
        let records = [said("/topic/b", 1, 1), said("/topic/a", 1, 1), said("/topic/b", 1, 2)];
        let new = rooms.new_of(&records);
        assert_eq!(new.iter().copied().collect::<Vec<_>>(), ["/topic/a", "/topic/b"]);
        rooms.learn(new);
        assert!(rooms.new_of(&records).is_empty());
        for number in 0..KNOWN_MAX {
            rooms.learn(BTreeSet::from([format!("/topic/{number}").as_str()]));
        }
        assert!(rooms.known.len() <= KNOWN_MAX);
    }
}
