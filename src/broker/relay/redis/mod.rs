//! The Redis relay: one core's side of what joins many tasks, and any back end, to one order per
//! channel, through Redis Pub/Sub.
//!
//! It knows no sockets: it says which links to open and close, takes what came on them and gives
//! what to write. A node (the one Redis, or each master of a cluster) has two links: on one it is
//! told what is published, on the other it is given what to publish. Nothing published here takes
//! a short cut: it comes back through Redis, in Redis's order.
//!
//! ```text
//! subscribe ──► interests ─┐                      ┌─ SUBSCRIBE ──►
//! publish ────► publisher ─┴─► node: two links ───┴─ PUBLISH ───► Redis
//! poll_event ◄─ translate ◄─────── receive ◄──────── message, answer
//! ```
//!
//! Promises: what is written is never written again, unless Redis says that it was not done, or it
//! is a script that may be; each token is answered once; a node is up, and is given publications,
//! only when all that is wanted here is subscribed to.
//!
//! Read `link` (one connection), `interest`, `batch`, `interests` and `confirm` (what is subscribed
//! to), `publisher` (what is published), `names` and `translate` (what it is called and how it
//! looks), `topology` and `nodes` (who has what), then `receive`, `answers` and `transmit`.
//! `history` has a map of its own.

mod answers;
mod batch;
mod confirm;
mod control;
mod counts;
mod entry;
mod figures;
mod forward;
mod history;
mod interest;
mod interests;
mod link;
mod look;
mod names;
mod node;
mod nodes;
mod options;
mod publisher;
mod receive;
mod recent;
mod record;
mod surface;
mod topology;
mod translate;
mod transmit;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::broker::publication::Publication;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::relay::Event;
use crate::broker::relay::Target;
use crate::broker::relay::Token;
use crate::broker::relay::redis::control::Gate;
use crate::broker::relay::redis::entry::Kind;
use crate::broker::relay::redis::history::History;
use crate::broker::relay::redis::interests::Interests;
use crate::broker::relay::redis::link::Fault;
use crate::broker::relay::redis::link::Link;
use crate::broker::relay::redis::link::Part;
use crate::broker::relay::redis::node::Node;
use crate::broker::relay::redis::publisher::Publisher;
use crate::broker::relay::redis::recent::Recent;
use crate::broker::relay::redis::record::Record;
use crate::broker::relay::redis::topology::NodeId;
use crate::broker::relay::redis::topology::Routes;
use crate::broker::relay::redis::translate::Translator;
use crate::proto::resp;
use crate::stdx::random::Random;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

pub use control::Control;
pub use counts::Counts;
pub use counts::Dropped;
pub use counts::Level;
pub use counts::Note;
pub use forward::Forward;
pub use history::Keeping;
pub use history::PLACE;
pub use link::LinkId;
pub use options::Address;
pub use options::Mode;
pub use options::Options;
pub use surface::LinkAction;
pub use surface::State;
pub use surface::Taken;

/// Whose a link is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// `None`: the scout's.
    node: Option<NodeId>,
    part: Part,
}

/// One core's side of the Redis relay.
///
/// Invariants: `links` holds just the links that exist, each at its place; those of the parts are
/// walked by [`Redis::check_invariants`].
#[derive(Debug)]
pub struct Redis {
    options: Arc<Options>,
    random: Random,
    state: State,
    nodes: BTreeMap<NodeId, Node>,
    /// The nodes of a cluster, by address.
    ids: BTreeMap<Address, NodeId>,
    next_node: u32,
    routes: Routes,
    topology_due: Instant,
    /// Asks for the slots while no node can be asked.
    scout: Option<Link>,
    scout_at: usize,
    scout_failures_count: u32,
    scout_retry_at: Instant,
    links: BTreeMap<LinkId, Place>,
    next_link: u64,
    interests: Interests,
    publisher: Publisher,
    translator: Translator,
    gate: Gate,
    recent: Recent,
    record: Record,
    history: Option<History>,
    /// The last instant that was told.
    time: Instant,
    events: VecDeque<Event>,
    actions: VecDeque<LinkAction>,
    notes: VecDeque<Note>,
    dirty: VecDeque<LinkId>,
    /// An answer came that may have changed what is up or due.
    is_changed: bool,
    counts: Counts,
}

