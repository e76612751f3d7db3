//! Links come, become ready, fail and are tried again; nodes come and go with the cluster.

use std::net::SocketAddr;
use std::time::Duration;

use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::relay::redis::Place;
use crate::broker::relay::redis::Redis;
use crate::broker::relay::redis::counts::Level;
use crate::broker::relay::redis::link::Expect;
use crate::broker::relay::redis::link::Fault;
use crate::broker::relay::redis::link::Link;
use crate::broker::relay::redis::link::LinkId;
use crate::broker::relay::redis::link::Part;
use crate::broker::relay::redis::node::Node;
use crate::broker::relay::redis::options::Address;
use crate::broker::relay::redis::options::Mode;
use crate::broker::relay::redis::surface::LinkAction;
use crate::broker::relay::redis::surface::State;
use crate::broker::relay::redis::topology::NodeId;
use crate::broker::relay::redis::topology::Range;
use crate::stdx::time::Instant;

const PARTS: [Part; 2] = [Part::Subscriber, Part::Publisher];

impl Redis {
    /// Opens the links whose time has come.
    pub(super) fn open_due(&mut self, now: Instant) {
        for node in self.node_ids() {
            for part in PARTS {
                let Some(it) = self.nodes.get(&node) else { continue };
                let side = it.side(part);
                if it.is_retiring || side.link.is_some() || now < side.retry_at {
                    continue;
                }
                let address = it.address().clone();
                let beside = it.side(other(part)).link.as_ref().and_then(|it| it.peer);
                let link = self.open(now, part, Some(node), address, beside);
                if let Some(it) = self.nodes.get_mut(&node) {
                    it.side_mut(part).link = Some(link);
                }
            }
        }
        let is_lost = !self.nodes.values().any(|it| it.publisher.is_ready());
        let is_due = self.topology_due <= now && self.scout_retry_at <= now;
        if self.options.mode == Mode::Sharded && is_lost && is_due && self.scout.is_none() {
            let mut addresses = self.options.addresses.clone();
            addresses.extend(self.ids.keys().cloned());
            let address = addresses.swap_remove(self.scout_at % addresses.len());
            self.scout = Some(self.open(now, Part::Scout, None, address, None));
        }
    }

    fn open(
        &mut self,
        now: Instant,
        part: Part,
        node: Option<NodeId>,
        address: Address,
        beside: Option<SocketAddr>,
    ) -> Link {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        self.links.insert(id, Place { node, part });
        let action = LinkAction::Open { link: id, address: address.clone(), beside };
        self.actions.push_back(action);
        Link::new(id, part, address, now)
    }

    /// A link is given up: what it had under way is refused or done again, and it is tried again
    /// later. Its owner is told to close it unless `is_gone`.
    pub(super) fn fail(&mut self, now: Instant, id: LinkId, fault: &Fault, is_gone: bool) {
        let Some(Place { node, part }) = self.links.get(&id).copied() else { return };
        let Some(node) = node else { return self.fail_scout(now, fault, is_gone) };
        let Some(link) = self.take_link(node, part, is_gone) else { return };
        self.note_lost(&link, fault);
        self.topology_due = now;
        let was_ready = link.is_ready();
        let is_elsewhere = matches!(fault, Fault::Replica | Fault::NoPrimary(_));
        let is_left = is_elsewhere || matches!(fault, Fault::Moved(_));
        let other = other(part);
        self.clear(node, link);
        let backoff_min = self.options.backoff_min;
        let Some(it) = self.nodes.get_mut(&node) else { return };
        (it.look_at, it.misses_count, it.leaving) = (None, 0, None);
        let is_other_ready = it.side(other).is_ready();
        it.failures_count += 1;
        let is_first = it.failures_count == 1;
        // A link that was fine may come back alone, once: nothing is lost on the other.
        if was_ready && is_other_ready && is_first && !is_left {
            let pause = self.jittered(backoff_min);
            if let Some(it) = self.nodes.get_mut(&node) {
                it.side_mut(part).retry_at = now.after(pause);
            }
            return;
        }
        if !was_ready || is_elsewhere {
            it.at = (it.at + 1) % it.addresses.len();
        }
        let round = (it.failures_count - 1) / u32::try_from(it.addresses.len()).unwrap_or(1);
        if let Some(link) = self.take_link(node, other, false) {
            self.clear(node, link);
        }
        let pause = self.backoff(round);
        if let Some(it) = self.nodes.get_mut(&node) {
            it.subscriber.retry_at = now.after(pause);
            it.publisher.retry_at = now.after(pause);
        }
    }

