//! The one place that reads clocks; everything else is given the time.

use std::time::Instant;
use std::time::SystemTime;

/// The time now, from the monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, for the record of a run.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the clock")]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Nanoseconds from `start` to `end`; 0 when `end` is the earlier one.
#[must_use]
pub fn elapsed_ns(start: Instant, end: Instant) -> u64 {
    u64::try_from(end.saturating_duration_since(start).as_nanos()).unwrap_or(u64::MAX)
}
