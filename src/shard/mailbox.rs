//! Mailboxes between shards: bounded rings with one writer and one reader each, and a doorbell.
//!
//! Nothing here blocks or locks. A writer that finds a ring full marks itself hungry, and the
//! reader rings its bell once there is room.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::TrySendError;
use std::task::Context;
use std::task::Poll;

use atomic_waker::AtomicWaker;
use rtrb::Consumer;
use rtrb::Producer;
use rtrb::RingBuffer;

use crate::broker::relay::Mail;
use crate::broker::relay::Reply;
use crate::broker::relay::Request;
use crate::broker::relay::ShardId;
use crate::broker::seats::UserSeats;
use crate::history::Port;
use crate::shard::ask::Answer;
use crate::shard::ask::Ask;
use crate::shard::ask::Question;
use crate::shard::auth::Notice;
use crate::shard::state::Shard;
use crate::stdx::time::Now;

/// Bytes of bodies that are handed to a shard before it sends what that gave: well below what an
/// outbox holds, so that nobody is slow who had no chance to read.
const SHARE_BYTES: usize = 128 * 1024;

/// Wakes one shard from any thread.
#[derive(Debug, Default)]
pub struct Doorbell {
    is_rung: AtomicBool,
    waker: AtomicWaker,
}

impl Doorbell {
    /// Wakes the shard, now or when it next looks.
    pub fn ring(&self) {
        // A bell that was not answered yet has woken the shard already.
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Whether it was rung, and not looked at since.
    #[must_use]
    pub fn is_rung(&self) -> bool {
        self.is_rung.load(Ordering::Acquire)
    }

    /// Ready when the bell was rung since the last time.
    pub fn poll_rung(&self, context: &mut Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        if self.is_rung.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// One shard's ends of all its mailboxes.
#[derive(Debug)]
pub struct Mailboxes {
    me: ShardId,
    doorbells: Arc<[Doorbell]>,
    to: Vec<Option<Out>>,
    from: Vec<Option<In>>,
    notices: Vec<Consumer<Notice>>,
    asks: Option<mpsc::Receiver<Ask>>,
    lacks_key: Arc<AtomicBool>,
    /// To the store of the history, where there is one.
    history: Option<Port>,
    news: Option<mpsc::SyncSender<Vec<UserSeats>>>,
}

/// A way from outside to all shards: one writer.
#[derive(Debug)]
pub struct Outside {
    doorbells: Arc<[Doorbell]>,
    notices: Vec<Producer<Notice>>,
    lacks_key: Arc<AtomicBool>,
}

/// News of all shards that wait for whoever takes them; what finds no room is told later.
const NEWS_MAX: usize = 64;

/// Notices that wait for one shard, which takes them as soon as it is woken.
const NOTICES_MAX: usize = 256;

impl Outside {
    /// Gives `notice` to every shard and wakes it; `false` when one has no room, which may then be
    /// told again later: whoever has heard it already does not mind.
    pub fn post(&mut self, notice: &Notice) -> bool {
        let mut is_told = true;
        for (end, doorbell) in self.notices.iter_mut().zip(self.doorbells.iter()) {
            is_told &= end.push(notice.clone()).is_ok();
            doorbell.ring();
        }
        is_told
    }

    /// Whether a shard was brought a token of a key that it does not have, since this was last
    /// asked.
    #[must_use]
    pub fn take_lack_of_key(&self) -> bool {
        self.lacks_key.swap(false, Ordering::AcqRel)
    }
}

/// The way for questions to all shards; many may ask.
#[derive(Clone, Debug)]
pub struct Asks {
    doorbells: Arc<[Doorbell]>,
    ends: Vec<mpsc::SyncSender<Ask>>,
}

/// Questions that wait for one shard.
const ASKS_MAX: usize = 64;

impl Asks {
    /// How many shards there are.
    #[must_use]
    pub fn shards_count(&self) -> usize {
        self.ends.len()
    }

    /// Asks one shard. Without room, or with the shard gone, the answer never comes.
    #[must_use]
    pub fn ask(&self, shard: usize, question: Question) -> mpsc::Receiver<Answer> {
        let (reply, answer) = mpsc::channel();
        if let Some(end) = self.ends.get(shard)
            && end.try_send(Ask { question, reply }).is_ok()
        {
            self.doorbells[shard].ring();
        }
        answer
    }
}

#[derive(Debug)]
struct Out {
    requests: Producer<Request>,
    replies: Producer<Reply>,
    is_hungry: Arc<AtomicBool>,
}

#[derive(Debug)]
struct In {
    requests: Consumer<Request>,
    replies: Consumer<Reply>,
    is_hungry: Arc<AtomicBool>,
}

impl Mailboxes {
    /// The mailboxes of `count` shards, one entry per shard, and all their bells.
    #[must_use]
    pub fn connect(count: usize, mails_max: usize) -> (Vec<Self>, Arc<[Doorbell]>) {
        let doorbells: Arc<[Doorbell]> = (0..count).map(|_| Doorbell::default()).collect();
        let lacks_key: Arc<AtomicBool> = Arc::default();
        let mut all: Vec<Self> = (0..count)
            .map(|index| Self {
                me: shard_id(index),
                doorbells: Arc::clone(&doorbells),
                to: (0..count).map(|_| None).collect(),
                from: (0..count).map(|_| None).collect(),
                notices: Vec::new(),
                asks: None,
                lacks_key: Arc::clone(&lacks_key),
                history: None,
                news: None,
            })
            .collect();
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                let (requests, requests_end) = RingBuffer::new(mails_max);
                let (replies, replies_end) = RingBuffer::new(mails_max);
                let is_hungry = Arc::new(AtomicBool::new(false));
                let out = Out { requests, replies, is_hungry: Arc::clone(&is_hungry) };
                all[from].to[to] = Some(out);
                let end = In { requests: requests_end, replies: replies_end, is_hungry };
                all[to].from[from] = Some(end);
            }
        }
        (all, doorbells)
    }

    /// Opens a way from outside to all shards of `connect`; there may be several.
    #[must_use]
    pub fn open(all: &mut [Self], doorbells: &Arc<[Doorbell]>) -> Outside {
        let lacks_key = all.first().map(|it| Arc::clone(&it.lacks_key)).unwrap_or_default();
        let mut notices = Vec::with_capacity(all.len());
        for mailboxes in all {
            let (end, start) = RingBuffer::new(NOTICES_MAX);
            mailboxes.notices.push(start);
            notices.push(end);
        }
        Outside { doorbells: Arc::clone(doorbells), notices, lacks_key }
    }

    /// Opens the way from all shards to the store of the history.
    pub fn open_history(all: &mut [Self], ports: Vec<Port>) {
        for (mailboxes, port) in all.iter_mut().zip(ports) {
            mailboxes.history = Some(port);
        }
    }

    /// Hands the shard what the store of the history says.
    pub fn receive_said(&mut self, now: Now, shard: &mut Shard) {
        while let Some(said) = self.history.as_mut().and_then(Port::poll_said) {
            shard.handle_said(now, said);
        }
    }

    /// Opens the way for questions to all shards of `connect`.
    #[must_use]
    pub fn open_asks(all: &mut [Self], doorbells: &Arc<[Doorbell]>) -> Asks {
        let mut ends = Vec::with_capacity(all.len());
        for mailboxes in all {
            let (end, asks) = mpsc::sync_channel(ASKS_MAX);
            mailboxes.asks = Some(asks);
            ends.push(end);
        }
        Asks { doorbells: Arc::clone(doorbells), ends }
    }

    /// Opens the way on which all shards of `connect` tell how many seats their users have.
    #[must_use]
    pub fn open_news(all: &mut [Self]) -> mpsc::Receiver<Vec<UserSeats>> {
        let (start, end) = mpsc::sync_channel(NEWS_MAX);
        for mailboxes in all {
            mailboxes.news = Some(start.clone());
        }
        end
    }

    /// Hands the shard what came from outside.
    pub fn receive_notices(&mut self, now: Now, shard: &mut Shard) {
        for way in &mut self.notices {
            while let Ok(notice) = way.pop() {
                shard.handle_notice(now, &notice);
            }
        }
        self.receive_asks(shard);
    }

    /// Hands the shard what operators ask, as far as it has room.
    pub fn receive_asks(&self, shard: &mut Shard) {
        while shard.has_ask_room()
            && let Some(ask) = self.asks.as_ref().and_then(|it| it.try_recv().ok())
        {
            shard.handle_ask(ask);
        }
    }

    /// Tells outside whether the shard lacks a key, and what its users' seats have come to.
    pub fn tell_outside(&self, shard: &mut Shard) {
        if shard.take_lack_of_key() {
            self.lacks_key.store(true, Ordering::Release);
        }
        let news = shard.take_seat_news();
        if let Some(way) = self.news.as_ref().filter(|_| !news.is_empty())
            && let Err(TrySendError::Full(unheard)) = way.try_send(news)
        {
            shard.put_seat_news_back(unheard);
        }
    }

    /// This shard's own bell.
    #[must_use]
    pub fn doorbell(&self) -> &Doorbell {
        &self.doorbells[usize::from(self.me.0)]
    }

    /// Moves the shard's mail into the rings, as far as they have room, and lets it go on with what
    /// waited for that.
    pub fn send(&mut self, now: Now, shard: &mut Shard) {
        loop {
            // Before the mail: whoever hears of a message finds it in the store.
            self.send_history(shard);
            self.send_waiting(shard);
            // Mail that is left waits for a full ring, whose reader rings our bell.
            if shard.has_mail() || !shard.handle_mail_sent(now) {
                break;
            }
        }
        self.send_history(shard);
    }

    /// Hands the last things over to the store of the history, and closes the way there: its
    /// thread ends with the last of them.
    pub fn end_history(&mut self, shard: &mut Shard) {
        self.send_history(shard);
        self.history = None;
    }

    /// Hands over what is to be stored and read.
    pub fn send_history(&mut self, shard: &mut Shard) {
        if let Some(port) = &mut self.history
            && shard.has_records_or_reads()
        {
            port.send_records(|| shard.poll_record());
            port.send_reads(|| shard.poll_read());
        }
    }

    fn send_waiting(&mut self, shard: &mut Shard) {
        for (index, out) in self.to.iter_mut().enumerate() {
            let Some(out) = out else { continue };
            let to = shard_id(index);
            let mut sent_count = 0;
            let mut is_full = false;
            loop {
                if out.replies.is_full() {
                    is_full = true;
                    break;
                }
                let Some(reply) = shard.poll_reply(to) else { break };
                sent_count += usize::from(out.replies.push(reply).is_ok());
            }
            loop {
                if out.requests.is_full() {
                    is_full = true;
                    break;
                }
                let Some(request) = shard.poll_request(to) else { break };
                sent_count += usize::from(out.requests.push(request).is_ok());
            }
            if is_full {
                out.is_hungry.store(true, Ordering::SeqCst);
            }
            // Also when full: the reader may have emptied the ring just before the mark.
            if 0 < sent_count || is_full {
                self.doorbells[index].ring();
            }
        }
    }

    /// Hands what has come to the shard, a share of each ring: replies, and requests while it can
    /// answer them. `true` when anything was taken.
    pub fn receive(&mut self, now: Now, shard: &mut Shard) -> bool {
        let mut has_taken = false;
        let share_bytes = SHARE_BYTES / self.from.len();
        for (index, end) in self.from.iter_mut().enumerate() {
            let Some(end) = end else { continue };
            let from = shard_id(index);
            let (mut taken_count, mut taken_bytes) = (0_usize, 0);
            // Bounded by what lies there now, so that no writer can hold the shard in this loop.
            for _ in 0..end.replies.slots() {
                if share_bytes <= taken_bytes {
                    break;
                }
                let Ok(reply) = end.replies.pop() else { break };
                taken_bytes += reply.body_bytes();
                shard.handle_mail(now, from, Mail::Reply(reply));
                taken_count += 1;
            }
            for _ in 0..end.requests.slots() {
                if share_bytes <= taken_bytes || !shard.has_reply_room() {
                    break;
                }
                let Ok(request) = end.requests.pop() else { break };
                taken_bytes += request.body_bytes();
                shard.handle_mail(now, from, Mail::Request(request));
                taken_count += 1;
            }
            has_taken |= 0 < taken_count;
            // Also when nothing was taken: the writer may have marked itself just after the ring
            // was emptied. One that finds it full again marks itself again.
            if end.is_hungry.load(Ordering::SeqCst) {
                end.is_hungry.store(false, Ordering::SeqCst);
                self.doorbells[index].ring();
            }
        }
        has_taken
    }

    /// Whether mail lies in the rings.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        let mut ends = self.from.iter().flatten();
        ends.any(|end| !end.requests.is_empty() || !end.replies.is_empty())
    }
}

fn shard_id(index: usize) -> ShardId {
    ShardId(u8::try_from(index).expect("at most SHARDS_MAX shards"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_that_was_rung_says_so_until_it_is_looked_at() {
        let bell = Doorbell::default();
        assert!(!bell.is_rung());
        bell.ring();
        assert!(bell.is_rung());
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(bell.poll_rung(&mut context).is_ready() && !bell.is_rung());
        assert!(bell.poll_rung(&mut context).is_pending());
    }
}
