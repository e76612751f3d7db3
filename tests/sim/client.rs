//! A simulated client: what it wrote, what it was promised, and what it may still hear.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Duration;

use ringway::proto::stomp::Version;
use ringway::shard::ConnectionId;
use ringway::stdx::bytes::Batch;
use ringway::stdx::time::Instant;

use crate::plan::HEART_BEAT_MAX;
use crate::plan::HEART_BEAT_MIN;
use crate::tap::Tap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    Stomp,
    Echo,
    /// Asks for something that is no upgrade.
    Plain,
    /// Never finishes its head.
    Mute,
}

/// What a frame asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Connect,
    Subscribe {
        sub: usize,
        turn: usize,
        wish: usize,
    },
    Unsubscribe,
    Send {
        target: usize,
    },
    /// A SEND inside a transaction: taken, not yet said.
    Collect,
    Begin,
    /// COMMIT of this many messages.
    Commit(usize),
    Abort,
    Acknowledge,
    Disconnect,
    /// Something that must be refused.
    Refused,
    /// Written behind DISCONNECT: must have no effect.
    Void,
}

impl Ask {
    /// Whether its receipt leaves before any answer to a later frame.
    pub(crate) fn is_immediate(&self) -> bool {
        match self {
            Self::Unsubscribe | Self::Collect | Self::Begin | Self::Abort | Self::Acknowledge => {
                true
            }
            Self::Commit(count) => *count == 0,
            Self::Connect
            | Self::Subscribe { .. }
            | Self::Send { .. }
            | Self::Disconnect
            | Self::Refused
            | Self::Void => false,
        }
    }

    /// Whether receipts of `self` and of a later `other` come in this order.
    pub(crate) fn comes_before(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Send { target: one }, Self::Send { target: two }) => one == two,
            (Self::Subscribe { wish: one, .. }, Self::Subscribe { wish: two, .. }) => one == two,
            _ => self.is_immediate(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Owed,
    /// None was asked for.
    None,
    Receipt,
    Refusal,
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) ask: Ask,
    pub(crate) answer: Answer,
    /// The step at which its RECEIPT came; for ever late until then.
    pub(crate) settled_at: u64,
    /// The shard may have done it once it was handed this many bytes, and has with `done_at`.
    pub(crate) begun_at: u64,
    pub(crate) done_at: u64,
}

/// One subscription id of a client, through all that it was used for.
pub(crate) struct Sub {
    pub(crate) name: String,
    pub(crate) turns: Vec<Turn>,
    /// The turn that the last message was for; earlier ones are over.
    pub(crate) current: usize,
    pub(crate) received: BTreeSet<usize>,
    /// By target: the last message.
    pub(crate) last: BTreeMap<usize, Last>,
    /// By sender and target: the position among what the sender said.
    pub(crate) positions: BTreeMap<(usize, usize), u64>,
    /// By target: the latest step at which one of the messages was written.
    pub(crate) latest: BTreeMap<usize, u64>,
}

pub(crate) struct Last {
    pub(crate) message: usize,
    pub(crate) turn: usize,
    /// Whether nothing may be missing behind it.
    pub(crate) is_sure: bool,
}

/// One SUBSCRIBE of an id.
pub(crate) struct Turn {
    pub(crate) wish: usize,
    pub(crate) frame: usize,
    /// The step at which its RECEIPT came.
    pub(crate) confirmed_at: Option<u64>,
    /// The frame that ends it, and whether that is a SUBSCRIBE of the same id.
    pub(crate) ended_by: Option<(usize, bool)>,
    /// Nothing may come for it any more.
    pub(crate) is_over: bool,
}

/// A transaction that is open, with the messages it collected.
pub(crate) struct Transaction {
    pub(crate) name: String,
    pub(crate) messages: Vec<usize>,
}

/// The weather between a client and the server, and where both are in the life of a connection.
#[derive(Default)]
pub(crate) struct Flags {
    pub(crate) is_upgraded: bool,
    /// Any other answer than an upgrade came.
    pub(crate) is_answered: bool,
    pub(crate) is_connected: bool,
    pub(crate) is_hostile: bool,
    /// Does not read for a while.
    pub(crate) is_stalled: bool,
    /// The server's close frame came.
    pub(crate) is_close_heard: bool,
    /// Writes no more; the shard is told once it has all.
    pub(crate) has_ended: bool,
    /// The server ended its side; the server gave it up; a send failed.
    pub(crate) is_write_ended: bool,
    pub(crate) is_aborted: bool,
    pub(crate) is_broken: bool,
    /// The shard was told that the socket is closed.
    pub(crate) is_gone: bool,
}

