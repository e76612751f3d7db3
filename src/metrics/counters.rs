//! The numbers of one shard: written by the shard alone, read by whoever answers a scrape.
//!
//! A write is a load, an addition and a store, all relaxed: no locked instruction, because there
//! is one writer. A second writer would lose counts, never memory safety; so each shard owns one
//! [`ShardCounters`], and code outside of shards has one of its own.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::metrics::auth::AuthCounters;
use crate::metrics::catalogue::CloseCode;
use crate::metrics::catalogue::ConnectionError;
use crate::metrics::catalogue::Handshake;
use crate::metrics::catalogue::Label;
use crate::metrics::catalogue::Refusal;
use crate::metrics::catalogue::Rejected;
use crate::metrics::catalogue::TlsHandshake;
use crate::metrics::drain::DrainCounters;
use crate::metrics::history::ReplayCounters;
use crate::metrics::relay::RelayCounters;

/// Whether anything is counted; `false` only where the cost of counting is measured.
pub const IS_METERED: bool = !cfg!(feature = "unmetered");

/// A number that only rises. One writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`, wrapping after 2^64.
    #[inline]
    pub fn add(&self, count: u64) {
        if IS_METERED {
            self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
        }
    }

    /// Takes over a total that is counted elsewhere, and only rises there too.
    #[inline]
    pub fn raise_to(&self, total: u64) {
        debug_assert!(self.0.load(Relaxed) <= total);
        if IS_METERED {
            self.0.store(total, Relaxed);
        }
    }

    /// The number now; from another thread it may be a little old.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level that rises and falls. One writer.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Raises the level by `count`.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).saturating_add(count), Relaxed);
    }

    /// Lowers the level by `count`, to 0 at the least.
    #[inline]
    pub fn sub(&self, count: u64) {
        let level = self.0.load(Relaxed);
        debug_assert!(count <= level);
        self.0.store(level.saturating_sub(count), Relaxed);
    }

    /// Replaces the level.
    #[inline]
    pub fn set(&self, level: u64) {
        self.0.store(level, Relaxed);
    }

    /// The level now; from another thread it may be a little old.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One counter for each value of the label `L`; `N` is how many values there are.
#[derive(Debug)]
pub struct Labelled<L, const N: usize> {
    counters: [Counter; N],
    label: std::marker::PhantomData<fn(L)>,
}

impl<L: Label, const N: usize> Labelled<L, N> {
    /// The counter of `label`.
    #[inline]
    #[must_use]
    pub fn of(&self, label: L) -> &Counter {
        &self.counters[label.index()]
    }

    /// The counters of all labels together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.counters.iter().map(Counter::get).sum()
    }
}

impl<L: Label, const N: usize> Default for Labelled<L, N> {
    fn default() -> Self {
        assert!(L::all().len() == N);
        Self {
            counters: std::array::from_fn(|_| Counter::default()),
            label: std::marker::PhantomData,
        }
    }
}

/// The inclusive upper bounds of the buckets in nanoseconds: 10 µs to 10 s in steps of 1, 2.5, 5.
pub const BUCKET_BOUNDS_NS: [u64; 19] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Durations counted by how long they were. One writer.
#[derive(Debug, Default)]
pub struct Histogram {
    // The last bucket holds what is longer than every bound.
    buckets: [Counter; BUCKET_BOUNDS_NS.len() + 1],
    sum_ns: Counter,
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn observe(&self, duration: Duration) {
        self.observe_ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts one duration of `nanoseconds`.
    #[inline]
    pub fn observe_ns(&self, nanoseconds: u64) {
        self.observe_many_ns(nanoseconds, 1);
    }

    /// Counts `count` durations of `nanoseconds` each, for messages that took one turn together.
    #[inline]
    pub fn observe_many_ns(&self, nanoseconds: u64, count: u64) {
        if !IS_METERED {
            return;
        }
        // Most of what is counted per message or send is short.
        let index = if nanoseconds <= BUCKET_BOUNDS_NS[0] {
            0
        } else {
            BUCKET_BOUNDS_NS.partition_point(|bound| *bound < nanoseconds)
        };
        self.buckets[index].add(count);
        self.sum_ns.add(nanoseconds.wrapping_mul(count));
    }

    /// How many durations fell into the bucket at `index`; the last is the one without a bound.
    #[must_use]
    pub fn bucket(&self, index: usize) -> u64 {
        self.buckets.get(index).map_or(0, Counter::get)
    }

    /// The sum of all durations in nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.get()
    }
}

