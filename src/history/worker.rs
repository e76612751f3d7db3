//! The store's thread: commits what the shards hand over in groups, and reads for them.
//!
//! ```text
//! collect reads, then records ─► read ─► commit ─► answer the records ─► read ─► answer the reads
//! ```
//!
//! Reads are collected before records and answered behind them: so a read finds all that was
//! handed over before it was asked. Only what no record can change is read before the commit, so
//! that a long replay does not wait for the disk with each of its pages. A store that is away keeps
//! what was collected for the next try.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::publication::Publication;
use crate::broker::relay::Stored;
use crate::history::cache::Cache;
use crate::history::housekeeping::FORGET_INTERVAL;
use crate::history::outside::Desk;
use crate::history::outside::Reader;
use crate::history::port::Bell;
use crate::history::port::Far;
use crate::history::port::Port;
use crate::history::port::Read;
use crate::history::port::Said;
use crate::history::store::Error;
use crate::history::store::Page;
use crate::history::store::Retention;
use crate::history::store::Store;
use crate::metrics::HistoryCounters;
use crate::metrics::HistoryFailure;
use crate::stdx::random::Random;
use crate::stdx::time::Instant;

/// Publications of one transaction.
const COMMIT_COUNT_MAX: usize = 512;
/// Bytes of bodies in one transaction, unless one alone has more.
const COMMIT_BYTES_MAX: usize = 4 << 20;
/// How long a small group waits for more to come.
const COMMIT_LINGER: Duration = Duration::from_millis(1);
/// From so many on a group does not wait.
const COMMIT_COUNT_MIN: usize = 64;
/// Between tries to reach a store that is away.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long the thread sleeps when nobody calls.
const IDLE: Duration = Duration::from_secs(1);
/// What the thread needs of the process around it.
pub struct Surroundings {
    /// Wakes the shard of this index.
    pub wake: Box<dyn Fn(usize) + Send>,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: Box<dyn Fn() -> u64 + Send>,
    /// For how long things take.
    pub instant: Box<dyn Fn() -> Instant + Send>,
    /// Where the thread counts what it does.
    pub counters: Arc<HistoryCounters>,
    /// What the store keeps.
    pub retention: Retention,
    /// Told when the store comes and goes.
    pub on_state: Box<dyn Fn(bool) + Send>,
    /// Seed of its chance.
    pub seed: u64,
    /// Others write to the store, too: what is the end of a history now may not be in a moment.
    pub is_shared: bool,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// The store, and the far ends of all ports.
pub struct Worker {
    pub(super) store: Box<dyn Store>,
    pub(super) surroundings: Surroundings,
    pub(super) bell: Arc<Bell>,
    pub(super) shards: Vec<Far>,
    pub(super) desk: Desk,
    /// What the rings to the shards had no room for.
    pub(super) unsaid: Vec<VecDeque<Said>>,
    /// Collected and not known to be stored, in the order in which they are.
    pub(super) records: VecDeque<(usize, Arc<Publication>)>,
    /// Those behind the last shard are from outside.
    pub(super) reads: Vec<(usize, Read)>,
    pub(super) cache: Cache,
    pub(super) is_up: bool,
    pub(super) is_opened: bool,
    pub(super) backoff: Duration,
    pub(super) random: Random,
    pub(super) tidied_at_ms: u64,
    /// When the walk over what is too old or too much goes on; none until it begins again.
    pub(super) forgets_at_ms: Option<u64>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("store", &self.store.name()).finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker for so many shards, and a port for each.
    #[must_use]
    pub fn new(
        store: Box<dyn Store>,
        shards_count: usize,
        surroundings: Surroundings,
    ) -> (Self, Vec<Port>) {
        let bell = Arc::new(Bell::default());
        let (ports, shards) = (0..shards_count).map(|_| Port::connect(&bell)).unzip();
        let worker = Self {
            store,
            desk: Desk::new(&bell),
            bell,
            shards,
            unsaid: (0..shards_count).map(|_| VecDeque::new()).collect(),
            records: VecDeque::new(),
            reads: Vec::new(),
            cache: Cache::default(),
            is_up: false,
            is_opened: false,
            backoff: BACKOFF_MIN,
            random: Random::new(surroundings.seed),
            tidied_at_ms: 0,
            forgets_at_ms: None,
            surroundings,
        };
        (worker, ports)
    }

    /// Asks it from outside of the shards.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.desk.reader()
    }

