//! What a store of the history is, whatever keeps it.

use std::fmt;
use std::sync::Arc;

use crate::broker::publication::Publication;
use crate::broker::relay::Kept;

pub(super) use crate::broker::relay::PAGE_COUNT;
pub use crate::broker::relay::Page;
pub use crate::broker::relay::Query;

/// Keeps publications by channel and place. Its calls may take long: they are made on one thread.
pub trait Store: Send {
    /// What a RECEIPT calls it.
    fn name(&self) -> &'static str;

    /// Connects, for the first time or again, and brings the schema up to date.
    ///
    /// # Errors
    ///
    /// [`Error::Away`] when it is not there.
    fn open(&mut self, now_ms: u64) -> Result<Opened, Error>;

    /// Stores all of these, or none; what is stored already stays as it is. When this returns they
    /// outlive the end of the process, where the store does.
    ///
    /// # Errors
    ///
    /// [`Error::Away`] when it is not known whether they are stored, [`Error::Rejected`] when one
    /// of them never can be.
    fn append(&mut self, records: &[Arc<Publication>]) -> Result<(), Error>;

    /// Reads one page.
    ///
    /// # Errors
    ///
    /// [`Error::Away`] when it cannot be read now.
    fn read(&mut self, channel: &str, query: Query) -> Result<Page, Error>;

    /// Forgets keys that nobody may ask for any more.
    ///
    /// # Errors
    ///
    /// [`Error::Away`] when it is not there.
    fn tidy(&mut self, now_ms: u64) -> Result<(), Error>;

    /// Removes some of what is too old or too much, the oldest of a destination first: a short
    /// step, which the next call continues.
    ///
    /// # Errors
    ///
    /// [`Error::Away`] when it is not there.
    fn forget(&mut self, now_ms: u64, retention: Retention) -> Result<Forgotten, Error>;
}

/// What a store keeps; without both, everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Messages that are not older.
    pub age_ms: Option<u64>,
    /// So many messages of each destination.
    pub count: Option<u32>,
}

impl Retention {
    /// Whether nothing is ever removed.
    #[must_use]
    pub fn is_endless(&self) -> bool {
        self.age_ms.is_none() && self.count.is_none()
    }
}

/// What one step of removing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Messages that were removed.
    pub count: u64,
    /// All destinations were looked at; the next step begins anew.
    pub is_done: bool,
}

/// What a store says when it is there.
#[derive(Debug, Default)]
pub struct Opened {
    /// Greater than every epoch that it has, or ever gave.
    pub epoch: u64,
    /// The keys that are still to be known, oldest first.
    pub kept: Vec<Kept>,
}

