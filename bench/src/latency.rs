//! How long messages were under way: histograms, what is told of them, and how they travel from a
//! generator process to the one that reports.

use hdrhistogram::Histogram;
use serde::Deserialize;
use serde::Serialize;

/// The longest latency that is told apart: ten minutes.
const LATENCY_NS_MAX: u64 = 600_000_000_000;
/// Points of a curve between one nine and the next.
const POINTS_PER_NINE: u32 = 12;
/// A curve ends at this many nines, or where fewer than one latency is left.
const NINES_MAX: u32 = 6;

/// Latencies as they come in, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self::with_digits(3)
    }
}

/// A histogram without its empty buckets: value in nanoseconds and count.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Buckets(Vec<(u64, u64)>);

impl Latencies {
    /// Latencies that are told apart to `digits` decimal digits.
    #[must_use]
    pub fn with_digits(digits: u8) -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, digits);
        Self(histogram.expect("the bounds are valid"))
    }

    /// Takes note of one latency.
    pub fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns);
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what another process recorded.
    pub fn add(&mut self, buckets: &Buckets) {
        for (value, count) in &buckets.0 {
            self.0.saturating_record_n(*value, *count);
        }
    }

    /// What was recorded, to be sent to another process.
    #[must_use]
    pub fn buckets(&self) -> Buckets {
        let recorded = self.0.iter_recorded();
        Buckets(recorded.map(|it| (it.value_iterated_to(), it.count_at_value())).collect())
    }

    /// What was recorded, and nothing from now on.
    pub fn take(&mut self) -> Buckets {
        let buckets = self.buckets();
        self.0.reset();
        buckets
    }

    /// At most this were `quantile` of all, in microseconds.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// Percentiles, and the curve through all of them; `None` when nothing was recorded.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        if self.is_empty() {
            return None;
        }
        Some(Summary {
            count: self.0.len(),
            min_us: self.0.min() as f64 / 1000.0,
            mean_us: self.0.mean() / 1000.0,
            p50_us: self.quantile_us(0.5),
            p90_us: self.quantile_us(0.9),
            p99_us: self.quantile_us(0.99),
            p999_us: self.quantile_us(0.999),
            max_us: self.0.max() as f64 / 1000.0,
            curve: self.curve(),
        })
    }

    /// Quantiles that lie evenly on an axis of nines.
    fn curve(&self) -> Vec<(f64, f64)> {
        let mut points = Vec::new();
        for step in 0..=NINES_MAX * POINTS_PER_NINE {
            let above = 10_f64.powf(-f64::from(step) / f64::from(POINTS_PER_NINE));
            if above * (self.0.len() as f64) < 1.0 {
                break;
            }
            points.push((1.0 - above, self.quantile_us(1.0 - above)));
        }
        points.push((1.0, self.0.max() as f64 / 1000.0));
        points
    }
}

/// What is told of latencies, in microseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Summary {
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
    /// Quantile, and what that share of them were at most.
    pub curve: Vec<(f64, f64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thousand() -> Latencies {
        let mut latencies = Latencies::default();
        for latency_us in 1..=1000 {
            latencies.record(latency_us * 1000);
        }
        latencies
    }

    #[test]
    fn percentiles_are_in_microseconds_and_within_a_thousandth() {
        let summary = thousand().summary().unwrap();
        assert_eq!(summary.count, 1000);
        for (got, expected) in [
            (summary.min_us, 1.0),
            (summary.p50_us, 500.0),
            (summary.p99_us, 990.0),
            (summary.max_us, 1000.0),
        ] {
            assert!((got / expected - 1.0).abs() < 0.002, "{got} is not {expected}");
        }
        assert_eq!(Latencies::default().summary(), None);
    }

    #[test]
    fn a_curve_rises_and_ends_at_the_largest() {
        let curve = thousand().summary().unwrap().curve;
        assert!(curve.windows(2).all(|it| it[0].0 < it[1].0 && it[0].1 <= it[1].1));
        // Three nines of a thousand are one latency: there the curve ends.
        assert_eq!(curve.len(), 3 * 12 + 2);
        assert!((curve.last().unwrap().1 - 1000.0).abs() < 1.0);
    }

    #[test]
    fn nothing_is_lost_on_the_way_to_another_process() {
        let mut sent = thousand();
        let mut received = Latencies::default();
        received.add(&sent.buckets());
        received.add(&sent.take());
        assert!(sent.is_empty());
        let (one, two) = (thousand().summary().unwrap(), received.summary().unwrap());
        assert_eq!((two.count, two.p50_us, two.p99_us), (2000, one.p50_us, one.p99_us));
    }
}
