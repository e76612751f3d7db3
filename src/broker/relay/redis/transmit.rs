//! What goes out on each link, and who is told that something does.

use crate::broker::relay::redis::Place;
use crate::broker::relay::redis::Redis;
use crate::broker::relay::redis::link::Expect;
use crate::broker::relay::redis::link::Link;
use crate::broker::relay::redis::link::LinkId;
use crate::broker::relay::redis::link::Part;
use crate::broker::relay::redis::link_of;
use crate::broker::relay::redis::node::Node;
use crate::broker::relay::redis::topology::NodeId;
use crate::stdx::time::Instant;

/// About how many bytes of commands are given out for one write.
const TRANSMIT_BYTES_MAX: usize = 64 << 10;

/// The part of it for questions about histories, before what is published.
const ASKS_BYTES_MAX: usize = 32 << 10;

impl Redis {
    /// Whether a link has something to write.
    #[must_use]
    pub fn wants_transmit(&self, link: LinkId) -> bool {
        let Some(Place { node, part }) = self.links.get(&link).copied() else { return false };
        let Some(node) = node else {
            return self.scout.as_ref().is_some_and(Link::wants_transmit);
        };
        self.nodes.get(&node).is_some_and(|it| self.wants(node, it, part))
    }

    fn wants(&self, id: NodeId, node: &Node, part: Part) -> bool {
        let is_own = node.side(part).link.as_ref().is_some_and(Link::wants_transmit);
        is_own
            || match part {
                Part::Subscriber => self.interests.wants_transmit(id),
                Part::Publisher | Part::Scout => {
                    let asks = self.history.as_ref().map(|it| &it.asks);
                    let is_asking = asks.is_some_and(|it| it.wants_transmit(id, &self.routes));
                    node.is_up && (is_asking || self.publisher.wants_transmit(id))
                }
            }
    }

    /// Appends what a link has to write, about 64 KiB at the most. It counts as written from now
    /// on; the owner asks again when it has been.
    pub fn poll_transmit(&mut self, now: Instant, id: LinkId, out: &mut Vec<u8>) {
        let Self { links, nodes, scout, interests, publisher, counts, history, routes, .. } = self;
        let Some(Place { node, part }) = links.get(&id).copied() else { return };
        let is_up = node.and_then(|it| nodes.get(&it)).is_some_and(|it| it.is_up);
        if let Some(node) = node.and_then(|it| nodes.get_mut(&it)) {
            node.side_mut(part).is_dirty = false;
        }
        let Some(link) = link_of(links, nodes, scout, id) else { return };
        link.transmit(out);
        match (part, node) {
            (Part::Subscriber, Some(node)) if link.is_ready() => {
                interests.transmit(node, out, TRANSMIT_BYTES_MAX, &mut |batch| {
                    counts.interest_commands += 1;
                    link.expect(now, Expect::Batch(batch));
                });
            }
            (Part::Publisher, Some(node)) if is_up => {
                if let Some(history) = history.as_mut() {
                    let asks_bytes_max = out.len() + ASKS_BYTES_MAX;
                    history.asks.transmit(node, routes, out, asks_bytes_max, &mut |ask| {
                        link.expect(now, Expect::Ask(ask));
                    });
                }
                publisher.transmit(
                    now,
                    node,
                    out,
                    TRANSMIT_BYTES_MAX,
                    |command| history.as_ref().and_then(|it| it.whole(command)),
                    &mut |is_asking, written| {
                        if is_asking {
                            link.expect(now, Expect::Asking);
                        }
                        link.expect(now, Expect::Publication(written));
                    },
                );
            }
            (Part::Subscriber | Part::Publisher | Part::Scout, _) => {}
        }
        counts.commands += std::mem::take(&mut link.commands_count);
    }

    pub(super) fn mark_dirty(&mut self) {
        if let Some(link) = self.scout.as_ref().filter(|it| it.wants_transmit())
            && !self.dirty.contains(&link.id)
        {
            self.dirty.push_back(link.id);
        }
        for node in self.node_ids() {
            self.mark_node_dirty(node);
        }
    }

    pub(super) fn mark_node_dirty(&mut self, id: NodeId) {
        for part in [Part::Subscriber, Part::Publisher] {
            let Some(node) = self.nodes.get(&id) else { return };
            let Some(link) = node.side(part).link.as_ref().map(|it| it.id) else { continue };
            if node.side(part).is_dirty || !self.wants(id, node, part) {
                continue;
            }
            self.dirty.push_back(link);
            if let Some(node) = self.nodes.get_mut(&id) {
                node.side_mut(part).is_dirty = true;
            }
        }
    }
}
