//! A home shard's part in the history: places, repeats, and who waits for the store.
//!
//! What has a place is given to the store at once, in the order of the places, and the store says
//! in the same order what it has: so a count is all that its answers need.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::relay::Reply;
use crate::broker::relay::ShardId;
use crate::broker::relay::Token;

/// Publications of one home that are not known to be stored; with so many the next is refused.
pub const RECORDS_MAX: usize = 8192;
/// How long an `idempotency-key` is known.
pub const KEY_LIFE_MS: u64 = 600_000;
/// Keys that a home knows at once; the oldest go first.
pub const KEYS_MAX: usize = 200_000;
/// Destinations whose last number a home knows; with more, all begin a new epoch.
const DESTINATIONS_MAX: usize = 100_000;

/// A key that a store remembers from before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The channel of the publication.
    pub channel: Box<str>,
    /// The sender's user and key.
    pub key: Box<str>,
    /// Where it was stored.
    pub place: Place,
    /// When it was said, in milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
}

/// What a home hears of the store.
#[derive(Clone, Debug)]
pub enum Stored {
    /// It is there for the first time: places may be given, within this epoch.
    Opened {
        /// Greater than all that it has stored.
        epoch: u64,
        /// What it remembers of keys.
        kept: Arc<[Kept]>,
    },
    /// It is there again.
    Up,
    /// It is away: what it has not answered may be stored, or not yet.
    Down,
    /// It has so many more of what it was given.
    Committed(usize),
    /// It cannot keep the next one that it was given.
    Refused,
}

/// The book of one home.
///
/// Invariants: `waiting` has an entry for each publication that was given a place and is not known
/// to be stored, in the order in which they are stored; `records` are the last of these.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// None until the store was there once.
    epoch: Option<u64>,
    is_up: bool,
    /// The last number by channel.
    numbers: HashMap<Box<str>, u64>,
    waiting: VecDeque<Waiting>,
    /// How many have been answered by the store.
    answered_count: u64,
    records: VecDeque<Arc<Publication>>,
    keys: HashMap<Arc<str>, Known>,
    keys_order: VecDeque<(u64, Arc<str>)>,
    answers: VecDeque<(ShardId, Reply)>,
}

#[derive(Debug)]
struct Waiting {
    place: Place,
    key: Option<Arc<str>>,
    askers: Vec<(ShardId, Token)>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    place: Place,
    /// The how-manieth it was among all that were given a place; 0 if that was before the start.
    number: u64,
}

impl Book {
    /// Gives a publication its place, or answers who asks; `true` when it is to be delivered.
    pub(super) fn take(
        &mut self,
        publication: &Arc<Publication>,
        asker: Option<(ShardId, Token)>,
    ) -> bool {
        let Some(historic) = &publication.history else { return true };
        let Some(epoch) = self.epoch.filter(|_| self.is_up) else {
            let text = "the store of the history is away, so nothing was sent; try again later";
            self.refuse(asker, Code::StoreUnavailable, text);
            return false;
        };
        self.forget_keys(publication.timestamp_ms);
        let key = historic.key.as_ref().map(|key| name_of(&publication.channel, key));
        if let Some(known) = key.as_ref().and_then(|it| self.keys.get(it)).copied() {
            self.repeat(known, asker);
            return false;
        }
        if RECORDS_MAX <= self.waiting.len() {
            let text = "the store of the history is behind, so nothing was sent; slow down";
            self.refuse(asker, Code::StoreFull, text);
            return false;
        }
        let place = self.next_place(epoch, &publication.channel);
        historic.settle(place);
        if let Some(key) = &key {
            let number = self.answered_count + self.waiting.len() as u64 + 1;
            self.learn(Arc::clone(key), Known { place, number }, publication.timestamp_ms);
        }
        self.waiting.push_back(Waiting { place, key, askers: asker.into_iter().collect() });
        self.records.push_back(Arc::clone(publication));
        true
    }

    /// What the store has said.
    pub(super) fn handle_stored(&mut self, stored: Stored) {
        match stored {
            Stored::Opened { epoch, kept } => {
                self.epoch = Some(epoch);
                self.is_up = true;
                for it in kept.iter() {
                    let known = Known { place: it.place, number: 0 };
                    self.learn(name_of(&it.channel, &it.key), known, it.timestamp_ms);
                }
            }
            Stored::Up => self.is_up = true,
            Stored::Down => self.lose(),
            Stored::Committed(count) => {
                for waiting in self.waiting.drain(..count) {
                    for (shard, token) in waiting.askers {
                        self.answers.push_back((shard, Reply::Stored(token, waiting.place)));
                    }
                }
                self.answered_count += count as u64;
            }
            Stored::Refused => {
                let Some(waiting) = self.waiting.pop_front() else { return };
                self.answered_count += 1;
                if let Some(key) = waiting.key {
                    self.keys.remove(&key);
                }
                for asker in waiting.askers {
                    let text = "it was sent, but the store cannot keep it";
                    self.refuse(Some(asker), Code::StoreRefused, text);
                }
            }
        }
    }

