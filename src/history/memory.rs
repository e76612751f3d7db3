//! A store that ends with the process: bounded in bytes, the oldest goes first.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::history::store::Error;
use crate::history::store::Forgotten;
use crate::history::store::Opened;
use crate::history::store::PAGE_COUNT;
use crate::history::store::Page;
use crate::history::store::Query;
use crate::history::store::Retention;
use crate::history::store::Store;

/// What a publication costs besides its texts.
const OVERHEAD_BYTES: usize = 256;

/// Publications in memory.
///
/// Invariant: `order` names the channel of each publication of `channels`, oldest first, and
/// `bytes` is the sum of their sizes.
#[derive(Debug)]
pub struct Memory {
    channels: HashMap<Arc<str>, VecDeque<Arc<Publication>>>,
    order: VecDeque<Arc<str>>,
    bytes: usize,
    bytes_max: usize,
}

impl Memory {
    /// An empty store for so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { channels: HashMap::default(), order: VecDeque::new(), bytes: 0, bytes_max }
    }

    fn remove_oldest(&mut self) {
        let Some(channel) = self.order.pop_front() else { return };
        let Some(records) = self.channels.get_mut(&channel) else { return };
        if let Some(oldest) = records.pop_front() {
            self.bytes -= size_of(&oldest);
        }
        if records.is_empty() {
            self.channels.remove(&channel);
        }
    }
}

impl Store for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    /// The epoch is the time of the start: nothing else tells one start from the next.
    fn open(&mut self, now_ms: u64) -> Result<Opened, Error> {
        Ok(Opened { epoch: now_ms, kept: Vec::new() })
    }

    fn append(&mut self, records: &[Arc<Publication>]) -> Result<(), Error> {
        for record in records {
            let name = self.channels.get_key_value(&*record.channel).map(|(name, _)| name);
            let name = name.map_or_else(|| Arc::from(&*record.channel), Arc::clone);
            let stored = self.channels.entry(Arc::clone(&name)).or_default();
            // Places come in their order; one that is not greater is there already.
            if stored.back().is_some_and(|last| record.place() <= last.place()) {
                continue;
            }
            self.bytes += size_of(record);
            stored.push_back(Arc::clone(record));
            self.order.push_back(name);
        }
        while self.bytes_max < self.bytes {
            self.remove_oldest();
        }
        Ok(())
    }

    fn read(&mut self, channel: &str, query: Query) -> Result<Page, Error> {
        let Some(stored) = self.channels.get(channel) else {
            return Ok(Page { is_end: true, ..Page::default() });
        };
        let behind = |place: Place| stored.partition_point(|it| it.place() <= Some(place));
        let (first, is_known) = match query {
            Query::Last(count) => {
                (stored.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX)), false)
            }
            Query::After(place) => (behind(place), false),
            Query::Since(place) => {
                let first = behind(place);
                let found = first.checked_sub(1).and_then(|at| stored.get(at));
                (first, found.is_some_and(|it| it.place() == Some(place)))
            }
        };
        Ok(Page::of(stored.iter().skip(first).take(PAGE_COUNT + 1).cloned().collect(), is_known))
    }

    fn tidy(&mut self, _now_ms: u64) -> Result<(), Error> {
        Ok(())
    }

    /// All in one step: it is a walk over what is in memory.
    fn forget(&mut self, now_ms: u64, retention: Retention) -> Result<Forgotten, Error> {
        let before_count = self.order.len();
        let count_max = retention.count.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(0));
        let is_old = |it: &Publication| {
            retention.age_ms.is_some_and(|age| it.timestamp_ms.saturating_add(age) < now_ms)
        };
        let Self { channels, order, bytes, .. } = self;
        order.retain(|channel| {
            let Some(records) = channels.get_mut(channel) else { return false };
            // The first entry of a channel is that of its oldest; with it the oldest goes.
            let goes = |oldest: &mut Arc<Publication>| is_old(oldest);
            let gone = if count_max < records.len() {
                records.pop_front()
            } else {
                records.pop_front_if(goes)
            };
            let Some(gone) = gone else { return true };
            *bytes -= size_of(&gone);
            if records.is_empty() {
                channels.remove(channel);
            }
            false
        });
        let count = before_count - order.len();
        Ok(Forgotten { count: count as u64, is_done: true })
    }
}

fn size_of(publication: &Publication) -> usize {
    let headers = publication.headers.iter().map(|(name, value)| name.len() + value.len());
    OVERHEAD_BYTES + publication.channel.len() + publication.body().len() + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::store::tests::check_store;
    use crate::history::store::tests::said;

    #[test]
    fn it_is_a_store() {
        let mut store = Memory::new(1 << 20);
        assert_eq!(store.open(7).unwrap().epoch, 7);
        check_store(&mut store);
    }

    #[test]
    fn the_oldest_goes_first_and_nothing_is_left_of_it() {
        let one = size_of(&said("/topic/a", 1, 1));
        let mut store = Memory::new(3 * one);
        store.append(&[said("/topic/b", 1, 1)]).unwrap();
        for seq in 1..=4 {
            store.append(&[said("/topic/a", 1, seq)]).unwrap();
            assert!(store.bytes <= 3 * one);
        }
        assert!(store.read("/topic/b", Query::Last(1)).unwrap().records.is_empty());
        assert_eq!((store.channels.len(), store.order.len()), (1, 3));
        // Who had seen the first one has missed nothing; who asks for what is gone is told so.
        assert!(
            !store.read("/topic/a", Query::Since(Place { epoch: 1, seq: 1 })).unwrap().is_known
        );
        assert!(store.read("/topic/a", Query::Since(Place { epoch: 1, seq: 2 })).unwrap().is_known);
    }
}
