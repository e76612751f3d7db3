//! What this core wants to hear, and how much of it Redis knows.
//!
//! `interest` has the states of one of them; `confirm` what Redis answers.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::relay::Event;
use crate::broker::relay::Target;
use crate::broker::relay::Token;
use crate::broker::relay::redis::batch::Batch;
use crate::broker::relay::redis::batch::Batches;
use crate::broker::relay::redis::batch::Verb;
use crate::broker::relay::redis::interest::Interest;
use crate::broker::relay::redis::interest::Lane;
use crate::broker::relay::redis::interest::Subject;
use crate::broker::relay::redis::interest::Waiting;
use crate::broker::relay::redis::interest::Wanted;
use crate::broker::relay::redis::interest::Wire;
use crate::broker::relay::redis::names;
use crate::broker::relay::redis::options::Mode;
use crate::broker::relay::redis::options::Options;
use crate::broker::relay::redis::topology::NodeId;
use crate::broker::relay::redis::topology::Routes;
use crate::policy::pattern::Pattern;
use crate::proto::resp;
use crate::stdx::hash_index::HashIndex;
use crate::stdx::slab::Key;
use crate::stdx::slab::Slab;
use crate::stdx::time::Instant;

/// All interests of one core.
///
/// Invariants: `index` finds each interest by its name; an interest that is neither wanted nor
/// known to Redis is removed; what waits for a confirmation is wanted and not `Inside`.
#[derive(Debug)]
pub(super) struct Interests {
    pub(super) mode: Mode,
    pub(super) confirm_timeout: std::time::Duration,
    pub(super) linger: std::time::Duration,
    pub(super) interests: Slab<Interest>,
    pub(super) index: HashIndex,
    pub(super) lanes: BTreeMap<NodeId, Lane>,
    /// Whose confirmation is due when; earliest first, because all wait equally long.
    pub(super) confirms: VecDeque<(Instant, Key)>,
    /// Whose linger ends when; earliest first.
    pub(super) lingers: VecDeque<(Instant, Key)>,
    pub(super) patterns_count: usize,
    /// Those of patterns, also those that linger.
    pub(super) globs_count: usize,
    patterns_max: usize,
    /// An interest has gone from one node to another, since this was last looked at.
    pub(super) has_moved: bool,
    /// Channels that Redis has confirmed, since this was last looked at.
    pub(super) entered: Vec<Arc<str>>,
}

impl Interests {
    pub(super) fn new(options: &Options, routes: &Routes) -> Self {
        let mut interests = Self {
            mode: options.mode,
            confirm_timeout: options.confirm_timeout,
            linger: options.linger,
            interests: Slab::default(),
            index: HashIndex::default(),
            lanes: BTreeMap::new(),
            confirms: VecDeque::new(),
            lingers: VecDeque::new(),
            patterns_count: 0,
            globs_count: 0,
            patterns_max: options.patterns_max,
            has_moved: false,
            entered: Vec::new(),
        };
        interests.insert(names::CONTROL.into(), Subject::Control, routes);
        interests
    }

