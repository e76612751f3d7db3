//! The only place that reads a clock.

use std::time::Duration;
use std::time::SystemTime;

use rustix::time::ClockId;

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

    /// Where the process's start lies on the wall clock, in milliseconds since the Unix epoch.
    ///
    /// It moves when the wall clock is set, so it is asked again now and then; in between one
    /// reading of the monotonic clock serves for both.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    pub fn unix_start_ms(&self) -> u64 {
        let since_epoch =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let unix_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        unix_ms.saturating_sub(self.instant().as_millis())
    }

    /// The time on both clocks, given where the start lies on the wall clock.
    #[must_use]
    pub fn now(&self, unix_start_ms: u64) -> Now {
        let instant = self.instant();
        Now { instant, unix_ms: unix_start_ms + instant.as_millis() }
    }

    /// The time on the monotonic clock.
    #[must_use]
    pub fn instant(&self) -> Instant {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Instant::from_nanos(nanos)
    }
}

/// The CPU time of this thread since its start, in the kernel and outside of it.
#[must_use]
pub fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
