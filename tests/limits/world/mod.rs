//! One shard, its connections as byte buffers, and a clock that moves when it is told to.

mod clients;
mod mail;
mod options;

pub(crate) use options::HANDSHAKES_MAX;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use ringway::broker::relay::Request;
use ringway::broker::relay::ShardId;
use ringway::metrics::ShardCounters;
use ringway::metrics::health::Health;
use ringway::shard;
use ringway::shard::Action;
use ringway::shard::Ask;
use ringway::shard::ConnectionId;
use ringway::shard::Identity;
use ringway::shard::Left;
use ringway::shard::Newcomer;
use ringway::shard::Notice;
use ringway::shard::Options;
use ringway::shard::Question;
use ringway::shard::Shard;
use ringway::stdx::bytes::Batch;
use ringway::stdx::time::Instant;
use ringway::stdx::time::Now;

/// How often the owner of a shard calls its timer.
const TICK: Duration = Duration::from_millis(100);
/// The other shard of a world of two.
const OTHER: ShardId = ShardId(1);

/// A shard and all that surrounds it. After each step everything it puts out has been carried out,
/// and its invariants hold.
pub(crate) struct World {
    pub(crate) shard: Shard,
    pub(crate) health: Arc<Health>,
    counters: Arc<[Arc<ShardCounters>]>,
    now: Instant,
    next_tick: Instant,
    peers: BTreeMap<ConnectionId, Peer>,
    /// Requests to the other shard that nobody has answered yet.
    pub(crate) mail: VecDeque<Request>,
    /// The mailbox takes nothing more: mail stays in the shard.
    is_mailbox_full: bool,
    /// CONNECTs get no turn but by [`World::admit_one`].
    holds_connects: bool,
}

/// The far end of one connection.
#[derive(Default)]
struct Peer {
    heard: Vec<u8>,
    is_upgraded: bool,
    /// Bytes sent that the shard has no credit to read.
    unread: Vec<u8>,
    is_held: bool,
    is_stalled: bool,
    in_flight: Option<Batch>,
    is_write_ended: bool,
    is_aborted: bool,
    is_gone: bool,
}

impl World {
    /// A shard that is alone, with the defaults but for what `change` changes.
    pub(crate) fn new(change: impl FnOnce(&mut Options)) -> Self {
        Self::build((0, 1), change)
    }

    /// A shard that has another one beside it, whose mail waits in [`World::mail`].
    pub(crate) fn of_two(change: impl FnOnce(&mut Options)) -> Self {
        Self::build((0, 2), change)
    }

    /// The shard beside that of [`World::of_two`].
    pub(crate) fn beside(change: impl FnOnce(&mut Options)) -> Self {
        Self::build((1, 2), change)
    }

    fn build((id, shards_count): (u8, usize), change: impl FnOnce(&mut Options)) -> Self {
        let mut options = options::defaults();
        change(&mut options);
        let counters: Arc<[Arc<ShardCounters>]> =
            (0..shards_count).map(|_| Arc::default()).collect();
        let health = Arc::new(Health::new(1, "none", String::new(), String::new()));
        health.shard_started();
        let identity = Identity {
            id: ShardId(id),
            counters: Arc::clone(&counters),
            health: Arc::clone(&health),
            seed: 1,
            home_seed: 2,
        };
        let now = Instant::default().after(Duration::from_secs(1_000));
        Self {
            shard: Shard::new(Arc::new(options), identity),
            health,
            counters,
            now,
            next_tick: now.after(TICK),
            peers: BTreeMap::new(),
            mail: VecDeque::new(),
            is_mailbox_full: false,
            holds_connects: false,
        }
    }

    /// What the shard has counted.
    pub(crate) fn counters(&self) -> &ShardCounters {
        &self.counters[0]
    }

    /// What the other shard of a world of two has counted.
    pub(crate) fn other_counters(&self) -> &ShardCounters {
        &self.counters[1]
    }

    pub(crate) fn now(&self) -> Now {
        let unix_ms = 1_700_000_000_000 + self.now.as_millis();
        Now { instant: self.now, unix_ms }
    }

    /// Lets time pass: the timer runs at each tick, and once more at the end.
    pub(crate) fn wait(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while self.next_tick < end {
            self.now = self.next_tick;
            self.next_tick = self.now.after(TICK);
            self.run_timer();
        }
        self.now = end;
        self.run_timer();
    }

    /// Lets time pass in whole milliseconds.
    pub(crate) fn wait_ms(&mut self, ms: u64) {
        self.wait(Duration::from_millis(ms));
    }

