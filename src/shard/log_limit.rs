//! A limit on repeated log lines: floods are summed up, not written out.

use std::time::Duration;

use crate::stdx::rate::Bucket;
use crate::stdx::time::Instant;

/// Lines at once before the limit holds.
const LINES_MAX: u32 = 20;
/// One more line may be written after this time.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Decides which of many like lines are written.
#[derive(Debug)]
pub(super) struct LogLimit {
    bucket: Bucket,
    suppressed_count: u64,
}

impl LogLimit {
    pub(super) fn new() -> Self {
        Self { bucket: Bucket::new(LINES_MAX, Instant::default()), suppressed_count: 0 }
    }

    /// `Some` when a line may be written, with the count of those that were not since the last.
    pub(super) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.bucket.take(now, LINE_INTERVAL) {
            return Some(std::mem::take(&mut self.suppressed_count));
        }
        self.suppressed_count += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_its_size_is_told_with_the_next_line() {
        let mut limit = LogLimit::new();
        let written = (0..100).filter(|_| limit.admit(Instant::default()).is_some()).count();
        assert_eq!(written, 20);
        assert_eq!(limit.admit(Instant::from_nanos(1_000_000_000)), Some(80));
    }
}
