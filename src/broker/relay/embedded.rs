//! The embedded relay: how the shards of one process agree on one order per channel, without locks.
//!
//! Every channel has a home shard (by hash) that orders it. A publication goes to its home as a
//! request and comes back to every interested shard, its own included, as a reply: local
//! subscribers get no short cut. This machine knows no threads; its owner carries [`Mail`].
//!
//! ```text
//! publish ─► requests to the home ─► (home) handle_request ─► replies to the interested ─► events
//! ```
//!
//! Bounds: a shard without credit ([`Embedded::has_credit`]) reads none of its connections, so
//! requests stay bounded; a home takes a request only while every queue of replies has room
//! ([`Embedded::has_reply_room`]); replies are always taken. So nothing waits in a circle.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::DefaultHasher;
use std::hash::Hasher;
use std::sync::Arc;

use crate::broker::patterns::PatternIndex;
use crate::broker::patterns::Walk;
use crate::broker::publication::Publication;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::relay::Audience;
use crate::broker::relay::Event;
use crate::broker::relay::Mail;
use crate::broker::relay::Reply;
use crate::broker::relay::Request;
use crate::broker::relay::SHARDS_MAX;
use crate::broker::relay::ShardId;
use crate::broker::relay::Stored;
use crate::broker::relay::Target;
use crate::broker::relay::Token;
use crate::broker::relay::book::Book;
use crate::policy::pattern::Pattern;

/// One shard's side of the embedded relay, and its part as home of the channels that hash to it.
///
/// Invariants: `interests` holds just the targets that this shard wants, each with the tokens that
/// wait for its confirmation; as home, a channel or pattern is kept only while some shard wants it.
#[derive(Debug)]
pub struct Embedded {
    me: ShardId,
    shards_count: usize,
    mailbox_max: usize,
    /// The process's secret behind the choice of homes: without it clients could choose names that
    /// all have one home.
    home_seed: u64,
    interests: HashMap<Target, Interest>,
    next_number: u64,
    channels: HashMap<Arc<str>, u64>,
    patterns: PatternIndex<u64>,
    walk: Walk,
    local: VecDeque<Request>,
    requests: Vec<VecDeque<Request>>,
    replies: Vec<VecDeque<Reply>>,
    events: VecDeque<Event>,
    /// Of the channels with a history.
    book: Book,
}

#[derive(Debug)]
struct Interest {
    number: u64,
    /// Homes that have not confirmed yet.
    missing: u64,
    waiting: Vec<Token>,
}

impl Embedded {
    /// The side of shard `me` among `shards_count`, with queues of `mailbox_max` mails; all shards
    /// of a process are given the same `home_seed`.
    #[must_use]
    pub fn new(me: ShardId, shards_count: usize, mailbox_max: usize, home_seed: u64) -> Self {
        assert!(0 < shards_count && shards_count <= SHARDS_MAX);
        assert!(usize::from(me.0) < shards_count);
        Self {
            me,
            shards_count,
            mailbox_max,
            home_seed,
            interests: HashMap::default(),
            next_number: 0,
            channels: HashMap::default(),
            patterns: PatternIndex::default(),
            walk: Walk::default(),
            local: VecDeque::new(),
            requests: (0..shards_count).map(|_| VecDeque::new()).collect(),
            replies: (0..shards_count).map(|_| VecDeque::new()).collect(),
            events: VecDeque::new(),
            book: Book::default(),
        }
    }

    /// Whether connections may be read: every queue of requests has room.
    #[must_use]
    pub fn has_credit(&self) -> bool {
        self.local.len() < self.mailbox_max
            && self.requests.iter().all(|queue| queue.len() < self.mailbox_max)
    }

    /// Whether another request may be handled: every queue of replies has room.
    #[must_use]
    pub fn has_reply_room(&self) -> bool {
        self.replies.iter().all(|queue| queue.len() < self.mailbox_max)
    }

    /// Whether it may refuse what it was asked: what comes here is never lost on its way.
    #[must_use]
    pub fn may_refuse(&self) -> bool {
        false
    }

    /// Sends a publication on its way; `token` is settled when it has its place in the order.
    pub fn publish(&mut self, publication: Arc<Publication>, token: Option<Token>) {
        if publication.forwarded_by.is_some() {
            // The configuration allows such routes beside a Redis only.
            let refusal = Refusal::new(Code::NoRoute, "no back end is reached from here");
            self.events.extend(token.map(|token| Event::Refused(token, refusal)));
            return;
        }
        let home = self.home_of(&publication.channel);
        self.request(home, Request::Publish { publication, token });
    }

