//! Seats: how many connections one user, or one address, may have over all shards of a process.
//!
//! A holder's home shard (by hash) counts its seats, so the count is exact without a lock. A
//! connection is let on while its home is asked, which takes a round of mail between two cores; is
//! the answer no, it is closed. Whoever has a seat gives it back when its socket is gone.
//!
//! Where other tasks count the same users, the home says how many each has here
//! ([`Seats::take_news`]), and hears how many it may have ([`Seats::handle_allowed`]): those who
//! came last lose theirs.

use std::collections::HashMap;
use std::collections::HashSet;
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
    /// That of this connection is free again.
    Free {
        /// Whose.
        holder: Holder,
        /// Which had it.
        connection: u64,
    },
}

/// From a holder's home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose seat.
    pub holder: Holder,
    /// For which connection.
    pub connection: u64,
    /// Whether there is one; `false` also takes back what was granted before.
    pub is_granted: bool,
}

/// How many seats a user has: a count, or how many it may have.
pub type UserSeats = (Arc<str>, u32);

/// Who has a seat: a connection of a shard.
type Place = (ShardId, u64);

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
/// Invariant: `taken` has just the holders with a seat, each within the limit of its last grant.
#[derive(Debug)]
pub struct Seats {
    me: ShardId,
    limits: Limits,
    home_seed: u64,
    /// In the order in which they were granted.
    taken: HashMap<Holder, Vec<Place>>,
    /// Users whose count other tasks have not heard of; none where nobody asks.
    news: Option<HashSet<Arc<str>>>,
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
            news: None,
            asks: (0..shards_count).map(|_| VecDeque::new()).collect(),
            answers: (0..shards_count).map(|_| VecDeque::new()).collect(),
            events: VecDeque::new(),
        }
    }

    /// The same, for a process whose users may be at other tasks, too.
    #[must_use]
    pub fn with_news(mut self) -> Self {
        self.news = Some(HashSet::new());
        self
    }

    /// Takes other limits; who is over them may stay.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
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
    pub fn free(&mut self, holder: Holder, connection: u64) {
        self.ask(Ask::Free { holder, connection });
    }

    fn ask(&mut self, ask: Ask) {
        let (Ask::Take { holder, .. } | Ask::Free { holder, .. }) = &ask;
        let home = self.home_of(holder);
        if home != self.me {
            self.asks[usize::from(home.0)].push_back(ask);
        } else if let Some(answer) = self.judge(self.me, ask) {
            self.events.push_back(answer);
        }
    }

    /// Takes a question from another shard, as the holder's home.
    pub fn handle_ask(&mut self, from: ShardId, ask: Ask) {
        if let Some(answer) = self.judge(from, ask) {
            self.tell(from, answer);
        }
    }

    fn tell(&mut self, to: ShardId, answer: Answer) {
        if to == self.me {
            self.events.push_back(answer);
        } else {
            self.answers[usize::from(to.0)].push_back(answer);
        }
    }

    /// Takes an answer from the holder's home.
    pub fn handle_answer(&mut self, answer: Answer) {
        self.events.push_back(answer);
    }

    fn judge(&mut self, from: ShardId, ask: Ask) -> Option<Answer> {
        match ask {
            Ask::Take { holder, connection } => {
                let max = self.max_of(&holder);
                let count = self.taken.get(&holder).map_or(0, Vec::len);
                let is_granted = count < max as usize;
                if is_granted {
                    self.taken.entry(holder.clone()).or_default().push((from, connection));
                    self.note(&holder);
                }
                Some(Answer { holder, connection, is_granted })
            }
            Ask::Free { holder, connection } => {
                let places = self.taken.get_mut(&holder)?;
                // One that was taken back is not there any more.
                let position = places.iter().position(|it| *it == (from, connection))?;
                places.remove(position);
                if places.is_empty() {
                    self.taken.remove(&holder);
                }
                self.note(&holder);
                None
            }
        }
    }

    fn note(&mut self, holder: &Holder) {
        if let (Some(news), Holder::User(user)) = (&mut self.news, holder) {
            news.insert(Arc::clone(user));
        }
    }

    /// How many seats each user has here whose count has changed since the last time.
    pub fn take_news(&mut self) -> Vec<UserSeats> {
        let Some(news) = &mut self.news else { return Vec::new() };
        let mut users: Vec<Arc<str>> = news.drain().collect();
        users.sort_unstable();
        let count_of = |user: &Arc<str>| {
            let places = self.taken.get(&Holder::User(Arc::clone(user)));
            places.map_or(0, |it| u32::try_from(it.len()).unwrap_or(u32::MAX))
        };
        users.into_iter().map(|user| (Arc::clone(&user), count_of(&user))).collect()
    }

    /// Says the same again with the next news: nobody has heard it.
    pub fn put_news_back(&mut self, unheard: Vec<UserSeats>) {
        if let Some(news) = &mut self.news {
            news.extend(unheard.into_iter().map(|(user, _)| user));
        }
    }

    /// A user may have so many here, because of those that it has elsewhere: takes back what is
    /// over that, latest first. No matter where this is not the user's home.
    pub fn handle_allowed(&mut self, user: &Arc<str>, allowed: u32) {
        let holder = Holder::User(Arc::clone(user));
        let Some(places) = self.taken.get_mut(&holder) else { return };
        let surplus = places.split_off(places.len().min(allowed as usize));
        if surplus.is_empty() {
            return;
        }
        if places.is_empty() {
            self.taken.remove(&holder);
        }
        self.note(&holder);
        for (shard, connection) in surplus.into_iter().rev() {
            self.tell(shard, Answer { holder: holder.clone(), connection, is_granted: false });
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
            let (first, _) = all.iter().enumerate().find(|(_, it)| **it).unwrap();
            shards[first].free(user(name), first as u64);
            carry(&mut shards);
            shards[1].take(user(name), 9);
            carry(&mut shards);
            assert_eq!(granted(&mut shards[1]), [true]);
            shards[2].take(user(name), 10);
            carry(&mut shards);
            assert_eq!(granted(&mut shards[2]), [false]);
            for (connection, shard) in shards.iter_mut().enumerate() {
                shard.free(user(name), connection as u64);
                shard.free(user(name), 9);
            }
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
    #[test]
    fn whoever_came_last_loses_its_seat_when_others_have_them_elsewhere() {
        let mut shards: Vec<Seats> = (0..3)
            .map(|it| Seats::new(ShardId(it), 3, 7, Limits { user_max: 9, ..LIMITS }).with_news())
            .collect();
        for connection in 0..6 {
            shards[connection % 3].take(user("amy"), connection as u64);
            carry(&mut shards);
        }
        shards.iter_mut().for_each(|it| assert_eq!(granted(it), [true, true]));
        let news = |shards: &mut [Seats]| -> Vec<UserSeats> {
            shards.iter_mut().flat_map(Seats::take_news).collect()
        };
        assert_eq!(news(&mut shards), [("amy".into(), 6)]);
        assert_eq!(news(&mut shards), []);
        let allow = |shards: &mut [Seats], allowed: u32| -> Vec<u64> {
            shards.iter_mut().for_each(|it| it.handle_allowed(&"amy".into(), allowed));
            carry(shards);
            let lost = shards.iter_mut().flat_map(|it| std::iter::from_fn(|| it.poll_event()));
            lost.inspect(|it| assert!(!it.is_granted)).map(|it| it.connection).collect()
        };
        assert!(allow(&mut shards, 6).is_empty());
        let mut lost = allow(&mut shards, 4);
        lost.sort_unstable();
        assert_eq!(lost, [4, 5]);
        let told = news(&mut shards);
        assert_eq!(told, [("amy".into(), 4)]);
        shards.iter_mut().for_each(|it| it.put_news_back(told.clone()));
        // Whoever lost it gives it back no second time.
        shards[1].free(user("amy"), 4);
        shards[0].free(user("amy"), 0);
        carry(&mut shards);
        let mut told = news(&mut shards);
        told.retain(|(_, count)| 0 < *count);
        assert_eq!(told, [("amy".into(), 3)]);
        assert_eq!(allow(&mut shards, 0).len(), 3);
        assert!(shards.iter().all(Seats::is_empty));
    }
}
