//! The only place that reads a clock.

use std::time::Duration;
use std::time::SystemTime;

use crate::stdx::time::Instant;
use crate::stdx::time::Now;

/// Reads both clocks; copied to every shard, so that all count from one start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock whose [`Instant`]s count from now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    pub fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// The time on both clocks.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    pub fn now(&self) -> Now {
        let since_epoch =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now {
            instant: self.instant(),
            unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The time on the monotonic clock.
    #[must_use]
    pub fn instant(&self) -> Instant {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Instant::from_nanos(nanos)
    }
}