    /// The next publication for the store.
    pub(super) fn poll_record(&mut self) -> Option<Arc<Publication>> {
        self.records.pop_front()
    }

    /// Whether publications are to be given to the store.
    pub(super) fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// How many are not known to be stored.
    pub(super) fn unstored_count(&self) -> usize {
        self.waiting.len()
    }

    /// The next answer to whoever asked.
    pub(super) fn poll_answer(&mut self) -> Option<(ShardId, Reply)> {
        self.answers.pop_front()
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.answers.is_empty()
    }

    fn lose(&mut self) {
        self.is_up = false;
        for waiting in &mut self.waiting {
            for (shard, token) in waiting.askers.drain(..) {
                let text = "it was sent, and the store was lost before it answered; it is given \
                            to the store again";
                let refusal = Refusal::new(Code::StoreUnknown, text);
                self.answers.push_back((shard, Reply::Refused(token, refusal)));
            }
        }
    }

    fn next_place(&mut self, epoch: u64, channel: &str) -> Place {
        if let Some(number) = self.numbers.get_mut(channel) {
            *number += 1;
            return Place { epoch, seq: *number };
        }
        let epoch = if self.numbers.len() < DESTINATIONS_MAX {
            epoch
        } else {
            self.numbers.clear();
            self.epoch = Some(epoch + 1);
            epoch + 1
        };
        self.numbers.insert(channel.into(), 1);
        Place { epoch, seq: 1 }
    }

    /// Answers who says again what was said already.
    fn repeat(&mut self, known: Known, asker: Option<(ShardId, Token)>) {
        let Some((shard, token)) = asker else { return };
        let at = known.number.checked_sub(self.answered_count + 1).map(usize::try_from);
        match at.and_then(Result::ok).and_then(|at| self.waiting.get_mut(at)) {
            Some(waiting) => waiting.askers.push((shard, token)),
            None => self.answers.push_back((shard, Reply::Stored(token, known.place))),
        }
    }

    fn learn(&mut self, key: Arc<str>, known: Known, timestamp_ms: u64) {
        if KEYS_MAX <= self.keys_order.len()
            && let Some((_, oldest)) = self.keys_order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        self.keys_order.push_back((timestamp_ms, Arc::clone(&key)));
        self.keys.insert(key, known);
    }

    fn forget_keys(&mut self, now_ms: u64) {
        let is_over = |it: &mut (u64, Arc<str>)| it.0 + KEY_LIFE_MS < now_ms;
        while let Some((_, key)) = self.keys_order.pop_front_if(is_over) {
            self.keys.remove(&key);
        }
    }

    fn refuse(&mut self, asker: Option<(ShardId, Token)>, code: Code, text: &str) {
        if let Some((shard, token)) = asker {
            self.answers.push_back((shard, Reply::Refused(token, Refusal::new(code, text))));
        }
    }
}

