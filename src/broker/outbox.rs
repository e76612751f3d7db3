//! One connection's outbox: bytes that wait for its socket, bounded in size and in age.

use std::collections::VecDeque;
use std::time::Duration;

use crate::broker::message::Encoded;
use crate::stdx::bytes::Batch;
use crate::stdx::bytes::Shared;
use crate::stdx::time::Instant;

/// Runs that are together at most this long are copied into one; longer ones are gathered.
const COPIED_BYTES_MAX: usize = 16 * 1024;
/// Most bytes given to the kernel at once.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Most runs gathered at once.
const BATCH_RUNS_MAX: usize = 64;
/// Room for runs that an empty outbox keeps.
const IDLE_RUNS_MAX: usize = 8;

/// The outbox is full: its peer reads too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Runs of bytes waiting for one socket, oldest first.
///
/// Invariants: `queued_bytes` is the sum of the lengths in `runs` minus `sent_of_first`; at most
/// `sent_of_first` < length of the first run; no run is empty.
#[derive(Debug, Default)]
pub struct Outbox {
    runs: VecDeque<Shared>,
    sent_of_first: usize,
    queued_bytes: usize,
    /// All bytes ever sent; with `queued_bytes` it gives a position to wait for.
    sent_bytes: u64,
    /// A byte position that was the end of the queue at this instant: while it is not sent, the
    /// oldest byte has waited at least since then.
    mark: Option<(u64, Instant)>,
}

