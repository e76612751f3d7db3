//! How a run goes from slice to slice: what the generators tell, what the server used meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use crate::clock;
use crate::latency::Latencies;
use crate::measure::Reading;
use crate::measure::Usage;
use crate::outcome::Slice;
use crate::watch::Watch;
use crate::wire::Tick;

/// The slices of the measured part.
pub struct Course {
    started_at: Instant,
    every: Duration,
    next_look: u32,
    told: BTreeMap<u64, Told>,
    seen: BTreeMap<u64, Seen>,
    last: Option<(Instant, Reading)>,
}

/// What the generators told of one slice, together.
struct Told {
    processes_count: usize,
    open_count: u64,
    sent_count: u64,
    deliveries_count: u64,
    troubles_count: u64,
    latency: Latencies,
}

/// What was seen of the server in one slice.
struct Seen {
    server_cpu: Option<f64>,
    generator_cpu: f64,
    rss_bytes: Option<u64>,
}

impl Course {
    /// A course that begins at `started_at`.
    #[must_use]
    pub fn new(started_at: Instant, every: Duration) -> Self {
        let (told, seen) = (BTreeMap::new(), BTreeMap::new());
        Self { started_at, every, next_look: 0, told, seen, last: None }
    }

    /// When it began.
    #[must_use]
    pub fn started_at(&self) -> Instant {
        self.started_at
    }

    /// When the server should be looked at next.
    #[must_use]
    pub fn look_at(&self) -> Instant {
        self.started_at + self.every * self.next_look
    }

    /// The last look at the clocks.
    #[must_use]
    pub fn last_reading(&self) -> Option<Reading> {
        self.last.as_ref().map(|(_, reading)| reading.clone())
    }

    /// Looks at the server and the generators. One that has ended is not seen any more.
    pub fn look(&mut self, watch: &Watch, generators: &[u32], now: Instant) {
        let since_ns = clock::elapsed_ns(self.started_at, now);
        let every_ns = clock::elapsed_ns(self.started_at, self.started_at + self.every).max(1);
        let slice = since_ns / every_ns;
        self.next_look = u32::try_from(slice + 1).unwrap_or(u32::MAX);
        let Ok(reading) = Reading::take(watch, generators) else { return };
        if let Some((_, before)) = &self.last
            && let Some(slice) = slice.checked_sub(1)
        {
            let usage = Usage::between(before, &reading, now);
            self.seen.insert(
                slice,
                Seen {
                    server_cpu: usage.server_cpu_share,
                    generator_cpu: usage.generator_cpu_share,
                    rss_bytes: watch.rss_bytes(),
                },
            );
        }
        self.last = Some((now, reading));
    }

    /// Adds what one generator told.
    pub fn add(&mut self, tick: Tick) {
        let told = self.told.entry(tick.slice).or_insert_with(|| Told {
            processes_count: 0,
            open_count: 0,
            sent_count: 0,
            deliveries_count: 0,
            troubles_count: 0,
            latency: Latencies::with_digits(2),
        });
        told.processes_count += 1;
        told.open_count += tick.open_count;
        told.sent_count += tick.sent_count;
        told.deliveries_count += tick.deliveries_count;
        told.troubles_count += tick.troubles_count;
        told.latency.add(&tick.latency);
    }

    /// The slice that ended last, as far as it is known.
    #[must_use]
    pub fn latest(&self) -> Option<Slice> {
        let slice = *self.told.keys().next_back()?;
        self.slice(slice)
    }

    /// All slices that every process told of.
    #[must_use]
    pub fn into_slices(self) -> Vec<Slice> {
        let most = self.told.values().map(|it| it.processes_count).max().unwrap_or(0);
        let whole = self.told.iter().filter(|(_, told)| told.processes_count == most);
        whole.filter_map(|(slice, _)| self.slice(*slice)).collect()
    }

    fn slice(&self, slice: u64) -> Option<Slice> {
        let told = self.told.get(&slice)?;
        let seen = self.seen.get(&slice);
        let before = self.told.range(..slice).next_back();
        let (slices, sent, deliveries) = before.map_or((slice + 1, 0, 0), |(at, before)| {
            (slice - at, before.sent_count, before.deliveries_count)
        });
        let seconds = self.every.as_secs_f64() * slices as f64;
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let at = |quantile| (!told.latency.is_empty()).then(|| told.latency.quantile_us(quantile));
        Some(Slice {
            at: self.every.as_secs_f64() * (slice + 1) as f64,
            open: told.open_count,
            sent_rate: rate(told.sent_count, sent),
            delivery_rate: rate(told.deliveries_count, deliveries),
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: at(1.0),
            server_cpu: seen.and_then(|it| it.server_cpu),
            generator_cpu: seen.map_or(0.0, |it| it.generator_cpu),
            rss_bytes: seen.and_then(|it| it.rss_bytes),
            troubles: told.troubles_count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_all_processes_are_joined_and_rates_are_per_second() {
        let mut course = Course::new(clock::now(), Duration::from_millis(500));
        let tick = |slice, deliveries_count, latency_ns| {
            let mut latency = Latencies::with_digits(2);
            latency.record(latency_ns);
            let latency = latency.buckets();
            Tick { slice, open_count: 1, deliveries_count, latency, ..Tick::default() }
        };
        course.add(tick(0, 10, 1000));
        course.add(tick(0, 20, 3000));
        course.add(tick(2, 40, 1000));
        course.add(tick(2, 60, 1000));
        course.add(tick(3, 60, 1000));
        let slices = course.into_slices();
        assert_eq!(slices.len(), 2, "one process told nothing of the last");
        assert_eq!((slices[0].open, slices[0].delivery_rate), (2, 60.0));
        assert_eq!((slices[1].at, slices[1].delivery_rate), (1.5, 70.0));
        assert!(2.9 < slices[0].max_us.unwrap() && slices[0].p50_us.unwrap() < 1.1);
    }
}
