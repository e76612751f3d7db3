//! What Redis answers about interests, and the small changes of state that follow.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::relay::Event;
use crate::broker::relay::redis::batch::Batch;
use crate::broker::relay::redis::batch::Verb;
use crate::broker::relay::redis::counts::cleaned;
use crate::broker::relay::redis::interest::Interest;
use crate::broker::relay::redis::interest::Subject;
use crate::broker::relay::redis::interest::Wire;
use crate::broker::relay::redis::interests::Interests;
use crate::broker::relay::redis::topology::NodeId;
use crate::broker::relay::redis::topology::Routes;
use crate::proto::resp;
use crate::stdx::slab::Key;
use crate::stdx::time::Instant;

impl Interests {
    /// Redis confirms `name` to the command `verb` at the front of what node `node` was sent.
    /// Returns whether it is what was asked; then `batch` is done when all of it is confirmed.
    pub(super) fn confirm(
        &mut self,
        node: NodeId,
        batch: &mut Batch,
        verb: Verb,
        name: &[u8],
        events: &mut VecDeque<Event>,
    ) -> bool {
        let Some(&key) = batch.keys.get(batch.confirmed_count) else { return false };
        let interest = self.interests.get(key);
        // An interest that is gone, or another node's by now, was forgotten with its command under
        // way: its answer still has its turn.
        if batch.verb != verb || interest.is_some_and(|it| !it.is(verb.is_glob, name)) {
            return false;
        }
        batch.confirmed_count += 1;
        let interest = self.interests.get_mut(key).filter(|it| it.node == Some(node));
        let Some(interest) = interest else { return true };
        match (interest.wire, verb.enters) {
            (Wire::Entering, true) => {
                interest.wire = Wire::Inside;
                interest.is_alone = false;
                if let Subject::Channel(channel) = &interest.subject {
                    self.entered.push(Arc::clone(channel));
                }
                events.extend(interest.waiting.drain(..).map(|it| Event::Settled(it.token)));
                self.finish_restoring(key);
            }
            (Wire::Leaving, false) => interest.wire = Wire::Out,
            // A command of before the interest was moved away and back.
            (Wire::Out | Wire::Entering | Wire::Inside | Wire::Leaving, _) => return true,
        }
        self.enqueue(key);
        true
    }

    /// Redis refuses a whole command. What stood in it with others is tried again alone, because
    /// one name is enough to be refused; what stood alone is refused. Returns its name.
    pub(super) fn refuse(
        &mut self,
        node: NodeId,
        batch: &Batch,
        text: &[u8],
        events: &mut VecDeque<Event>,
    ) -> Option<Box<str>> {
        let is_single = batch.keys.len() == 1;
        let mut refused = None;
        for &key in &batch.keys {
            let interest = self.interests.get_mut(key).filter(|it| it.node == Some(node));
            let Some(interest) = interest else { continue };
            match (interest.wire, batch.verb.enters) {
                (Wire::Entering, true) => interest.wire = Wire::Out,
                // It is still subscribed to, and will be left with the link.
                (Wire::Leaving, false) => {
                    interest.wire = Wire::Inside;
                    continue;
                }
                (Wire::Out | Wire::Entering | Wire::Inside | Wire::Leaving, _) => continue,
            }
            interest.is_alone = true;
            interest.linger_until = None;
            if !is_single {
                self.enqueue(key);
                continue;
            }
            refused = Some(interest.name.clone());
            let text = format!("Redis refuses the subscription: {}", cleaned(text));
            events.extend(interest.waiting.drain(..).map(|it| {
                Event::Refused(it.token, Refusal::new(Code::RelayRefused, text.clone()))
            }));
            self.finish_restoring(key);
            let interest = self.interests.get(key).expect("it was there a line ago");
            if !interest.is_wanted {
                self.remove(key);
            }
        }
        refused
    }

    /// The slot of `batch` has another owner: all of it is sent there.
    pub(super) fn redirect(&mut self, node: NodeId, batch: &Batch, routes: &Routes) {
        for &key in &batch.keys {
            let interest = self.interests.get_mut(key).filter(|it| it.node == Some(node));
            let Some(interest) = interest else { continue };
            match (interest.wire, batch.verb.enters) {
                (Wire::Entering, true) | (Wire::Leaving, false) => interest.wire = Wire::Out,
                (Wire::Out | Wire::Entering | Wire::Inside | Wire::Leaving, _) => {}
            }
            self.reroute_one(key, routes);
            self.enqueue(key);
        }
    }

    /// Node `node` has ended the subscription `name` by itself: its slot has moved.
    pub(super) fn expel(&mut self, node: NodeId, name: &[u8], routes: &Routes) {
        let Some(key) = self.find(false, name) else { return };
        let interest = self.interests.get_mut(key).filter(|it| it.node == Some(node));
        let Some(interest) = interest else { return };
        if interest.wire == Wire::Inside {
            interest.wire = Wire::Out;
            self.reroute_one(key, routes);
            self.enqueue(key);
        }
    }