pub(crate) struct Client {
    pub(crate) shard: usize,
    pub(crate) id: ConnectionId,
    pub(crate) nature: Nature,
    pub(crate) version: Version,
    pub(crate) user: Option<usize>,
    pub(crate) has_ids: bool,
    /// Writes on without waiting for answers to its upgrade and CONNECT.
    pub(crate) is_eager: bool,
    /// Heart-beats as CONNECT wishes them: sent, and received, in milliseconds.
    pub(crate) beats: (u64, u64),
    pub(crate) flags: Flags,

    pub(crate) outgoing: VecDeque<u8>,
    pub(crate) written_bytes: u64,
    pub(crate) handed_bytes: u64,
    /// Bytes of its request head.
    pub(crate) head_bytes: u64,
    pub(crate) frames: Vec<Frame>,
    /// Frames that wait to be packed.
    pub(crate) drafts: Vec<(usize, Vec<u8>)>,
    /// So many frames are known to be done by the server.
    pub(crate) done_count: usize,
    pub(crate) subs: Vec<Sub>,
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) disconnect: Option<usize>,
    /// The code of the close frame that it wrote.
    pub(crate) closed_with: Option<Option<u16>>,

    pub(crate) tap: Tap,
    pub(crate) in_flight: Option<Batch>,
    /// Bytes that the kernel still takes for it.
    pub(crate) room_bytes: usize,
    pub(crate) pongs: VecDeque<Vec<u8>>,
    pub(crate) echoes: VecDeque<(bool, Vec<u8>)>,

    pub(crate) opened_at: Instant,
    pub(crate) said_at: Instant,
    /// When the shard was last handed bytes; when it had the whole DISCONNECT.
    pub(crate) handed_at: Instant,
    /// The longest time between two of the former.
    pub(crate) silence: Duration,
    pub(crate) disconnected_at: Option<Instant>,
    /// When the shard last gave out a batch.
    pub(crate) polled_at: Instant,
}

impl Client {
    /// Whether the shard may have done the frame.
    pub(crate) fn has_begun(&self, frame: usize) -> bool {
        self.frames[frame].begun_at <= self.handed_bytes
    }

    /// How many frames, from the first, the shard has been handed whole.
    pub(crate) fn handed_count(&self) -> usize {
        self.frames.iter().take_while(|it| it.done_at <= self.handed_bytes).count()
    }

    /// Whether it is a STOMP session as good as any.
    pub(crate) fn is_well(&self) -> bool {
        let flags = &self.flags;
        let is_lost = flags.is_gone || flags.is_aborted || flags.is_broken;
        flags.is_connected && !is_lost && !flags.is_hostile
    }

    /// Whether it may write frames: it has said nothing final.
    pub(crate) fn may_speak(&self) -> bool {
        let flags = &self.flags;
        let is_over = flags.is_gone || flags.has_ended || flags.is_answered;
        !is_over && !flags.is_hostile && self.closed_with.is_none()
    }

    /// How often the server promised to write.
    pub(crate) fn beat_promised(&self) -> Option<Duration> {
        granted(self.beats.1)
    }

    /// How often the client promised to write.
    pub(crate) fn beat_owed(&self) -> Option<Duration> {
        granted(self.beats.0)
    }

    /// Subscription ids in use, as far as the client knows.
    pub(crate) fn subs_in_use(&self) -> Vec<usize> {
        let is_in_use = |it: &Turn| it.ended_by.is_none() && !self.is_refused(it.frame);
        (0..self.subs.len()).filter(|sub| self.subs[*sub].turns.iter().any(is_in_use)).collect()
    }

    /// The frame ends what the id was used for until now.
    pub(crate) fn end_sub(&mut self, sub: usize, frame: usize, is_replaced: bool) {
        for turn in &mut self.subs[sub].turns {
            turn.ended_by.get_or_insert((frame, is_replaced));
        }
    }

    /// The SUBSCRIBE was refused: whatever it would have replaced goes on, until the next.
    pub(crate) fn revive_sub(&mut self, sub: usize, refused: usize) {
        let turns = &mut self.subs[sub].turns;
        let next = turns.iter().find(|it| it.frame == refused).and_then(|it| it.ended_by);
        for turn in turns {
            turn.is_over |= turn.frame == refused;
            if turn.ended_by == Some((refused, true)) {
                turn.ended_by = next;
            }
        }
    }

    pub(crate) fn is_refused(&self, frame: usize) -> bool {
        self.frames[frame].answer == Answer::Refusal
    }

    /// All that was asked for up to `frame` is done: what it ended is over.
    pub(crate) fn is_done_up_to(&mut self, frame: usize) {
        self.done_count = self.done_count.max(frame + 1);
        for turn in self.subs.iter_mut().flat_map(|it| &mut it.turns) {
            turn.is_over |= turn.ended_by.is_some_and(|(by, _)| by <= frame);
        }
    }
}

fn granted(wish_ms: u64) -> Option<Duration> {
    let wish = Duration::from_millis(wish_ms);
    (!wish.is_zero()).then(|| wish.clamp(HEART_BEAT_MIN, HEART_BEAT_MAX).max(wish))
}
