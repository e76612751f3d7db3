//! The subscription table of one core: who gets a publication, grouped by what their frame looks
//! like.

mod group;
mod list;

use slab::Slab;

use crate::broker::patterns::PatternIndex;
use crate::broker::patterns::PatternKey;
use crate::broker::patterns::Walk;
use crate::broker::table::group::Look;
use crate::policy::pattern::Pattern;
use crate::proto::stomp::push_escaped;
use crate::stdx::hash_index::HashIndex;

pub use group::Format;
pub use group::Group;
pub use group::Groups;
pub use group::Member;

/// A connection's place in its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// A subscription in a [`Table`]; may be given to another one after its removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionKey(u32);

/// A destination (exact or pattern) that somebody subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DestinationKey(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GroupKey(u32);

/// What an insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// Names the subscription from now on.
    pub subscription: SubscriptionKey,
    /// Whether it is the first one of its target on this core.
    pub first: bool,
}

/// What a removal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Whether it was the last one of its target on this core.
    pub last: bool,
}

/// What a subscription is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// One channel: `/topic/x`, or a user's `user.42/queue/x`.
    Exact(&'a str),
    /// Every destination that this pattern matches.
    Pattern(&'a str),
}

/// Where a subscription is: the group's member at this place.
#[derive(Debug)]
struct Place {
    group: GroupKey,
    at: u32,
}

/// Invariant: it has a group.
#[derive(Debug)]
struct Destination {
    name: Name,
    groups: Vec<GroupKey>,
}

#[derive(Debug)]
enum Name {
    Exact(Box<str>),
    Pattern(PatternKey),
}

/// The subscriptions of one core.
///
/// A target (a channel or a pattern) holds groups, a group holds members; each knows its place in
/// the list above it, so that it leaves without a search. Names, formats and patterns are looked up
/// once for each subscribe and publication, never for each subscriber.
///
/// Invariants: every subscription is a member of exactly one group, at its place, and every group
/// in its target's list at its place; no group and no target is empty; two groups of a target
/// differ in format,
/// and two targets in kind or name.
#[derive(Debug, Default)]
pub struct Table {
    subscriptions: Slab<Place>,
    groups: Slab<Group>,
    destinations: Slab<Destination>,
    /// Channel to destination.
    names: HashIndex,
    /// [`Look`] to group.
    looks: HashIndex,
    patterns: PatternIndex<DestinationKey>,
    /// Working memory, kept from call to call.
    scratch: Vec<u8>,
    walk: Walk,
    wanted: Vec<DestinationKey>,
}

impl Table {
    /// A table without subscriptions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Subscribes `slot` to one channel. The same again is one subscription more.
    pub fn insert_exact(&mut self, channel: &str, slot: Slot, format: Format<'_>) -> Inserted {
        let found = self.find_exact(channel);
        let destination = found.unwrap_or_else(|| {
            let name = Name::Exact(channel.into());
            let key = small(self.destinations.insert(Destination { name, groups: Vec::new() }));
            self.names.insert(self.names.hash(channel), key);
            DestinationKey(key)
        });
        let subscription = self.insert(destination, slot, format);
        Inserted { subscription, first: found.is_none() }
    }

    /// Subscribes `slot` to all destinations that `pattern` matches. The same again is one more.
    pub fn insert_pattern(
        &mut self,
        pattern: &Pattern,
        slot: Slot,
        format: Format<'_>,
    ) -> Inserted {
        let mut first = false;
        let key = self.patterns.insert(pattern, || {
            first = true;
            DestinationKey(small(self.destinations.vacant_key()))
        });
        let destination = *self.patterns.get(key).expect("it was just inserted");
        if first {
            let name = Name::Pattern(key);
            let at = self.destinations.insert(Destination { name, groups: Vec::new() });
            assert!(at == destination.0 as usize);
        }
        let subscription = self.insert(destination, slot, format);
        Inserted { subscription, first }
    }

    /// Ends a subscription, in constant time.
    ///
    /// # Panics
    ///
    /// If it has ended already.
    pub fn remove(&mut self, subscription: SubscriptionKey) -> Removed {
        let place = self.subscriptions.remove(subscription.0 as usize);
        let members = &mut self.groups[place.group.0 as usize].members;
        let member = members.swap_remove(place.at as usize);
        assert!(member.subscription == subscription);
        if let Some(moved) = members.get(place.at as usize) {
            self.subscriptions[moved.subscription.0 as usize].at = place.at;
        }
        if !members.is_empty() {
            give_back(members);
            return Removed { last: false };
        }
        Removed { last: self.remove_group(place.group) }
    }

    /// The target of a subscription.
    ///
    /// # Panics
    ///
    /// If it has ended.
    #[must_use]
    pub fn target(&self, subscription: SubscriptionKey) -> Target<'_> {
        let group = self.group(self.subscriptions[subscription.0 as usize].group);
        match &self.destinations[group.destination.0 as usize].name {
            Name::Exact(name) => Target::Exact(name),
            Name::Pattern(key) => {
                let pattern = self.patterns.pattern(*key);
                Target::Pattern(pattern.expect("a pattern lives as long as its groups").as_str())
            }
        }
    }

    /// The connection that a subscription feeds.
    ///
    /// # Panics
    ///
    /// If it has ended.
    #[must_use]
    pub fn slot_of(&self, subscription: SubscriptionKey) -> Slot {
        let place = &self.subscriptions[subscription.0 as usize];
        self.group(place.group).members[place.at as usize].slot
    }

    /// What the frames of a subscription look like.
    ///
    /// # Panics
    ///
    /// If it has ended.
    #[must_use]
    pub fn group_of(&self, subscription: SubscriptionKey) -> &Group {
        self.group(self.subscriptions[subscription.0 as usize].group)
    }

    /// Whether somebody on this core subscribes to `channel`, or to a pattern that matches it.
    #[must_use]
    pub fn has(&self, channel: &str) -> bool {
        self.find_exact(channel).is_some()
            || (channel.starts_with('/')
                && !self.patterns.matches(channel, &mut Walk::default()).is_empty())
    }

    /// The groups that a publication on `channel` is for: those of the channel itself first, then,
    /// for a destination (which begins with a slash), those of every pattern that matches it.
    pub fn groups(&mut self, channel: &str) -> Groups<'_> {
        self.wanted.clear();
        self.wanted.extend(self.find_exact(channel));
        if channel.starts_with('/') {
            let found = self.patterns.matches(channel, &mut self.walk);
            self.wanted.extend(found.iter().filter_map(|&key| self.patterns.get(key)));
        }
        Groups { table: self, wanted: self.wanted.iter(), groups: [].iter() }
    }

    /// The groups of the channel itself, without those of patterns.
    pub fn exact_groups(&mut self, channel: &str) -> Groups<'_> {
        self.wanted.clear();
        self.wanted.extend(self.find_exact(channel));
        Groups { table: self, wanted: self.wanted.iter(), groups: [].iter() }
    }

    /// The groups of the pattern with this text, whatever it matches.
    pub fn pattern_groups(&mut self, pattern: &str) -> Groups<'_> {
        self.wanted.clear();
        let found = self.patterns.find(pattern).and_then(|key| self.patterns.get(key));
        self.wanted.extend(found);
        Groups { table: self, wanted: self.wanted.iter(), groups: [].iter() }
    }

    /// How many subscriptions there are.
    #[must_use]
    pub fn subscriptions_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// How many channels have subscribers of their own.
    #[must_use]
    pub fn destinations_count(&self) -> usize {
        self.names.count()
    }

    /// How many patterns have subscribers.
    #[must_use]
    pub fn patterns_count(&self) -> usize {
        self.patterns.count()
    }

    fn find_exact(&self, channel: &str) -> Option<DestinationKey> {
        let is_it = |key: u32| match &self.destinations[key as usize].name {
            Name::Exact(name) => **name == *channel,
            Name::Pattern(_) => false,
        };
        self.names.find(self.names.hash(channel), is_it).map(DestinationKey)
    }

    fn insert(&mut self, to: DestinationKey, slot: Slot, format: Format<'_>) -> SubscriptionKey {
        let group = self.group_or_insert(to, format);
        let members = &mut self.groups[group.0 as usize].members;
        let place = Place { group, at: small(members.len()) };
        let subscription = SubscriptionKey(small(self.subscriptions.insert(place)));
        if members.is_empty() {
            members.reserve_exact(1); // most groups stay alone
        }
        members.push(Member { slot, subscription });
        subscription
    }

    fn group_or_insert(&mut self, destination: DestinationKey, format: Format<'_>) -> GroupKey {
        let Format { id, version, shown, is_replaying } = format;
        self.scratch.clear();
        if let Some(id) = id {
            self.scratch.extend_from_slice(b"subscription:");
            push_escaped(&mut self.scratch, id, version);
            self.scratch.push(b'\n');
        }
        let (line_bytes, is_shown) = (small(self.scratch.len()), shown.is_some());
        self.scratch.extend_from_slice(shown.unwrap_or_default().as_bytes());
        let text = str::from_utf8(&self.scratch).expect("escaping keeps text UTF-8");

        let destination_index = destination.0;
        let look = Look {
            destination: destination_index,
            version,
            line_bytes,
            is_shown,
            is_replaying,
            text,
        };
        let hash = self.looks.hash(look);
        if let Some(found) = self.looks.find(hash, |it| self.groups[it as usize].look() == look) {
            return GroupKey(found);
        }
        let groups = &mut self.destinations[destination.0 as usize].groups;
        let (at, members) = (small(groups.len()), Vec::new());
        let text = text.into();
        let group =
            Group { text, line_bytes, is_shown, is_replaying, version, destination, at, members };
        let key = small(self.groups.insert(group));
        self.looks.insert(hash, key);
        if groups.is_empty() {
            groups.reserve_exact(1);
        }
        groups.push(GroupKey(key));
        GroupKey(key)
    }

    /// Removes an empty group; tells whether its destination went with it.
    fn remove_group(&mut self, key: GroupKey) -> bool {
        let group = self.groups.remove(key.0 as usize);
        self.looks.remove(self.looks.hash(group.look()), key.0);
        let groups = &mut self.destinations[group.destination.0 as usize].groups;
        assert!(groups.swap_remove(group.at as usize) == key);
        if let Some(moved) = groups.get(group.at as usize) {
            self.groups[moved.0 as usize].at = group.at;
        }
        if !groups.is_empty() {
            give_back(groups);
            return false;
        }
        match self.destinations.remove(group.destination.0 as usize).name {
            Name::Exact(name) => self.names.remove(self.names.hash(&*name), group.destination.0),
            Name::Pattern(key) => assert!(self.patterns.remove(key) == Some(group.destination)),
        }
        true
    }

    fn group(&self, key: GroupKey) -> &Group {
        &self.groups[key.0 as usize]
    }

    /// Walks everything and compares it with the invariants; for simulations and tests.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub fn check_invariants(&self) {
        self.patterns.check_invariants();
        assert!(self.names.count() + self.patterns.count() == self.destinations.len());
        assert!(self.looks.count() == self.groups.len());
        let mut members_count = 0;
        let mut groups_count = 0;
        for (index, destination) in &self.destinations {
            let key = DestinationKey(small(index));
            match &destination.name {
                Name::Exact(name) => assert!(self.find_exact(name) == Some(key)),
                Name::Pattern(pattern) => assert!(self.patterns.get(*pattern) == Some(&key)),
            }
            assert!(!destination.groups.is_empty());
            groups_count += destination.groups.len();
            for (at, group_key) in destination.groups.iter().enumerate() {
                let group = self.group(*group_key);
                assert!((group.destination, group.at as usize) == (key, at));
                let hash = self.looks.hash(group.look());
                let found =
                    self.looks.find(hash, |it| self.groups[it as usize].look() == group.look());
                assert!(found == Some(group_key.0));
                assert!(!group.members.is_empty());
                members_count += group.members.len();
                for (at, member) in group.members.iter().enumerate() {
                    let place = &self.subscriptions[member.subscription.0 as usize];
                    assert!((place.group, place.at as usize) == (*group_key, at));
                }
            }
        }
        assert!(groups_count == self.groups.len());
        assert!(members_count == self.subscriptions.len());
    }
}

