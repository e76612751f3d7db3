//! Replays: what a new subscription is given of the history before it goes live.
//!
//! ```text
//! interest asked for ─ confirmed ─► reading ─ page ─► giving, as the outbox has room ─┐
//!                                      ▲                                            │
//!                                      └──── not the end, or behind the live ones ◄──┤
//!                                                            caught up: RECEIPT ◄────┘
//!                                                            live (`caught_up`)
//! ```
//!
//! A replaying subscription is in the table, so that its interest holds, and gets no live pushes.
//! What is pushed to others of its channel meanwhile is remembered, bounded, so that it catches up
//! also with a channel that never rests.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use crate::broker::close::CloseReason;
use crate::broker::message::Encoder;
use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::relay::Token;
use crate::broker::session::Replay as Wish;
use crate::broker::table::SubscriptionKey;
use crate::history::Page;
use crate::history::Query;
use crate::history::Read;
use crate::history::Said;
use crate::metrics::Replayed;
use crate::proto::stomp::Version;
use crate::shard::answer::Answer;
use crate::shard::connection::ConnectionId;
use crate::shard::state::Shard;
use crate::shard::watch::Watch;
use crate::stdx::time::Now;

/// All replays of a shard.
#[derive(Debug, Default)]
pub(super) struct Replays {
    /// By the answer that is owed for the SUBSCRIBE.
    pub(super) all: BTreeMap<Token, Replay>,
    by_key: HashMap<SubscriptionKey, Token, FxBuildHasher>,
    pub(super) watches: HashMap<Arc<str>, Watch, FxBuildHasher>,
    /// Those that wait for room in the outbox of a connection.
    waiting: HashMap<ConnectionId, Vec<Token>, FxBuildHasher>,
    reads: VecDeque<Read>,
    /// Their subscription has ended before they have.
    cancelled: Vec<Token>,
}

/// One replay.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) to: ConnectionId,
    /// The session's name for the subscription.
    pub(super) name: Box<str>,
    pub(super) key: SubscriptionKey,
    pub(super) channel: Arc<str>,
    pub(super) shown: Option<Box<str>>,
    pub(super) shown_id: Option<Box<str>>,
    pub(super) version: Version,
    /// It ends with its RECEIPT and never goes live.
    pub(super) is_once: bool,
    /// What is read next, or was read last.
    query: Query,
    /// The place of what was given last.
    pub(super) cursor: Place,
    /// Nothing is known to be missing.
    is_complete: bool,
    /// It has its RECEIPT and waits for the first live one that it was not given.
    pub(super) is_caught_up: bool,
    /// What is given now, and how many of it were.
    page: Option<(Arc<Page>, usize)>,
}

/// What a replay does next.
enum Step {
    Give(Arc<Publication>),
    Read,
    GoLive,
}

impl Replay {
    /// A replay that waits for its interest; the caller fills in whose it is.
    pub(super) fn query_of(wish: Wish) -> Query {
        match wish {
            Wish::Last(count) => Query::Last(count),
            Wish::Since(place) => Query::Since(place),
        }
    }

    fn next(&mut self, watch: Option<&Watch>) -> Step {
        let Some((page, given_count)) = &mut self.page else { return Step::GoLive };
        if let Some(record) = page.records.get(*given_count) {
            *given_count += 1;
            return Step::Give(Arc::clone(record));
        }
        if !page.is_end {
            return Step::Read;
        }
        let Some(watch) = watch else { return Step::GoLive };
        if Some(self.cursor) < watch.lost {
            // The store has what is lost here, unless it could not keep it.
            if !page.records.is_empty() {
                return Step::Read;
            }
            self.is_complete = false;
        }
        watch.next(self.cursor).map_or(Step::GoLive, |it| Step::Give(Arc::clone(it)))
    }

    /// Notes that what has this place was given.
    fn advance(&mut self, place: Place) {
        let is_first = self.cursor == Place::default();
        let is_next = place.seq == self.cursor.seq + 1 && place.epoch == self.cursor.epoch;
        let begins = place.seq == 1 && self.cursor.epoch < place.epoch;
        self.is_complete &= is_first || is_next || begins;
        self.cursor = place;
    }
}

