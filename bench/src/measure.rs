//! What a phase took: time, processor time of both sides, and how long messages were under way.

use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::clock;
use crate::cpu;

/// Above this share of one CPU the generator may have been the limit.
const GENERATOR_BUSY: f64 = 0.95;
/// Beyond this share of the time spent in waiting for a CPU, somebody else used it.
const WAITED_SHARE_MAX: f64 = 0.05;
/// The longest latency that is told apart: ten minutes.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// The clocks at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: Instant,
    server_ns: Option<u64>,
    generator_ns: u64,
    server_waited_ns: Option<u64>,
    generator_waited_ns: u64,
}

impl Reading {
    /// Reads the clocks; without `server_pid` the server's processor time is not known.
    ///
    /// # Errors
    ///
    /// The server has ended.
    pub fn take(server_pid: Option<u32>) -> anyhow::Result<Self> {
        let own_pid = std::process::id();
        Ok(Self {
            at: clock::now(),
            server_ns: server_pid.map(cpu::used_ns).transpose().context("the server is gone")?,
            generator_ns: cpu::used_ns(own_pid)?,
            server_waited_ns: server_pid.map(cpu::waited_ns).transpose()?,
            generator_waited_ns: cpu::waited_ns(own_pid)?,
        })
    }
}

/// What was used between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Usage {
    /// Time that went by, in seconds.
    pub seconds: f64,
    /// Processor time of the server, in nanoseconds; `None` when its process is not known.
    pub server_cpu_ns: Option<u64>,
    /// Processor time of this generator, in nanoseconds.
    pub generator_cpu_ns: u64,
    /// The server's share of one CPU.
    pub server_cpu_share: Option<f64>,
    /// The generator's share of one CPU.
    pub generator_cpu_share: f64,
    /// Share of the time in which the server was ready to run and another had its CPU.
    pub server_waited_share: Option<f64>,
    /// Share of the time in which the generator was ready to run and another had its CPU.
    pub generator_waited_share: f64,
}

impl Usage {
    /// What was used from `start` until `end`; time counts only until `work_ended_at`, so that a
    /// reading that waits for the server to come to rest does not make it look slow.
    #[must_use]
    pub fn between(start: Reading, end: Reading, work_ended_at: Instant) -> Self {
        let wall_ns = clock::elapsed_ns(start.at, work_ended_at).max(1) as f64;
        let growth = |start: Option<u64>, end: Option<u64>| Some(end?.saturating_sub(start?));
        let server_cpu_ns = growth(start.server_ns, end.server_ns);
        let generator_cpu_ns = end.generator_ns.saturating_sub(start.generator_ns);
        let server_waited_ns = growth(start.server_waited_ns, end.server_waited_ns);
        let generator_waited_ns = end.generator_waited_ns.saturating_sub(start.generator_waited_ns);
        Self {
            seconds: wall_ns / 1e9,
            server_cpu_ns,
            generator_cpu_ns,
            server_cpu_share: server_cpu_ns.map(|used| used as f64 / wall_ns),
            generator_cpu_share: generator_cpu_ns as f64 / wall_ns,
            server_waited_share: server_waited_ns.map(|waited| waited as f64 / wall_ns),
            generator_waited_share: generator_waited_ns as f64 / wall_ns,
        }
    }

    /// The server's processor time for each of `count` things, in nanoseconds.
    #[must_use]
    pub fn server_ns_each(&self, count: u64) -> Option<f64> {
        (count != 0).then_some(self.server_cpu_ns? as f64 / count as f64)
    }

    /// The generator's processor time for each of `count` things, in nanoseconds.
    #[must_use]
    pub fn generator_ns_each(&self, count: u64) -> Option<f64> {
        (count != 0).then_some(self.generator_cpu_ns as f64 / count as f64)
    }

    /// Says so when the generator, not the server, may have set the pace, and when others had the
    /// CPUs for a noticeable time.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let percent = |share: f64| 100.0 * share;
        if GENERATOR_BUSY < self.generator_cpu_share {
            let busy = percent(self.generator_cpu_share);
            warnings.push(format!(
                "the generator used {busy:.0} % of a CPU: rate and latency may show its own limit"
            ));
        }
        let waits = [
            ("server", self.server_waited_share.unwrap_or(0.0)),
            ("generator", self.generator_waited_share),
        ];
        for (name, share) in waits {
            if WAITED_SHARE_MAX < share {
                let waited = percent(share);
                warnings.push(format!(
                    "the {name} waited {waited:.0} % of the time while others used its CPU"
                ));
            }
        }
        warnings
    }
}

