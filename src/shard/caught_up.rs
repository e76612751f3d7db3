//! Replays that have had their RECEIPT, and whose channel was pushed nothing since that they lack.
//!
//! The store may have given what is still on its way here as a push. So such a subscription stays
//! among the replaying ones, which are pushed nothing, until the first push behind what it was
//! given; pushes come in order.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::relay::Audience;
use crate::broker::relay::Token;
use crate::broker::table::Format;
use crate::broker::table::Slot;
use crate::broker::table::SubscriptionKey;
use crate::shard::replay::Replay;
use crate::shard::state::Shard;
use crate::stdx::time::Now;

/// All of a shard.
///
/// Invariant: both maps have the same ones, and no channel is empty.
#[derive(Debug, Default)]
pub(super) struct CaughtUp {
    by_channel: HashMap<Arc<str>, BTreeMap<Token, Replay>, FxBuildHasher>,
    by_key: HashMap<SubscriptionKey, (Arc<str>, Token), FxBuildHasher>,
}

impl CaughtUp {
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub(super) fn insert(&mut self, token: Token, replay: Replay) {
        let channel = Arc::clone(&replay.channel);
        self.by_key.insert(replay.key, (Arc::clone(&channel), token));
        self.by_channel.entry(channel).or_default().insert(token, replay);
    }

    /// Its subscription has ended.
    pub(super) fn cancel(&mut self, key: SubscriptionKey) {
        let Some((channel, token)) = self.by_key.remove(&key) else { return };
        if let Some(replays) = self.by_channel.get_mut(&channel) {
            replays.remove(&token);
            if replays.is_empty() {
                self.by_channel.remove(&channel);
            }
        }
    }

    /// Takes out those for which `place` is the next.
    fn take_before(&mut self, channel: &str, place: Place) -> Vec<Replay> {
        let Some(replays) = self.by_channel.get_mut(channel) else { return Vec::new() };
        let taken: Vec<Replay> =
            replays.extract_if(.., |_, it| it.cursor < place).map(|(_, it)| it).collect();
        if replays.is_empty() {
            self.by_channel.remove(channel);
        }
        for replay in &taken {
            self.by_key.remove(&replay.key);
        }
        taken
    }
}

impl Shard {
    /// Something is pushed to subscribers here: remembered for replays that are not there yet, and
    /// given to those that are.
    pub(super) fn follow(&mut self, now: Now, publication: &Arc<Publication>, audience: &Audience) {
        if publication.history.is_some() {
            self.replays.note(publication);
        }
        match (audience, publication.place()) {
            (Audience::All | Audience::Exact, Some(place)) => {
                for replay in self.replays.caught_up.take_before(&publication.channel, place) {
                    self.join(now, &replay);
                }
            }
            (Audience::All | Audience::Exact, None) => self.give_to_caught_up(now, publication),
            (Audience::Pattern(_), _) => {}
        }
    }

    /// What has no place was not given before.
    fn give_to_caught_up(&mut self, now: Now, publication: &Arc<Publication>) {
        let replays = self.replays.caught_up.by_channel.get(&*publication.channel);
        let keys: Vec<_> = replays.into_iter().flatten().map(|(_, it)| (it.to, it.key)).collect();
        for (to, key) in keys {
            if self.give_one(now, to, key, publication).is_err() {
                self.slow.push(to.0);
            }
        }
    }

    /// The next push is for this subscription as for any other.
    pub(super) fn join(&mut self, now: Now, replay: &Replay) {
        let format = Format {
            id: replay.shown_id.as_deref(),
            version: replay.version,
            shown: replay.shown.as_deref(),
            is_replaying: false,
        };
        let slot = Slot(replay.to.0.index);
        let live = self.table.insert_exact(&replay.channel, slot, format).subscription;
        self.with_session(now, replay.to, |session, outputs| {
            session.handle_replayed(&replay.name, replay.key, live, outputs);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::replay::tests::replay;

    #[test]
    fn who_was_given_more_than_is_pushed_waits_for_the_first_behind_it() {
        let mut caught_up = CaughtUp::default();
        let at = |epoch, seq| Place { epoch, seq };
        for (token, cursor) in [(1, at(4, 7)), (2, at(4, 9)), (3, at(5, 1))] {
            let mut replay = replay(cursor);
            replay.channel = format!("/topic/{token}").into();
            caught_up.insert(Token(token), replay);
        }
        let mut check = |channel: &str, place, expected: usize| {
            assert_eq!(
                caught_up.take_before(channel, place).len(),
                expected,
                "{channel} {place:?}"
            );
        };
        check("/topic/1", at(4, 6), 0);
        check("/topic/1", at(4, 7), 0);
        check("/topic/1", at(4, 8), 1);
        check("/topic/1", at(4, 9), 0);
        check("/topic/2", at(5, 1), 1);
        check("/topic/3", at(5, 2), 1);
        assert!(caught_up.by_channel.is_empty());
    }

    #[test]
    fn one_whose_subscription_has_ended_is_forgotten() {
        let mut caught_up = CaughtUp::default();
        let replay = replay(Place { epoch: 4, seq: 7 });
        let key = replay.key;
        caught_up.insert(Token(1), replay);
        assert!(!caught_up.is_empty());
        caught_up.cancel(key);
        caught_up.cancel(key);
        assert!(caught_up.is_empty() && caught_up.by_channel.is_empty());
    }
}
