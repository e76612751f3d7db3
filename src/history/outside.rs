//! Reading from outside of the shards: who answers an operator asks for one page at a time.

use std::sync::Arc;
use std::sync::mpsc;

use crate::history::port::Bell;
use crate::history::port::Read;
use crate::history::store::Page;
use crate::history::store::Query;

/// Pages that are asked for and not collected yet; more are refused.
const ASKED_MAX: usize = 16;

/// Asks the store's thread; a clone is the same.
#[derive(Clone, Debug)]
pub struct Reader {
    asked: mpsc::SyncSender<Asked>,
    bell: Arc<Bell>,
}

/// Who waits for a page; nothing comes when it could not be read.
pub type Answer = mpsc::Receiver<Option<Arc<Page>>>;

#[derive(Debug)]
struct Asked {
    channel: Arc<str>,
    query: Query,
    reply: mpsc::Sender<Option<Arc<Page>>>,
}

impl Reader {
    /// Asks for a page; none when too many wait, or the thread has ended.
    #[must_use]
    pub fn read(&self, channel: &str, query: Query) -> Option<Answer> {
        let (reply, answer) = mpsc::channel();
        self.asked.try_send(Asked { channel: channel.into(), query, reply }).ok()?;
        self.bell.ring();
        Some(answer)
    }
}

/// The thread's end: what was collected, by the number it has there.
#[derive(Debug)]
pub(super) struct Desk {
    reader: Reader,
    asked: mpsc::Receiver<Asked>,
    waiting: Vec<(u64, mpsc::Sender<Option<Arc<Page>>>)>,
    next: u64,
}

impl Desk {
    pub(super) fn new(bell: &Arc<Bell>) -> Self {
        let (sender, asked) = mpsc::sync_channel(ASKED_MAX);
        let reader = Reader { asked: sender, bell: Arc::clone(bell) };
        Self { reader, asked, waiting: Vec::new(), next: 0 }
    }

    pub(super) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The next page that is asked for.
    pub(super) fn poll(&mut self) -> Option<Read> {
        let Asked { channel, query, reply } = self.asked.try_recv().ok()?;
        self.next += 1;
        self.waiting.push((self.next, reply));
        Some(Read { token: self.next, channel, query })
    }

    pub(super) fn answer(&mut self, token: u64, page: Option<Arc<Page>>) {
        if let Some(at) = self.waiting.iter().position(|(it, _)| *it == token) {
            // Whoever asked may have given up.
            drop(self.waiting.swap_remove(at).1.send(page));
        }
    }
}
