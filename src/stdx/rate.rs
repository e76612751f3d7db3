//! A token bucket: what is left of a rate.

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
}
