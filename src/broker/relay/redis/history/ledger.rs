//! What has a place and is not known to be stored, and what is stored and not noted in Redis yet.
//!
//! ```text
//! script answered ─► waiting (and records, until handed over) ─ committed ─► marks ─► mark script
//! ```
//!
//! The store answers in the order in which it was given the records, so a count is all that its
//! answers need.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::relay::Event;
use crate::broker::relay::RECORDS_MAX;
use crate::broker::relay::Stored;
use crate::broker::relay::Token;

/// Consecutive numbers of one epoch: the epoch, the first and the last.
pub(super) type Run = (u64, u64, u64);

/// The ledger of one core.
///
/// Invariants: `waiting` has an entry for each record that was taken and not answered by the store,
/// in the order in which it is given them; `records` are the last of these.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Whether the store is there.
    pub(super) is_up: bool,
    /// What waits for a store that is away is answered as deferred.
    defers: bool,
    waiting: VecDeque<Waiting>,
    records: VecDeque<Arc<Publication>>,
    marks: BTreeMap<Box<str>, Marks>,
    /// Channels with marks that nobody writes at the moment.
    due: VecDeque<Box<str>>,
    pub(super) deferred_count: u64,
}

#[derive(Debug)]
struct Waiting {
    record: Arc<Publication>,
    token: Option<Token>,
}

#[derive(Debug, Default)]
struct Marks {
    runs: Vec<Run>,
    /// An earlier part of them is under way.
    is_asked: bool,
}

impl Ledger {
    pub(super) fn new(defers: bool) -> Self {
        Self { defers, ..Self::default() }
    }

    /// Records that are not known to be stored.
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// A record that has its place; `token` is answered when it is stored.
    pub(super) fn push(
        &mut self,
        record: Arc<Publication>,
        token: Option<Token>,
        events: &mut VecDeque<Event>,
    ) {
        let mut token = token;
        if !self.is_up {
            self.answer_lost(&record, token.take(), events);
            if RECORDS_MAX <= self.waiting.len() {
                // It is in the stream, and copied from there.
                return;
            }
        }
        self.waiting.push_back(Waiting { record: Arc::clone(&record), token });
        self.records.push_back(record);
    }

    /// The next record for the store.
    pub(super) fn poll_record(&mut self) -> Option<Arc<Publication>> {
        let handed_count = self.waiting.len() - self.records.len();
        if RECORDS_MAX <= handed_count { None } else { self.records.pop_front() }
    }

    pub(super) fn has_records(&self) -> bool {
        !self.records.is_empty() && self.waiting.len() - self.records.len() < RECORDS_MAX
    }

    /// What the store has said.
    pub(super) fn handle_stored(&mut self, stored: &Stored, events: &mut VecDeque<Event>) {
        match stored {
            Stored::Opened { .. } | Stored::Up => self.is_up = true,
            Stored::Down => self.lose(events),
            Stored::Committed(count) => {
                let count = (*count).min(self.waiting.len());
                let done: Vec<Waiting> = self.waiting.drain(..count).collect();
                for Waiting { record, token } in done {
                    let place = record.place().unwrap_or_default();
                    self.mark(&record.channel, place);
                    events.extend(token.map(|token| Event::Stored(token, place)));
                }
            }
            Stored::Refused => {
                let Some(Waiting { record, token }) = self.waiting.pop_front() else { return };
                // It never will be: what comes behind it must not wait.
                self.mark(&record.channel, record.place().unwrap_or_default());
                let text = "it was sent, but the store cannot keep it";
                let refusal = Refusal::new(Code::StoreRefused, text);
                events.extend(token.map(|token| Event::Refused(token, refusal)));
            }
        }
    }

    fn lose(&mut self, events: &mut VecDeque<Event>) {
        self.is_up = false;
        for index in 0..self.waiting.len() {
            let Some(waiting) = self.waiting.get_mut(index) else { return };
            let (record, token) = (Arc::clone(&waiting.record), waiting.token.take());
            self.answer_lost(&record, token, events);
        }
    }

    /// Answers who waits for a store that is away.
    fn answer_lost(
        &mut self,
        record: &Publication,
        token: Option<Token>,
        events: &mut VecDeque<Event>,
    ) {
        let Some(token) = token else { return };
        if self.defers {
            self.deferred_count += 1;
            events.push_back(Event::Deferred(token, record.place().unwrap_or_default()));
            return;
        }
        let text = "it was sent, and the store was lost before it answered; it is stored when that \
                    is back";
        events.push_back(Event::Refused(token, Refusal::new(Code::StoreUnknown, text)));
    }

    /// Notes that what has this place is stored, or is never to be.
    pub(super) fn mark(&mut self, channel: &str, place: Place) {
        self.add_run(channel, (place.epoch, place.seq, place.seq));
    }

    fn add_run(&mut self, channel: &str, run: Run) {
        if !self.marks.contains_key(channel) {
            self.marks.insert(channel.into(), Marks::default());
        }
        let Some(marks) = self.marks.get_mut(channel) else { return };
        if marks.runs.is_empty() && !marks.is_asked {
            self.due.push_back(channel.into());
        }
        match marks.runs.last_mut() {
            Some(last) if last.0 == run.0 && last.2 + 1 == run.1 => last.2 = run.2,
            Some(_) | None => marks.runs.push(run),
        }
    }

    /// What is to be marked next: of each channel one batch at a time.
    pub(super) fn poll_marks(&mut self) -> Option<(Box<str>, Vec<Run>)> {
        let channel = self.due.pop_front()?;
        let marks = self.marks.get_mut(&channel)?;
        marks.is_asked = true;
        Some((channel, std::mem::take(&mut marks.runs)))
    }

    /// The marks of a channel that were under way are noted, or lost for now: others will find what
    /// they were about, and store it again.
    pub(super) fn settle_marks(&mut self, channel: &str) {
        let Some(marks) = self.marks.get_mut(channel) else { return };
        marks.is_asked = false;
        if marks.runs.is_empty() {
            self.marks.remove(channel);
        } else {
            self.due.push_back(channel.into());
        }
    }

    /// Walks everything and compares it with the invariants; for simulations and tests.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub(super) fn check_invariants(&self) {
        assert!(self.records.len() <= self.waiting.len());
        let handed_count = self.waiting.len() - self.records.len();
        for (record, waiting) in self.records.iter().zip(self.waiting.iter().skip(handed_count)) {
            assert!(Arc::ptr_eq(record, &waiting.record));
        }
        for (channel, marks) in &self.marks {
            let is_due = self.due.contains(channel);
            assert!(is_due == (!marks.is_asked && !marks.runs.is_empty()));
            assert!(is_due || marks.is_asked);
        }
    }
}
