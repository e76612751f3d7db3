//! What is live on a channel while somebody catches up with it, remembered within bounds.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::relay::Token;

/// Live publications of a channel that are remembered for those who catch up.
const RECENT_COUNT_MAX: usize = 256;
/// Bytes of their bodies.
const RECENT_BYTES_MAX: usize = 1 << 20;

/// What is live on a channel while somebody catches up with it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Those that have not caught up.
    pub(super) replays_count: usize,
    /// Those that have, and wait for the first live one that they were not given.
    pub(super) caught_up: BTreeSet<Token>,
    recent: VecDeque<Arc<Publication>>,
    bytes: usize,
    /// The last place that was live and is no longer among `recent`.
    pub(super) lost: Option<Place>,
}

impl Watch {
    /// Remembers what is live, while somebody catches up.
    pub(super) fn note(&mut self, publication: &Arc<Publication>) {
        if self.replays_count == 0 {
            return;
        }
        self.bytes += publication.body().len();
        self.recent.push_back(Arc::clone(publication));
        while (RECENT_COUNT_MAX < self.recent.len() || RECENT_BYTES_MAX < self.bytes)
            && let Some(oldest) = self.recent.pop_front()
        {
            self.bytes -= oldest.body().len();
            self.lost = oldest.place();
        }
    }

    /// One of those that catch up does so no more.
    pub(super) fn leave(&mut self) {
        self.replays_count -= 1;
        if self.replays_count == 0 {
            self.recent = VecDeque::new();
            self.bytes = 0;
            self.lost = None;
        }
    }

    /// The first that is behind `place`.
    pub(super) fn next(&self, place: Place) -> Option<&Arc<Publication>> {
        self.recent.get(self.recent.partition_point(|it| it.place() <= Some(place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::publication::Carried;
    use crate::broker::publication::Historic;
    use crate::stdx::time::Instant;

    fn said(seq: u64, bytes: usize) -> Arc<Publication> {
        let carried = Carried {
            channel: "/topic/a",
            destination: "/topic/a".to_owned(),
            message_id: String::new(),
            content_type: None,
            sender: None,
            timestamp_ms: 0,
            received_at: Instant::default(),
            body: &vec![b'x'; bytes],
        };
        let mut publication = Publication::from_relay(carried, std::iter::empty());
        publication.history = Some(Box::new(Historic::at(Place { epoch: 1, seq })));
        Arc::new(publication)
    }

    #[test]
    fn what_is_live_is_remembered_within_its_bounds() {
        let mut watch = Watch { replays_count: 1, ..Watch::default() };
        for seq in 1..=RECENT_COUNT_MAX as u64 + 2 {
            watch.note(&said(seq, 1));
        }
        assert_eq!(watch.lost, Some(Place { epoch: 1, seq: 2 }));
        assert_eq!((watch.recent.len(), watch.bytes), (RECENT_COUNT_MAX, RECENT_COUNT_MAX));
        let next = |seq| watch.next(Place { epoch: 1, seq }).map(|it| it.place().unwrap().seq);
        assert_eq!([next(0), next(3), next(257), next(258)], [Some(3), Some(4), Some(258), None]);
        watch.note(&said(259, RECENT_BYTES_MAX));
        assert_eq!((watch.recent.len(), watch.bytes), (1, RECENT_BYTES_MAX));
        watch.leave();
        watch.note(&said(260, 1));
        assert!(watch.recent.is_empty() && watch.lost.is_none());
    }
}
