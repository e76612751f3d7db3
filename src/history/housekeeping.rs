//! What the store's thread does between commits: forgets old keys, and what is too old or too much.

use std::time::Duration;

use crate::history::worker::Worker;
use crate::metrics::HistoryFailure;

/// How often old keys are forgotten, and the walk over what is too old or too much begins.
const TIDY_INTERVAL_MS: u64 = 60_000;
/// Between two steps of that walk, so that commits come between.
pub(super) const FORGET_INTERVAL: Duration = Duration::from_millis(50);

impl Worker {
    /// Forgets what is to be forgotten, a little at a time.
    pub(super) fn tidy(&mut self) {
        let now_ms = (self.surroundings.unix_ms)();
        // The clock may have been set back.
        if now_ms.abs_diff(self.tidied_at_ms) < TIDY_INTERVAL_MS {
            return self.forget(now_ms);
        }
        self.tidied_at_ms = now_ms;
        if let Err(error) = self.store.tidy(now_ms) {
            return self.lose(HistoryFailure::Forget, &error);
        }
        if !self.surroundings.retention.is_endless() {
            self.forgets_at_ms.get_or_insert(now_ms);
        }
    }

    /// The next step of the walk, when it is time.
    fn forget(&mut self, now_ms: u64) {
        let interval_ms = FORGET_INTERVAL.as_millis();
        let is_due = |at: u64| at <= now_ms || interval_ms < u128::from(at - now_ms);
        if !self.is_up || !self.forgets_at_ms.is_some_and(is_due) {
            return;
        }
        match self.store.forget(now_ms, self.surroundings.retention) {
            Ok(forgotten) => {
                let next = now_ms.saturating_add(u64::try_from(interval_ms).unwrap_or(u64::MAX));
                self.forgets_at_ms = (!forgotten.is_done).then_some(next);
                self.counters().forgotten.add(forgotten.count);
                if 0 < forgotten.count {
                    self.cache.clear(now_ms);
                }
            }
            Err(error) => self.lose(HistoryFailure::Forget, &error),
        }
    }
}