    /// How many channels, globs and so on there are, those that linger included.
    pub(super) fn count(&self) -> usize {
        self.interests.len()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Interest> {
        self.interests.get_mut(key)
    }

    /// The interest that is called `name` in Redis.
    pub(super) fn find(&self, is_glob: bool, name: &[u8]) -> Option<Key> {
        let hash = self.index.hash((is_glob, name));
        let found = self.index.find(hash, |index| {
            let key = self.interests.key_at(index);
            key.and_then(|key| self.interests.get(key)).is_some_and(|it| it.is(is_glob, name))
        })?;
        self.interests.key_at(found)
    }

    /// The patterns of `glob` that match `channel`. Each channel comes by one glob for a pattern:
    /// by the pattern's own, or, with an empty segment, by the one for those.
    pub(super) fn matching(&self, glob: &[u8], channel: &str) -> Vec<Arc<str>> {
        let mut found = Vec::new();
        let mut add = |patterns: &[Wanted]| {
            let matching = patterns.iter().filter(|it| it.pattern.matches(channel));
            found.extend(matching.map(|it| Arc::clone(&it.text)));
        };
        let is_empty = names::has_empty_segment(channel);
        let interest = self.find(true, glob).and_then(|key| self.interests.get(key));
        match interest.map(|it| &it.subject) {
            Some(Subject::Glob(patterns)) if !is_empty => add(patterns),
            Some(Subject::EmptySegments) if is_empty => {
                for (_, interest) in self.interests.iter() {
                    if let Subject::Glob(patterns) = &interest.subject {
                        add(patterns);
                    }
                }
            }
            Some(_) | None => {}
        }
        found
    }

    /// Begins to want `target`, or waits with `token` for what is wanted already.
    ///
    /// # Errors
    ///
    /// Never for a channel; for a pattern when it is none, or one too many.
    pub(super) fn subscribe(
        &mut self,
        now: Instant,
        target: &Target,
        token: Option<Token>,
        routes: &Routes,
        events: &mut VecDeque<Event>,
    ) -> Result<(), Refusal> {
        let key = match target {
            Target::Channel(channel) => {
                let name = names::name_of(self.mode, channel);
                self.find(false, name.as_bytes()).unwrap_or_else(|| {
                    self.insert(name.into(), Subject::Channel(Arc::clone(channel)), routes)
                })
            }
            Target::Pattern(text) => self.subscribe_pattern(text, routes)?,
        };
        let interest = self.interests.get_mut(key).expect("it was found or put there");
        interest.is_wanted = true;
        interest.linger_until = None;
        let pattern = match target {
            Target::Channel(_) => None,
            Target::Pattern(text) => Some(Arc::clone(text)),
        };
        match token {
            Some(token) if interest.wire == Wire::Inside => events.push_back(Event::Settled(token)),
            Some(token) => {
                let deadline = now.after(self.confirm_timeout);
                interest.waiting.push_back(Waiting { token, deadline, pattern });
                self.confirms.push_back((deadline, key));
            }
            None => {}
        }
        self.enqueue(key);
        Ok(())
    }

    fn subscribe_pattern(&mut self, text: &Arc<str>, routes: &Routes) -> Result<Key, Refusal> {
        let pattern = Pattern::parse(text)
            .map_err(|error| Refusal::new(Code::BadPattern, error.to_string()))?;
        let glob = names::glob_of(&pattern);
        let found = self.find(true, glob.as_bytes());
        if let Some(key) = found
            && self.interests.get(key).is_some_and(|it| it.has_pattern(text))
        {
            return Ok(key);
        }
        let is_full = self.patterns_max <= self.patterns_count
            || found.is_none() && self.patterns_max <= self.globs_count;
        if is_full {
            let text = "too many different patterns are subscribed to (relay.patterns); subscribe \
                        to destinations, or to a pattern that others have";
            return Err(Refusal::new(Code::Limit, text));
        }
        let key =
            found.unwrap_or_else(|| self.insert(glob.into(), Subject::Glob(Vec::new()), routes));
        let interest = self.interests.get_mut(key).expect("it was found or put there");
        let Subject::Glob(patterns) = &mut interest.subject else {
            return Ok(key);
        };
        patterns.push(Wanted { text: Arc::clone(text), pattern });
        self.patterns_count += 1;
        if self.patterns_count == 1 {
            let name = names::EMPTY_SEGMENTS;
            let spare = self
                .find(true, name.as_bytes())
                .unwrap_or_else(|| self.insert(name.into(), Subject::EmptySegments, routes));
            self.want(spare);
        }
        Ok(key)
    }

    /// Ends to want `target`. What waits for it is settled, so that nothing is left over.
    pub(super) fn unsubscribe(
        &mut self,
        now: Instant,
        target: &Target,
        events: &mut VecDeque<Event>,
    ) {
        match target {
            Target::Channel(channel) => {
                let name = names::name_of(self.mode, channel);
                let Some(key) = self.find(false, name.as_bytes()) else { return };
                let Some(interest) = self.interests.get_mut(key) else { return };
                events.extend(interest.waiting.drain(..).map(|it| Event::Settled(it.token)));
                self.unwant(now, key);
            }
            Target::Pattern(text) => {
                let Ok(pattern) = Pattern::parse(text) else { return };
                let glob = names::glob_of(&pattern);
                let Some(key) = self.find(true, glob.as_bytes()) else { return };
                let Some(interest) = self.interests.get_mut(key) else { return };
                let Subject::Glob(patterns) = &mut interest.subject else { return };
                let Some(at) = patterns.iter().position(|it| it.text == *text) else { return };
                patterns.remove(at);
                let is_empty = patterns.is_empty();
                interest.waiting.retain(|it| {
                    let is_gone = it.pattern.as_deref() == Some(text);
                    if is_gone {
                        events.push_back(Event::Settled(it.token));
                    }
                    !is_gone
                });
                self.patterns_count -= 1;
                if is_empty {
                    self.unwant(now, key);
                }
                if self.patterns_count == 0
                    && let Some(spare) = self.find(true, names::EMPTY_SEGMENTS.as_bytes())
                {
                    self.unwant(now, spare);
                }
            }
        }
    }

    /// Ends lingers and waits that are over.
    pub(super) fn handle_timer(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        while let Some((until, key)) = self.lingers.pop_front_if(|(until, _)| *until <= now) {
            let Some(interest) = self.interests.get_mut(key) else { continue };
            if interest.linger_until == Some(until) {
                interest.linger_until = None;
                self.enqueue(key);
            }
        }
        while let Some((_, key)) = self.confirms.pop_front_if(|(deadline, _)| *deadline <= now) {
            let Some(interest) = self.interests.get_mut(key) else { continue };
            while let Some(late) = interest.waiting.pop_front_if(|it| it.deadline <= now) {
                let text = "Redis has not confirmed the subscription in time; try again later";
                let refusal = Refusal::new(Code::RelayUnconfirmed, text);
                events.push_back(Event::Refused(late.token, refusal));
            }
        }
    }

    /// Node `node` takes subscriptions: all that is its is sent. Returns how many that are.
    pub(super) fn open(&mut self, node: NodeId) -> usize {
        self.lanes.insert(node, Lane::default());
        let keys: Vec<Key> = self.keys_of(node);
        for &key in &keys {
            self.restore(key);
        }
        keys.len()
    }

    /// Node `node` is lost, and with it all that it knew; what lingers is forgotten.
    pub(super) fn close(&mut self, node: NodeId) {
        self.lanes.remove(&node);
        for key in self.keys_of(node) {
            let Some(interest) = self.interests.get_mut(key) else { continue };
            interest.reset();
            if !interest.is_wanted {
                self.remove(key);
            }
        }
    }

    /// Whether node `node` knows all that was wanted when it was opened.
    pub(super) fn is_restored(&self, node: NodeId) -> bool {
        self.lanes.get(&node).is_some_and(|it| it.restoring_count == 0)
    }

    /// Sends each interest whose slot has another owner now to that one.
    pub(super) fn reroute(&mut self, routes: &Routes) {
        let keys: Vec<Key> = self.interests.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.reroute_one(key, routes);
        }
    }