    /// Serves until the last port is gone and what it handed over is stored, or cannot be.
    pub fn run(mut self) {
        self.bell.attach();
        loop {
            let is_ending = self.shards.iter().all(|it| it.records.is_abandoned());
            if !self.is_up && !self.open() {
                if is_ending {
                    return self.say_lost();
                }
                self.turn_away();
                self.speak();
                self.pause();
                continue;
            }
            if !is_ending {
                self.tidy();
            }
            self.collect();
            if self.records.is_empty() && self.reads.is_empty() {
                self.speak();
                if is_ending {
                    return;
                }
                self.bell.wait(self.patience());
                continue;
            }
            if self.records.len() < COMMIT_COUNT_MIN && self.reads.is_empty() {
                std::thread::sleep(COMMIT_LINGER);
                self.collect();
            }
            self.read_ahead();
            self.commit();
            self.read();
            self.speak();
        }
    }

    /// Tries to reach the store.
    fn open(&mut self) -> bool {
        let now_ms = (self.surroundings.unix_ms)();
        let opened = self.store.open(now_ms).and_then(|it| self.probe().map(|()| it));
        match opened {
            Ok(opened) => {
                self.backoff = BACKOFF_MIN;
                self.is_up = true;
                self.counters().up.set(1);
                let stored = if self.is_opened {
                    Stored::Up
                } else {
                    Stored::Opened { epoch: opened.epoch, kept: opened.kept.into() }
                };
                self.is_opened = true;
                self.say_all(&stored);
                self.speak();
                tracing::info!(store = self.store.name(), "the store of the history is there");
                (self.surroundings.on_state)(true);
                true
            }
            Err(error) => {
                self.counters().failures.of(HistoryFailure::Connect).add(1);
                let again = self.backoff;
                tracing::warn!(?again, "the store of the history is away: {error}");
                false
            }
        }
    }

    /// Stores again what it was lost with, which may be what it was lost for: one that opens and
    /// takes nothing, such as on a full disk, is away.
    fn probe(&mut self) -> Result<(), Error> {
        let count = self.commit_count();
        let batch: Vec<_> = self.records.iter().take(count).map(|(_, it)| Arc::clone(it)).collect();
        if batch.is_empty() {
            return Ok(());
        }
        match self.store.append(&batch) {
            // What is to blame is found when it is stored, which changes nothing for the others.
            Ok(()) | Err(Error::Rejected(_)) => Ok(()),
            Err(error @ Error::Away(_)) => Err(error),
        }
    }

    /// How many make the next transaction.
    fn commit_count(&self) -> usize {
        let mut bytes = 0;
        let fits = |(_, it): &&(usize, Arc<Publication>)| {
            bytes += it.body().len();
            bytes <= COMMIT_BYTES_MAX
        };
        self.records.iter().take(COMMIT_COUNT_MAX).take_while(fits).count().max(1)
    }

    /// The store has failed: what was collected is kept for when it is back.
    pub(super) fn lose(&mut self, failure: HistoryFailure, error: &Error) {
        self.counters().failures.of(failure).add(1);
        self.counters().up.set(0);
        tracing::warn!("the store of the history is lost: {error}");
        self.is_up = false;
        self.say_all(&Stored::Down);
        (self.surroundings.on_state)(false);
        self.turn_away();
    }

    /// Waits before the next try, so that many tasks do not come back at once.
    fn pause(&mut self) {
        let millis = u64::try_from(self.backoff.as_millis()).unwrap_or(u64::MAX);
        let jittered = millis / 2 + self.random.below(millis / 2 + 1);
        std::thread::sleep(Duration::from_millis(jittered));
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }

    /// Answers reads that cannot be served now.
    fn turn_away(&mut self) {
        self.collect_reads();
        for (index, read) in std::mem::take(&mut self.reads) {
            self.say_page(index, read.token, None);
        }
    }

    pub(super) fn say_page(&mut self, index: usize, token: u64, page: Option<Arc<Page>>) {
        match self.unsaid.get_mut(index) {
            Some(unsaid) => unsaid.push_back(Said::Page(token, page)),
            None => self.desk.answer(token, page),
        }
    }

    pub(super) fn counters(&self) -> &HistoryCounters {
        &self.surroundings.counters
    }

    fn collect_reads(&mut self) {
        for (index, shard) in self.shards.iter_mut().enumerate() {
            while let Ok(read) = shard.reads.pop() {
                self.reads.push((index, read));
            }
        }
        let outside = self.shards.len();
        self.reads.extend(std::iter::from_fn(|| self.desk.poll()).map(|read| (outside, read)));
    }

