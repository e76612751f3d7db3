//! What waits to be written and what was written and not answered.
//!
//! An entry is written at most once: what a lost link has not answered is refused as unknown. Only
//! an answer that says "not here" sends an entry on, to the node that has its slot now. Scripts
//! that give places may be run again, and are.

mod places;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Duration;

use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::relay::Event;
use crate::broker::relay::Token;
use crate::broker::relay::redis::entry::ENTRY_BYTES;
use crate::broker::relay::redis::entry::Entry;
use crate::broker::relay::redis::entry::Kind;
use crate::broker::relay::redis::entry::Written;
use crate::broker::relay::redis::options::Mode;
use crate::broker::relay::redis::options::Options;
use crate::broker::relay::redis::topology::NodeId;
use crate::broker::relay::redis::topology::Routes;
use crate::proto::resp;
use crate::stdx::time::Instant;

/// Most entries that one node has to answer; with it at the longest round trip there is, about a
/// million a second.
const UNANSWERED_MAX: usize = 16 * 1024;
/// Round trips that nobody has taken; further ones are not measured.
const ROUND_TRIPS_MAX: usize = 4096;

/// The entries of one core.
///
/// Invariants: within a lane, numbers rise; `waiting_bytes` is the sum over all that wait and at
/// most the bound; `flying` counts, by slot, what was written and not answered, in a cluster only.
#[derive(Debug)]
pub(super) struct Publisher {
    mode: Mode,
    bytes_max: usize,
    timeout: Duration,
    next_number: u64,
    /// By node; those whose slot has no owner under `None`.
    lanes: BTreeMap<Option<NodeId>, VecDeque<Entry>>,
    waiting_bytes: usize,
    unanswered: BTreeMap<NodeId, usize>,
    /// Where the unanswered entries of a slot are, and how many: another node is not sent any
    /// before they are answered, or the order would be lost.
    flying: BTreeMap<u16, (NodeId, usize)>,
    /// Of all entries, those that are to get a place.
    places_count: usize,
    /// Nodes whose link has not been given the place script.
    unscripted: BTreeSet<NodeId>,
    round_trips: Vec<Duration>,
}