    pub(super) fn insert(&mut self, name: Box<str>, subject: Subject, routes: &Routes) -> Key {
        let slot = resp::slot_of(name.as_bytes());
        let is_wanted = matches!(subject, Subject::Control);
        let node = routes.node_of(slot);
        let interest = Interest {
            name,
            subject,
            is_wanted,
            slot,
            node,
            former: None,
            wire: Wire::Out,
            is_queued: false,
            is_alone: false,
            is_restoring: false,
            linger_until: None,
            waiting: VecDeque::new(),
        };
        let hash = self.index.hash((interest.is_glob(), interest.name.as_bytes()));
        self.globs_count += usize::from(matches!(interest.subject, Subject::Glob(_)));
        let key = self.interests.insert(interest);
        self.index.insert(hash, key.index);
        key
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.finish_restoring(key);
        let Some(interest) = self.interests.get(key) else { return };
        assert!(!interest.is_wanted && interest.waiting.is_empty());
        let hash = self.index.hash((interest.is_glob(), interest.name.as_bytes()));
        self.globs_count -= usize::from(matches!(interest.subject, Subject::Glob(_)));
        self.index.remove(hash, key.index);
        self.interests.remove(key);
    }

    pub(super) fn want(&mut self, key: Key) {
        if let Some(interest) = self.interests.get_mut(key) {
            interest.is_wanted = true;
            interest.linger_until = None;
            self.enqueue(key);
        }
    }

    /// Nobody wants it any more: it lingers if Redis knows it, else it is forgotten.
    pub(super) fn unwant(&mut self, now: Instant, key: Key) {
        let Some(interest) = self.interests.get_mut(key) else { return };
        interest.is_wanted = false;
        match interest.wire {
            Wire::Out => self.remove(key),
            Wire::Entering | Wire::Inside => {
                let until = now.after(self.linger);
                interest.linger_until = Some(until);
                self.lingers.push_back((until, key));
            }
            Wire::Leaving => {}
        }
    }

    /// Has the interest looked at when its node is sent something next, if there is cause.
    pub(super) fn enqueue(&mut self, key: Key) {
        let Some(interest) = self.interests.get_mut(key) else { return };
        let is_desired = interest.is_wanted || interest.linger_until.is_some();
        match (interest.wire, is_desired) {
            (Wire::Out, true) | (Wire::Inside, false) => {}
            (Wire::Out, false) => return self.remove(key),
            (Wire::Inside, true) | (Wire::Entering | Wire::Leaving, _) => return,
        }
        let Some(lane) = interest.node.and_then(|node| self.lanes.get_mut(&node)) else { return };
        if !interest.is_queued {
            interest.is_queued = true;
            lane.queue.push_back(key);
        }
    }

    /// Queues an interest for a node that is not up before it is in.
    pub(super) fn restore(&mut self, key: Key) {
        let Some(interest) = self.interests.get_mut(key) else { return };
        let Some(lane) = interest.node.and_then(|node| self.lanes.get_mut(&node)) else { return };
        if interest.is_wanted && interest.wire == Wire::Out && !interest.is_restoring {
            interest.is_restoring = true;
            lane.restoring_count += 1;
        }
        self.enqueue(key);
    }

    pub(super) fn finish_restoring(&mut self, key: Key) {
        let Some(interest) = self.interests.get_mut(key) else { return };
        if !std::mem::take(&mut interest.is_restoring) {
            return;
        }
        if let Some(lane) = interest.node.and_then(|node| self.lanes.get_mut(&node)) {
            lane.restoring_count -= 1;
        }
    }

    pub(super) fn keys_of(&self, node: NodeId) -> Vec<Key> {
        let all = self.interests.iter();
        all.filter(|(_, it)| it.node == Some(node)).map(|(key, _)| key).collect()
    }

    /// Whether Redis, as far as it has told, knows the channel or pattern; for tests.
    #[cfg(test)]
    pub(super) fn is_inside(&self, is_glob: bool, name: &[u8]) -> bool {
        let interest = self.find(is_glob, name).and_then(|key| self.interests.get(key));
        interest.is_some_and(|it| it.wire == Wire::Inside)
    }

    /// Walks everything and compares it with the invariants; for simulations and tests.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub(super) fn check_invariants(&self) {
        assert!(self.index.count() == self.interests.len());
        let (mut patterns_count, mut globs_count) = (0, 0);
        let mut restoring: std::collections::BTreeMap<NodeId, usize> = Default::default();
        for (key, interest) in self.interests.iter() {
            assert!(self.find(interest.is_glob(), interest.name.as_bytes()) == Some(key));
            assert!(interest.is_wanted || interest.wire != Wire::Out, "{interest:?}");
            assert!(interest.waiting.is_empty() || interest.is_wanted);
            assert!(interest.waiting.is_empty() || interest.wire != Wire::Inside);
            if let Subject::Glob(patterns) = &interest.subject {
                patterns_count += patterns.len();
                globs_count += 1;
                assert!(interest.is_wanted != patterns.is_empty());
            }
            let lane = interest.node.and_then(|node| self.lanes.get(&node));
            assert!(lane.is_some() || interest.wire == Wire::Out);
            if interest.is_restoring {
                *restoring.entry(interest.node.expect("it restores a node")).or_default() += 1;
            }
            if interest.is_queued {
                assert!(lane.is_some_and(|it| it.queue.contains(&key)));
            }
        }
        assert!(patterns_count == self.patterns_count && globs_count == self.globs_count);
        for (node, lane) in &self.lanes {
            assert!(lane.restoring_count == restoring.remove(node).unwrap_or(0));
        }
        assert!(restoring.is_empty());
    }
}
