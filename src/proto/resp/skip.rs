//! Passes over a message that is too large to be kept.

use crate::proto::resp::Error;
use crate::proto::resp::token::Stop;
use crate::proto::resp::token::length;

/// What is left of a message that is passed over while it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Bytes up to the end of the part that is being passed over.
    bytes: usize,
    /// Whether that part's CR LF has been seen.
    is_ended: bool,
    /// Parts behind it.
    parts_count: usize,
}

impl Skip {
    /// Passes over a message whose part at `start` has `part_bytes` and `parts_count` others behind
    /// it.
    pub(super) const fn new(start: usize, part_bytes: usize, parts_count: usize) -> Self {
        Self { bytes: start.saturating_add(part_bytes), is_ended: false, parts_count }
    }

    /// Takes what it can from the front of `bytes`, at the first call from the message's first
    /// byte on, and returns how many bytes that are. What is left over (at most a few bytes of a
    /// line that is cut) belongs in front of the next call's.
    ///
    /// # Errors
    ///
    /// Any [`Error`] means that the stream is lost.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let mut at = 0;
        loop {
            let passed_bytes = self.bytes.min(bytes.len() - at);
            self.bytes -= passed_bytes;
            at += passed_bytes;
            if 0 < self.bytes || self.is_done() {
                return Ok(at);
            }
            if !self.is_ended {
                match bytes.get(at..at + 2) {
                    None => return Ok(at),
                    Some(b"\r\n") => self.is_ended = true,
                    Some(_) => return Err(Error::BulkEnd),
                }
                at += 2;
                continue;
            }
            match bytes.get(at) {
                None => return Ok(at),
                Some(b'$') => {}
                Some(_) => return Err(Error::Message),
            }
            match length(bytes, at + 1) {
                Ok((Some(part_bytes), start)) => {
                    at = start;
                    self.bytes = part_bytes;
                    self.is_ended = false;
                    self.parts_count -= 1;
                }
                Ok((None, _)) => return Err(Error::Message),
                Err(Stop::Incomplete(_)) => return Ok(at),
                Err(Stop::Broken(error)) => return Err(error),
            }
        }
    }

    /// Whether the whole message has been passed over.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.bytes == 0 && self.is_ended && self.parts_count == 0
    }
}
