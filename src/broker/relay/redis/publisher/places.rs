//! What is to get a place, among all that is published.

use crate::broker::relay::redis::entry::Kind;
use crate::broker::relay::redis::entry::Written;
use crate::broker::relay::redis::publisher::Publisher;
use crate::broker::relay::redis::topology::NodeId;
use crate::broker::relay::redis::topology::Routes;

impl Publisher {
    /// The link was lost before it answered: what gives a place is run again, where it was in the
    /// order. Gives back what may not be.
    pub(in crate::broker::relay::redis) fn put_back(
        &mut self,
        node: NodeId,
        written: Written,
        routes: &Routes,
    ) -> Result<(), Written> {
        if !matches!(written.kind, Kind::Place(_)) {
            return Err(written);
        }
        let slot = written.slot;
        self.resend_with(node, written, routes.node_of(slot), |entry| {
            (entry.is_asking, entry.is_unsure) = (false, true);
        })
    }

    /// An entry was not taken because its script is not known: it waits in its place, as what
    /// `change` makes of its command.
    pub(in crate::broker::relay::redis) fn resend_as(
        &mut self,
        node: NodeId,
        written: Written,
        change: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<(), Written> {
        self.resend_with(node, written, Some(node), |entry| {
            if let Some(command) = change(&entry.command) {
                entry.command = command.into_boxed_slice();
            }
        })
    }
}
