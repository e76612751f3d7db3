//! Received bytes that wait to be understood: grows as far as it is asked to, and back again.

use std::mem;

use crate::shard::link::Taken;

/// Room for the first receive.
const ROOM_BYTES: usize = 64 * 1024;
/// Room that a busy link grows to by itself.
const ROOM_BYTES_MAX: usize = 256 * 1024;
/// Least room to receive into.
const ROOM_BYTES_MIN: usize = 16 * 1024;

/// Bytes of one link in order.
///
/// Invariant: `filled` <= `bytes.len()`; what is behind it is room.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    filled: usize,
    /// Nothing is given before there are so many.
    bytes_min: usize,
    /// The last receive left no room: the next one gets more.
    was_full: bool,
}

impl Inbox {
    /// Room to receive into, never none.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let grown = if mem::take(&mut self.was_full) { self.bytes.len() * 2 } else { 0 };
        let wanted = (self.filled + ROOM_BYTES_MIN)
            .max(self.bytes_min)
            .max(ROOM_BYTES)
            .max(grown.min(ROOM_BYTES_MAX));
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        &mut self.bytes[self.filled..]
    }

    /// So many bytes of the room were received.
    pub(super) fn fill(&mut self, bytes: usize) {
        assert!(bytes <= self.bytes.len() - self.filled);
        self.filled += bytes;
        self.was_full = self.filled == self.bytes.len();
    }

    /// Lets `write` append bytes that come from elsewhere than the room.
    pub(super) fn append<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.bytes.truncate(self.filled);
        let result = write(&mut self.bytes);
        self.filled = self.bytes.len();
        result
    }

    /// Gives the bytes to `take`, again as long as it takes some and the rest may be enough.
    pub(super) fn give(&mut self, mut take: impl FnMut(&mut [u8]) -> Taken) {
        let mut taken_bytes = 0;
        while taken_bytes < self.filled && self.bytes_min <= self.filled - taken_bytes {
            let taken = take(&mut self.bytes[taken_bytes..self.filled]);
            assert!(taken.consumed <= self.filled - taken_bytes);
            taken_bytes += taken.consumed;
            self.bytes_min = taken.bytes_min;
            if taken.consumed == 0 {
                break;
            }
        }
        if 0 < taken_bytes {
            self.bytes.copy_within(taken_bytes..self.filled, 0);
            self.filled -= taken_bytes;
            self.was_full = self.was_full && self.bytes.len() < ROOM_BYTES_MAX;
        }
        if self.filled == 0 {
            self.bytes_min = 0;
        }
    }

    /// Whether it holds memory that it could give back.
    pub(super) fn has_room(&self) -> bool {
        self.filled < self.bytes.capacity()
    }

    /// Gives back all memory but that of bytes that wait.
    pub(super) fn shrink(&mut self) {
        self.bytes.truncate(self.filled);
        self.bytes.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Receives `bytes`, in as many rooms as that takes.
    fn receive(inbox: &mut Inbox, bytes: &[u8], mut take: impl FnMut(&mut [u8]) -> Taken) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = inbox.room();
            let count = room.len().min(rest.len());
            room[..count].copy_from_slice(&rest[..count]);
            inbox.fill(count);
            inbox.give(&mut take);
            rest = &rest[count..];
        }
    }

    fn take_lines(lines: &mut Vec<String>, bytes: &[u8]) -> Taken {
        let Some(end) = bytes.iter().position(|it| *it == b'\n') else {
            return Taken { consumed: 0, bytes_min: bytes.len() + 1 };
        };
        lines.push(String::from_utf8(bytes[..end].to_vec()).unwrap());
        Taken { consumed: end + 1, bytes_min: 0 }
    }

    #[test]
    fn what_is_not_taken_comes_again_with_what_follows() {
        let mut lines = Vec::new();
        let mut inbox = Inbox::default();
        for piece in ["on", "e\ntwo\nth", "", "ree", "\n", "four\n"] {
            receive(&mut inbox, piece.as_bytes(), |bytes| take_lines(&mut lines, bytes));
        }
        assert_eq!(lines, ["one", "two", "three", "four"]);
        assert_eq!(inbox.filled, 0);
    }

    #[test]
    fn nothing_is_given_again_before_there_is_enough() {
        let mut calls_count = 0;
        let mut inbox = Inbox::default();
        for _ in 0..100 {
            receive(&mut inbox, b"x", |bytes| {
                calls_count += 1;
                let is_enough = bytes.len() == 100;
                Taken { consumed: if is_enough { 100 } else { 0 }, bytes_min: 100 }
            });
        }
        assert_eq!((calls_count, inbox.filled), (2, 0));
    }

    #[test]
    fn it_grows_as_far_as_asked_and_gives_back_when_idle() {
        let mut inbox = Inbox::default();
        assert_eq!((inbox.room().len(), inbox.has_room()), (ROOM_BYTES, true));
        let long = vec![b'x'; 900_000];
        let bytes_min = long.len();
        let mut take = |bytes: &mut [u8]| {
            let is_whole = bytes.len() == bytes_min;
            Taken { consumed: if is_whole { bytes_min } else { 0 }, bytes_min }
        };
        receive(&mut inbox, &long[..1], &mut take);
        assert_eq!(inbox.room().len(), bytes_min - 1);
        receive(&mut inbox, &long[1..], &mut take);
        assert_eq!(inbox.filled, 0);
        receive(&mut inbox, b"abc", &mut take);
        inbox.shrink();
        assert_eq!((&inbox.bytes[..], inbox.bytes.capacity()), (&b"abc"[..], 3));
    }

    #[test]
    fn a_busy_link_gets_more_room_up_to_a_bound() {
        let mut inbox = Inbox::default();
        let mut rooms = Vec::new();
        for _ in 0..6 {
            let room_bytes = inbox.room().len();
            rooms.push(room_bytes);
            inbox.fill(room_bytes);
            inbox.give(|bytes| Taken { consumed: bytes.len(), bytes_min: 0 });
        }
        assert_eq!(rooms[..3], [ROOM_BYTES, 2 * ROOM_BYTES, 4 * ROOM_BYTES]);
        assert_eq!(rooms[3..], [ROOM_BYTES_MAX; 3]);
    }
}