    /// Lets time pass of which the shard hears nothing.
    pub(crate) fn skip(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
        self.next_tick = self.now.after(TICK);
    }

    /// Something comes to the shard from outside.
    pub(crate) fn notice(&mut self, notice: &Notice) {
        self.shard.handle_notice(self.now(), notice);
        self.carry();
    }

    /// Runs the timer now.
    pub(crate) fn run_timer(&mut self) {
        self.shard.handle_timer(self.now());
        self.carry();
    }

    /// Somebody connects; `None` when the shard refuses the socket.
    pub(crate) fn accept(&mut self) -> Option<ConnectionId> {
        self.accept_from([192, 0, 2, 1])
    }

    /// Somebody connects from this address.
    pub(crate) fn accept_from(&mut self, address: [u8; 4]) -> Option<ConnectionId> {
        let id = self.shard.handle_opened(self.now(), (address, 4000).into())?;
        let is_held = self.shard.holds(self.now, id);
        self.peers.insert(id, Peer { is_held, ..Peer::default() });
        self.carry();
        Some(id)
    }

    /// The peer sends bytes. They wait while the shard has no credit.
    pub(crate) fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        let peer = self.peers.get_mut(&id).expect("a connection");
        peer.unread.extend(bytes);
        self.carry();
    }

    /// The peer hangs up: the end of its side is all that is read any more.
    pub(crate) fn hang_up(&mut self, id: ConnectionId) {
        let peer = self.peers.get_mut(&id).expect("a connection");
        assert!(peer.unread.is_empty(), "the end is read after all else");
        peer.is_gone = true;
        peer.in_flight = None;
        self.shard.handle_closed(self.now(), id);
        self.carry();
    }

    /// The peer stops to read: sends no longer complete.
    pub(crate) fn stall(&mut self, id: ConnectionId) {
        self.peers.get_mut(&id).expect("a connection").is_stalled = true;
    }

    /// The peer reads again, all there is.
    pub(crate) fn resume(&mut self, id: ConnectionId) {
        self.peers.get_mut(&id).expect("a connection").is_stalled = false;
        self.take(id, usize::MAX);
    }

    /// The peer takes at most `bytes_max` bytes of the send under way; how many there were.
    pub(crate) fn take(&mut self, id: ConnectionId, bytes_max: usize) -> usize {
        let peer = self.peers.get_mut(&id).expect("a connection");
        let Some(batch) = peer.in_flight.take() else { return 0 };
        let bytes = batch.len().min(bytes_max);
        peer.heard.extend(batch.slices().flatten().take(bytes));
        drop(batch);
        self.shard.handle_sent(self.now(), id, bytes);
        self.carry();
        bytes
    }

    /// The peer takes so many bytes, over as many sends as they are in.
    #[track_caller]
    pub(crate) fn take_exactly(&mut self, id: ConnectionId, mut bytes: usize) {
        while 0 < bytes {
            let taken = self.take(id, bytes);
            assert!(0 < taken, "{bytes} more bytes are expected");
            bytes -= taken;
        }
    }

    /// The bytes of the send under way that the peer does not take.
    pub(crate) fn in_flight_bytes(&self, id: ConnectionId) -> usize {
        self.peers[&id].in_flight.as_ref().map_or(0, Batch::len)
    }

    /// The kernel fails the send under way.
    pub(crate) fn fail_send(&mut self, id: ConnectionId) {
        let peer = self.peers.get_mut(&id).expect("a connection");
        assert!(peer.in_flight.take().is_some(), "a send is under way");
        self.shard.handle_send_failed(self.now(), id);
        self.carry();
    }

    /// The server ends.
    pub(crate) fn drain(&mut self) {
        self.shard.handle_drain(self.now());
        self.carry();
    }

    /// The time of the drain is over.
    pub(crate) fn reach_deadline(&mut self) {
        self.shard.handle_deadline(self.now());
        self.carry();
    }

    /// The server begins to let its sessions go.
    pub(crate) fn begin_drain(&mut self) {
        self.health.drain();
        self.shard.begin_drain(self.now());
        self.carry();
    }

    /// Lets one share of the drain pass, 10 ms after the last one; `false` once nobody is left but
    /// who waits for a receipt.
    pub(crate) fn drain_some(&mut self) -> bool {
        self.now = self.now.after(Duration::from_millis(10));
        let goes_on = self.shard.drain_some(self.now());
        self.carry();
        goes_on
    }

    /// An operator asks; the shard has not begun to answer.
    pub(crate) fn ask(&mut self, question: Question) -> Receiver<shard::Answer> {
        let (reply, answer) = mpsc::channel();
        self.shard.handle_ask(Ask { question, reply });
        answer
    }

    /// Does one step for operators.
    pub(crate) fn answer_some(&mut self) -> Left {
        let left = self.shard.answer_some(self.now());
        self.carry();
        left
    }

    /// Whether the shard has ended its write side.
    pub(crate) fn is_write_ended(&self, id: ConnectionId) -> bool {
        self.peers[&id].is_write_ended
    }

    /// Whether the shard has cut the connection off.
    pub(crate) fn is_aborted(&self, id: ConnectionId) -> bool {
        self.peers[&id].is_aborted
    }

    /// From now on the other shard's mailbox takes nothing, or all that comes.
    pub(crate) fn fill_mailbox(&mut self, is_full: bool) {
        self.is_mailbox_full = is_full;
        self.carry();
    }

    /// From now on CONNECTs that wait get no turn, or all that come.
    pub(crate) fn hold_connects(&mut self, holds_connects: bool) {
        self.holds_connects = holds_connects;
        self.carry();
    }

    /// Gives one CONNECT that waits its turn; `false` when none does.
    pub(crate) fn admit_one(&mut self) -> bool {
        let is_admitted = self.shard.admit_next(self.now());
        self.carry();
        is_admitted
    }

    /// Whether the shard may read.
    pub(crate) fn has_credit(&mut self) -> bool {
        self.shard.has_credit(self.now)
    }

    /// Carries out all that the shard puts out, until it is quiet.
    fn carry(&mut self) {
        loop {
            self.carry_output();
            while let Some(newcomer) = self.shard.next_newcomer(self.now) {
                let (Newcomer::Read(id) | Newcomer::TurnAway(id, _)) = newcomer;
                let peer = self.peers.get_mut(&id).expect("a newcomer");
                peer.is_held = false;
                if let Newcomer::TurnAway(_, answer) = newcomer {
                    peer.unread.clear();
                    peer.heard = answer;
                    peer.is_gone = true;
                    self.shard.handle_closed(self.now(), id);
                }
            }
            let is_read = self.shard.has_credit(self.now) && self.read_one();
            let is_admitted = !self.holds_connects && self.shard.admit_next(self.now());
            if !is_read && !is_admitted {
                break;
            }
        }
        self.shard.handle_turn_end(self.now);
        self.shard.check_invariants();
    }

    /// Hands the bytes of one peer to the shard, when there are any.
    fn read_one(&mut self) -> bool {
        let now = self.now();
        let shard = &self.shard;
        let mut waiting = (self.peers.iter_mut())
            .filter(|(_, it)| !it.unread.is_empty() && !it.is_held)
            .filter(|(id, _)| shard.read_pause(now, **id).is_none());
        let Some((&id, peer)) = waiting.next() else { return false };
        let mut bytes = std::mem::take(&mut peer.unread);
        self.shard.handle_bytes(self.now(), id, &mut bytes);
        true
    }

    /// Takes what is for the other shard: its requests wait to be answered, replies are let go.
    fn carry_mail(&mut self) {
        self.mail.extend(std::iter::from_fn(|| self.shard.poll_request(OTHER)));
        while self.shard.poll_reply(OTHER).is_some() {}
    }

    fn carry_output(&mut self) {
        if 1 < self.counters.len() && !self.is_mailbox_full {
            self.carry_mail();
            while self.shard.handle_mail_sent(self.now()) {
                self.carry_mail();
            }
        }
        while let Some((id, batch)) = self.shard.poll_send() {
            let peer = self.peers.get_mut(&id).expect("sends go to connections");
            assert!(!batch.is_empty() && peer.in_flight.is_none(), "one send at a time");
            assert!(!peer.is_write_ended && !peer.is_aborted, "nothing follows the end");
            if peer.is_stalled {
                peer.in_flight = Some(batch);
            } else {
                peer.heard.extend(batch.slices().flatten());
                self.shard.handle_sent(self.now(), id, batch.len());
            }
        }
        while let Some((id, action)) = self.shard.poll_action() {
            let peer = self.peers.get_mut(&id).expect("actions are for connections");
            match action {
                Action::EndWrite => {
                    assert!(!peer.is_write_ended, "a side ends once");
                    peer.is_write_ended = true;
                }
                Action::Abort if peer.is_gone => {}
                Action::Abort => {
                    peer.is_aborted = true;
                    peer.is_gone = true;
                    peer.in_flight = None;
                    self.shard.handle_closed(self.now(), id);
                }
            }
        }
    }
}
