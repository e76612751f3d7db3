//! The one place that reads clocks; everything else is given the time.

use std::sync::LazyLock;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use rustix::time::ClockId;

/// The same moment on both clocks: `Instant` cannot leave a process, the monotonic clock below it
/// is the same for all processes.
static ANCHOR: LazyLock<(Instant, u64)> = LazyLock::new(|| {
    let shared = rustix::time::clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(shared.tv_sec).unwrap_or(0);
    let rest = u64::try_from(shared.tv_nsec).unwrap_or(0);
    (now(), seconds * 1_000_000_000 + rest)
});

/// The time now, from the monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// `instant` as other processes of this machine know it.
#[must_use]
pub fn to_shared_ns(instant: Instant) -> u64 {
    let (anchor, anchor_ns) = *ANCHOR;
    match instant.checked_duration_since(anchor) {
        Some(after) => anchor_ns.saturating_add(whole_ns(after)),
        None => anchor_ns.saturating_sub(whole_ns(anchor - instant)),
    }
}

/// What another process called `shared_ns`.
#[must_use]
pub fn from_shared_ns(shared_ns: u64) -> Instant {
    let (anchor, anchor_ns) = *ANCHOR;
    match shared_ns.checked_sub(anchor_ns) {
        Some(after) => anchor + Duration::from_nanos(after),
        None => anchor - Duration::from_nanos(anchor_ns - shared_ns),
    }
}

/// Seconds since 1970, for the record of a run.
#[must_use]
pub fn unix_seconds() -> u64 {
    unix_ms() / 1000
}

/// Milliseconds since 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the clock")]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Nanoseconds from `start` to `end`; 0 when `end` is the earlier one.
#[must_use]
pub fn elapsed_ns(start: Instant, end: Instant) -> u64 {
    whole_ns(end.saturating_duration_since(start))
}

fn whole_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives_its_way_through_another_process() {
        let before = now();
        for instant in [before, now(), now() + Duration::from_secs(3)] {
            assert_eq!(from_shared_ns(to_shared_ns(instant)), instant);
        }
    }
}