/// Neither a channel nor a user holds a NUL, so that no two keys look alike.
fn name_of(channel: &str, key: &str) -> Arc<str> {
    format!("{channel}\0{key}").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::publication::Carried;
    use crate::broker::publication::Historic;
    use crate::stdx::time::Instant;

    const ME: ShardId = ShardId(0);

    fn said(channel: &str, key: Option<&str>, timestamp_ms: u64) -> Arc<Publication> {
        let carried = Carried {
            channel,
            destination: channel.to_owned(),
            message_id: String::new(),
            content_type: None,
            sender: None,
            timestamp_ms,
            received_at: Instant::default(),
            body: b"x",
        };
        let mut publication = Publication::from_relay(carried, std::iter::empty());
        publication.history = Some(Box::new(Historic::new(key.map(Box::from))));
        Arc::new(publication)
    }

    fn opened(kept: &[Kept]) -> Book {
        let mut book = Book::default();
        book.handle_stored(Stored::Opened { epoch: 5, kept: kept.into() });
        book
    }

    #[track_caller]
    fn check(book: &mut Book, expected: &[Result<(u64, u64, u64), Code>]) {
        let mut answers = Vec::new();
        while let Some((_, reply)) = book.poll_answer() {
            answers.push(match reply {
                Reply::Stored(token, place) => Ok((token.0, place.epoch, place.seq)),
                Reply::Refused(_, refusal) => Err(refusal.code),
                Reply::Accepted(_)
                | Reply::Confirmed { .. }
                | Reply::Deliver(_)
                | Reply::Seat(_) => panic!("{reply:?}"),
            });
        }
        assert_eq!(answers, expected);
    }

    #[test]
    fn each_channel_counts_from_one_and_answers_come_with_the_commit() {
        let mut book = opened(&[]);
        for (token, channel) in [(1, "/topic/a"), (2, "/topic/b"), (3, "/topic/a")] {
            assert!(book.take(&said(channel, None, 0), Some((ME, Token(token)))));
        }
        check(&mut book, &[]);
        book.handle_stored(Stored::Committed(2));
        check(&mut book, &[Ok((1, 5, 1)), Ok((2, 5, 1))]);
        let places = std::iter::from_fn(|| book.poll_record()).map(|it| it.place().unwrap().seq);
        assert_eq!(places.collect::<Vec<_>>(), [1, 1, 2]);
        book.handle_stored(Stored::Committed(1));
        check(&mut book, &[Ok((3, 5, 2))]);
        assert!(book.is_empty());
    }

    #[test]
    fn a_repeat_makes_no_second_message_and_gets_the_first_ones_place() {
        let kept = Kept {
            channel: "/topic/a".into(),
            key: "u\0old".into(),
            place: Place { epoch: 4, seq: 9 },
            timestamp_ms: 1_000,
        };
        let mut book = opened(&[kept]);
        assert!(!book.take(&said("/topic/a", Some("u\0old"), 2_000), Some((ME, Token(1)))));
        check(&mut book, &[Ok((1, 4, 9))]);
        assert!(book.take(&said("/topic/a", Some("u\0k"), 2_000), Some((ME, Token(2)))));
        // Before the commit it waits for the same commit, after it the answer is known.
        assert!(!book.take(&said("/topic/a", Some("u\0k"), 2_000), Some((ME, Token(3)))));
        check(&mut book, &[]);
        book.handle_stored(Stored::Committed(1));
        assert!(!book.take(&said("/topic/a", Some("u\0k"), 3_000), Some((ME, Token(4)))));
        check(&mut book, &[Ok((2, 5, 1)), Ok((3, 5, 1)), Ok((4, 5, 1))]);
        // Another destination, another user, and the time after its life are other keys.
        assert!(book.take(&said("/topic/b", Some("u\0k"), 3_000), None));
        assert!(book.take(&said("/topic/a", Some("v\0k"), 3_000), None));
        assert!(!book.take(&said("/topic/a", Some("u\0k"), 2_000 + KEY_LIFE_MS), None));
        assert!(book.take(&said("/topic/a", Some("u\0k"), 2_001 + KEY_LIFE_MS), None));
    }

    #[test]
    fn a_store_that_is_away_refuses_before_and_leaves_unknown_what_it_was_given() {
        let mut book = Book::default();
        let send = |book: &mut Book, token: u64, key: Option<&str>| {
            book.take(&said("/topic/a", key, 0), Some((ME, Token(token))))
        };
        assert!(!send(&mut book, 1, None));
        check(&mut book, &[Err(Code::StoreUnavailable)]);
        book.handle_stored(Stored::Opened { epoch: 5, kept: [].into() });
        assert!(send(&mut book, 2, Some("u\0k")));
        book.handle_stored(Stored::Down);
        check(&mut book, &[Err(Code::StoreUnknown)]);
        assert!(!send(&mut book, 3, None));
        check(&mut book, &[Err(Code::StoreUnavailable)]);
        book.handle_stored(Stored::Up);
        // Its second try waits for the first one's commit.
        assert!(!send(&mut book, 4, Some("u\0k")));
        book.handle_stored(Stored::Committed(1));
        check(&mut book, &[Ok((4, 5, 1))]);
    }

    #[test]
    fn what_is_not_stored_is_bounded_and_one_that_cannot_be_stored_holds_nobody_up() {
        let mut book = opened(&[]);
        for _ in 0..RECORDS_MAX {
            assert!(book.take(&said("/topic/a", None, 0), None));
        }
        assert!(!book.take(&said("/topic/a", None, 0), Some((ME, Token(1)))));
        check(&mut book, &[Err(Code::StoreFull)]);
        book.handle_stored(Stored::Committed(RECORDS_MAX));
        assert!(book.take(&said("/topic/a", Some("u\0k"), 0), Some((ME, Token(2)))));
        assert!(book.take(&said("/topic/a", None, 0), Some((ME, Token(3)))));
        book.handle_stored(Stored::Refused);
        book.handle_stored(Stored::Committed(1));
        let seq = RECORDS_MAX as u64 + 2;
        check(&mut book, &[Err(Code::StoreRefused), Ok((3, 5, seq))]);
    }

    #[test]
    fn too_many_destinations_begin_a_new_epoch() {
        let mut book = opened(&[]);
        for number in 0..DESTINATIONS_MAX {
            assert_eq!(book.next_place(5, &format!("/topic/{number}")).epoch, 5);
        }
        assert_eq!(book.next_place(5, "/topic/0"), Place { epoch: 5, seq: 2 });
        assert_eq!(book.next_place(5, "/topic/new"), Place { epoch: 6, seq: 1 });
        assert_eq!(book.epoch, Some(6));
    }
}