/// Gives memory back once a list uses a quarter of it; so far from the edge that it stays
/// amortised.
fn give_back<T>(list: &mut Vec<T>) {
    const KEPT_COUNT: usize = 16;
    if KEPT_COUNT < list.capacity() && list.len() < list.capacity() / 4 {
        list.shrink_to(list.len() * 2);
    }
}

fn small(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 of everything in one table")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::proto::stomp::Version;

    const PLAIN: Format<'static> =
        Format { id: Some("sub-0"), version: Version::V1_2, shown: None, is_replaying: false };

    fn parse(text: &str) -> Pattern {
        Pattern::parse(text).expect("the test's pattern is good")
    }

    /// A subscriber as the fan-out sees it: line, version, shown, slot, subscription.
    type Seen = (Vec<u8>, Version, Option<String>, u32, SubscriptionKey);

    fn seen(table: &mut Table, channel: &str) -> Vec<Seen> {
        let mut all = Vec::new();
        for group in table.groups(channel) {
            let (line, shown) =
                (group.subscription_line().to_vec(), group.shown().map(String::from));
            assert!(!group.members().is_empty());
            all.extend(group.members().iter().map(|it| {
                (line.clone(), group.version(), shown.clone(), it.slot.0, it.subscription)
            }));
        }
        all
    }

    #[track_caller]
    fn check_line(id: Option<&str>, version: Version, expected: &str) {
        let mut table = Table::new();
        table.insert_exact("/topic/x", Slot(1), Format { id, version, ..PLAIN });
        let lines: Vec<_> = table.groups("/topic/x").map(|it| it.subscription_line()).collect();
        assert_eq!(lines, [expected.as_bytes()]);
    }

    #[test]
    fn the_subscription_line_is_escaped_for_its_version() {
        check_line(None, Version::V1_0, "");
        check_line(Some(""), Version::V1_2, "subscription:\n");
        check_line(Some("a:b"), Version::V1_0, "subscription:a:b\n");
        check_line(Some("a:b\\"), Version::V1_1, "subscription:a\\cb\\\\\n");
        check_line(Some("a\rb"), Version::V1_2, "subscription:a\\rb\n");
    }

    #[test]
    fn equal_formats_share_a_group_and_others_do_not() {
        let mut table = Table::new();
        let shown = Format { shown: Some("/user/queue/x"), ..PLAIN };
        let formats = [
            PLAIN,
            PLAIN,
            Format { version: Version::V1_1, ..PLAIN },
            Format { id: Some("sub-1"), ..PLAIN },
            shown,
            Format { shown: Some(""), ..PLAIN },
            Format { id: None, ..PLAIN },
            Format { is_replaying: true, ..PLAIN },
            shown,
        ];
        for (slot, format) in (0..).zip(formats) {
            let inserted = table.insert_exact("user.42/queue/x", Slot(slot), format);
            assert_eq!(inserted.first, slot == 0);
        }
        let mut slots: Vec<Vec<u32>> = Vec::new();
        for group in table.groups("user.42/queue/x") {
            slots.push(group.members().iter().map(|it| it.slot.0).collect());
        }
        assert_eq!(slots, [vec![0, 1], vec![2], vec![3], vec![4, 8], vec![5], vec![6], vec![7]]);
        let all: Vec<_> = table.groups("user.42/queue/x").map(Group::shown).collect();
        assert_eq!(all, [None, None, None, Some("/user/queue/x"), Some(""), None, None]);
    }

    #[test]
    fn a_plain_and_a_pattern_subscription_of_one_session_both_get_it() {
        let mut table = Table::new();
        let pattern = parse("/topic/PRICE.*");
        let by_pattern = table.insert_pattern(&pattern, Slot(1), PLAIN);
        let plain =
            table.insert_exact("/topic/PRICE.IBM", Slot(1), Format { id: Some("2"), ..PLAIN });
        assert!(by_pattern.first && plain.first);
        let got = |table: &mut Table| -> Vec<_> {
            seen(table, "/topic/PRICE.IBM").into_iter().map(|it| it.4).collect()
        };
        assert_eq!(got(&mut table), [plain.subscription, by_pattern.subscription]);
        assert_eq!(table.target(by_pattern.subscription), Target::Pattern("/topic/PRICE.*"));
        assert_eq!(table.target(plain.subscription), Target::Exact("/topic/PRICE.IBM"));
        assert_eq!((table.destinations_count(), table.patterns_count()), (1, 1));
        assert!(table.has("/topic/PRICE.IBM") && table.has("/topic/PRICE.VMW"));
        assert!(table.remove(plain.subscription).last);
        assert_eq!(got(&mut table), [by_pattern.subscription]);
        assert!(table.remove(by_pattern.subscription).last);
        assert_eq!(got(&mut table), []);
        assert!(!table.has("/topic/PRICE.IBM"));
    }

    #[test]
    fn a_pattern_never_matches_a_user_channel_nor_its_own_text_a_destination() {
        let mut table = Table::new();
        table.insert_pattern(&parse("**"), Slot(1), PLAIN);
        table.insert_pattern(&parse("/topic/*"), Slot(1), PLAIN);
        assert!(!table.has("user.42/queue/x"));
        assert_eq!(seen(&mut table, "user.42/queue/x"), []);
        table.insert_exact("/topic/*", Slot(2), PLAIN);
        assert_eq!(seen(&mut table, "/topic/*").len(), 2);
        assert_eq!((table.destinations_count(), table.patterns_count()), (1, 2));
    }

    #[test]
    fn ten_thousand_groups_of_one_destination_leave_in_any_order() {
        let mut table = Table::new();
        let mut all = Vec::new();
        for number in 0..10_000 {
            let id = format!("sub-{number}");
            let format = Format { id: Some(&id), ..PLAIN };
            all.push(table.insert_exact("/topic/x", Slot(number), format).subscription);
        }
        assert_eq!(table.groups("/topic/x").count(), 10_000);
        shuffle(&mut all);
        while let Some(subscription) = all.pop() {
            assert_eq!(table.remove(subscription).last, all.is_empty());
            if all.len().is_multiple_of(1000) {
                table.check_invariants();
                assert_eq!(table.groups("/topic/x").count(), all.len());
            }
        }
    }

    #[test]
    fn a_million_subscriptions_of_a_hundred_thousand_destinations_come_and_go() {
        let mut table = Table::new();
        let mut all = Vec::with_capacity(1_000_000);
        for number in 0..100_000 {
            let channel = format!("/topic/room.{number}");
            for slot in 0..10 {
                let inserted = table.insert_exact(&channel, Slot(slot), PLAIN);
                assert_eq!(inserted.first, slot == 0);
                all.push(inserted.subscription);
            }
        }
        assert_eq!((table.subscriptions_count(), table.destinations_count()), (1_000_000, 100_000));
        table.check_invariants();
        shuffle(&mut all);
        let mut last_count = 0;
        for subscription in all {
            last_count += u32::from(table.remove(subscription).last);
        }
        assert_eq!(last_count, 100_000);
        assert_eq!((table.subscriptions_count(), table.destinations_count()), (0, 0));
        assert!(table.groups.is_empty() && table.destinations.is_empty());
        table.check_invariants();
    }

    fn shuffle<T>(list: &mut [T]) {
        let mut state = 1_usize;
        for end in (1..list.len()).rev() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            list.swap((state >> 33) % (end + 1), end);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert { target: &'static str, slot: u32, format: Format<'static> },
        Remove(usize),
    }

    const TARGETS: &[&str] =
        &["/topic/a", "/topic/b", "/topic/*", "/topic/**", "/**/a", "/topic/?", "user.7/queue/x"];
    const CHANNELS: &[&str] = &["/topic/a", "/topic/b", "/topic/b/a", "/x", "user.7/queue/x"];

    fn some_step() -> impl Strategy<Value = Step> {
        let id = select(vec![None, Some("0"), Some("0"), Some("a:b")]);
        let version = select(vec![Version::V1_0, Version::V1_1, Version::V1_2]);
        let shown = select(vec![None, None, Some("/user/queue/x")]);
        let format = (id, version, shown).prop_map(|(id, version, shown)| Format {
            id,
            version,
            shown,
            is_replaying: false,
        });
        let insert = (select(TARGETS), 0_u32..4, format)
            .prop_map(|(target, slot, format)| Step::Insert { target, slot, format });
        prop_oneof![5 => insert, 4 => any::<usize>().prop_map(Step::Remove)]
    }

    struct Model {
        target: &'static str,
        seen: Seen,
    }

    impl Model {
        fn is_for(&self, channel: &str) -> bool {
            self.target == channel
                || (Pattern::is_pattern(self.target) && parse(self.target).matches(channel))
        }
    }

    fn insert(
        table: &mut Table,
        target: &'static str,
        slot: u32,
        format: Format<'_>,
    ) -> (Inserted, Model) {
        let inserted = if Pattern::is_pattern(target) {
            table.insert_pattern(&parse(target), Slot(slot), format)
        } else {
            table.insert_exact(target, Slot(slot), format)
        };
        let mut line = Vec::new();
        if let Some(id) = format.id {
            line.extend_from_slice(b"subscription:");
            push_escaped(&mut line, id, format.version);
            line.push(b'\n');
        }
        let shown = format.shown.map(String::from);
        let seen = (line, format.version, shown, slot, inserted.subscription);
        (inserted, Model { target, seen })
    }

    proptest! {
        #[test]
        fn the_table_equals_a_list(steps in prop::collection::vec(some_step(), 1..60)) {
            let mut table = Table::new();
            let mut model: Vec<Model> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert { target, slot, format } => {
                        let first = !model.iter().any(|it| it.target == target);
                        let (inserted, new) = insert(&mut table, target, slot, format);
                        prop_assert_eq!(inserted.first, first);
                        model.push(new);
                    }
                    Step::Remove(at) if !model.is_empty() => {
                        let gone = model.swap_remove(at % model.len());
                        let target = match table.target(gone.seen.4) {
                            Target::Exact(name) | Target::Pattern(name) => name,
                        };
                        prop_assert_eq!(target, gone.target);
                        prop_assert_eq!(table.slot_of(gone.seen.4), Slot(gone.seen.3));
                        let last = !model.iter().any(|it| it.target == gone.target);
                        prop_assert_eq!(table.remove(gone.seen.4), Removed { last });
                    }
                    Step::Remove(_) => {}
                }
                table.check_invariants();
                prop_assert_eq!(table.subscriptions_count(), model.len());
                for channel in CHANNELS {
                    let wanted = model.iter().filter(|it| it.is_for(channel));
                    let mut wanted: Vec<_> = wanted.map(|it| it.seen.clone()).collect();
                    let mut got = seen(&mut table, channel);
                    prop_assert_eq!(table.has(channel), !wanted.is_empty());
                    wanted.sort_by_key(|it| it.4);
                    got.sort_by_key(|it| it.4);
                    prop_assert_eq!(got, wanted);
                }
            }
        }
    }
}