    /// A link is connected to `peer`. Where its pair is connected elsewhere, the name has moved,
    /// and the pair follows: who listens to one server and tells another does not hear itself.
    pub(super) fn leave_former(&mut self, now: Instant, id: LinkId, peer: SocketAddr) {
        let Some(Place { node: Some(node), part }) = self.links.get(&id).copied() else { return };
        let former = other(part);
        let link = self.nodes.get(&node).and_then(|it| it.side(former).link.as_ref());
        if link.and_then(|it| it.peer).is_none_or(|it| it == peer) {
            return;
        }
        let Some(link) = self.take_link(node, former, false) else { return };
        self.note_lost(&link, &Fault::Moved(peer));
        self.clear(node, link);
        let failures_count = self.nodes.get(&node).map_or(0, |it| it.failures_count);
        // At once the first time; a name that leads elsewhere each time must not keep us busy.
        let pause = if failures_count < 2 { Duration::ZERO } else { self.backoff(failures_count) };
        if let Some(it) = self.nodes.get_mut(&node) {
            it.failures_count += 1;
            it.side_mut(former).retry_at = now.after(pause);
        }
    }

    fn note_lost(&mut self, link: &Link, fault: &Fault) {
        self.counts.lost += 1;
        let what = match link.part {
            Part::Subscriber => "subscriber",
            Part::Publisher | Part::Scout => "publisher",
        };
        self.note(Level::Warn, format!("Redis at {}, {what}: {fault}", link.address));
    }

    fn fail_scout(&mut self, now: Instant, fault: &Fault, is_gone: bool) {
        let Some(link) = self.scout.take() else { return };
        self.links.remove(&link.id);
        if !is_gone {
            self.actions.push_back(LinkAction::Close { link: link.id });
        }
        self.counts.lost += 1;
        self.note(Level::Warn, format!("Redis at {}, asked for slots: {fault}", link.address));
        self.scout_at += 1;
        self.scout_failures_count += 1;
        let round =
            self.scout_failures_count / u32::try_from(self.options.addresses.len()).unwrap_or(1);
        let pause = self.backoff(round);
        self.scout_retry_at = now.after(pause);
    }

    fn take_link(&mut self, node: NodeId, part: Part, is_gone: bool) -> Option<Link> {
        let side = self.nodes.get_mut(&node)?.side_mut(part);
        side.is_dirty = false;
        let link = side.link.take()?;
        self.links.remove(&link.id);
        if !is_gone {
            self.actions.push_back(LinkAction::Close { link: link.id });
        }
        Some(link)
    }

    /// What a link that is gone had under way: publications may have arrived or not, and Redis
    /// knows of no interest any more.
    fn clear(&mut self, node: NodeId, link: Link) {
        if link.part == Part::Subscriber {
            self.interests.close(node);
            return;
        }
        let text = "the connection to Redis was lost before it answered; \
                    the message may have been sent, or not";
        for what in link.into_expected() {
            if let Expect::Revoked = what {
                self.record.forget();
            } else if let Expect::Ask(ask) = what {
                if let Some(history) = &mut self.history {
                    history.asks.put_back(ask);
                }
            } else if let Expect::Publication(written) = what {
                let written = self.publisher.put_back(node, written, &self.routes);
                let Err(written) = written else { continue };
                self.counts.refused += 1;
                let refusal = Refusal::new(Code::RelayUnknown, text);
                self.publisher.refuse(node, written, refusal, &mut self.events);
            }
        }
    }

    /// A pause that doubles with each round, and is never the same for all who lost one server.
    fn backoff(&mut self, round: u32) -> Duration {
        let pause = self.options.backoff_min.saturating_mul(1 << round.min(16));
        self.jittered(pause.min(self.options.backoff_max))
    }

