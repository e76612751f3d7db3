//! Readings: pages from a stream where that reaches back far enough, else from the store, and from
//! the stream again behind the store's end.
//!
//! ```text
//!          ┌──────────── the page ◄──── it reaches
//!   ask the stream ── it does not, and names its oldest entry ─► ask the store ─► the page
//!          ▲                                                                        │
//!          └──── the store's end: the stream may begin with that entry, if it ◄─────┘
//!                is still its oldest: nothing was trimmed, so all before it was read
//! ```
//!
//! A stream is trimmed only below what is stored: so what it no longer has at one moment the store
//! has at any later one.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::relay::Page;
use crate::broker::relay::Query;
use crate::broker::relay::Read;

/// What the stream has said of itself.
#[derive(Debug)]
pub(super) struct Streamed {
    pub(super) reaches: bool,
    /// Its oldest entry; empty when there is none.
    pub(super) oldest: Box<str>,
    pub(super) has_more: bool,
    pub(super) records: Vec<Arc<Publication>>,
}

/// One reading.
#[derive(Debug)]
struct Reading {
    channel: Arc<str>,
    query: Query,
    /// The oldest entry of the stream when the store was asked.
    told: Option<Box<str>>,
    /// The store is read to its end first.
    is_in_store: bool,
    /// The place before the last so many of the store, of which perhaps nothing was taken.
    floor: Option<Place>,
    is_broken: bool,
}

/// What to do next for a reading.
#[derive(Debug)]
pub(super) enum Step {
    /// Ask the stream of this channel, which may begin with this entry.
    Stream(Arc<str>, Query, Option<Box<str>>),
    /// Nothing: the store was asked.
    Wait,
    /// Here is a page.
    Done(Arc<str>, Page),
}

/// All readings of a core.
#[derive(Debug, Default)]
pub(super) struct Readings {
    all: BTreeMap<u64, Reading>,
    reads: VecDeque<Read>,
    has_store: bool,
}

impl Readings {
    pub(super) fn new(has_store: bool) -> Self {
        Self { has_store, ..Self::default() }
    }

    /// Begins a reading, or goes on with it.
    pub(super) fn read(&mut self, token: u64, channel: &Arc<str>, query: Query) -> Step {
        let reading = self.all.entry(token).or_insert_with(|| Reading {
            channel: Arc::clone(channel),
            query,
            told: None,
            is_in_store: false,
            floor: None,
            is_broken: false,
        });
        let query = match query {
            Query::After(place) => Query::After(reading.floor.map_or(place, |it| place.max(it))),
            Query::Last(_) | Query::Since(_) => query,
        };
        reading.query = query;
        if reading.is_in_store {
            self.reads.push_back(Read { token, channel: Arc::clone(channel), query });
            return Step::Wait;
        }
        Step::Stream(Arc::clone(channel), query, reading.told.clone())
    }

    /// The channel of a reading.
    pub(super) fn channel(&self, token: u64) -> Option<Arc<str>> {
        self.all.get(&token).map(|it| Arc::clone(&it.channel))
    }

    /// Nobody wants it any more.
    pub(super) fn forget(&mut self, token: u64) {
        if self.all.remove(&token).is_some() {
            self.reads.retain(|it| it.token != token);
        }
    }

    /// The next page that the store is to give.
    pub(super) fn poll_read(&mut self) -> Option<Read> {
        self.reads.pop_front()
    }

    pub(super) fn has_reads(&self) -> bool {
        !self.reads.is_empty()
    }

    /// The stream has answered, or could not be asked.
    pub(super) fn handle_streamed(
        &mut self,
        token: u64,
        answer: Option<&Streamed>,
    ) -> Option<Step> {
        let reading = self.all.get_mut(&token)?;
        let Some(answer) = answer else {
            reading.is_broken = true;
            let page = Page { is_end: true, is_broken: true, ..Page::default() };
            return Some(Step::Done(Arc::clone(&reading.channel), page));
        };
        if answer.reaches {
            let is_known = matches!(reading.query, Query::Since(place) if 0 < place.seq)
                && reading.told.is_none();
            reading.told = None;
            let page = Page {
                records: answer.records.clone(),
                is_end: !answer.has_more,
                is_known,
                is_broken: std::mem::take(&mut reading.is_broken),
            };
            return Some(Step::Done(Arc::clone(&reading.channel), page));
        }
        reading.told = Some(answer.oldest.clone());
        if self.has_store {
            reading.is_in_store = true;
            let (channel, query) = (Arc::clone(&reading.channel), reading.query);
            self.reads.push_back(Read { token, channel, query });
            return Some(Step::Wait);
        }
        // There is nothing but the stream.
        reading.is_broken |= !matches!(reading.query, Query::Last(_));
        Some(Step::Stream(Arc::clone(&reading.channel), reading.query, reading.told.clone()))
    }

    /// The store has answered, or could not be asked.
    pub(super) fn handle_page(&mut self, token: u64, page: Option<&Page>) -> Option<Step> {
        let reading = self.all.get_mut(&token)?;
        let Some(page) = page else {
            reading.is_in_store = false;
            reading.is_broken = true;
            let (channel, query) = (Arc::clone(&reading.channel), reading.query);
            return Some(Step::Stream(channel, query, reading.told.clone()));
        };
        // From the stream's oldest entry on the store may have holes that others are about to fill:
        // what is there is read from the stream.
        let oldest = reading.told.as_deref().and_then(place_of);
        let is_before =
            |it: &Arc<Publication>| oldest.is_none_or(|oldest| it.place() < Some(oldest));
        let count = page.records.partition_point(is_before);
        reading.is_in_store = !page.is_end && count == page.records.len();
        let first = page.records.first().and_then(|it| it.place());
        let first = first.filter(|_| matches!(reading.query, Query::Last(_)));
        reading.floor = first.map(|it| Place { seq: it.seq.saturating_sub(1), ..it });
        let (records, is_known) = (page.records[..count].to_vec(), page.is_known);
        let is_broken = std::mem::take(&mut reading.is_broken);
        let page = Page { records, is_end: false, is_known, is_broken };
        Some(Step::Done(Arc::clone(&reading.channel), page))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// The place of an entry's id.
pub(super) fn place_of(id: &str) -> Option<Place> {
    let (epoch, seq) = id.split_once('-')?;
    Some(Place { epoch: epoch.parse().ok()?, seq: seq.parse().ok()? })
}