    /// Sends the interests of one slot to its owner of now.
    pub(super) fn reroute_slot(&mut self, slot: u16, routes: &Routes) {
        let all = self.interests.iter();
        let keys: Vec<Key> = all.filter(|(_, it)| it.slot == slot).map(|(key, _)| key).collect();
        for key in keys {
            self.reroute_one(key, routes);
        }
    }

    pub(super) fn reroute_one(&mut self, key: Key, routes: &Routes) {
        let Some(interest) = self.interests.get(key) else { return };
        let node = routes.node_of(interest.slot);
        if node != interest.node {
            self.finish_restoring(key);
            let interest = self.interests.get_mut(key).expect("it was there a line ago");
            self.has_moved |= interest.node.is_some();
            if interest.wire != Wire::Out {
                interest.former = interest.node;
            }
            interest.reset();
            interest.node = node;
            if !interest.is_wanted {
                self.remove(key);
                return;
            }
            self.restore(key);
        }
    }

    pub(super) fn wants_transmit(&self, node: NodeId) -> bool {
        self.lanes.get(&node).is_some_and(|it| !it.queue.is_empty())
    }

    /// Appends the commands that node `node` is due, up to about `bytes_max`, and gives each batch
    /// to `sent` in their order.
    pub(super) fn transmit(
        &mut self,
        node: NodeId,
        out: &mut Vec<u8>,
        bytes_max: usize,
        sent: &mut impl FnMut(Batch),
    ) {
        let mut batches = Batches::new(self.mode);
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(lane) = self.lanes.get_mut(&node) else { return };
            let Some(key) = lane.queue.pop_front() else { break };
            let Some(interest) = self.interests.get_mut(key) else { continue };
            if interest.node != Some(node) {
                continue;
            }
            interest.is_queued = false;
            let is_desired = interest.is_wanted || interest.linger_until.is_some();
            match (interest.wire, is_desired) {
                (Wire::Out, true) => interest.wire = Wire::Entering,
                (Wire::Inside, false) => interest.wire = Wire::Leaving,
                (Wire::Out, false) => {
                    self.remove(key);
                    continue;
                }
                // What is under way is looked at again when it is answered.
                (Wire::Entering | Wire::Leaving, _) | (Wire::Inside, true) => continue,
            }
            bytes += interest.name.len() + 16;
            let verb = Verb { enters: is_desired, is_glob: interest.is_glob() };
            batches.push(verb, interest.slot, interest.is_alone, key);
        }
        for batch in batches.finish() {
            let names = batch.keys.iter().filter_map(|key| self.interests.get(*key));
            let mut parts: Vec<&[u8]> = vec![batch.verb.command(self.mode)];
            parts.extend(names.map(|it| it.name.as_bytes()));
            resp::push_command(out, &parts);
            sent(batch);
        }
    }
}