/// What one shard counts, in the order of the catalogue.
///
/// Aligned to two cache lines, because the adjacent-line prefetcher makes two neighbours one.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardCounters {
    /// Connections open now.
    pub connections_active: Gauge,
    /// Handshakes by result.
    pub handshakes: Labelled<Handshake, { Handshake::ALL.len() }>,
    /// TLS handshakes of clients by result.
    pub tls_handshakes: Labelled<TlsHandshake, { TlsHandshake::ALL.len() }>,
    /// Messages received.
    pub messages_received: Counter,
    /// Messages put into outboxes.
    pub messages_sent: Counter,
    /// From receive to the last local outbox.
    pub processing_time: Histogram,
    /// From the accepted connection to the answered upgrade.
    pub handshake_time: Histogram,
    /// From having a message to the last local outbox.
    pub fan_out_time: Histogram,
    /// How long the oldest byte of an outbox had waited when its socket took it.
    pub outbox_age: Histogram,
    /// How late the shard's timer was.
    pub lag: Histogram,
    /// Millionths of the last second that the shard's thread worked.
    pub busy_ppm: Gauge,
    /// Nanoseconds that the shard's thread worked since its start.
    pub busy_ns: Counter,
    /// Connections that ended in an error, by reason.
    pub connection_errors: Labelled<ConnectionError, { ConnectionError::ALL.len() }>,
    /// Connections turned away, by reason.
    pub rejected: Labelled<Rejected, { Rejected::ALL.len() }>,
    /// Connections closed, by code.
    pub closed: Labelled<CloseCode, { CloseCode::ALL.len() }>,
    /// Connections closed because their peer read too slowly.
    pub slow_consumers: Counter,
    /// Subscriptions that exist now.
    pub subscriptions_active: Gauge,
    /// Bytes waiting in outboxes.
    pub outbox_bytes: Gauge,
    /// Readers that batches wait for. No series: what other shards have to know.
    pub behind: Gauge,
    /// Bytes read.
    pub bytes_received: Counter,
    /// Bytes written.
    pub bytes_sent: Counter,
    /// Items handed to other shards.
    pub relay_mail: Counter,
    /// Times a publisher was paused for want of credit.
    pub relay_paused: Counter,
    /// Times a connection was not read because it sent too fast.
    pub throttled: Counter,
    /// STOMP frames refused, by reason.
    pub refusals: Labelled<Refusal, { Refusal::ALL.len() }>,
    /// What became of tokens.
    pub auth: AuthCounters,
    /// What the shard's drain has done.
    pub drain: DrainCounters,
    /// What the shard's relay has done.
    pub relay: RelayCounters,
    /// What its replays have done.
    pub replays: ReplayCounters,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_two_shards_share_no_cache_line() {
        assert_eq!(align_of::<ShardCounters>(), 128);
        assert_eq!(size_of::<ShardCounters>() % 128, 0);
    }

    #[test]
    fn a_label_counts_for_itself_only() {
        let counters = ShardCounters::default();
        counters.handshakes.of(Handshake::Full).add(2);
        for label in Handshake::ALL {
            let expected = if label == Handshake::Full { 2 } else { 0 };
            assert_eq!(counters.handshakes.of(label).get(), expected);
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_one_more_to_the_next() {
        let histogram = Histogram::default();
        for (index, bound) in BUCKET_BOUNDS_NS.into_iter().enumerate() {
            let before = histogram.bucket(index);
            histogram.observe_ns(bound);
            assert_eq!(histogram.bucket(index), before + 1);
            histogram.observe_ns(bound + 1);
            assert_eq!(histogram.bucket(index + 1), 1);
        }
    }

    #[test]
    fn gauges_rise_fall_and_are_replaced() {
        let gauge = Gauge::default();
        gauge.add(5);
        gauge.sub(2);
        assert_eq!(gauge.get(), 3);
        gauge.set(9);
        assert_eq!(gauge.get(), 9);
    }
}