    /// Says that this shard wants `target` and settles `token` once its homes know.
    pub fn subscribe(&mut self, target: Target, token: Option<Token>) {
        if let Some(interest) = self.interests.get_mut(&target) {
            match token {
                Some(token) if interest.missing == 0 => {
                    self.events.push_back(Event::Settled(token));
                }
                Some(token) => interest.waiting.push(token),
                None => {}
            }
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        let homes = self.homes_of(&target);
        let waiting = token.into_iter().collect();
        self.interests.insert(target.clone(), Interest { number, missing: homes, waiting });
        self.request_interest(homes, &target, true, number);
    }

    /// Says that this shard no longer wants `target`: its last subscriber has gone.
    pub fn unsubscribe(&mut self, target: &Target) {
        let Some(interest) = self.interests.remove(target) else {
            return;
        };
        // Who waited has gone too; what it waited for is settled so that nothing is left over.
        self.events.extend(interest.waiting.into_iter().map(Event::Settled));
        self.request_interest(self.homes_of(target), target, false, interest.number);
    }

    /// Takes what another shard sent. A request is only given while [`Embedded::has_reply_room`].
    pub fn handle_mail(&mut self, from: ShardId, mail: Mail) {
        match mail {
            Mail::Request(request) => self.handle_request(from, request),
            Mail::Reply(reply) => self.handle_reply(from, reply),
        }
    }

    /// The next request for shard `to`.
    pub fn poll_request(&mut self, to: ShardId) -> Option<Request> {
        self.requests[usize::from(to.0)].pop_front()
    }

    /// The next reply to shard `to`.
    pub fn poll_reply(&mut self, to: ShardId) -> Option<Reply> {
        self.replies[usize::from(to.0)].pop_front()
    }

    /// What to do next; the owner calls until `None` after every input.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if !self.has_reply_room() {
                return None;
            }
            if let Some((to, reply)) = self.book.poll_answer() {
                self.reply(to, reply);
                continue;
            }
            let request = self.local.pop_front()?;
            self.handle_request(self.me, request);
        }
    }

    /// What the store of the history has said.
    pub fn handle_stored(&mut self, stored: Stored) {
        self.book.handle_stored(stored);
    }

    /// The next publication to be stored.
    pub fn poll_record(&mut self) -> Option<Arc<Publication>> {
        self.book.poll_record()
    }

    /// Whether publications wait to be stored.
    #[must_use]
    pub fn has_records(&self) -> bool {
        self.book.has_records()
    }

    /// Publications that are not known to be stored.
    #[must_use]
    pub fn unstored_count(&self) -> usize {
        self.book.unstored_count()
    }

    /// Whether mail for another shard waits here.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        self.requests.iter().any(|it| !it.is_empty())
            || self.replies.iter().any(|it| !it.is_empty())
    }

    /// How many targets this shard wants.
    #[must_use]
    pub fn interests_count(&self) -> usize {
        self.interests.len()
    }

    /// Whether nobody wants anything and nothing is under way, here and as home.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let is_home_empty = self.channels.is_empty() && self.patterns.count() == 0;
        let is_quiet = self.local.is_empty() && self.events.is_empty() && !self.has_mail();
        let is_quiet = is_quiet && self.book.is_empty();
        self.interests.is_empty() && is_home_empty && is_quiet
    }

    /// Checks that replies are bounded; for simulations. A request is only handled while there is
    /// room, and makes two replies to one shard at the most.
    ///
    /// # Panics
    ///
    /// When they are not.
    pub fn check_invariants(&self) {
        assert!(self.replies.iter().all(|queue| queue.len() <= self.mailbox_max + 1));
    }

    fn handle_request(&mut self, from: ShardId, request: Request) {
        match request {
            Request::Seat(_) => {}
            Request::Publish { publication, token } => {
                let has_history = publication.history.is_some();
                if has_history && !self.book.take(&publication, token.map(|it| (from, it))) {
                    return;
                }
                let mut shards = self.channels.get(&*publication.channel).copied().unwrap_or(0);
                if publication.channel.starts_with('/') {
                    for key in self.patterns.matches(&publication.channel, &mut self.walk) {
                        shards |= self.patterns.get(*key).copied().unwrap_or(0);
                    }
                }
                // With a history it is the commit that answers.
                if let Some(token) = token.filter(|_| !has_history) {
                    self.reply(from, Reply::Accepted(token));
                }
                for to in shards_of(shards) {
                    self.reply(to, Reply::Deliver(Arc::clone(&publication)));
                }
            }
            Request::Interest { target, is_wanted, number } => {
                self.note_interest(from, &target, is_wanted);
                if is_wanted {
                    self.reply(from, Reply::Confirmed { target, number });
                }
            }
        }
    }

    fn note_interest(&mut self, from: ShardId, target: &Target, is_wanted: bool) {
        let bit = 1_u64 << from.0;
        match target {
            Target::Channel(channel) if is_wanted => {
                *self.channels.entry(Arc::clone(channel)).or_default() |= bit;
            }
            Target::Channel(channel) => {
                if let Some(set) = self.channels.get_mut(channel) {
                    *set &= !bit;
                    if *set == 0 {
                        self.channels.remove(channel);
                    }
                }
            }
            Target::Pattern(text) => {
                // The session parsed it before it became an interest.
                let Ok(pattern) = Pattern::parse(text) else {
                    return;
                };
                let key = if is_wanted {
                    Some(self.patterns.insert(&pattern, || 0))
                } else {
                    self.patterns.find(text)
                };
                let Some(key) = key else { return };
                let mut is_empty = false;
                if let Some(set) = self.patterns.get_mut(key) {
                    *set = if is_wanted { *set | bit } else { *set & !bit };
                    is_empty = *set == 0;
                }
                if is_empty {
                    self.patterns.remove(key);
                }
            }
        }
    }

    fn handle_reply(&mut self, from: ShardId, reply: Reply) {
        match reply {
            Reply::Seat(_) => {}
            Reply::Accepted(token) => self.events.push_back(Event::Settled(token)),
            Reply::Stored(token, place) => self.events.push_back(Event::Stored(token, place)),
            Reply::Refused(token, refusal) => {
                self.events.push_back(Event::Refused(token, refusal));
            }
            Reply::Deliver(publication) => {
                self.events.push_back(Event::Deliver { publication, audience: Audience::All });
            }
            Reply::Confirmed { target, number } => {
                let Some(interest) = self.interests.get_mut(&target) else {
                    return;
                };
                // An older number answers an interest that ended and began again since.
                if interest.number != number {
                    return;
                }
                interest.missing &= !(1 << from.0);
                if interest.missing == 0 {
                    let waiting = std::mem::take(&mut interest.waiting);
                    self.events.extend(waiting.into_iter().map(Event::Settled));
                }
            }
        }
    }

    fn request_interest(&mut self, homes: u64, target: &Target, is_wanted: bool, number: u64) {
        for home in shards_of(homes) {
            let target = target.clone();
            self.request(home, Request::Interest { target, is_wanted, number });
        }
    }

    fn request(&mut self, home: ShardId, request: Request) {
        if home == self.me {
            self.local.push_back(request);
        } else {
            self.requests[usize::from(home.0)].push_back(request);
        }
    }

    fn reply(&mut self, to: ShardId, reply: Reply) {
        if to == self.me {
            self.handle_reply(to, reply);
        } else {
            self.replies[usize::from(to.0)].push_back(reply);
        }
    }

    fn home_of(&self, channel: &str) -> ShardId {
        if self.shards_count == 1 {
            return self.me;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.home_seed);
        hasher.write(channel.as_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "below SHARDS_MAX")]
        let home = (hasher.finish() % self.shards_count as u64) as u8;
        ShardId(home)
    }

    fn homes_of(&self, target: &Target) -> u64 {
        match target {
            Target::Channel(channel) => 1 << self.home_of(channel).0,
            Target::Pattern(_) => u64::MAX >> (SHARDS_MAX - self.shards_count),
        }
    }
}

