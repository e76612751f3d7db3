//! The way between a shard and the store's thread: bounded rings with one writer and one reader
//! each, and a bell for the thread. Nothing here blocks or locks.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::Thread;
use std::time::Duration;

use rtrb::Consumer;
use rtrb::Producer;
use rtrb::RingBuffer;

use crate::broker::publication::Publication;
use crate::broker::relay::RECORDS_MAX;
pub use crate::broker::relay::Read;
use crate::broker::relay::Stored;
use crate::history::store::Page;

/// Reads of one shard under way; more wait at the shard.
const READS_MAX: usize = 1024;

/// What the store's thread says to a shard.
#[derive(Clone, Debug)]
pub enum Said {
    /// About what was to be stored.
    Stored(Stored),
    /// What was read; none when it could not be.
    Page(u64, Option<Arc<Page>>),
}

/// Wakes the store's thread from any shard.
#[derive(Debug, Default)]
pub(super) struct Bell {
    is_rung: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Bell {
    pub(super) fn ring(&self) {
        if !self.is_rung.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Makes this thread the one that is woken.
    pub(super) fn attach(&self) {
        let _already_attached = self.thread.set(std::thread::current());
    }

    /// Waits until the bell is rung, or a while.
    pub(super) fn wait(&self, timeout: Duration) {
        if !self.is_rung.swap(false, Ordering::AcqRel) {
            std::thread::park_timeout(timeout);
            // Not a plain store: whoever finds the bell rung wakes nobody, so what it handed over
            // must be seen from here on.
            self.is_rung.swap(false, Ordering::AcqRel);
        }
    }
}

/// A shard's end.
#[derive(Debug)]
pub struct Port {
    records: Producer<Arc<Publication>>,
    reads: Producer<Read>,
    said: Consumer<Said>,
    bell: Arc<Bell>,
}

/// The thread's end.
#[derive(Debug)]
pub(super) struct Far {
    pub(super) records: Consumer<Arc<Publication>>,
    pub(super) reads: Consumer<Read>,
    pub(super) said: Producer<Said>,
}

impl Port {
    pub(super) fn connect(bell: &Arc<Bell>) -> (Self, Far) {
        let (records, records_end) = RingBuffer::new(RECORDS_MAX);
        let (reads, reads_end) = RingBuffer::new(READS_MAX);
        // An answer for each read, and for each batch of records; the thread keeps the rest.
        let (said, said_end) = RingBuffer::new(READS_MAX + 64);
        let port = Self { records, reads, said: said_end, bell: Arc::clone(bell) };
        (port, Far { records: records_end, reads: reads_end, said })
    }

    /// Hands over what is to be stored: before anything else that the shard says leaves it, so
    /// that whoever hears of it finds it in the store.
    ///
    /// # Panics
    ///
    /// With more than [`RECORDS_MAX`] that are not answered: the home keeps within it.
    pub fn send_records(&mut self, mut next: impl FnMut() -> Option<Arc<Publication>>) {
        let mut sent_count = 0;
        while let Some(record) = next() {
            assert!(self.records.push(record).is_ok());
            sent_count += 1;
        }
        if 0 < sent_count {
            self.bell.ring();
        }
    }

    /// Asks for pages, while there is room.
    pub fn send_reads(&mut self, mut next: impl FnMut() -> Option<Read>) {
        let mut sent_count = 0;
        while !self.reads.is_full()
            && let Some(read) = next()
        {
            sent_count += usize::from(self.reads.push(read).is_ok());
        }
        if 0 < sent_count {
            self.bell.ring();
        }
    }

    /// The next thing that the store says.
    pub fn poll_said(&mut self) -> Option<Said> {
        self.said.pop().ok()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // The thread ends with the last port.
        self.bell.ring();
    }
}