impl Publisher {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            mode: options.mode,
            bytes_max: options.outbox_bytes_max,
            timeout: options.outbox_timeout,
            next_number: 0,
            lanes: BTreeMap::new(),
            waiting_bytes: 0,
            unanswered: BTreeMap::new(),
            flying: BTreeMap::new(),
            places_count: 0,
            unscripted: BTreeSet::new(),
            round_trips: Vec::new(),
        }
    }

    pub(super) const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether so little waits that more may be read from clients.
    pub(super) const fn has_room(&self) -> bool {
        self.waiting_bytes <= self.bytes_max / 2
    }

    pub(super) fn unanswered_count(&self) -> usize {
        self.unanswered.values().sum()
    }

    /// Node `node` has a new link.
    pub(super) fn note_link(&mut self, node: NodeId) {
        self.unscripted.insert(node);
    }

    /// Entries that are to get a place and have not been answered.
    pub(super) const fn places_count(&self) -> usize {
        self.places_count
    }

    /// Queues `command` for whoever has the slot of `key`.
    ///
    /// # Errors
    ///
    /// A refusal when too much waits already.
    pub(super) fn push(
        &mut self,
        now: Instant,
        key: &[u8],
        command: Vec<u8>,
        kind: Kind,
        token: Option<Token>,
        routes: &Routes,
    ) -> Result<Option<NodeId>, Refusal> {
        let bytes = command.len() + ENTRY_BYTES;
        if self.bytes_max < self.waiting_bytes.saturating_add(bytes) {
            let text = "too much waits for Redis already (relay.outbox_bytes); try again later";
            return Err(Refusal::new(Code::RelayUnavailable, text));
        }
        self.waiting_bytes += bytes;
        let slot = match self.mode {
            Mode::PubSub => 0,
            Mode::Sharded => resp::slot_of(key),
        };
        let node = routes.node_of(slot);
        let number = self.next_number;
        self.next_number += 1;
        self.places_count += usize::from(matches!(kind, Kind::Place(_)));
        let command = command.into_boxed_slice();
        let (is_asking, is_unsure) = (false, false);
        let entry =
            Entry { number, token, queued_at: now, slot, is_asking, is_unsure, kind, command };
        self.lanes.entry(node).or_default().push_back(entry);
        Ok(node)
    }

    pub(super) fn wants_transmit(&self, node: NodeId) -> bool {
        let unanswered_count = self.unanswered.get(&node).copied().unwrap_or(0);
        let first = self.lanes.get(&Some(node)).and_then(VecDeque::front);
        unanswered_count < UNANSWERED_MAX && first.is_some_and(|it| self.may_fly(node, it))
    }

    fn may_fly(&self, node: NodeId, entry: &Entry) -> bool {
        self.mode == Mode::PubSub || self.flying.get(&entry.slot).is_none_or(|it| it.0 == node)
    }

    /// Appends what node `node` is due, up to `bytes_max` or one entry; from then on it counts as
    /// written, and `sent` is told, with whether ASKING stands before it.
    pub(super) fn transmit(
        &mut self,
        now: Instant,
        node: NodeId,
        out: &mut Vec<u8>,
        bytes_max: usize,
        whole: impl Fn(&[u8]) -> Option<Vec<u8>>,
        sent: &mut impl FnMut(bool, Written),
    ) {
        while out.len() < bytes_max && self.wants_transmit(node) {
            let lane = self.lanes.get_mut(&Some(node));
            let Some(entry) = lane.and_then(VecDeque::pop_front) else { return };
            self.waiting_bytes -= entry.bytes();
            *self.unanswered.entry(node).or_default() += 1;
            if entry.is_asking {
                resp::push_command(out, &[b"ASKING"]);
            }
            // The first on a link brings its script, so that nothing behind it is done first.
            let is_first = matches!(entry.kind, Kind::Place(_)) && self.unscripted.remove(&node);
            let command = if is_first { whole(&entry.command) } else { None };
            out.extend_from_slice(command.as_deref().unwrap_or(&entry.command));
            let (token, slot, is_asking) = (entry.token, entry.slot, entry.is_asking);
            let kind = entry.kind.clone();
            if self.mode == Mode::Sharded {
                self.flying.entry(slot).or_insert((node, 0)).1 += 1;
            }
            let is_kept = self.mode == Mode::Sharded || matches!(kind, Kind::Place(_));
            let entry = is_kept.then_some(entry);
            sent(is_asking, Written { token, written_at: now, slot, kind, entry });
        }
    }

    /// An entry was taken: its token is settled.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        node: NodeId,
        written: Written,
        events: &mut VecDeque<Event>,
    ) {
        events.extend(self.finish(now, node, written).map(Event::Settled));
    }

    /// An entry was taken: gives its token.
    pub(super) fn finish(&mut self, now: Instant, node: NodeId, written: Written) -> Option<Token> {
        self.land(node, &written);
        self.forget_place(&written.kind);
        if self.round_trips.len() < ROUND_TRIPS_MAX {
            self.round_trips.push(now.since(written.written_at));
        }
        written.token
    }

    /// An entry was not taken, or it is not known whether.
    pub(super) fn refuse(
        &mut self,
        node: NodeId,
        written: Written,
        refusal: Refusal,
        events: &mut VecDeque<Event>,
    ) {
        self.land(node, &written);
        self.forget_place(&written.kind);
        events.extend(written.token.map(|token| Event::Refused(token, refusal)));
    }

    /// An entry was not taken because its slot is elsewhere: it waits in its place for `to`, the
    /// slot's owner or, with `is_asking`, the node that is about to be. Gives it back when it can
    /// wait no more, or was not kept.
    pub(super) fn resend(
        &mut self,
        node: NodeId,
        written: Written,
        to: Option<NodeId>,
        is_asking: bool,
    ) -> Result<(), Written> {
        self.resend_with(node, written, to, |entry| entry.is_asking = is_asking)
    }

    fn resend_with(
        &mut self,
        node: NodeId,
        mut written: Written,
        to: Option<NodeId>,
        change: impl FnOnce(&mut Entry),
    ) -> Result<(), Written> {
        let Some(mut entry) = written.entry.take() else { return Err(written) };
        self.land(node, &written);
        change(&mut entry);
        self.waiting_bytes += entry.bytes();
        self.insert(to, entry);
        Ok(())
    }

    /// Moves what waits for slot `slot` to its owner of now; order is kept.
    pub(super) fn reroute_slot(&mut self, slot: u16, routes: &Routes) {
        self.reroute_where(routes, |entry| entry.slot == slot);
    }

    /// Moves all that waits to the owners of now; order is kept.
    pub(super) fn reroute(&mut self, routes: &Routes) {
        self.reroute_where(routes, |_| true);
    }

    fn reroute_where(&mut self, routes: &Routes, moves: impl Fn(&Entry) -> bool) {
        let mut moved = Vec::new();
        for (node, lane) in &mut self.lanes {
            let strays =
                |it: &Entry| moves(it) && !it.is_asking && routes.node_of(it.slot) != *node;
            if lane.iter().any(strays) {
                let (strays, rest): (VecDeque<Entry>, VecDeque<Entry>) =
                    std::mem::take(lane).into_iter().partition(strays);
                *lane = rest;
                moved.extend(strays);
            }
        }
        for entry in moved {
            self.insert(routes.node_of(entry.slot), entry);
        }
        self.lanes.retain(|_, lane| !lane.is_empty());
    }

    /// Refuses what has waited too long. Returns how many that are.
    pub(super) fn expire(&mut self, now: Instant, events: &mut VecDeque<Event>) -> u64 {
        let timeout = self.timeout;
        let is_late = |it: &Entry| timeout <= now.since(it.queued_at);
        let text = "Redis could not be reached in time; nothing was sent, try again later";
        self.drop_while(is_late, text, events)
    }

    /// Refuses all that waits. Returns how many that are.
    pub(super) fn give_up(&mut self, events: &mut VecDeque<Event>) -> u64 {
        let text = "the server ends before it could reach Redis; nothing was sent, try elsewhere";
        self.drop_while(|_| true, text, events)
    }

    fn drop_while(
        &mut self,
        is_over: impl Fn(&Entry) -> bool,
        text: &'static str,
        events: &mut VecDeque<Event>,
    ) -> u64 {
        let mut over = Vec::new();
        for lane in self.lanes.values_mut() {
            while let Some(entry) = lane.pop_front_if(|it| is_over(it)) {
                over.push(entry);
            }
        }
        for entry in &over {
            self.waiting_bytes -= entry.bytes();
            self.forget_place(&entry.kind);
            let refusal = if entry.is_unsure {
                let text = "the connection to Redis was lost before it answered; \
                            the message may have been sent, or not";
                Refusal::new(Code::RelayUnknown, text)
            } else {
                Refusal::new(Code::RelayUnavailable, text)
            };
            events.extend(entry.token.map(|token| Event::Refused(token, refusal)));
        }
        over.len() as u64
    }

    fn forget_place(&mut self, kind: &Kind) {
        self.places_count -= usize::from(matches!(kind, Kind::Place(_)));
    }

    /// The links of `node` are gone for good: ASKING there leads nowhere.
    pub(super) fn forget(&mut self, node: NodeId, routes: &Routes) {
        if let Some(lane) = self.lanes.get_mut(&Some(node)) {
            for entry in lane {
                entry.is_asking = false;
            }
        }
        self.reroute(routes);
    }

    pub(super) fn is_idle(&self, node: NodeId) -> bool {
        self.unanswered.get(&node).copied().unwrap_or(0) == 0
    }

    pub(super) fn take_round_trips(&mut self, out: &mut Vec<Duration>) {
        out.append(&mut self.round_trips);
    }

    /// Puts an entry in its place among those of `node`.
    fn insert(&mut self, node: Option<NodeId>, entry: Entry) {
        let lane = self.lanes.entry(node).or_default();
        let at = lane.partition_point(|it| it.number < entry.number);
        lane.insert(at, entry);
    }

    /// An answer, or the loss of the link, has ended the flight of a written entry.
    fn land(&mut self, node: NodeId, written: &Written) {
        let count = self.unanswered.get_mut(&node).expect("it was written to this node");
        *count -= 1;
        if let Some((_, count)) = self.flying.get_mut(&written.slot) {
            *count -= 1;
            if *count == 0 {
                self.flying.remove(&written.slot);
            }
        }
    }

    /// Walks everything and compares it with the invariants; for simulations and tests.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub(super) fn check_invariants(&self) {
        let waiting = self.lanes.values().flatten();
        assert!(self.waiting_bytes == waiting.map(Entry::bytes).sum::<usize>());
        let is_place = |it: &&Entry| matches!(it.kind, Kind::Place(_));
        let places_count = self.lanes.values().flatten().filter(is_place).count();
        assert!(places_count <= self.places_count);
        for lane in self.lanes.values() {
            let numbers: Vec<u64> = lane.iter().map(|it| it.number).collect();
            assert!(numbers.is_sorted_by(|one, two| one < two));
        }
        match self.mode {
            Mode::PubSub => assert!(self.flying.is_empty()),
            Mode::Sharded => {
                let flying_count: usize = self.flying.values().map(|it| it.1).sum();
                assert!(flying_count == self.unanswered_count());
            }
        }
    }
}