    fn collect(&mut self) {
        self.collect_reads();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            // Bounded by what lies there now, so that no shard can hold the thread here.
            for _ in 0..shard.records.slots() {
                let Ok(record) = shard.records.pop() else { break };
                self.records.push_back((index, record));
            }
        }
    }

    /// Stores what was collected, in transactions of some.
    fn commit(&mut self) {
        while self.is_up && !self.records.is_empty() {
            let count = self.commit_count();
            match self.append(count) {
                Ok(()) => {}
                Err(Error::Rejected(_)) if 1 < count => {
                    // One of them is to blame: alone it is found.
                    for _ in 0..count {
                        if let Err(error) = self.append_one() {
                            return self.lose(HistoryFailure::Commit, &error);
                        }
                    }
                }
                Err(Error::Rejected(why)) => self.reject(&why),
                Err(error @ Error::Away(_)) => return self.lose(HistoryFailure::Commit, &error),
            }
        }
    }

    fn append_one(&mut self) -> Result<(), Error> {
        match self.append(1) {
            Err(Error::Rejected(why)) => {
                self.reject(&why);
                Ok(())
            }
            done @ (Ok(()) | Err(Error::Away(_))) => done,
        }
    }

    /// Stores the first so many, and says so.
    fn append(&mut self, count: usize) -> Result<(), Error> {
        let batch: Vec<_> = self.records.iter().take(count).map(|(_, it)| Arc::clone(it)).collect();
        let began_at = (self.surroundings.instant)();
        self.store.append(&batch)?;
        let took = (self.surroundings.instant)().since(began_at);
        let counters = self.counters();
        counters.commit_time.observe(took);
        counters.commits.add(1);
        counters.stored.add(count as u64);
        let mut counts = vec![0; self.shards.len()];
        for (index, record) in self.records.drain(..count) {
            counts[index] += 1;
            self.cache.forget(&record.channel);
        }
        for (index, count) in counts.into_iter().enumerate().filter(|(_, count)| 0 < *count) {
            self.unsaid[index].push_back(Said::Stored(Stored::Committed(count)));
        }
        self.speak();
        Ok(())
    }

    /// Gives up the first one.
    fn reject(&mut self, why: &str) {
        if let Some((index, record)) = self.records.pop_front() {
            self.counters().failures.of(HistoryFailure::Rejected).add(1);
            tracing::warn!(id = %record.message_id, "the store cannot keep a message: {why}");
            self.unsaid[index].push_back(Said::Stored(Stored::Refused));
        }
    }

    /// How long the thread sleeps when there is nothing to do.
    fn patience(&self) -> Duration {
        if self.owes() {
            return COMMIT_LINGER;
        }
        self.forgets_at_ms.map_or(IDLE, |_| FORGET_INTERVAL)
    }

    fn say_all(&mut self, stored: &Stored) {
        for unsaid in &mut self.unsaid {
            unsaid.push_back(Said::Stored(stored.clone()));
        }
    }

    fn owes(&self) -> bool {
        self.unsaid.iter().any(|it| !it.is_empty())
    }

    /// Moves what is to be said into the rings, as far as they have room.
    pub(super) fn speak(&mut self) {
        for (index, unsaid) in self.unsaid.iter_mut().enumerate() {
            let said = &mut self.shards[index].said;
            let mut said_count = 0;
            while !said.is_full()
                && let Some(next) = unsaid.pop_front()
            {
                said_count += usize::from(said.push(next).is_ok());
            }
            if 0 < said_count {
                (self.surroundings.wake)(index);
            }
        }
    }

    fn say_lost(&mut self) {
        self.collect();
        if !self.records.is_empty() {
            let count = self.records.len();
            tracing::error!(count, "the store of the history is away: messages are not stored");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc;

    use super::*;
    use crate::broker::publication::Place;
    use crate::history::memory::Memory;
    use crate::history::store::Forgotten;
    use crate::history::store::Opened;
    use crate::history::store::Page;
    use crate::history::store::Query;
    use crate::history::store::tests::said;

    /// A memory that does as it is told.
    struct Moody {
        memory: Memory,
        forgets_count: u32,
        moods: mpsc::Receiver<&'static str>,
        calls: mpsc::Sender<String>,
    }

    impl Moody {
        fn mood(&mut self, call: String) -> Result<(), Error> {
            self.calls.send(call).unwrap();
            match self.moods.try_recv() {
                Ok("away") => Err(Error::Away("away".into())),
                Ok("rejected") => Err(Error::Rejected("rejected".into())),
                Ok(_) | Err(_) => Ok(()),
            }
        }
    }

    impl Store for Moody {
        fn name(&self) -> &'static str {
            "moody"
        }

        fn open(&mut self, now_ms: u64) -> Result<Opened, Error> {
            self.mood("open".into())?;
            self.memory.open(now_ms)
        }

        fn append(&mut self, records: &[Arc<Publication>]) -> Result<(), Error> {
            self.mood(format!("append {}", records.len()))?;
            self.memory.append(records)
        }

        fn read(&mut self, channel: &str, query: Query) -> Result<Page, Error> {
            self.mood("read".into())?;
            self.memory.read(channel, query)
        }

        fn tidy(&mut self, _now_ms: u64) -> Result<(), Error> {
            Ok(())
        }

        fn forget(&mut self, now_ms: u64, retention: Retention) -> Result<Forgotten, Error> {
            self.mood("forget".into())?;
            let done = self.memory.forget(now_ms, retention)?;
            // In two steps.
            self.forgets_count += 1;
            Ok(Forgotten { is_done: self.forgets_count.is_multiple_of(2), ..done })
        }
    }

    struct World {
        worker: Worker,
        port: Port,
        moods: mpsc::Sender<&'static str>,
        calls: mpsc::Receiver<String>,
        now_ms: Arc<AtomicU64>,
    }

    fn world() -> World {
        let (moods, moods_end) = mpsc::channel();
        let (calls_start, calls) = mpsc::channel();
        let memory = Memory::new(1 << 20);
        let now_ms = Arc::new(AtomicU64::new(1_000_000));
        let store = Moody { memory, forgets_count: 0, moods: moods_end, calls: calls_start };
        let surroundings = Surroundings {
            wake: Box::new(|_| {}),
            unix_ms: Box::new({
                let now_ms = Arc::clone(&now_ms);
                move || now_ms.load(Ordering::Relaxed)
            }),
            instant: Box::new(Instant::default),
            counters: Arc::default(),
            retention: Retention { age_ms: None, count: Some(2) },
            on_state: Box::new(|_| {}),
            seed: 1,
            is_shared: false,
        };
        let (mut worker, mut ports) = Worker::new(Box::new(store), 1, surroundings);
        assert!(worker.open());
        worker.speak();
        let mut port = ports.remove(0);
        assert!(matches!(port.poll_said(), Some(Said::Stored(Stored::Opened { .. }))));
        assert_eq!(calls.try_iter().collect::<Vec<_>>(), ["open"]);
        World { worker, port, moods, calls, now_ms }
    }

    impl World {
        fn send(&mut self, seqs: std::ops::RangeInclusive<u64>) {
            let mut records = seqs.map(|seq| said("/topic/a", 1, seq));
            self.port.send_records(|| records.next());
        }

        fn turn(&mut self) {
            self.worker.collect();
            self.worker.read_ahead();
            self.worker.commit();
            self.worker.read();
            self.worker.speak();
        }

        #[track_caller]
        fn check(&mut self, calls: &[&str], said: &[&str]) {
            let mut heard = Vec::new();
            while let Some(it) = self.port.poll_said() {
                heard.push(match it {
                    Said::Stored(stored) => format!("{stored:?}"),
                    Said::Page(token, page) => {
                        format!("page {token}: {:?}", page.map(|it| it.records.len()))
                    }
                });
            }
            assert_eq!(self.calls.try_iter().collect::<Vec<_>>(), calls);
            assert_eq!(heard, said);
        }
    }

    #[test]
    fn many_are_committed_as_one_and_a_read_finds_them() {
        let mut world = world();
        world.send(1..=600);
        let read = |token| Read { token, channel: "/topic/a".into(), query: Query::Last(3) };
        let mut reads = [read(7), read(8)].into_iter();
        world.port.send_reads(|| reads.next());
        world.turn();
        world.check(
            &["append 512", "append 88", "read"],
            &["Committed(512)", "Committed(88)", "page 7: Some(3)", "page 8: Some(3)"],
        );
        let counters = world.worker.counters();
        assert_eq!((counters.commits.get(), counters.stored.get()), (2, 600));
        assert_eq!((counters.reads.get(), counters.shared.get()), (1, 1));
    }

    #[test]
    fn a_page_that_is_not_the_last_does_not_wait_for_the_commit() {
        let mut world = world();
        world.send(1..=70);
        world.turn();
        world.check(&["append 70"], &["Committed(70)"]);
        world.send(71..=71);
        let query = |seq| Query::After(Place { epoch: 1, seq });
        let read = |token, query| Read { token, channel: "/topic/a".into(), query };
        let other = Read { token: 4, channel: "/topic/b".into(), query: Query::Last(5) };
        let reads = [read(1, query(0)), read(2, query(64)), read(3, Query::Last(2)), other];
        let mut reads = reads.into_iter();
        world.port.send_reads(|| reads.next());
        world.turn();
        world.check(
            &["read", "read", "read", "append 1", "read", "read"],
            &[
                "page 4: Some(0)",
                "page 1: Some(64)",
                "Committed(1)",
                "page 2: Some(7)",
                "page 3: Some(2)",
            ],
        );
    }

    #[test]
    fn what_the_store_was_lost_with_is_stored_when_it_is_back() {
        let mut world = world();
        world.send(1..=3);
        world.moods.send("away").unwrap();
        world.turn();
        world.check(&["append 3"], &["Down"]);
        assert!(!world.worker.is_up);
        assert!(world.worker.open());
        world.turn();
        world.check(&["open", "append 3", "append 3"], &["Up", "Committed(3)"]);
    }

    #[test]
    fn a_store_that_opens_and_takes_nothing_is_away() {
        let mut world = world();
        world.send(1..=3);
        for mood in ["away", "", "away", "away"] {
            world.moods.send(mood).unwrap();
        }
        world.turn();
        world.check(&["append 3"], &["Down"]);
        assert!(!world.worker.open());
        world.check(&["open", "append 3"], &[]);
        assert!(!world.worker.open());
        world.check(&["open"], &[]);
        assert!(world.worker.open() && world.worker.is_up);
    }

    #[test]
    fn one_that_cannot_be_kept_does_not_hold_up_the_others() {
        let mut world = world();
        world.send(1..=3);
        for mood in ["rejected", "", "rejected", ""] {
            world.moods.send(mood).unwrap();
        }
        world.turn();
        world.check(
            &["append 3", "append 1", "append 1", "append 1"],
            &["Committed(1)", "Refused", "Committed(1)"],
        );
        let counters = world.worker.counters();
        assert_eq!((counters.commits.get(), counters.stored.get()), (2, 2));
        assert_eq!(counters.failures.of(HistoryFailure::Rejected).get(), 1);
        assert_eq!(counters.failures.of(HistoryFailure::Commit).get(), 0);
    }

    #[test]
    fn a_read_that_fails_is_answered_without_a_page() {
        let mut world = world();
        world.moods.send("away").unwrap();
        let read = Read { token: 1, channel: "/topic/a".into(), query: Query::Last(3) };
        let mut reads = [read].into_iter();
        world.port.send_reads(|| reads.next());
        world.turn();
        world.check(&["read"], &["Down", "page 1: None"]);
    }

    #[test]
    fn what_is_too_much_is_forgotten_in_steps_and_again_after_a_minute() {
        let mut world = world();
        world.send(1..=5);
        world.turn();
        world.check(&["append 5"], &["Committed(5)"]);
        let tidy = |world: &mut World, millis, calls: &[&str], patience| {
            world.now_ms.fetch_add(millis, Ordering::Relaxed);
            world.worker.tidy();
            world.check(calls, &[]);
            assert_eq!(world.worker.patience(), patience);
        };
        tidy(&mut world, 0, &[], FORGET_INTERVAL);
        tidy(&mut world, 0, &["forget"], FORGET_INTERVAL);
        tidy(&mut world, 49, &[], FORGET_INTERVAL);
        tidy(&mut world, 1, &["forget"], IDLE);
        tidy(&mut world, 1_000, &[], IDLE);
        tidy(&mut world, 60_000, &[], FORGET_INTERVAL);
        let page = world.worker.store.read("/topic/a", Query::Last(9)).unwrap();
        assert_eq!(page.records.len(), 2);
        assert_eq!(world.calls.try_iter().collect::<Vec<_>>(), ["read"]);
        // A step that fails is a store that is lost, and the walk goes on when it is back.
        world.moods.send("away").unwrap();
        world.worker.tidy();
        world.worker.speak();
        world.check(&["forget"], &["Down"]);
        assert!(!world.worker.is_up);
    }

    #[test]
    fn the_thread_ends_with_its_last_port_and_what_that_handed_over_is_stored() {
        let mut world = world();
        world.send(1..=2);
        drop(world.port);
        world.worker.run();
        assert_eq!(world.calls.try_iter().collect::<Vec<_>>(), ["append 2"]);
    }
}
