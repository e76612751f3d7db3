//! Pages of a history, whoever reads them.

use std::sync::Arc;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;

/// Publications of one page.
pub(crate) const PAGE_COUNT: usize = 64;
/// Bytes of their bodies, unless one alone has more.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// A page that a shard wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The shard's name for it; given back with the page.
    pub token: u64,
    /// Whose history.
    pub channel: Arc<str>,
    /// Which part of it.
    pub query: Query,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// So many before the end.
    Last(u32),
    /// Behind this place; whether the store has the place itself is asked too.
    Since(Place),
    /// Behind this place.
    After(Place),
}

/// Some publications of one channel, in the order of their places.
#[derive(Debug, Default)]
pub struct Page {
    /// Each with its place.
    pub records: Vec<Arc<Publication>>,
    /// Whether these are the last.
    pub is_end: bool,
    /// Whether the place of [`Query::Since`] is there, so that nothing behind it was removed.
    pub is_known: bool,
    /// Something before these could not be read.
    pub is_broken: bool,
}

impl Page {
    /// A page of these, which are at most one more than it may have, and whether the place before
    /// them is known. What is too much is left for the next.
    pub(crate) fn of(mut records: Vec<Arc<Publication>>, is_known: bool) -> Self {
        let mut bytes = 0;
        let fits = |it: &&Arc<Publication>| {
            bytes += it.body().len();
            bytes <= PAGE_BYTES_MAX
        };
        let count = records.iter().take(PAGE_COUNT).take_while(fits).count().max(1);
        let is_end = records.len() <= count;
        records.truncate(count);
        Self { records, is_end, is_known, is_broken: false }
    }

    /// Bytes of the bodies.
    pub(crate) fn bytes(&self) -> usize {
        self.records.iter().map(|it| it.body().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::publication::Carried;
    use crate::stdx::time::Instant;

    #[test]
    fn a_page_ends_with_its_bytes_but_has_one_at_least() {
        let large = |seq| {
            let carried = Carried {
                channel: "/topic/a",
                destination: String::new(),
                message_id: String::new(),
                content_type: None,
                sender: None,
                timestamp_ms: seq,
                received_at: Instant::default(),
                body: &vec![b'x'; PAGE_BYTES_MAX / 2 + usize::from(seq == 3)],
            };
            Arc::new(Publication::from_relay(carried, std::iter::empty()))
        };
        let check = |seqs: &[u64], expected: (usize, bool)| {
            let page = Page::of(seqs.iter().map(|it| large(*it)).collect(), false);
            assert_eq!((page.records.len(), page.is_end), expected, "{seqs:?}");
        };
        check(&[], (0, true));
        check(&[1, 2], (2, true));
        check(&[1, 3], (1, false));
        check(&[3, 3], (1, false));
        check(&[1, 2, 4], (2, false));
    }
}