fn shards_of(set: u64) -> impl Iterator<Item = ShardId> {
    (0..64_u8).filter(move |it| set & (1 << it) != 0).map(ShardId)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(channel: &str, number: u64) -> Arc<Publication> {
        Arc::new(Publication {
            channel: channel.into(),
            destination: channel.into(),
            message_id: number.to_string().into(),
            content_type: None,
            sender: None,
            timestamp_ms: 0,
            received_at: crate::stdx::time::Instant::default(),
            headers: Vec::new(),
            body_nul: Arc::from(&[0_u8][..]),
            is_text: true,
            forwarded_by: None,
            history: None,
        })
    }

    fn channel(name: &str) -> Target {
        Target::Channel(name.into())
    }

    /// Carries all mail until none is left; returns what each shard had to do.
    fn settle(relays: &mut [Embedded]) -> Vec<Vec<String>> {
        let mut done = vec![Vec::new(); relays.len()];
        loop {
            let mut is_quiet = true;
            for from in 0..relays.len() {
                while let Some(event) = relays[from].poll_event() {
                    is_quiet = false;
                    done[from].push(match event {
                        Event::Settled(token) => format!("token {}", token.0),
                        Event::Deliver { publication: it, .. } => {
                            format!("{} {}", it.channel, it.message_id)
                        }
                        Event::Stored(token, _) => format!("stored {}", token.0),
                        Event::Refused(token, _) => format!("refused {}", token.0),
                        Event::Deferred(..) | Event::Page(..) | Event::Control(_) => {
                            unreachable!("nobody says any")
                        }
                    });
                }
                for to in 0..relays.len() {
                    let (from_id, to_id) = (id(from), id(to));
                    while let Some(reply) = relays[from].poll_reply(to_id) {
                        is_quiet = false;
                        relays[to].handle_mail(from_id, Mail::Reply(reply));
                    }
                    while relays[to].has_reply_room() {
                        let Some(request) = relays[from].poll_request(to_id) else { break };
                        is_quiet = false;
                        relays[to].handle_mail(from_id, Mail::Request(request));
                    }
                }
            }
            if is_quiet {
                return done;
            }
        }
    }

    fn id(index: usize) -> ShardId {
        ShardId(u8::try_from(index).unwrap())
    }

    fn relays(count: usize) -> Vec<Embedded> {
        (0..count).map(|index| Embedded::new(id(index), count, 4, 7)).collect()
    }

    #[test]
    fn a_publication_reaches_each_interested_shard_once() {
        let mut relays = relays(3);
        relays[0].subscribe(channel("/topic/a"), Some(Token(1)));
        relays[0].subscribe(Target::Pattern("/topic/*".into()), Some(Token(2)));
        relays[2].subscribe(Target::Pattern("/topic/**".into()), Some(Token(3)));
        assert_eq!(settle(&mut relays)[2], ["token 3"]);
        relays[1].publish(publication("/topic/a", 7), Some(Token(9)));
        let done = settle(&mut relays);
        assert_eq!(done[0], ["/topic/a 7"]);
        assert_eq!(done[1], ["token 9"]);
        assert_eq!(done[2], ["/topic/a 7"]);
    }

    #[test]
    fn all_shards_see_one_order_whoever_publishes() {
        let mut relays = relays(4);
        for relay in &mut relays {
            relay.subscribe(channel("/topic/a"), None);
        }
        settle(&mut relays);
        for number in 0..40 {
            relays[number % 4].publish(publication("/topic/a", number as u64), None);
        }
        let done = settle(&mut relays);
        assert_eq!(done[0].len(), 40);
        assert!(done.iter().all(|it| *it == done[0]));
    }

    #[test]
    fn an_interest_that_ends_and_begins_again_is_confirmed_by_its_own_number() {
        let mut relays = relays(2);
        for round in 0..3 {
            relays[0].subscribe(channel("/topic/a"), Some(Token(round)));
            relays[0].unsubscribe(&channel("/topic/a"));
        }
        relays[0].subscribe(channel("/topic/a"), Some(Token(10)));
        relays[0].subscribe(channel("/topic/a"), Some(Token(11)));
        let done = settle(&mut relays);
        assert_eq!(done[0], ["token 0", "token 1", "token 2", "token 10", "token 11"]);
        relays[1].publish(publication("/topic/a", 1), None);
        assert_eq!(settle(&mut relays)[0], ["/topic/a 1"]);
    }

    #[test]
    fn nothing_is_left_when_all_interest_ends() {
        let mut relays = relays(3);
        for index in 0..100 {
            relays[index % 3].subscribe(channel(&format!("/topic/{index}")), None);
            relays[index % 3].subscribe(Target::Pattern(format!("/topic/{index}.*").into()), None);
        }
        settle(&mut relays);
        for index in 0..100 {
            relays[index % 3].unsubscribe(&channel(&format!("/topic/{index}")));
            relays[index % 3].unsubscribe(&Target::Pattern(format!("/topic/{index}.*").into()));
        }
        settle(&mut relays);
        for relay in &relays {
            assert_eq!(relay.interests_count(), 0);
            assert!(relay.channels.is_empty());
            assert!(relay.patterns.find("/topic/1.*").is_none());
        }
    }

    #[test]
    fn credit_ends_at_the_mailbox_and_comes_back() {
        let mut relays = relays(2);
        let away = (0..).map(|it| format!("/topic/{it}"));
        let away = away.into_iter().find(|it| relays[0].home_of(it) == id(1)).unwrap();
        for number in 0..3 {
            relays[0].publish(publication(&away, number), None);
        }
        assert!(relays[0].has_credit());
        relays[0].publish(publication(&away, 3), None);
        assert!(!relays[0].has_credit());
        settle(&mut relays);
        assert!(relays[0].has_credit());
    }
}