    pub(super) fn jittered(&mut self, pause: Duration) -> Duration {
        let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos / 2 + self.random.below(nanos / 2 + 1))
    }

    /// Takes the cluster's own word for which master has which slots.
    pub(super) fn take_topology(&mut self, now: Instant, ranges: &[Range]) {
        for range in ranges {
            self.node_at(now, &range.master);
        }
        self.routes.replace(ranges, &self.ids);
        for (id, node) in &mut self.nodes {
            node.is_retiring = !self.routes.owns_any(*id);
        }
        self.publisher.reroute(&self.routes);
        self.interests.reroute(&self.routes);
        self.topology_due = now.after(self.options.topology_interval);
        self.scout_failures_count = 0;
        if let Some(link) = self.scout.take() {
            self.links.remove(&link.id);
            self.actions.push_back(LinkAction::Close { link: link.id });
        }
    }

    /// The node at an address of the cluster; a new one when it is not known.
    pub(super) fn node_at(&mut self, now: Instant, address: &Address) -> NodeId {
        if let Some(id) = self.ids.get(address) {
            return *id;
        }
        let id = NodeId(self.next_node);
        self.next_node += 1;
        self.ids.insert(address.clone(), id);
        self.nodes.insert(id, Node::new(vec![address.clone()], now));
        id
    }

    /// Asks the cluster for its slots when that is due.
    pub(super) fn ask_topology(&mut self, now: Instant) {
        if self.options.mode != Mode::Sharded || now < self.topology_due {
            return;
        }
        let links = self.nodes.values_mut().filter_map(|it| it.publisher.link.as_mut());
        let mut ready: Vec<&mut Link> = links.filter(|it| it.is_ready()).collect();
        if ready.is_empty() || ready.iter().any(|it| it.awaits_slots()) {
            return;
        }
        // Not always the same: one that is cut off from its cluster must not have the last word.
        let count = ready.len() as u64;
        let at = usize::try_from(self.random.below(count)).unwrap_or(0);
        ready.swap_remove(at).ask_slots(now);
        self.topology_due = now.after(self.options.backoff_min);
    }

    /// Lets go of nodes without slots that have answered everything.
    pub(super) fn retire(&mut self) {
        for node in self.node_ids() {
            let is_done = |it: &Node| it.is_retiring && self.publisher.is_idle(node);
            if !self.nodes.get(&node).is_some_and(is_done) {
                continue;
            }
            for part in PARTS {
                if let Some(link) = self.take_link(node, part, false) {
                    self.clear(node, link);
                }
            }
            self.publisher.forget(node, &self.routes);
            self.nodes.remove(&node);
            self.ids.retain(|_, id| *id != node);
        }
    }

    /// Sees which nodes, and whether the whole relay, are up now.
    pub(super) fn refresh(&mut self, now: Instant) {
        for (id, node) in &mut self.nodes {
            let is_ready = node.subscriber.is_ready() && node.publisher.is_ready();
            let is_staying = node.leaving.is_none();
            let is_up = is_ready && is_staying && self.interests.is_restored(*id);
            if is_up && !node.is_up {
                // What was said meanwhile was not heard, but it was written down.
                self.record.demand(now);
            }
            node.is_up = is_up;
            if node.is_up {
                node.failures_count = 0;
                node.was_up = true;
            }
        }
        let mut serving = self.nodes.values().filter(|it| !it.is_retiring).peekable();
        let is_up = serving.peek().is_some() && serving.all(|it| it.is_up);
        let is_up = is_up && self.routes.is_complete();
        match (self.state, is_up) {
            (State::Up, true) | (State::Connecting { .. } | State::Down { .. }, false) => {}
            (State::Up, false) => self.state = State::Down { since: now },
            (State::Connecting { .. }, true) => {
                self.state = State::Up;
                self.note(Level::Info, "the Redis relay is up".to_owned());
            }
            (State::Down { since }, true) => {
                self.state = State::Up;
                let gap = now.since(since);
                self.counts.reconnects += 1;
                self.counts.gap += gap;
                let ms = gap.as_millis();
                self.note(
                    Level::Warn,
                    format!(
                        "the Redis relay is up again after {ms} ms; \
                     what others published meanwhile has not come"
                    ),
                );
            }
        }
    }

    pub(super) fn node_ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }
}

/// The other link of a pair.
const fn other(part: Part) -> Part {
    match part {
        Part::Subscriber => Part::Publisher,
        Part::Publisher | Part::Scout => Part::Subscriber,
    }
}
