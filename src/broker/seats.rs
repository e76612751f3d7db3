//! Seats: how many connections one user, or one address, may have over all shards of a process.
//!
//! A holder's home shard (by hash) counts its seats, so the count is exact without a lock. A
//! connection is let on while its home is asked, which takes a round of mail between two cores; is
//! the answer no, it is closed. Whoever has a seat gives it back when its socket is gone.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;

use crate::broker::relay::ShardId;

/// Whose seats are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A user, by the id as it stands in destinations.
    User(Arc<str>),
    /// An address.
    Address(IpAddr),
}

/// To a holder's home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A seat for this connection of the asking shard.
    Take {
        /// Whose.
        holder: Holder,
        /// For which.
        connection: u64,
    },
    /// One is free again.
    Free(Holder),
}

/// From a holder's home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose seat.
    pub holder: Holder,
    /// For which connection.
    pub connection: u64,
    /// Whether there was one.
    pub is_granted: bool,
}

/// Most seats of one holder; 0 means any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of one user.
    pub user_max: u32,
    /// Of one address.
    pub address_max: u32,
}

/// One shard's part: its questions, and the seats of those whose home it is.
///
/// Invariant: `taken` has just the holders with a seat, each within its limit.
#[derive(Debug)]
pub struct Seats {
    me: ShardId,
    limits: Limits,
    home_seed: u64,
    taken: HashMap<Holder, u32>,
    asks: Vec<VecDeque<Ask>>,
    answers: Vec<VecDeque<Answer>>,
    events: VecDeque<Answer>,
}

impl Seats {
    /// The part of shard `me` among `shards_count`; all are given the same `home_seed`.
    #[must_use]
    pub fn new(me: ShardId, shards_count: usize, home_seed: u64, limits: Limits) -> Self {
        assert!(usize::from(me.0) < shards_count);
        Self {
            me,
            limits,
            home_seed,
            taken: HashMap::new(),
            asks: (0..shards_count).map(|_| VecDeque::new()).collect(),
            answers: (0..shards_count).map(|_| VecDeque::new()).collect(),
            events: VecDeque::new(),
        }
    }

    /// Whether the holder's seats are counted at all.
    #[must_use]
    pub fn counts(&self, holder: &Holder) -> bool {
        self.max_of(holder) != 0
    }

    /// Asks for a seat; the answer is an event.
    pub fn take(&mut self, holder: Holder, connection: u64) {
        self.ask(Ask::Take { holder, connection });
    }

    /// Gives a seat back that was granted.
    pub fn free(&mut self, holder: Holder) {
        self.ask(Ask::Free(holder));
    }

    fn ask(&mut self, ask: Ask) {
        let holder = match &ask {
            Ask::Take { holder, .. } | Ask::Free(holder) => holder,
        };
        let home = self.home_of(holder);
        if home != self.me {
            self.asks[usize::from(home.0)].push_back(ask);
        } else if let Some(answer) = self.judge(ask) {
            self.events.push_back(answer);
        }
    }

    /// Takes a question from another shard, as the holder's home.
    pub fn handle_ask(&mut self, from: ShardId, ask: Ask) {
        if let Some(answer) = self.judge(ask) {
            self.answers[usize::from(from.0)].push_back(answer);
        }
    }

    /// Takes an answer from the holder's home.
    pub fn handle_answer(&mut self, answer: Answer) {
        self.events.push_back(answer);
    }

    fn judge(&mut self, ask: Ask) -> Option<Answer> {
        match ask {
            Ask::Take { holder, connection } => {
                let max = self.max_of(&holder);
                let count = self.taken.get(&holder).copied().unwrap_or(0);
                let is_granted = count < max;
                if is_granted {
                    self.taken.insert(holder.clone(), count + 1);
                }
                Some(Answer { holder, connection, is_granted })
            }
            Ask::Free(holder) => {
                match self.taken.get_mut(&holder) {
                    Some(1) => {
                        self.taken.remove(&holder);
                    }
                    Some(count) => *count -= 1,
                    None => {}
                }
                None
            }
        }
    }

