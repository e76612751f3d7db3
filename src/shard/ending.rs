//! The end of a running shard: the drain, the last answers, and what is closed then.

use std::time::Duration;

use crate::metrics::health::Health;
use crate::shard::runtime::Core;

/// How often a shard that ends looks whether it has ended.
const END_INTERVAL: Duration = Duration::from_millis(10);
/// How long a shard that ends in a hurry waits for what its relay has not answered.
const LAST_CALL: Duration = Duration::from_secs(1);
/// The same without the hurry.
const LONG_CALL: Duration = Duration::from_secs(5);
/// How long before the deadline of the drain those that are left are closed.
const CUT_TIME: Duration = Duration::from_secs(1);

impl Core {
    /// Lets the sessions go over the drain's window, answers what is owed, and closes the rest.
    pub(super) async fn end(&self, health: &Health) {
        let timeout = self.options.load().drain.deadline;
        let began_at = self.clock.instant();
        let deadline = began_at.after(timeout);
        let cut_at = began_at.after(timeout - (timeout / 4).min(CUT_TIME));
        let is_cut = || cut_at <= self.clock.instant();
        if !health.is_hurried() {
            let now = self.now();
            self.shard.borrow_mut().begin_drain(now);
            self.flush.notify();
        }
        while !health.is_hurried() && !is_cut() && self.drain_some() {
            self.tick_after(END_INTERVAL).await;
        }
        self.shard.borrow_mut().handle_last_call();
        let called_at = self.clock.instant();
        let is_answered = || {
            let patience = if health.is_hurried() { LAST_CALL } else { LONG_CALL };
            let is_late = called_at.after(patience) <= self.clock.instant();
            is_late || is_cut() || !self.shard.borrow().owes_answers()
        };
        while !is_answered() {
            self.tick_after(END_INTERVAL).await;
        }
        // Others may still need what this shard orders for them.
        health.shard_quiet();
        while !health.are_shards_quiet() && !health.is_hurried() && !is_cut() {
            self.tick_after(END_INTERVAL).await;
        }
        let now = self.now();
        match is_cut() {
            true => self.shard.borrow_mut().handle_deadline(now),
            false => self.shard.borrow_mut().handle_drain(now),
        }
        self.flush.notify();
        while !self.shard.borrow().is_drained() && self.clock.instant() < deadline {
            self.tick_after(END_INTERVAL).await;
        }
    }

    fn drain_some(&self) -> bool {
        let now = self.now();
        let goes_on = self.shard.borrow_mut().drain_some(now);
        self.flush.notify();
        goes_on
    }
}