impl Redis {
    /// The side of one core, which asks for its links at once; `seed` spreads the pauses of those
    /// who lose one server together.
    ///
    /// # Panics
    ///
    /// Without an address.
    #[must_use]
    pub fn new(options: Arc<Options>, now: Instant, seed: u64) -> Self {
        assert!(!options.addresses.is_empty());
        let routes = Routes::new(options.mode);
        let mut nodes = BTreeMap::new();
        if let Routes::Single(node) = routes {
            nodes.insert(node, Node::new(options.addresses.clone(), now));
        }
        let mut redis = Self {
            random: Random::new(seed),
            state: State::Connecting { since: now },
            nodes,
            ids: BTreeMap::new(),
            next_node: 1,
            topology_due: now,
            scout: None,
            scout_at: 0,
            scout_failures_count: 0,
            scout_retry_at: now,
            links: BTreeMap::new(),
            next_link: 0,
            interests: Interests::new(&options, &routes),
            publisher: Publisher::new(&options),
            translator: Translator::new(Arc::clone(&options)),
            gate: Gate::default(),
            recent: Recent::default(),
            record: Record::default(),
            history: options.keeping.map(History::new),
            time: now,
            events: VecDeque::new(),
            actions: VecDeque::new(),
            notes: VecDeque::new(),
            dirty: VecDeque::new(),
            is_changed: false,
            counts: Counts::default(),
            routes,
            options,
        };
        redis.open_due(now);
        redis
    }

    /// Says that this core wants `target`; `token` is settled once Redis has confirmed it.
    pub fn subscribe(&mut self, now: Instant, target: &Target, token: Option<Token>) {
        self.time = now;
        let is_served = self.serves_patterns() || matches!(target, Target::Channel(_));
        let Self { interests, routes, events, .. } = self;
        let done = if is_served {
            interests.subscribe(now, target, token, routes, events)
        } else {
            let text = "patterns are not served by a sharded relay (relay.mode = \"sharded\")";
            Err(Refusal::new(Code::BadPattern, text))
        };
        if let Err(refusal) = done {
            self.events.extend(token.map(|token| Event::Refused(token, refusal)));
        }
        self.mark_dirty();
    }

    /// Says that this core no longer wants `target`: its last subscriber has gone.
    pub fn unsubscribe(&mut self, now: Instant, target: &Target) {
        self.untrack(target);
        self.interests.unsubscribe(now, target, &mut self.events);
        self.mark_dirty();
    }

    /// Sends a publication on its way; `token` is settled when Redis has taken it.
    pub fn publish(&mut self, now: Instant, publication: &Publication, token: Option<Token>) {
        self.counts.published += 1;
        let name = names::name_of(self.options.mode, &publication.channel);
        let mut json = Vec::with_capacity(publication.body().len() + 512);
        let verb: &[u8] = match self.options.mode {
            Mode::PubSub => b"PUBLISH",
            Mode::Sharded => b"SPUBLISH",
        };
        let encoded = translate::push_envelope(&mut json, publication, &name, &self.options);
        let name = name.as_bytes();
        let done = encoded.and_then(|()| {
            let mut command = Vec::new();
            resp::push_command(&mut command, &[verb, name, &json]);
            self.publisher.push(now, name, command, Kind::Publish, token, &self.routes)
        });
        self.finish_push(done, token);
    }

    fn finish_push(&mut self, done: Result<Option<NodeId>, Refusal>, token: Option<Token>) {
        match done {
            Ok(Some(node)) => self.mark_node_dirty(node),
            Ok(None) => {}
            Err(refusal) => {
                self.counts.refused += 1;
                self.events.extend(token.map(|token| Event::Refused(token, refusal)));
            }
        }
    }

    /// Refuses what has not been written: the end has come, and it will never be.
    pub fn give_up(&mut self) {
        self.counts.refused += self.publisher.give_up(&mut self.events);
    }

    /// Whether connections may be read. While Redis is away they may: what it cannot take is
    /// refused.
    #[must_use]
    pub fn has_credit(&self) -> bool {
        self.state != State::Up || self.publisher.has_room()
    }

