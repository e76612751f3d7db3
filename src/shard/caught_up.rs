//! From the history to the live: subscriptions that have their RECEIPT and are not in the table as
//! live ones yet.
//!
//! The store may have given what its home has ordered and this shard has not heard yet. So a
//! subscription that has caught up joins the others with the first push that is behind what it was
//! given, and nothing comes twice.

use std::sync::Arc;

use crate::broker::publication::Publication;
use crate::broker::relay::Token;
use crate::broker::table::Format;
use crate::broker::table::Slot;
use crate::shard::replay::Replay;
use crate::shard::state::Shard;
use crate::stdx::time::Now;

impl Shard {
    /// Lets those that have caught up with the channel of a publication, which comes next, have it
    /// too.
    pub(super) fn meet_live(&mut self, now: Now, publication: &Arc<Publication>) {
        let replays = &self.replays;
        let Some(watch) = replays.watches.get(&*publication.channel) else { return };
        let place = publication.place();
        let is_behind = |token: &&Token| {
            let cursor = replays.all.get(token).map(|it| it.cursor);
            place.is_none() || cursor < place
        };
        let tokens: Vec<Token> = watch.caught_up.iter().filter(is_behind).copied().collect();
        for token in tokens {
            if place.is_some() {
                self.join_live(now, token);
                continue;
            }
            // It has no place in the history, so it says nothing about what comes next.
            let to = self.replays.all.get(&token).map(|it| it.to);
            if let Err(reason) = self.give_one(now, token, publication)
                && let Some(to) = to
            {
                self.close(now, to, reason);
            }
        }
    }

    /// Ends one that was to be answered once, behind its RECEIPT.
    pub(super) fn end_once(&mut self, now: Now, token: Token) {
        let Some(replay) = self.replays.all.get(&token).filter(|it| it.is_once) else { return };
        let (to, name, key) = (replay.to, replay.name.clone(), replay.key);
        self.with_session(now, to, |session, outputs| {
            session.handle_answered_once(&name, key, outputs);
        });
    }

    fn join_live(&mut self, now: Now, token: Token) {
        let Some(replay) = self.replays.remove(token) else { return };
        let Replay { to, name, key, channel, shown, shown_id, version, .. } = replay;
        let format = Format {
            id: shown_id.as_deref(),
            version,
            shown: shown.as_deref(),
            is_replaying: false,
        };
        let live = self.table.insert_exact(&channel, Slot(to.0.index), format).subscription;
        self.with_session(now, to, |session, outputs| {
            session.handle_replayed(&name, key, live, outputs);
        });
    }
}
