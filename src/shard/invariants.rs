//! What a shard promises of itself, as checks that simulations run every turn.

use crate::shard::connection::Phase;
use crate::shard::state::Shard;

impl Shard {
    /// Checks what [`Shard`] promises of itself; for simulations, linear in everything.
    ///
    /// # Panics
    ///
    /// When a promise is broken.
    pub fn check_invariants(&self) {
        self.table.check_invariants();
        self.relay.check_invariants();
        let (mut handshakes, mut active, mut leaving_bytes) = (0, 0, 0);
        for (key, connection) in self.connections.iter() {
            leaving_bytes += connection.leaving_bytes();
            let limit = self.options.outbox_bytes_max + 64 * 1024;
            assert!(connection.outbox.queued_bytes() <= limit, "{key:?} is over its limit");
            assert!(connection.in_flight_bytes <= connection.outbox.queued_bytes());
            assert!(connection.is_dirty == self.dirty.contains(&key));
            match &connection.phase {
                Phase::Head(_) => handshakes += 1,
                Phase::Stomp(_) | Phase::Echo(_) => active += 1,
                Phase::Closing(closing) => active += usize::from(closing.was_active),
                Phase::Taken => panic!("{key:?} was not put back"),
            }
        }
        assert!(handshakes == self.handshakes_count);
        assert!(active == self.active_count);
        assert!(leaving_bytes == self.leaving_bytes);
        let targets = self.table.destinations_count() + self.table.patterns_count();
        assert!(self.relay.interests_count().is_none_or(|wanted| targets == wanted));
    }

    /// Checks that nothing is left of connections that have gone, once all mail is carried; for
    /// simulations.
    ///
    /// # Panics
    ///
    /// When something is.
    pub fn check_empty(&self) {
        assert!(self.connections.is_empty() && self.owed.is_empty());
        assert!(self.table.subscriptions_count() == 0 && self.relay.is_empty());
        assert!(self.meter.bytes() == 0 && self.seats.is_empty() && self.user_paces.is_empty());
        self.replays.check_empty();
    }
}
