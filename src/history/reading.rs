//! How the store's thread reads: before the commit what that does not change, the rest behind it,
//! and the same only once.

use std::collections::HashSet;
use std::sync::Arc;

use crate::history::port::Read;
use crate::history::store::Page;
use crate::history::store::Query;
use crate::history::worker::Worker;
use crate::metrics::HistoryFailure;

impl Worker {
    /// Reads what the records that wait do not change: pages of other channels, and those that are
    /// behind a place and not the last.
    pub(super) fn read_ahead(&mut self) {
        if self.records.is_empty() || self.reads.is_empty() {
            return;
        }
        let written: HashSet<&str> = self.records.iter().map(|(_, it)| &*it.channel).collect();
        let (written, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.reads)
            .into_iter()
            .partition(|(_, read)| written.contains(&*read.channel));
        self.reads = others;
        self.read();
        for (index, read) in written {
            let page = match read.query {
                Query::Last(_) => None,
                Query::Since(_) | Query::After(_) => self.page(&read),
            };
            match page.filter(|it| !it.is_end) {
                Some(page) => self.say_page(index, read.token, Some(page)),
                None => self.reads.push((index, read)),
            }
        }
        self.speak();
    }

    /// Reads what was asked for.
    pub(super) fn read(&mut self) {
        for (index, read) in std::mem::take(&mut self.reads) {
            let page = self.page(&read);
            self.say_page(index, read.token, page);
        }
    }

    /// One page, read once for all who ask for the same; none when the store is away.
    fn page(&mut self, read: &Read) -> Option<Arc<Page>> {
        let now_ms = (self.surroundings.unix_ms)();
        match self.cache.get(now_ms, &read.channel, read.query) {
            Some(page) => {
                self.counters().shared.add(1);
                Some(page)
            }
            None if self.is_up => self.read_one(&read.channel, read.query),
            None => None,
        }
    }

    fn read_one(&mut self, channel: &Arc<str>, query: Query) -> Option<Arc<Page>> {
        let began_at = (self.surroundings.instant)();
        match self.store.read(channel, query) {
            Ok(page) => {
                let took = (self.surroundings.instant)().since(began_at);
                self.counters().read_time.observe(took);
                self.counters().reads.add(1);
                let page = Arc::new(page);
                // Where others write too, what is missing in a page may be there in a moment.
                if !self.surroundings.is_shared {
                    self.cache.insert(channel, query, Arc::clone(&page));
                }
                Some(page)
            }
            Err(error) => {
                self.lose(HistoryFailure::Read, &error);
                None
            }
        }
    }
}
