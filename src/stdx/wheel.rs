//! One coarse timer wheel per shard: deadlines by the tick, with no timer per connection.

use std::time::Duration;

use crate::stdx::slab::Key;
use crate::stdx::time::Instant;

/// Slots of one turn of the wheel.
const SLOTS_COUNT: usize = 512;

/// Deadlines of keyed things, sorted into slots of one tick each.
///
/// Entries are never taken back: the owner keeps the tick that it armed last ([`Wheel::arm`]
/// returns it) and ignores a key that comes out at another. A deadline comes out at the first tick
/// at or after it, so at most one tick late.
#[derive(Debug)]
pub struct Wheel {
    slots: Vec<Vec<(Key, Tick)>>,
    tick: Duration,
    next: Tick,
}

/// A count of ticks since the start of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// Later than every deadline: what something unarmed holds.
    pub const NEVER: Self = Self(u64::MAX);
}

impl Wheel {
    /// A wheel of ticks of this length.
    #[must_use]
    pub fn new(tick: Duration) -> Self {
        assert!(Duration::ZERO < tick);
        Self { slots: vec![Vec::new(); SLOTS_COUNT], tick, next: Tick(0) }
    }

    /// The tick at which a deadline would come out.
    #[must_use]
    pub fn tick_of(&self, deadline: Instant) -> Tick {
        let nanos = u64::try_from(self.tick.as_nanos()).unwrap_or(u64::MAX);
        Tick(deadline.as_nanos().div_ceil(nanos)).max(self.next)
    }

    /// Puts `key` in at the tick of `deadline` and returns that tick.
    pub fn arm(&mut self, key: Key, deadline: Instant) -> Tick {
        let tick = self.tick_of(deadline);
        self.slots[slot_of(tick)].push((key, tick));
        tick
    }

    /// Moves all that is due by `now` into `due`, in the order of their ticks.
    pub fn advance(&mut self, now: Instant, due: &mut Vec<(Key, Tick)>) {
        let nanos = u64::try_from(self.tick.as_nanos()).unwrap_or(u64::MAX);
        let last = Tick(now.as_nanos() / nanos);
        // After a long pause every slot is looked at once, not once per missed tick.
        let ticks_count = (last.0 + 1).saturating_sub(self.next.0).min(SLOTS_COUNT as u64);
        for offset in 0..ticks_count {
            let slot = &mut self.slots[slot_of(Tick(self.next.0 + offset))];
            let first = due.len();
            slot.retain(|entry| {
                let is_due = entry.1 <= last;
                if is_due {
                    due.push(*entry);
                }
                !is_due
            });
            if slot.is_empty() && 64 < slot.capacity() {
                *slot = Vec::new();
            }
            due[first..].sort_by_key(|entry| entry.1);
        }
        self.next = Tick(self.next.0.max(last.0 + 1));
    }
}

const fn slot_of(tick: Tick) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "below SLOTS_COUNT after the remainder")]
    let slot = (tick.0 % SLOTS_COUNT as u64) as usize;
    slot
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::slab::Slab;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn due(wheel: &mut Wheel, now: Instant) -> Vec<Key> {
        let mut due = Vec::new();
        wheel.advance(now, &mut due);
        due.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_deadline_comes_out_once_at_the_first_tick_after_it() {
        let mut slab = Slab::default();
        let (one, two) = (slab.insert(()), slab.insert(()));
        let mut wheel = Wheel::new(Duration::from_millis(100));
        wheel.arm(one, at(150));
        wheel.arm(two, at(200));
        assert_eq!(due(&mut wheel, at(199)), []);
        assert_eq!(due(&mut wheel, at(200)), [one, two]);
        assert_eq!(due(&mut wheel, at(90_000)), []);
    }

    #[test]
    fn a_deadline_more_than_a_turn_away_waits_for_its_turn() {
        let mut slab = Slab::default();
        let key = slab.insert(());
        let mut wheel = Wheel::new(Duration::from_millis(100));
        wheel.arm(key, at(60_000));
        for ms in (0..60_000).step_by(100) {
            assert_eq!(due(&mut wheel, at(ms)), [], "{ms}");
        }
        assert_eq!(due(&mut wheel, at(60_000)), [key]);
    }

    #[test]
    fn a_long_pause_loses_nothing_and_a_past_deadline_is_due_next() {
        let mut slab = Slab::default();
        let keys: Vec<Key> = (0..1000).map(|_| slab.insert(())).collect();
        let mut wheel = Wheel::new(Duration::from_millis(100));
        for (index, key) in keys.iter().enumerate() {
            wheel.arm(*key, at(index as u64 * 137));
        }
        let mut out = due(&mut wheel, at(1_000_000));
        out.sort();
        assert_eq!(out, keys);
        let tick = wheel.arm(keys[0], at(5));
        assert!(wheel.tick_of(at(1_000_000)) <= tick);
        assert_eq!(due(&mut wheel, at(1_000_200)), [keys[0]]);
    }
}
