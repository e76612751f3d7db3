//! Pages that were read lately: a crowd that comes back asks for the same ones.
//!
//! This process sees each write of its own, so a page is forgotten with the next one to its
//! channel; and after some seconds, for what others may have done to the store.

use std::collections::HashMap;
use std::sync::Arc;

use crate::history::store::Page;
use crate::history::store::Query;

const PAGES_MAX: usize = 512;
const BYTES_MAX: usize = 32 << 20;
const LIFE_MS: u64 = 5_000;

/// The pages.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pages: HashMap<Arc<str>, Vec<(Query, Arc<Page>)>>,
    pages_count: usize,
    /// Of the bodies of all pages since it was empty.
    bytes: usize,
    since_ms: u64,
}

impl Cache {
    /// The page, if it is still what the store would say.
    pub(super) fn get(&mut self, now_ms: u64, channel: &str, query: Query) -> Option<Arc<Page>> {
        if self.since_ms + LIFE_MS <= now_ms || now_ms < self.since_ms {
            self.clear(now_ms);
        }
        let pages = self.pages.get(channel)?;
        pages.iter().find(|(it, _)| *it == query).map(|(_, page)| Arc::clone(page))
    }

    /// Remembers a page that [`Cache::get`] did not have.
    pub(super) fn insert(&mut self, channel: &Arc<str>, query: Query, page: Arc<Page>) {
        if PAGES_MAX <= self.pages_count || BYTES_MAX < self.bytes {
            self.clear(self.since_ms);
        }
        self.bytes += page.bytes();
        self.pages_count += 1;
        self.pages.entry(Arc::clone(channel)).or_default().push((query, page));
    }

    /// Something was written to the channel.
    pub(super) fn forget(&mut self, channel: &str) {
        if 0 < self.pages_count
            && let Some(pages) = self.pages.remove(channel)
        {
            self.pages_count -= pages.len();
        }
    }

    /// Forgets all: something else than a write has changed what the store has.
    pub(super) fn clear(&mut self, now_ms: u64) {
        self.pages.clear();
        self.pages_count = 0;
        self.bytes = 0;
        self.since_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_known_until_its_channel_is_written_to_or_seconds_have_passed() {
        let mut cache = Cache::default();
        let (a, b): (Arc<str>, Arc<str>) = ("/topic/a".into(), "/topic/b".into());
        let has = |cache: &mut Cache, now, channel: &str| {
            cache.get(now, channel, Query::Last(5)).is_some()
        };
        assert!(!has(&mut cache, 5_000, &a));
        cache.insert(&a, Query::Last(5), Arc::default());
        cache.insert(&b, Query::Last(5), Arc::default());
        assert!(has(&mut cache, 9_999, &a) && has(&mut cache, 9_999, &b));
        assert!(cache.get(9_999, &a, Query::Last(6)).is_none());
        cache.forget(&a);
        assert!(!has(&mut cache, 9_999, &a) && has(&mut cache, 9_999, &b));
        assert!(!has(&mut cache, 10_000, &b));
        assert_eq!(cache.pages_count, 0);
        for number in 0..=PAGES_MAX {
            cache.insert(&a, Query::Last(u32::try_from(number).unwrap()), Arc::default());
        }
        assert_eq!(cache.pages_count, 1);
    }
}