impl Replays {
    /// Whether nobody replays.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.cancelled.is_empty()
    }

    /// Whether nothing is left of any.
    pub(super) fn check_empty(&self) {
        assert!(self.is_empty() && self.by_key.is_empty() && self.watches.is_empty());
        assert!(self.waiting.is_empty() && self.reads.is_empty());
    }

    /// Begins one, which waits for its interest.
    pub(super) fn begin(&mut self, token: Token, wish: Wish, whose: Whose) {
        let Whose { to, name, key, channel, shown, shown_id, version, is_once } = whose;
        self.watches.entry(Arc::clone(&channel)).or_default().replays_count += 1;
        self.by_key.insert(key, token);
        let query = Replay::query_of(wish);
        let cursor = match query {
            Query::Last(_) => Place::default(),
            Query::Since(place) | Query::After(place) => place,
        };
        let replay = Replay {
            to,
            name,
            key,
            channel,
            shown,
            shown_id,
            version,
            is_once,
            query,
            cursor,
            is_complete: true,
            is_caught_up: false,
            page: None,
        };
        self.all.insert(token, replay);
    }

    /// Whether this answer is owed for a replay.
    pub(super) fn has(&self, token: Token) -> bool {
        self.all.contains_key(&token)
    }

    /// Its subscription has ended.
    pub(super) fn cancel(&mut self, key: SubscriptionKey) {
        if let Some(&token) = self.by_key.get(&key) {
            let was_caught_up = self.remove(token).is_some_and(|it| it.is_caught_up);
            if was_caught_up {
                return;
            }
            // What nobody wants any more must not pile up before a store that stands still.
            self.reads.retain(|it| it.token != token.0);
            self.cancelled.push(token);
        }
    }

    /// The next that was cancelled.
    pub(super) fn poll_cancelled(&mut self) -> Option<Token> {
        self.cancelled.pop()
    }

    /// Remembers what is live.
    pub(super) fn note(&mut self, publication: &Arc<Publication>) {
        if let Some(watch) = self.watches.get_mut(&*publication.channel) {
            watch.note(publication);
        }
    }

    /// It has caught up.
    fn catch_up(&mut self, token: Token) -> Option<&mut Replay> {
        let replay = self.all.get_mut(&token)?;
        replay.is_caught_up = true;
        replay.page = None;
        if let Some(watch) = self.watches.get_mut(&replay.channel) {
            watch.leave();
            watch.caught_up.insert(token);
        }
        Some(replay)
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<Replay> {
        let replay = self.all.remove(&token)?;
        self.by_key.remove(&replay.key);
        if let Some(tokens) = self.waiting.get_mut(&replay.to) {
            tokens.retain(|it| *it != token);
            if tokens.is_empty() {
                self.waiting.remove(&replay.to);
            }
        }
        if let Some(watch) = self.watches.get_mut(&replay.channel) {
            if !watch.caught_up.remove(&token) {
                watch.leave();
            }
            if watch.replays_count == 0 && watch.caught_up.is_empty() {
                self.watches.remove(&replay.channel);
            }
        }
        Some(replay)
    }
}

/// Whose replay it is, and how its frames look.
pub(super) struct Whose {
    pub(super) to: ConnectionId,
    pub(super) name: Box<str>,
    pub(super) key: SubscriptionKey,
    pub(super) channel: Arc<str>,
    pub(super) shown: Option<Box<str>>,
    pub(super) shown_id: Option<Box<str>>,
    pub(super) version: Version,
    pub(super) is_once: bool,
}

impl Shard {
    /// What the store of the history says.
    pub fn handle_said(&mut self, now: Now, said: Said) {
        match said {
            Said::Stored(stored) => self.relay.handle_stored(now.instant, stored),
            Said::Page(token, page) if self.relay.has_links() => {
                self.relay.handle_page(now, token, page.as_deref());
            }
            Said::Page(token, page) => self.handle_page(now, Token(token), page),
        }
        self.settle(now);
    }

    /// The next publication for the store.
    pub fn poll_record(&mut self) -> Option<Arc<Publication>> {
        self.relay.poll_record()
    }

    /// The next page to be read.
    pub fn poll_read(&mut self) -> Option<Read> {
        self.replays.reads.pop_front().or_else(|| self.relay.poll_read())
    }

    /// Whether something is to be given to, or asked of, the store.
    #[must_use]
    pub fn has_records_or_reads(&self) -> bool {
        self.relay.has_records() || !self.replays.reads.is_empty() || self.relay.has_reads()
    }

    /// The interest of a replay is confirmed: all that is said from now on comes here, and all that
    /// was said before was given to the store.
    pub(super) fn start_replay(&mut self, now: Now, token: Token) {
        self.read_next(now, token, None);
    }

    fn read_next(&mut self, now: Now, token: Token, query: Option<Query>) {
        let Some(replay) = self.replays.all.get_mut(&token) else { return };
        replay.query = query.unwrap_or(replay.query);
        replay.page = None;
        let (channel, query) = (Arc::clone(&replay.channel), replay.query);
        if !self.relay.read(now.instant, token, &channel, query) {
            self.replays.reads.push_back(Read { token: token.0, channel, query });
        }
    }

