//! What is left of a rate: a token bucket, and a pace that may be overdrawn.

use std::time::Duration;

use crate::stdx::time::Instant;

/// Tokens that come back at a steady pace up to a fixed number.
///
/// Invariant: `tokens` is at most `tokens_max`.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: u32,
    tokens_max: u32,
    refilled_at: Instant,
}

impl Bucket {
    /// A full bucket of `tokens_max`.
    #[must_use]
    pub const fn new(tokens_max: u32, now: Instant) -> Self {
        Self { tokens: tokens_max, tokens_max, refilled_at: now }
    }

    /// Takes one token; `false` when there is none. One token comes back every `interval`.
    pub fn take(&mut self, now: Instant, interval: Duration) -> bool {
        let interval = interval.max(Duration::from_nanos(1));
        let back = now.since(self.refilled_at).as_nanos() / interval.as_nanos();
        if 0 < back {
            let back = u32::try_from(back).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(back).min(self.tokens_max);
            self.refilled_at = self.refilled_at.after(interval.saturating_mul(back));
        }
        assert!(self.tokens <= self.tokens_max);
        let taken = 0 < self.tokens;
        self.tokens -= u32::from(taken);
        taken
    }
}

/// A rate that may be overdrawn: each unit costs its share of a second, and whoever is ahead of
/// time by more than a second's worth is over. One instant is all there is to keep.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// When what was taken so far would be paid for.
    paid_at: Instant,
}

impl Pace {
    /// Takes `count` at `per_second`, which is not 0; returns how long it is over by: zero while it
    /// is within a second's worth.
    pub fn take(&mut self, now: Instant, count: u64, per_second: u64) -> Duration {
        let per_second = per_second.max(1);
        let cost_ns = match count.checked_mul(1_000_000_000) {
            Some(product) => product / per_second,
            // Far slower, and for far more than comes at once.
            None => {
                let product = u128::from(count) * 1_000_000_000;
                u64::try_from(product / u128::from(per_second)).unwrap_or(u64::MAX)
            }
        };
        let cost = Duration::from_nanos(cost_ns);
        self.paid_at = self.paid_at.max(now).after(cost);
        self.paid_at.since(now).saturating_sub(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_size_and_then_one_per_interval() {
        let second = Duration::from_secs(1);
        let mut bucket = Bucket::new(2, Instant::default());
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        assert!(bucket.take(at(0), second) && bucket.take(at(0), second));
        assert!(!bucket.take(at(999), second));
        assert!(bucket.take(at(1000), second));
        assert!(!bucket.take(at(1999), second));
        assert!(bucket.take(at(2000), second));
        assert!(bucket.take(at(900_000), second) && bucket.take(at(900_000), second));
        assert!(!bucket.take(at(900_000), second));
    }

    #[test]
    fn a_pace_lets_a_second_ahead_and_says_by_how_much_it_is_over() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let ms = Duration::from_millis;
        let mut pace = Pace::default();
        for _ in 0..10 {
            assert_eq!(pace.take(at(5_000), 1, 10), ms(0));
        }
        assert_eq!(pace.take(at(5_000), 1, 10), ms(100));
        assert_eq!(pace.take(at(5_000), 5, 10), ms(600));
        assert_eq!(pace.take(at(5_600), 0, 10), ms(0));
        assert_eq!(pace.take(at(5_700), 1, 10), ms(0));
        assert_eq!(pace.take(at(5_700), 1, 10), ms(100));
        assert_eq!(pace.take(at(100_000), 10, 10), ms(0));
        assert_eq!(
            pace.take(at(100_000), u64::MAX, 1),
            Duration::from_nanos(u64::MAX - 101_000_000_000)
        );
    }
}
