//! What a phase took: time, and processor time of both sides.

use std::time::Instant;

use serde::Deserialize;
use serde::Serialize;

use crate::clock;
use crate::cpu;
use crate::watch::Watch;

/// Above this share of one CPU the generator may have been the limit.
const GENERATOR_BUSY: f64 = 0.95;
/// Beyond this share of the time spent in waiting for a CPU, somebody else used it.
const WAITED_SHARE_MAX: f64 = 0.05;

/// The clocks at one instant.
#[derive(Clone, Debug)]
pub struct Reading {
    at: Instant,
    server_ns: Option<u64>,
    server_waited_ns: Option<u64>,
    /// Of each process.
    generator_ns: Vec<u64>,
    generator_waited_ns: u64,
}

impl Reading {
    /// Reads the clocks of the server and of the generator's processes.
    ///
    /// # Errors
    ///
    /// One of them has ended.
    pub fn take(server: &Watch, generators: &[u32]) -> anyhow::Result<Self> {
        let mut generator_ns = Vec::new();
        let mut generator_waited_ns = 0;
        for pid in generators {
            generator_ns.push(cpu::used_ns(*pid)?);
            generator_waited_ns += cpu::waited_ns(*pid)?;
        }
        let (server_ns, server_waited_ns) = (server.cpu_ns()?, server.waited_ns()?);
        let at = clock::now();
        Ok(Self { at, server_ns, server_waited_ns, generator_ns, generator_waited_ns })
    }

    /// The same for work that begins later: until then nobody has anything to do.
    #[must_use]
    pub fn beginning_at(self, at: Instant) -> Self {
        Self { at, ..self }
    }
}

/// What was used between two readings.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Usage {
    /// Time that went by, in seconds.
    pub seconds: f64,
    /// Processor time of the server, in nanoseconds; `None` when its process is not known.
    pub server_cpu_ns: Option<u64>,
    /// Processor time of the generator, all its processes, in nanoseconds.
    pub generator_cpu_ns: u64,
    /// The server's share of one CPU.
    pub server_cpu_share: Option<f64>,
    /// The busiest generator process's share of one CPU.
    pub generator_cpu_share: f64,
    /// Share of the time in which the busiest generator process had something to do. One that
    /// spins uses its CPU for nothing the rest of the time.
    pub generator_busy_share: f64,
    /// Share of the time in which the server was ready to run and another had its CPU.
    pub server_waited_share: Option<f64>,
    /// Share of the time in which the generator was ready to run and another had its CPU.
    pub generator_waited_share: f64,
}

impl Usage {
    /// What was used from `start` until `end`; time counts only until `work_ended_at`, so that a
    /// reading that waits for the server to come to rest does not make it look slow.
    #[must_use]
    pub fn between(start: &Reading, end: &Reading, work_ended_at: Instant) -> Self {
        let wall_ns = clock::elapsed_ns(start.at, work_ended_at).max(1) as f64;
        // Waiting is not a cost of the work: it has the whole time to come from.
        let whole_ns = clock::elapsed_ns(start.at, end.at).max(1) as f64;
        let growth = |start: Option<u64>, end: Option<u64>| Some(end?.saturating_sub(start?));
        let server_cpu_ns = growth(start.server_ns, end.server_ns);
        let used = end.generator_ns.iter().zip(&start.generator_ns);
        let used: Vec<u64> = used.map(|(end, start)| end.saturating_sub(*start)).collect();
        let busiest_ns = used.iter().copied().max().unwrap_or(0);
        let server_waited_ns = growth(start.server_waited_ns, end.server_waited_ns);
        let generator_waited_ns = end.generator_waited_ns.saturating_sub(start.generator_waited_ns);
        Self {
            seconds: wall_ns / 1e9,
            server_cpu_ns,
            generator_cpu_ns: used.iter().sum(),
            server_cpu_share: server_cpu_ns.map(|used| used as f64 / wall_ns),
            generator_cpu_share: busiest_ns as f64 / wall_ns,
            generator_busy_share: busiest_ns as f64 / wall_ns,
            server_waited_share: server_waited_ns.map(|waited| waited as f64 / whole_ns),
            generator_waited_share: generator_waited_ns as f64 / whole_ns,
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
        if GENERATOR_BUSY < self.generator_busy_share {
            let busy = percent(self.generator_busy_share);
            warnings.push(format!(
                "the generator was busy {busy:.0} % of the time: rate and latency may show its \
                 own limit, not the server's"
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

/// Median, smallest and largest of some rounds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
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

    /// The spread over rounds.
    #[must_use]
    pub fn of_rounds(rounds: &[(usize, f64)]) -> Option<Self> {
        let values: Vec<f64> = rounds.iter().map(|(_, value)| *value).collect();
        Self::of(&values)
    }

    /// The spread of `ours` divided by `theirs` of the same round.
    #[must_use]
    pub fn of_ratios(ours: &[(usize, f64)], theirs: &[(usize, f64)]) -> Option<Self> {
        let ratio = |(round, ours): &(usize, f64)| {
            let (_, theirs) = theirs.iter().find(|(other, _)| other == round)?;
            (*theirs != 0.0).then_some(ours / theirs)
        };
        Self::of(&ours.iter().filter_map(ratio).collect::<Vec<_>>())
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
    fn usage_counts_time_until_the_work_ended_only() {
        let start = Reading {
            at: clock::now(),
            server_ns: Some(5),
            generator_ns: vec![7, 0],
            server_waited_ns: Some(1),
            generator_waited_ns: 1,
        };
        let end = Reading {
            at: start.at + std::time::Duration::from_secs(2),
            server_ns: Some(500_000_005),
            generator_ns: vec![990_000_007, 10_000_000],
            server_waited_ns: Some(120_000_001),
            generator_waited_ns: 80_000_001,
        };
        let usage = Usage::between(&start, &end, start.at + std::time::Duration::from_secs(1));
        assert_eq!((usage.seconds, usage.server_cpu_share), (1.0, Some(0.5)));
        assert_eq!(usage.server_ns_each(1000), Some(500_000.0));
        assert_eq!(usage.server_ns_each(0), None);
        assert_eq!((usage.server_waited_share, usage.generator_waited_share), (Some(0.06), 0.04));
        assert_eq!((usage.generator_cpu_ns, usage.generator_cpu_share), (1_000_000_000, 0.99));
        let warnings = usage.warnings();
        assert!(warnings[0].contains("99 %") && warnings[1].contains("server waited 6 %"));
        assert_eq!(warnings.len(), 2);
    }
}