    pub(super) fn handle_page(&mut self, now: Now, token: Token, page: Option<Arc<Page>>) {
        let Some(replay) = self.replays.all.get_mut(&token) else { return };
        match page {
            Some(page) => {
                let is_unknown = matches!(replay.query, Query::Since(_)) && !page.is_known;
                replay.is_complete &= !is_unknown && !page.is_broken;
                replay.page = Some((page, 0));
            }
            None => {
                // What is still remembered of the live ones is given all the same.
                replay.is_complete = false;
                let page = Page { is_end: true, ..Page::default() };
                replay.page = Some((Arc::new(page), 0));
            }
        }
        self.give(now, token);
    }

    /// Gives as much as the outbox has room for.
    fn give(&mut self, now: Now, token: Token) {
        loop {
            let Some(replay) = self.replays.all.get(&token) else { return };
            let to = replay.to;
            let has_room = self
                .connections
                .get(to.0)
                .is_some_and(|it| it.outbox.queued_bytes() <= self.options.outbox_bytes_max / 2);
            if !has_room {
                self.replays.waiting.entry(to).or_default().push(token);
                return;
            }
            let Replays { all, watches, .. } = &mut self.replays;
            let Some(replay) = all.get_mut(&token) else { return };
            match replay.next(watches.get(&replay.channel)) {
                Step::Give(record) => {
                    if let Some(place) = record.place() {
                        replay.advance(place);
                    }
                    self.counters.replays.given.add(1);
                    if let Err(reason) = self.give_one(now, token, &record) {
                        return self.close(now, to, reason);
                    }
                }
                Step::Read => {
                    let query = Query::After(replay.cursor);
                    return self.read_next(now, token, Some(query));
                }
                Step::GoLive => return self.catch_up(now, token),
            }
        }
    }

    pub(super) fn give_one(
        &mut self,
        now: Now,
        token: Token,
        record: &Publication,
    ) -> Result<(), CloseReason> {
        let Some(replay) = self.replays.all.get(&token) else { return Ok(()) };
        let to = replay.to;
        let group = self.table.group_of(replay.key);
        let mut encoder = Encoder::new(record, &self.meter);
        let frame = encoder.encode(group.version(), group.shown(), group.subscription_line());
        let Some(connection) = self.connections.get_mut(to.0) else { return Ok(()) };
        let pushed = connection.outbox.push(&frame, self.options.outbox_bytes_max, now.instant);
        pushed.map_err(|_| CloseReason::SlowConsumer)?;
        connection.written_at = now.instant;
        self.counters.messages_sent.add(1);
        self.mark_dirty(to);
        self.rearm(to);
        Ok(())
    }

    /// A connection has room again.
    pub(super) fn resume_replays(&mut self, now: Now, id: ConnectionId) {
        if self.replays.waiting.is_empty() {
            return;
        }
        for token in self.replays.waiting.remove(&id).unwrap_or_default() {
            self.give(now, token);
        }
    }

    /// It has all that there is: the RECEIPT says so. The next push of its channel is for it too,
    /// if that is none of what it was given.
    fn catch_up(&mut self, now: Now, token: Token) {
        let Some(replay) = self.replays.catch_up(token) else { return };
        let place = (replay.cursor != Place::default()).then_some(replay.cursor);
        let answer = Answer::Recovered(replay.is_complete, place);
        self.relay.forget_reading(token);
        let label = if replay.is_complete { Replayed::Whole } else { Replayed::InPart };
        self.counters.replays.ended.of(label).add(1);
        self.answer(now, token, answer);
        self.end_once(now, token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::table::Format;
    use crate::broker::table::Slot;

    #[test]
    fn a_hole_is_noticed_and_a_new_epoch_is_none() {
        let at = |epoch, seq| Place { epoch, seq };
        let check = |places: &[Place], expected: bool| {
            let mut replay = Replay {
                to: ConnectionId::from_bits(0),
                name: "s".into(),
                key: crate::broker::table::Table::new()
                    .insert_exact(
                        "/topic/a",
                        Slot(0),
                        Format {
                            id: None,
                            version: Version::V1_2,
                            shown: None,
                            is_replaying: true,
                        },
                    )
                    .subscription,
                channel: "/topic/a".into(),
                shown: None,
                shown_id: None,
                version: Version::V1_2,
                is_once: false,
                query: Query::Last(9),
                cursor: Place::default(),
                is_complete: true,
                is_caught_up: false,
                page: None,
            };
            places.iter().for_each(|it| replay.advance(*it));
            assert_eq!(replay.is_complete, expected, "{places:?}");
        };
        check(&[at(1, 7), at(1, 8), at(2, 1), at(5, 1), at(5, 2)], true);
        check(&[at(1, 7), at(1, 9)], false);
        check(&[at(1, 7), at(2, 2)], false);
    }
}
