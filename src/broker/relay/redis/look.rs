//! Names that move while both links stay: each is looked up again now and then.
//!
//! A former primary may live on, and take what is published to it as before; only its name tells.
//! One answer that does not list the server in use may be of a resolver that is behind, or ahead:
//! a second one is asked for soon. Then nothing more is given to that server, and it is left when
//! it has answered.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use crate::broker::relay::redis::Place;
use crate::broker::relay::redis::Redis;
use crate::broker::relay::redis::link::Fault;
use crate::broker::relay::redis::link::LinkId;
use crate::broker::relay::redis::surface::LinkAction;
use crate::broker::relay::redis::topology::NodeId;
use crate::stdx::time::Instant;

/// Looks in a row that must miss the server in use before it is left.
const MISSES_MAX: u32 = 2;
/// After a miss it is looked again in this part of the usual time.
const DOUBT_DIVISOR: u32 = 10;
/// How long a server that is left may take to answer.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

impl Redis {
    /// Looks up the names that are due, and leaves servers that have answered.
    pub(super) fn look(&mut self, now: Instant) {
        for id in self.node_ids() {
            self.look_one(now, id);
            self.leave(now, id);
        }
    }

    fn look_one(&mut self, now: Instant, id: NodeId) {
        let Some(node) = self.nodes.get(&id).filter(|it| it.is_up && !it.is_retiring) else {
            return;
        };
        let Some(link) = &node.publisher.link else { return };
        if link.address.host.parse::<IpAddr>().is_ok() || node.look_at.is_some_and(|it| now < it) {
            return;
        }
        // The first time it has only just been resolved.
        if node.look_at.is_some() {
            let action = LinkAction::Look { link: link.id, address: link.address.clone() };
            self.actions.push_back(action);
        }
        let pause = self.jittered(self.options.look_interval);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.look_at = Some(now.after(pause));
        }
    }

    /// The name of a link leads to these addresses now.
    pub fn handle_looked(&mut self, now: Instant, id: LinkId, found: &[SocketAddr]) {
        let Some(Place { node: Some(node), .. }) = self.links.get(&id).copied() else { return };
        let Some(it) = self.nodes.get_mut(&node) else { return };
        let link = it.publisher.link.as_ref().filter(|it| it.id == id);
        let Some(peer) = link.and_then(|it| it.peer) else { return };
        let Some(&first) = found.first() else { return };
        if found.contains(&peer) {
            it.misses_count = 0;
            return;
        }
        it.misses_count += 1;
        if it.misses_count < MISSES_MAX {
            it.look_at = Some(now.after(self.options.look_interval / DOUBT_DIVISOR));
            return;
        }
        if it.leaving.is_none() {
            it.leaving = Some((first, now.after(LEAVE_TIMEOUT)));
        }
        self.finish(now);
    }

    fn leave(&mut self, now: Instant, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else { return };
        let Some((to, until)) = node.leaving else { return };
        let Some(link) = &node.publisher.link else { return };
        if now < until && link.awaits_publications() {
            return;
        }
        let link = link.id;
        self.fail(now, link, &Fault::Moved(to), false);
    }
}
