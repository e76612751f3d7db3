//! Who sends what to which room and when: fixed before the first message leaves.

use std::time::Duration;

use crate::payload::SEQUENCE_MAX;

/// All messages of a phase, in the order they are due: senders take turns, and so do rooms.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Messages of the whole phase; of a closed loop as many as there can be.
    pub messages_count: u64,
    /// Clients that send.
    pub senders_count: u16,
    /// Rooms there are.
    pub rooms_count: usize,
    rate: f64,
}

/// One message of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sends it, from 0.
    pub sender: u16,
    /// Where it goes, from 0.
    pub room: u64,
    /// Position among the messages of that sender to that room, from 0.
    pub sequence: u64,
}

impl Schedule {
    /// Messages at `rate` for `seconds`; with a rate of 0 a closed loop, which has no times.
    ///
    /// # Errors
    ///
    /// There is no time to send a single message, or too much.
    pub fn new(
        rate: f64,
        seconds: f64,
        senders_count: u16,
        rooms_count: usize,
    ) -> anyhow::Result<Self> {
        let mut schedule = Self { messages_count: SEQUENCE_MAX, senders_count, rooms_count, rate };
        if rate != 0.0 {
            let run = Duration::try_from_secs_f64(seconds)?;
            schedule.messages_count = 0;
            while schedule.due_after(schedule.messages_count) < run {
                schedule.messages_count += 1;
                anyhow::ensure!(schedule.messages_count < SEQUENCE_MAX, "too many messages");
            }
            anyhow::ensure!(schedule.messages_count != 0, "there is no time to send a message");
        }
        Ok(schedule)
    }

    /// When message `index` is due, from the start.
    #[must_use]
    pub fn due_after(&self, index: u64) -> Duration {
        if self.rate == 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(index as f64 / self.rate)
    }

    /// How many messages are due before `after`, from the start.
    #[must_use]
    pub fn due_count(&self, after: Duration) -> u64 {
        let (mut low, mut high) = (0, self.messages_count);
        while low < high {
            let middle = low.midpoint(high);
            if self.due_after(middle) < after {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// What message `index` is.
    #[must_use]
    pub fn message(&self, index: u64) -> Message {
        let senders_count = u64::from(self.senders_count);
        let turn = index / senders_count;
        let rooms_count = self.rooms_count as u64;
        Message {
            sender: u16::try_from(index % senders_count).unwrap_or_default(),
            room: turn % rooms_count,
            sequence: turn / rooms_count,
        }
    }

    /// Where `message` stands; `None` when there is none such.
    #[must_use]
    pub fn index_of(&self, message: Message) -> Option<u64> {
        if self.senders_count <= message.sender || self.rooms_count as u64 <= message.room {
            return None;
        }
        let turn = message.sequence.checked_mul(self.rooms_count as u64)? + message.room;
        let index = turn.checked_mul(u64::from(self.senders_count))? + u64::from(message.sender);
        (index < self.messages_count).then_some(index)
    }

    /// How many messages `sender` has for `room` among those below `limit`.
    #[must_use]
    pub fn count_below(&self, sender: u16, room: u64, limit: u64) -> u64 {
        let (senders_count, rooms_count) = (u64::from(self.senders_count), self.rooms_count as u64);
        let limit = limit.min(self.messages_count);
        let turns = limit.saturating_sub(u64::from(sender)).div_ceil(senders_count);
        turns.saturating_sub(room).div_ceil(rooms_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(messages_count: u64, senders_count: u16, rooms_count: usize) {
        let schedule = Schedule { messages_count, senders_count, rooms_count, rate: 10.0 };
        let mut counts = vec![0; usize::from(senders_count) * rooms_count];
        for index in 0..messages_count {
            let message = schedule.message(index);
            assert_eq!(schedule.index_of(message), Some(index));
            let room = usize::try_from(message.room).unwrap();
            let count = &mut counts[usize::from(message.sender) * rooms_count + room];
            assert_eq!(message.sequence, *count, "numbers go up by one for a sender and a room");
            assert_eq!(schedule.count_below(message.sender, message.room, index), *count);
            *count += 1;
        }
        for (position, count) in counts.iter().enumerate() {
            let sender = u16::try_from(position / rooms_count).unwrap();
            let room = (position % rooms_count) as u64;
            assert_eq!(schedule.count_below(sender, room, u64::MAX), *count);
        }
        assert_eq!(schedule.index_of(schedule.message(messages_count)), None);
    }

    #[test]
    fn every_message_is_one_of_one_sender_to_one_room() {
        for messages_count in [1, 2, 7, 24, 25] {
            for senders_count in [1, 2, 3] {
                for rooms_count in [1, 2, 4] {
                    check(messages_count, senders_count, rooms_count);
                }
            }
        }
    }

    #[test]
    fn times_and_counts_agree() {
        for rate in [0.7, 3.0, 1000.0, 33_333.3] {
            let schedule = Schedule::new(rate, 10.0, 1, 1).unwrap();
            for index in (0..schedule.messages_count).step_by(7) {
                let due_after = schedule.due_after(index);
                assert_eq!(schedule.due_count(due_after), index);
                assert_eq!(schedule.due_count(due_after + Duration::from_nanos(1)), index + 1);
            }
            assert_eq!(schedule.due_count(Duration::from_secs(99)), schedule.messages_count);
        }
        assert!(Schedule::new(1.0, 0.0, 1, 1).is_err());
    }
}
