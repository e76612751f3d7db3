//! How much of its time a shard's thread works.

use std::time::Duration;

use crate::metrics::ShardCounters;
use crate::stdx::time::Instant;

/// The span that the ratio is taken over.
const SPAN: Duration = Duration::from_secs(1);

/// Where the span began that is not over yet.
#[derive(Debug, Default)]
pub(super) struct Load {
    began_at: Instant,
    cpu: Duration,
}

impl Load {
    /// Notes the CPU time of the thread so far; once a span is over, the ratio of it.
    pub(super) fn observe(&mut self, now: Instant, cpu: Duration, counters: &ShardCounters) {
        counters.busy_ns.raise_to(u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX));
        let span = now.since(self.began_at);
        if span < SPAN {
            return;
        }
        let busy = cpu.saturating_sub(self.cpu);
        // The two clocks are not read at once: a full second may seem a little more than full.
        let ppm = (busy.as_nanos() * 1_000_000 / span.as_nanos()).min(1_000_000);
        counters.busy_ppm.set(u64::try_from(ppm).unwrap_or(1_000_000));
        *self = Self { began_at: now, cpu };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_last_whole_span() {
        let counters = ShardCounters::default();
        let mut load = Load::default();
        let mut check = |millis: u64, cpu_millis: u64, expected: u64| {
            let now = Instant::from_nanos(millis * 1_000_000);
            load.observe(now, Duration::from_millis(cpu_millis), &counters);
            assert_eq!(counters.busy_ppm.get(), expected, "{millis}");
            assert_eq!(counters.busy_ns.get(), cpu_millis * 1_000_000);
        };
        check(999, 400, 0);
        check(1_000, 500, 500_000);
        check(1_500, 990, 500_000);
        check(3_000, 1_000, 250_000);
        check(4_000, 2_001, 1_000_000);
    }
}