    /// Whether it may refuse what it was asked.
    #[must_use]
    pub const fn may_refuse(&self) -> bool {
        true
    }

    /// Whether patterns can be subscribed to.
    #[must_use]
    pub fn serves_patterns(&self) -> bool {
        self.options.mode == Mode::PubSub
    }

    /// What to do next; the owner calls until `None` after every input.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.next_event()
    }

    /// What to do with sockets next; the owner calls until `None` after every input.
    pub fn poll_action(&mut self) -> Option<LinkAction> {
        self.actions.pop_front()
    }

    /// What to write to the log next.
    pub fn poll_note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }

    /// A link that has something to write; each is named once until it is transmitted.
    pub fn poll_dirty(&mut self) -> Option<LinkId> {
        self.dirty.pop_front()
    }

    /// A link is connected to `peer`, TLS included.
    pub fn handle_connected(&mut self, now: Instant, id: LinkId, peer: SocketAddr) {
        let Self { options, links, nodes, scout, .. } = self;
        if let Some(link) = link_of(links, nodes, scout, id) {
            link.handle_connected(now, peer, options);
        }
        self.leave_former(now, id, peer);
        self.finish(now);
    }

    /// A link could not be connected, or has ended.
    pub fn handle_lost(&mut self, now: Instant, id: LinkId, why: &str) {
        self.fail(now, id, &Fault::Lost(why.to_owned()), true);
        self.finish(now);
    }

    /// Lets time pass: about every 100 ms.
    pub fn handle_timer(&mut self, now: Now) {
        self.expire_asks(now);
        let now = now.instant;
        self.time = now;
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        for id in ids {
            let Self { options, links, nodes, scout, .. } = self;
            let Some(link) = link_of(links, nodes, scout, id) else { continue };
            if let Err(fault) = link.handle_timer(now, options) {
                self.fail(now, id, &fault, false);
            }
        }
        self.look(now);
        self.ask_due(now);
        self.interests.handle_timer(now, &mut self.events);
        self.counts.refused += self.publisher.expire(now, &mut self.events);
        self.finish(now);
    }

    /// After every input that can change what is up or due.
    fn finish(&mut self, now: Instant) {
        if self.options.mode == Mode::Sharded {
            if std::mem::take(&mut self.interests.has_moved) {
                self.recent.note_moved(now);
            }
            self.retire();
            self.ask_topology(now);
        }
        self.open_due(now);
        self.refresh(now);
        self.enter(now);
        self.ask_revoked(now);
        self.mark_dirty();
    }

    fn note(&mut self, level: Level, text: String) {
        if self.notes.len() < counts::NOTES_MAX {
            self.notes.push_back(Note { level, text });
        }
    }

    /// Walks everything and compares it with the invariants; for simulations and tests.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub fn check_invariants(&self) {
        self.interests.check_invariants();
        self.publisher.check_invariants();
        if let Some(history) = &self.history {
            history.check_invariants();
        }
        for (id, place) in &self.links {
            let link = match place.node {
                None => self.scout.as_ref(),
                Some(node) => {
                    self.nodes.get(&node).and_then(|it| it.side(place.part).link.as_ref())
                }
            };
            assert!(link.is_some_and(|it| it.id == *id));
        }
        let sides = self.nodes.values().flat_map(|it| [&it.subscriber, &it.publisher]);
        let links_count = sides.filter(|it| it.link.is_some()).count();
        assert!(self.links.len() == links_count + usize::from(self.scout.is_some()));
        assert!(self.counts.answered + self.counts.refused <= self.counts.published);
    }
}

/// The link `id`; a function of its own so that the rest of the machine stays usable beside it.
fn link_of<'a>(
    links: &BTreeMap<LinkId, Place>,
    nodes: &'a mut BTreeMap<NodeId, Node>,
    scout: &'a mut Option<Link>,
    id: LinkId,
) -> Option<&'a mut Link> {
    let Place { node, part } = *links.get(&id)?;
    match node {
        None => scout.as_mut(),
        Some(node) => nodes.get_mut(&node)?.side_mut(part).link.as_mut(),
    }
}

#[cfg(test)]
mod tests;
