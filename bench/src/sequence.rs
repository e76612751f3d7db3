//! Loss, doubles and order, by the numbers in the messages.

use serde::Deserialize;
use serde::Serialize;

/// Gaps that one tracker remembers; beyond that the oldest counts as lost for good.
const GAPS_COUNT_MAX: usize = 4096;

/// What a message was, seen from those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The next one.
    InOrder,
    /// A later one than expected: those between are missing so far.
    Early,
    /// One that was missing: it came after a later one.
    Late,
    /// One that came before.
    Double,
}

/// Messages of one sender as one subscriber gets them.
///
/// Invariant: `gaps` are ranges below `next`, ascending, not empty and not touching.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    next: u64,
    gaps: Vec<(u64, u64)>,
    forgotten_count: u64,
    late_count: u64,
    double_count: u64,
}

impl Tracker {
    /// Takes note of one received message.
    pub fn observe(&mut self, sequence: u64) -> Seen {
        if sequence == self.next {
            self.next += 1;
            return Seen::InOrder;
        }
        if self.next < sequence {
            self.gaps.push((self.next, sequence));
            if GAPS_COUNT_MAX < self.gaps.len() {
                let (start, end) = self.gaps.remove(0);
                self.forgotten_count += end - start;
            }
            self.next = sequence + 1;
            return Seen::Early;
        }
        let found = self.gaps.iter().position(|(start, end)| (*start..*end).contains(&sequence));
        let Some(index) = found else {
            self.double_count += 1;
            return Seen::Double;
        };
        let (start, end) = self.gaps.remove(index);
        if sequence + 1 < end {
            self.gaps.insert(index, (sequence + 1, end));
        }
        if start < sequence {
            self.gaps.insert(index, (start, sequence));
        }
        self.late_count += 1;
        Seen::Late
    }

    /// The number after the highest one that came.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The verdict, when `sent_count` messages were sent: those numbered below it.
    #[must_use]
    pub fn verdict(&self, sent_count: u64) -> Verdict {
        let missing_count: u64 = self.gaps.iter().map(|(start, end)| end - start).sum();
        let missing_count = missing_count + self.forgotten_count;
        Verdict {
            expected_count: sent_count,
            received_count: self.next - missing_count,
            lost_count: missing_count + sent_count.saturating_sub(self.next),
            doubled_count: self.double_count,
            reordered_count: self.late_count,
            damaged_count: 0,
        }
    }
}

/// What arrived of what was sent, summed over subscribers.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Deliveries there should have been.
    pub expected_count: u64,
    /// Deliveries there were, doubles not counted.
    pub received_count: u64,
    /// Deliveries that never came.
    pub lost_count: u64,
    /// Deliveries that came again.
    pub doubled_count: u64,
    /// Deliveries that came after a later one of the same sender.
    pub reordered_count: u64,
    /// Messages that were not what any sender sent.
    pub damaged_count: u64,
}

impl Verdict {
    /// Adds another subscriber's counts.
    pub fn add(&mut self, other: Self) {
        self.expected_count += other.expected_count;
        self.received_count += other.received_count;
        self.lost_count += other.lost_count;
        self.doubled_count += other.doubled_count;
        self.reordered_count += other.reordered_count;
        self.damaged_count += other.damaged_count;
    }

    /// Everything arrived once, whole and in order.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost_count == 0
            && self.doubled_count == 0
            && self.reordered_count == 0
            && self.damaged_count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks lost, doubled and reordered of the numbers in `received` when `sent_count` were sent.
    #[track_caller]
    fn check(received: &[u64], sent_count: u64, expected: (u64, u64, u64)) {
        let mut tracker = Tracker::default();
        for sequence in received {
            tracker.observe(*sequence);
        }
        let verdict = tracker.verdict(sent_count);
        let counts = (verdict.lost_count, verdict.doubled_count, verdict.reordered_count);
        assert_eq!(counts, expected);
        assert_eq!(verdict.received_count + verdict.lost_count, sent_count);
    }

    #[test]
    fn order_loss_doubles_and_swaps_are_told_apart() {
        check(&[0, 1, 2, 3], 4, (0, 0, 0));
        check(&[], 4, (4, 0, 0));
        check(&[0, 1], 4, (2, 0, 0));
        check(&[0, 2, 3], 4, (1, 0, 0));
        check(&[2, 3], 4, (2, 0, 0));
        check(&[0, 1, 1, 2, 3], 4, (0, 1, 0));
        check(&[0, 2, 1, 3], 4, (0, 0, 1));
        check(&[3, 2, 1, 0], 4, (0, 0, 3));
        check(&[0, 3, 1, 1, 3], 4, (1, 2, 1));
    }

    #[test]
    fn a_gap_is_filled_from_any_side() {
        check(&[5, 0, 4, 2], 6, (2, 0, 3));
        check(&[5, 1, 2, 3, 4, 0, 0], 6, (0, 1, 5));
    }

    #[test]
    fn more_gaps_than_are_remembered_still_count_as_lost() {
        let odd: Vec<u64> = (0..10_000).map(|it| 2 * it + 1).collect();
        check(&odd, 20_000, (10_000, 0, 0));
    }
}