/// Why a store did not do what it was asked.
#[derive(Debug)]
pub enum Error {
    /// It cannot now: it is away, full, read-only or broken.
    Away(String),
    /// It never can: this publication does not fit.
    Rejected(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) | Self::Rejected(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::broker::publication::Carried;
    use crate::broker::publication::Historic;
    use crate::broker::publication::Place;
    use crate::stdx::time::Instant;

    /// A publication at a place.
    pub(in crate::history) fn said(channel: &str, epoch: u64, seq: u64) -> Arc<Publication> {
        with_key(channel, epoch, seq, None)
    }

    pub(in crate::history) fn with_key(
        channel: &str,
        epoch: u64,
        seq: u64,
        key: Option<&str>,
    ) -> Arc<Publication> {
        let body = format!("{epoch}:{seq}");
        let carried = Carried {
            channel,
            destination: channel.to_owned(),
            message_id: format!("n-{epoch}-{seq}"),
            content_type: Some("text/plain"),
            sender: Some("bob"),
            timestamp_ms: 1_700_000_000_000 + seq,
            received_at: Instant::default(),
            body: body.as_bytes(),
        };
        let mut publication = Publication::from_relay(carried, [("x-own", "1")].into_iter());
        let historic = Historic::new(key.map(Box::from));
        historic.settle(Place { epoch, seq });
        publication.history = Some(Box::new(historic));
        Arc::new(publication)
    }

    fn read(store: &mut dyn Store, channel: &str, query: Query) -> (Vec<(u64, u64)>, bool, bool) {
        let page = store.read(channel, query).unwrap();
        let places = page.records.iter().map(|it| it.place().unwrap());
        (places.map(|it| (it.epoch, it.seq)).collect(), page.is_end, page.is_known)
    }

    /// What every store must do; `store` is open and empty.
    pub(in crate::history) fn check_store(store: &mut dyn Store) {
        let at = |epoch, seq| Place { epoch, seq };
        let none = (Vec::new(), true, false);
        assert_eq!(read(store, "/topic/a", Query::Last(5)), none);
        assert_eq!(read(store, "/topic/a", Query::Since(at(1, 1))), none);

        let mut records: Vec<_> = (1..=70).map(|seq| said("/topic/a", 5, seq)).collect();
        records.push(said("/topic/b", 5, 1));
        store.append(&records).unwrap();
        // The same again changes nothing.
        store.append(&records[3..9]).unwrap();
        store.append(&[said("/topic/a", 6, 1), said("/topic/a", 6, 2)]).unwrap();

        let last = |count| read(store, "/topic/a", Query::Last(count));
        let mut last = last;
        assert_eq!(last(0), (vec![], true, false));
        assert_eq!(last(3).0, [(5, 70), (6, 1), (6, 2)]);
        let (places, is_end, _) = last(72);
        assert_eq!((places.len(), places[0], is_end), (64, (5, 1), false));
        assert_eq!(last(1_000).0.len(), 64);

        assert_eq!(
            read(store, "/topic/a", Query::Since(at(5, 69))),
            (vec![(5, 70), (6, 1), (6, 2)], true, true)
        );
        assert_eq!(read(store, "/topic/a", Query::Since(at(6, 2))), (vec![], true, true));
        assert_eq!(read(store, "/topic/a", Query::Since(at(6, 3))), (vec![], true, false));
        assert_eq!(read(store, "/topic/a", Query::Since(at(5, 71))).0, [(6, 1), (6, 2)]);
        let (places, is_end, _) = read(store, "/topic/a", Query::After(at(0, 0)));
        assert_eq!((places.len(), is_end), (64, false));
        let (places, is_end, _) = read(store, "/topic/a", Query::After(at(5, 64)));
        assert_eq!((places.len(), is_end), (8, true));
        assert_eq!(read(store, "/topic/b", Query::Last(9)).0, [(5, 1)]);

        check_retention(store);

        let user = "user.a%2Fb/queue/x";
        store.append(&[said(user, 5, 1)]).unwrap();
        let page = store.read(user, Query::Last(1)).unwrap();
        let found = &page.records[0];
        assert_eq!((&*found.channel, &*found.message_id), (user, "n-5-1"));
        assert_eq!((found.body(), found.is_text), (&b"5:1"[..], true));
        assert_eq!(found.sender.as_deref(), Some("bob"));
        assert_eq!(found.content_type.as_deref(), Some("text/plain"));
        assert_eq!(found.timestamp_ms, 1_700_000_000_001);
        assert_eq!(found.headers, [(Box::from("x-own"), Box::from("1"))]);
    }

    /// Removes what is to be removed, in as many steps as it takes.
    fn forget(store: &mut dyn Store, now_ms: u64, retention: Retention) -> u64 {
        let mut count = 0;
        loop {
            let step = store.forget(now_ms, retention).unwrap();
            count += step.count;
            if step.is_done {
                return count;
            }
        }
    }

    /// Told twice, the same is gone. `/topic/a` has 72 messages.
    fn check_retention(store: &mut dyn Store) {
        let at = |epoch, seq| Place { epoch, seq };
        let now_ms = 1_700_000_000_000 + 71;
        let many: Vec<_> = (1..=2_500).map(|seq| said("/topic/many", 5, seq)).collect();
        store.append(&many).unwrap();
        for number in 0..20 {
            store.append(&[said(&format!("/topic/few.{number}"), 5, 100)]).unwrap();
        }
        assert_eq!(forget(store, now_ms, Retention::default()), 0);
        // The age takes those up to 5:30 of both, and not 6:1, which is older than 5:70.
        let age = Retention { age_ms: Some(40), count: None };
        assert_eq!(forget(store, now_ms, age), 30 + 30 + 1);
        assert_eq!(forget(store, now_ms, age), 0);
        assert_eq!(read(store, "/topic/a", Query::After(at(0, 0))).0[0], (5, 31));
        assert!(read(store, "/topic/b", Query::Last(1)).0.is_empty());
        let (_, _, is_known) = read(store, "/topic/a", Query::Since(at(5, 30)));
        assert!(!is_known);
        let count = Retention { age_ms: None, count: Some(5) };
        assert_eq!(forget(store, now_ms, count), 2_470 - 5 + 42 - 5);
        let (places, _, is_known) = read(store, "/topic/a", Query::Since(at(5, 68)));
        assert_eq!((places, is_known), (vec![(5, 69), (5, 70), (6, 1), (6, 2)], true));
        let (places, ..) = read(store, "/topic/many", Query::Last(9));
        assert_eq!((places.len(), places[0]), (5, (5, 2_496)));
        assert_eq!(read(store, "/topic/few.7", Query::Last(9)).0, [(5, 100)]);
        // What is written then has its place behind them.
        store.append(&[said("/topic/b", 6, 1)]).unwrap();
        assert_eq!(read(store, "/topic/b", Query::Last(9)).0, [(6, 1)]);
    }
}
