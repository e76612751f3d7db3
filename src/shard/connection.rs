//! One connection: its place in HTTP, WebSocket and STOMP, and what waits for its socket.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::broker::outbox::Outbox;
use crate::broker::seats::Holder;
use crate::broker::session::Session;
use crate::proto::http;
use crate::proto::stomp;
use crate::proto::ws;
use crate::shard::rates::UserPace;
use crate::shard::waiting::Parked;
use crate::stdx::rate::Pace;
use crate::stdx::slab::Key;
use crate::stdx::time::Instant;
use crate::stdx::wheel::Tick;

/// A connection of one shard; wrong for ever once that connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(super) Key);

impl ConnectionId {
    /// The id as one number, for what the kernel hands back.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// The id of these bits, which may be that of a connection that is gone.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(Key::from_bits(bits))
    }

    /// Position among the connections of the shard; given again to a later connection.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.index as usize
    }
}

/// What a shard keeps of one connection.
///
/// Invariants: `0 < in_flight_bytes` just while a send of that many bytes is under way, and they
/// are the front of `outbox`; `is_dirty` just while the connection is in the shard's dirty list;
/// `armed` is the tick of its only live entry in the wheel.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) phase: Phase,
    pub(super) outbox: Outbox,
    pub(super) in_flight_bytes: usize,
    /// Cipher text that its socket has not taken: a copy of its own of what is in flight.
    pub(super) sealed_bytes: usize,
    pub(super) is_dirty: bool,
    /// The page's origin was sent: a browser, whose timers may sleep.
    pub(super) is_browser: bool,
    /// When it was accepted, and from the upgrade on when that was.
    pub(super) opened_at: Instant,
    pub(super) received_at: Instant,
    /// When it last said something but heart-beats.
    pub(super) active_at: Instant,
    /// When it is as old as it may be.
    pub(super) leaves_at: Option<Instant>,
    /// When bytes were last put into the outbox.
    pub(super) written_at: Instant,
    pub(super) pinged_at: Option<Instant>,
    pub(super) armed: Tick,
    /// The seats that it has, of its address and its user.
    pub(super) seats: Vec<Holder>,
    pub(super) bytes_pace: Pace,
    /// That of its user, where users have rates.
    pub(super) user_pace: Option<Rc<UserPace>>,
    /// It is not read before this.
    pub(super) throttled_until: Instant,
}

/// Where a connection is in its life.
///
/// ```text
/// Head ─ 101 ─► Stomp or Echo ─ close frame queued ─► Closing ─ both ends done, or deadline ─►
/// gone
///   └─ any other answer queued ──────────────────────────►┘
/// ```
#[derive(Debug)]
pub(super) enum Phase {
    /// Collecting the head of its HTTP request.
    Head(Box<Head>),
    /// Speaks STOMP.
    Stomp(Box<Stomp>),
    /// Gets its own messages back.
    Echo(Box<ws::Decoder>),
    /// The last bytes are queued.
    Closing(Closing),
    /// Taken out while its bytes are worked on.
    Taken,
}

#[derive(Debug)]
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    pub(super) limits: http::Limits,
    /// What may stand before the request has been taken.
    pub(super) is_begun: bool,
}

#[derive(Debug)]
pub(super) struct Stomp {
    pub(super) ws: ws::Decoder,
    pub(super) decoder: stomp::Decoder,
    pub(super) session: Session,
    pub(super) pace: Pace,
    /// What it has said, while that waits; then nothing more that it sends is looked at.
    pub(super) parked: Option<Box<Parked>>,
}

#[derive(Debug)]
pub(super) struct Closing {
    pub(super) deadline: Instant,
    /// While set, the peer's own close frame is still awaited.
    pub(super) ws: Option<Box<ws::Decoder>>,
    pub(super) is_write_ended: bool,
    pub(super) is_aborted: bool,
    /// Whether it counted as an active connection.
    pub(super) was_active: bool,
}

impl Connection {
    pub(super) fn new(peer: SocketAddr, head: Head, now: Instant) -> Self {
        Self {
            peer,
            phase: Phase::Head(Box::new(head)),
            outbox: Outbox::default(),
            in_flight_bytes: 0,
            sealed_bytes: 0,
            is_dirty: false,
            is_browser: false,
            opened_at: now,
            received_at: now,
            active_at: now,
            leaves_at: None,
            written_at: now,
            pinged_at: None,
            armed: Tick::NEVER,
            seats: Vec::new(),
            bytes_pace: Pace::default(),
            user_pace: None,
            throttled_until: Instant::default(),
        }
    }

    /// What it has sent that waits.
    pub(super) fn parked(&self) -> Option<&Parked> {
        match &self.phase {
            Phase::Stomp(stomp) => stomp.parked.as_deref(),
            Phase::Head(_) | Phase::Echo(_) | Phase::Closing(_) | Phase::Taken => None,
        }
    }

    /// What waits for its peer, cipher text included.
    pub(super) fn held_bytes(&self) -> usize {
        self.outbox.queued_bytes() + self.sealed_bytes
    }

    /// What waits although it is closing.
    pub(super) fn leaving_bytes(&self) -> usize {
        match &self.phase {
            Phase::Closing(closing) if closing.was_active => self.held_bytes(),
            Phase::Closing(_)
            | Phase::Head(_)
            | Phase::Stomp(_)
            | Phase::Echo(_)
            | Phase::Taken => 0,
        }
    }

    /// Whether it speaks WebSocket and nobody has begun to close it.
    pub(super) fn is_open(&self) -> bool {
        match self.phase {
            Phase::Stomp(_) | Phase::Echo(_) | Phase::Taken => true,
            Phase::Head(_) | Phase::Closing(_) => false,
        }
    }
}