    fn max_of(&self, holder: &Holder) -> u32 {
        match holder {
            Holder::User(_) => self.limits.user_max,
            Holder::Address(_) => self.limits.address_max,
        }
    }

    fn home_of(&self, holder: &Holder) -> ShardId {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.home_seed);
        holder.hash(&mut hasher);
        #[expect(clippy::cast_possible_truncation, reason = "below SHARDS_MAX")]
        let home = (hasher.finish() % self.asks.len() as u64) as u8;
        ShardId(home)
    }

    /// The next answer for this shard.
    pub fn poll_event(&mut self) -> Option<Answer> {
        self.events.pop_front()
    }

    /// The next question to shard `to`.
    pub fn poll_ask(&mut self, to: ShardId) -> Option<Ask> {
        self.asks[usize::from(to.0)].pop_front()
    }

    /// The next answer to shard `to`.
    pub fn poll_answer(&mut self, to: ShardId) -> Option<Answer> {
        self.answers[usize::from(to.0)].pop_front()
    }

    /// Whether mail for other shards waits.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        self.asks.iter().any(|it| !it.is_empty()) || self.answers.iter().any(|it| !it.is_empty())
    }

    /// Whether another question may be handed in: fewer than `answers_max` wait for each shard.
    #[must_use]
    pub fn has_room(&self, answers_max: usize) -> bool {
        self.answers.iter().all(|it| it.len() < answers_max)
    }

    /// Whether nobody whose home this is has a seat.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { user_max: 2, address_max: 3 };

    fn user(name: &str) -> Holder {
        Holder::User(name.into())
    }

    /// Carries all mail between the shards until there is none.
    fn carry(shards: &mut [Seats]) {
        while shards.iter().any(Seats::has_mail) {
            for from in 0..shards.len() {
                for to in 0..shards.len() {
                    let ends = [from, to].map(|it| ShardId(u8::try_from(it).unwrap()));
                    while let Some(ask) = shards[from].poll_ask(ends[1]) {
                        shards[to].handle_ask(ends[0], ask);
                    }
                    while let Some(answer) = shards[from].poll_answer(ends[1]) {
                        shards[to].handle_answer(answer);
                    }
                }
            }
        }
    }

    fn granted(shard: &mut Seats) -> Vec<bool> {
        std::iter::from_fn(|| shard.poll_event()).map(|it| it.is_granted).collect()
    }

    #[test]
    fn a_holder_has_so_many_seats_over_all_shards() {
        for name in ["amy", "bob", "carol", "dora"] {
            let mut shards: Vec<Seats> =
                (0..3).map(|it| Seats::new(ShardId(it), 3, 7, LIMITS)).collect();
            for (connection, shard) in shards.iter_mut().enumerate() {
                shard.take(user(name), connection as u64);
            }
            carry(&mut shards);
            let all: Vec<bool> = shards.iter_mut().flat_map(granted).collect();
            assert_eq!(all.iter().filter(|it| **it).count(), 2, "{name}");
            shards[0].free(user(name));
            carry(&mut shards);
            shards[1].take(user(name), 9);
            carry(&mut shards);
            assert_eq!(granted(&mut shards[1]), [true]);
            shards[2].take(user(name), 10);
            carry(&mut shards);
            assert_eq!(granted(&mut shards[2]), [false]);
            shards[0].free(user(name));
            shards[0].free(user(name));
            carry(&mut shards);
            assert!(shards.iter().all(Seats::is_empty));
        }
    }

    #[test]
    fn users_and_addresses_have_limits_of_their_own() {
        let mut seats = Seats::new(ShardId(0), 1, 7, LIMITS);
        let address = Holder::Address([192, 0, 2, 1].into());
        for connection in 0..4 {
            seats.take(address.clone(), connection);
            seats.take(user("192.0.2.1"), connection);
        }
        let all = std::iter::from_fn(|| seats.poll_event()).filter(|it| it.is_granted);
        let of: Vec<bool> = all.map(|it| it.holder == address).collect();
        assert_eq!((of.len(), of.iter().filter(|it| **it).count()), (5, 3));
        let none = Seats::new(ShardId(0), 1, 7, Limits::default());
        assert!(!none.counts(&address) && seats.counts(&address));
    }
}