/// Latencies as they come in.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3);
        Self(histogram.expect("the bounds are valid"))
    }
}

impl Latencies {
    /// Takes note of one latency in nanoseconds.
    pub fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns);
    }

    /// The percentiles so far.
    #[must_use]
    pub fn summary(&self) -> LatencySummary {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        LatencySummary {
            count: self.0.len(),
            min_us: self.0.min() as f64 / 1000.0,
            mean_us: self.0.mean() / 1000.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max() as f64 / 1000.0,
        }
    }
}

/// Percentiles of latencies, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencySummary {
    /// Latencies recorded.
    pub count: u64,
    /// The smallest.
    pub min_us: f64,
    /// The mean.
    pub mean_us: f64,
    /// Half were at most this.
    pub p50_us: f64,
    /// 90 % were at most this.
    pub p90_us: f64,
    /// 99 % were at most this.
    pub p99_us: f64,
    /// 99.9 % were at most this.
    pub p999_us: f64,
    /// The largest.
    pub max_us: f64,
}

/// Median, smallest and largest of some rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; of an even count the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of `values`; `None` when there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: f64::midpoint(below, above), min, max })
    }
}

/// A phase that ends by itself, or not.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// A deadline `timeout` from `now`.
    #[must_use]
    pub fn after(now: Instant, timeout: Duration) -> Self {
        Self { at: now + timeout, timeout }
    }

    /// Stops a phase that takes too long.
    ///
    /// # Errors
    ///
    /// `now` is past the deadline: `what` says which phase.
    pub fn check(&self, now: Instant, what: &str) -> anyhow::Result<()> {
        anyhow::ensure!(now < self.at, "{what} took longer than {:?}", self.timeout);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[f64], expected: Option<(f64, f64, f64)>) {
        let spread = Spread::of(values).map(|it| (it.median, it.min, it.max));
        assert_eq!(spread, expected);
    }

    #[test]
    fn a_median_needs_no_order_and_may_lie_between_two() {
        check(&[], None);
        check(&[2.0], Some((2.0, 2.0, 2.0)));
        check(&[9.0, 1.0, 2.0], Some((2.0, 1.0, 9.0)));
        check(&[4.0, 1.0, 3.0, 2.0], Some((2.5, 1.0, 4.0)));
    }

    #[test]
    fn percentiles_are_in_microseconds_and_within_a_thousandth() {
        let mut latencies = Latencies::default();
        for latency_us in 1..=1000 {
            latencies.record(latency_us * 1000);
        }
        let summary = latencies.summary();
        assert_eq!(summary.count, 1000);
        for (got, expected) in [
            (summary.min_us, 1.0),
            (summary.p50_us, 500.0),
            (summary.p99_us, 990.0),
            (summary.max_us, 1000.0),
        ] {
            assert!((got / expected - 1.0).abs() < 0.002, "{got} is not {expected}");
        }
    }

    #[test]
    fn usage_counts_time_until_the_work_ended_only() {
        let start = Reading {
            at: clock::now(),
            server_ns: Some(5),
            generator_ns: 7,
            server_waited_ns: Some(1),
            generator_waited_ns: 1,
        };
        let end = Reading {
            at: start.at + Duration::from_secs(2),
            server_ns: Some(500_000_005),
            generator_ns: 990_000_007,
            server_waited_ns: Some(60_000_001),
            generator_waited_ns: 40_000_001,
        };
        let usage = Usage::between(start, end, start.at + Duration::from_secs(1));
        assert_eq!((usage.seconds, usage.server_cpu_share), (1.0, Some(0.5)));
        assert_eq!(usage.server_ns_each(1000), Some(500_000.0));
        assert_eq!(usage.server_ns_each(0), None);
        assert_eq!((usage.server_waited_share, usage.generator_waited_share), (Some(0.06), 0.04));
        let warnings = usage.warnings();
        assert!(warnings[0].contains("99 %") && warnings[1].contains("server waited 6 %"));
        assert_eq!(warnings.len(), 2);
    }
}