impl Outbox {
    /// Bytes that wait.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queued_bytes == 0
    }

    /// Adds one message frame.
    ///
    /// # Errors
    ///
    /// [`Full`] when more than `bytes_max` would wait; the outbox then is as it was.
    pub fn push(&mut self, frame: &Encoded, bytes_max: usize, now: Instant) -> Result<(), Full> {
        if bytes_max < self.queued_bytes + frame.len() {
            return Err(Full);
        }
        self.push_run(frame.head.clone(), now);
        if let Some(body) = &frame.body {
            self.push_run(body.clone(), now);
        }
        Ok(())
    }

    /// Adds one run past any limit: for the few small frames of the protocol itself.
    pub fn push_run(&mut self, run: Shared, now: Instant) {
        if run.is_empty() {
            return;
        }
        self.queued_bytes += run.len();
        self.runs.push_back(run);
        if self.mark.is_none() {
            self.mark = Some((self.sent_bytes + self.queued_bytes as u64, now));
        }
    }

    /// Since when, at least, the oldest byte has been waiting.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Instant> {
        self.mark.map(|(_, since)| since)
    }

    /// Whether the oldest byte has waited for longer than `limit`.
    #[must_use]
    pub fn is_overdue(&self, now: Instant, limit: Duration) -> bool {
        self.waiting_since().is_some_and(|since| limit <= now.since(since))
    }

    /// What to send next, or `None` when nothing waits. It stays queued until [`Outbox::consume`].
    #[must_use]
    pub fn batch(&self) -> Option<Batch> {
        let first = self.runs.front()?;
        let offset = self.sent_of_first;
        if self.runs.len() == 1 {
            return Some(Batch::One(first.clone(), offset));
        }
        if self.queued_bytes <= COPIED_BYTES_MAX {
            let mut bytes = Vec::with_capacity(self.queued_bytes);
            for (index, run) in self.runs.iter().enumerate() {
                let skipped = if index == 0 { offset } else { 0 };
                bytes.extend_from_slice(&run.as_slice()[skipped..]);
            }
            return Some(Batch::Copied(bytes));
        }
        let mut runs = Vec::with_capacity(self.runs.len().min(BATCH_RUNS_MAX));
        let mut bytes = 0;
        for run in self.runs.iter().take(BATCH_RUNS_MAX) {
            if !runs.is_empty() && BATCH_BYTES_MAX < bytes + run.len() {
                break;
            }
            bytes += run.len();
            runs.push(run.clone());
        }
        Some(Batch::Gathered(runs, offset))
    }

    /// Forgets the `sent_bytes` bytes that the socket accepted; a run may go in part. Returns since
    /// when the oldest byte had been waiting, once all that waited with it is sent.
    #[inline]
    pub fn consume(&mut self, sent_bytes: usize, now: Instant) -> Option<Instant> {
        assert!(sent_bytes <= self.queued_bytes);
        self.queued_bytes -= sent_bytes;
        self.sent_bytes += sent_bytes as u64;
        let mut left = self.sent_of_first + sent_bytes;
        while let Some(first) = self.runs.front() {
            if left < first.len() {
                break;
            }
            left -= first.len();
            self.runs.pop_front();
        }
        self.sent_of_first = left;
        if self.runs.is_empty() && IDLE_RUNS_MAX < self.runs.capacity() {
            self.runs = VecDeque::new();
        }
        debug_assert_eq!(
            self.queued_bytes + self.sent_of_first,
            self.runs.iter().map(Shared::len).sum::<usize>()
        );
        let (position, since) = self.mark?;
        if self.sent_bytes < position {
            return None;
        }
        self.mark =
            (0 < self.queued_bytes).then_some((self.sent_bytes + self.queued_bytes as u64, now));
        Some(since)
    }

    /// Drops what the socket has not begun: all runs but one that is partly sent, or that the
    /// `in_flight_bytes` of a send under way reach into, with the body that belongs to it. The very
    /// first run stays too: it answers the handshake, and a close frame means nothing before it.
    pub fn drop_unsent(&mut self, in_flight_bytes: usize) {
        let mut kept_bytes = self.sent_of_first + in_flight_bytes;
        if self.sent_bytes == 0 {
            kept_bytes = kept_bytes.max(1);
        }
        let mut kept_runs = 0;
        for run in &self.runs {
            if kept_bytes == 0 && !run.is_body() {
                break;
            }
            kept_runs += 1;
            kept_bytes = kept_bytes.saturating_sub(run.len());
        }
        for run in self.runs.drain(kept_runs..) {
            self.queued_bytes -= run.len();
        }
        let end = self.sent_bytes + self.queued_bytes as u64;
        self.mark = self.mark.map(|(position, since)| (position.min(end), since));
        if self.queued_bytes == 0 {
            self.mark = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::bytes::Meter;

    fn frame(text: &str) -> Encoded {
        Encoded { head: Shared::new(text.as_bytes().to_vec(), &Meter::default()), body: None }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn bytes(outbox: &Outbox) -> Vec<u8> {
        outbox.batch().map(|it| it.slices().flatten().copied().collect()).unwrap_or_default()
    }

    #[test]
    fn a_full_outbox_refuses_and_keeps_what_it_had() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(&frame("12345"), 10, at(0)), Ok(()));
        assert_eq!(outbox.push(&frame("67890"), 10, at(0)), Ok(()));
        assert_eq!(outbox.push(&frame("x"), 10, at(0)), Err(Full));
        assert_eq!(bytes(&outbox), b"1234567890");
        outbox.consume(1, at(0));
        assert_eq!(outbox.push(&frame("x"), 10, at(0)), Ok(()));
        assert_eq!(bytes(&outbox), b"234567890x");
    }

    #[test]
    fn what_was_sent_in_part_goes_on_where_it_stopped() {
        let mut outbox = Outbox::default();
        for text in ["abc", "def", "ghi"] {
            outbox.push(&frame(text), 100, at(0)).unwrap();
        }
        for (sent, rest) in [(2, "cdefghi"), (1, "defghi"), (4, "hi"), (2, "")] {
            outbox.consume(sent, at(0));
            assert_eq!(bytes(&outbox), rest.as_bytes());
            assert_eq!(outbox.queued_bytes(), rest.len());
        }
        assert!(outbox.is_empty() && outbox.batch().is_none());
    }

    #[test]
    fn an_outbox_is_overdue_when_its_oldest_byte_is() {
        let limit = Duration::from_millis(10);
        let mut outbox = Outbox::default();
        outbox.push(&frame("abc"), 100, at(0)).unwrap();
        outbox.push(&frame("def"), 100, at(5)).unwrap();
        assert!(!outbox.is_overdue(at(9), limit));
        assert!(outbox.is_overdue(at(10), limit));
        outbox.consume(3, at(9));
        assert!(!outbox.is_overdue(at(18), limit));
        assert!(outbox.is_overdue(at(19), limit));
        outbox.consume(3, at(19));
        assert!(!outbox.is_overdue(at(99), limit));
        outbox.push(&frame("abc"), 100, at(100)).unwrap();
        outbox.consume(1, at(105));
        assert!(outbox.is_overdue(at(110), limit), "a trickle does not make it younger");
    }

    #[test]
    fn dropping_keeps_only_what_is_on_its_way() {
        let mut outbox = Outbox::default();
        for text in ["abc", "def", "ghi"] {
            outbox.push(&frame(text), 100, at(0)).unwrap();
        }
        outbox.consume(1, at(0));
        outbox.drop_unsent(0);
        assert_eq!(bytes(&outbox), b"bc");
        outbox.push(&frame("xyz"), 100, at(0)).unwrap();
        outbox.drop_unsent(3);
        assert_eq!(bytes(&outbox), b"bcxyz");
        outbox.consume(2, at(0));
        outbox.drop_unsent(0);
        assert!(outbox.is_empty());
    }

    #[test]
    fn dropping_cuts_no_frame_between_its_head_and_its_body() {
        let meter = Meter::default();
        let head = |text: &str| Shared::new(text.as_bytes().to_vec(), &meter);
        let body = || Some(Shared::from_body(b"body".as_slice().into(), &meter));
        for sent_bytes in [1, 4, 5] {
            let mut outbox = Outbox::default();
            outbox.push(&Encoded { head: head("head"), body: body() }, 100, at(0)).unwrap();
            outbox.push(&Encoded { head: head("next"), body: body() }, 100, at(0)).unwrap();
            outbox.consume(sent_bytes, at(0));
            outbox.drop_unsent(0);
            assert_eq!(bytes(&outbox), &b"headbody"[sent_bytes..], "after {sent_bytes}");
        }
    }

    #[test]
    fn dropping_keeps_the_answer_to_the_handshake() {
        let mut outbox = Outbox::default();
        outbox.push(&frame("101"), 100, at(0)).unwrap();
        outbox.push(&frame("abc"), 100, at(0)).unwrap();
        outbox.drop_unsent(0);
        assert_eq!(bytes(&outbox), b"101");
    }

    #[test]
    fn many_large_runs_are_gathered_and_bounded() {
        let mut outbox = Outbox::default();
        let large = "x".repeat(100_000);
        for _ in 0..5 {
            outbox.push(&frame(&large), 1_000_000, at(0)).unwrap();
        }
        let batch = outbox.batch().unwrap();
        assert_eq!(batch.len(), 200_000);
        assert!(matches!(batch, Batch::Gathered(_, 0)));
    }
}
