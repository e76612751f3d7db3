//! What a shard is: its connections, its table, its part of the relay, and its limits.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxBuildHasher;

use crate::broker::refusal::Refusal;
use crate::broker::relay::Embedded;
use crate::broker::relay::Redis;
use crate::broker::relay::Relay;
use crate::broker::relay::ShardId;
use crate::broker::relay::Token;
use crate::broker::relay::redis::Options as RedisOptions;
use crate::broker::router::Router;
use crate::broker::seats::Seats;
use crate::broker::session;
use crate::broker::session::Output;
use crate::broker::table::SubscriptionKey;
use crate::broker::table::Table;
use crate::metrics::Handshake;
use crate::metrics::Rejected;
use crate::metrics::ShardCounters;
use crate::metrics::health::Health;
use crate::policy::auth::Verifier;
use crate::policy::rules::Rules;
use crate::proto::http;
use crate::proto::http::origin::OriginPatterns;
use crate::proto::stomp;
use crate::proto::ws;
use crate::shard::admission::Admission;
use crate::shard::admission::Ahead;
use crate::shard::audit::Audit;
use crate::shard::audit::Who;
use crate::shard::auth::AuthOptions;
use crate::shard::behind::Behind;
use crate::shard::connection::Connection;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Head;
use crate::shard::connection::Phase;
use crate::shard::drain::Drain;
use crate::shard::drain::DrainOptions;
use crate::shard::flush::Action;
use crate::shard::flush::SendsAlike;
use crate::shard::inquiry::Inquiries;
use crate::shard::log_limit::LogLimit;
use crate::shard::rates::UserPaces;
use crate::shard::replay::Replays;
use crate::shard::waiting::Waiting;
use crate::stdx::bytes::Meter;
use crate::stdx::bytes::Shared;
use crate::stdx::random::Random;
use crate::stdx::rate::Pace;
use crate::stdx::slab::Key;
use crate::stdx::slab::Slab;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;
use crate::stdx::wheel::Tick;
use crate::stdx::wheel::Wheel;

/// Length of the wheel's ticks; the owner calls [`Shard::handle_timer`] about this often.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// What all shards of a process are told.
#[derive(Debug)]
pub struct Options {
    /// What sessions may.
    pub session: session::Options,
    /// Limits of STOMP frames.
    pub stomp: stomp::Limits,
    /// Limits of WebSocket frames and messages.
    pub ws: ws::Limits,
    /// Limits of an HTTP head.
    pub http: http::Limits,
    /// Where destinations lead.
    pub router: Router,
    /// Who may use which.
    pub rules: Rules,
    /// Who is let on, and how fast.
    pub admission: Admission,
    /// How clients prove who they are; none means that they do not.
    pub auth: Option<AuthOptions>,
    /// Pages of other origins that may connect; empty means the same origin only.
    pub origins: OriginPatterns,
    /// Whether the listener speaks TLS: what a page's own origin begins with.
    pub has_tls: bool,
    /// Whether `/echo` is served.
    pub has_echo: bool,
    /// How long an HTTP head may take.
    pub handshake_timeout: Duration,
    /// How long CONNECT may take after the upgrade.
    pub first_frame_timeout: Duration,
    /// How long a peer may take to answer a close frame, and to read the last bytes.
    pub close_timeout: Duration,
    /// How long a peer without heart-beats may be silent before it is pinged.
    pub ping_interval: Duration,
    /// How long it then may stay silent.
    pub pong_timeout: Duration,
    /// Most open WebSockets of the process.
    pub connections_max: usize,
    /// Most unfinished handshakes of this shard.
    pub handshakes_max: usize,
    /// Most bytes that wait for one peer.
    pub outbox_bytes_max: usize,
    /// Longest time that a byte waits for its peer.
    pub outbox_timeout: Duration,
    /// Most bytes that all outboxes of this shard hold.
    pub outbox_total_bytes_max: usize,
    /// How sessions are let go.
    pub drain: DrainOptions,
    /// Length of a mailbox to another shard, in mails.
    pub mailbox_max: usize,
    /// The relay through Redis; `None` is the embedded one.
    pub redis: Option<Arc<RedisOptions>>,
    /// What RECEIPTs call the store of the history, where there is one.
    pub history: Option<&'static str>,
}

/// Who a shard is among the shards of its process.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its number.
    pub id: ShardId,
    /// Where it counts, and where the others do.
    pub counters: Arc<[Arc<ShardCounters>]>,
    /// What the process says of itself.
    pub health: Arc<Health>,
    /// Seed of its randomness, its own.
    pub seed: u64,
    /// Seed of the choice of home shards, the same for all.
    pub home_seed: u64,
}

/// One shard, without its sockets.
///
/// Invariants, checked by [`Shard::check_invariants`]: a subscription is in the table just while
/// its session's connection is open; the relay has an interest in just what the table has; every
/// outbox is within its limit but for the frames of the protocol itself.
#[derive(Debug)]
pub struct Shard {
    pub(super) options: Arc<Options>,
    pub(super) identity: Identity,
    pub(super) counters: Arc<ShardCounters>,
    /// Prefix of this shard's message ids.
    pub(super) node: String,
    pub(super) random: Random,
    pub(super) connections: Slab<Connection>,
    pub(super) handshakes_count: usize,
    pub(super) active_count: usize,
    pub(super) table: Table,
    pub(super) relay: Relay,
    pub(super) owed: HashMap<Token, Owed, FxBuildHasher>,
    pub(super) tokens_count: u64,
    pub(super) messages_count: u64,
    pub(super) meter: Meter,
    /// What waits for closing WebSockets: it goes by itself, within `close_timeout`.
    pub(super) leaving_bytes: usize,
    pub(super) heart_beat: Shared,
    pub(super) ping: Shared,
    pub(super) dirty: VecDeque<Key>,
    pub(super) actions: VecDeque<(ConnectionId, Action)>,
    pub(super) wheel: Wheel,
    pub(super) due: Vec<(Key, Tick)>,
    pub(super) outputs: Vec<Output>,
    /// Receive times of what was delivered this turn.
    pub(super) delivered: Vec<Instant>,
    /// Publications that found subscribers here since the time was last asked.
    pub(super) fanned_out_count: u32,
    pub(super) slow: Vec<Key>,
    pub(super) behind: Behind,
    pub(super) sends_alike: SendsAlike,
    pub(super) round_trips: Vec<Duration>,
    pub(super) log_limit: LogLimit,
    pub(super) audit: Audit,
    pub(super) seats: Seats,
    pub(super) replays: Replays,
    pub(super) handshakes_pace: Pace,
    pub(super) ahead: Ahead,
    pub(super) waiting: Waiting,
    pub(super) user_paces: UserPaces,
    /// Judges tokens, where they are needed.
    pub(super) verifier: Option<Verifier>,
    /// While the shard has no credit, and so reads nothing; then the end of the last long pause.
    pub(super) paused: Pause,
    pub(super) drain: Option<Drain>,
    pub(super) inquiries: Inquiries,
    pub(super) is_draining: bool,
    /// Nothing is read any more before what is owed has been answered.
    pub(super) is_silenced: bool,
}

/// An answer that is owed to a client until the relay has done, or refused, `missing_count` more
/// things.
#[derive(Debug)]
pub(super) struct Owed {
    pub(super) to: ConnectionId,
    pub(super) receipt: Option<Box<str>>,
    /// As the client named it.
    pub(super) destination: Box<str>,
    /// The session's name and the table's place of what a SUBSCRIBE asked for.
    pub(super) subscription: Option<(Box<str>, SubscriptionKey)>,
    pub(super) missing_count: usize,
    /// The first of the things that was refused.
    pub(super) refusal: Option<Refusal>,
    /// What the last of them was answered with.
    pub(super) answer: crate::shard::answer::Answer,
    /// Whether it was for one thing alone.
    pub(super) is_single: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pause {
    pub(super) is_on: bool,
    pub(super) began_at: Instant,
    pub(super) ended_at: Instant,
}

impl Shard {
    /// A shard without connections.
    ///
    /// # Panics
    ///
    /// When its number is not among the counters of the process.
    #[must_use]
    pub fn new(options: Arc<Options>, identity: Identity) -> Self {
        let Identity { id, counters, seed, home_seed, .. } = &identity;
        let meter = Meter::default();
        let frame = |opcode, payload: &[u8]| {
            let mut bytes = Vec::new();
            ws::push_frame(&mut bytes, opcode, payload);
            // Kept whether anybody waits for them or not, so not counted with what waits.
            Shared::new(bytes, &Meter::default())
        };
        let mut random = Random::new(*seed);
        Self {
            counters: Arc::clone(&counters[usize::from(id.0)]),
            node: format!("{:012x}-{}", random.next() >> 16, id.0),
            connections: Slab::default(),
            handshakes_count: 0,
            active_count: 0,
            table: Table::new(),
            relay: match &options.redis {
                None => {
                    let mailbox_max = options.mailbox_max;
                    let count = counters.len();
                    Relay::Embedded(Box::new(Embedded::new(*id, count, mailbox_max, *home_seed)))
                }
                Some(options) => {
                    // The clock has just been started.
                    let now = Instant::default();
                    let mut redis = Redis::new(Arc::clone(options), now, random.next());
                    if id.0 == 0 {
                        redis.begin_copying(now);
                    }
                    Relay::Redis(Box::new(redis))
                }
            },
            owed: HashMap::default(),
            tokens_count: 0,
            messages_count: 0,
            heart_beat: frame(ws::Opcode::Text, b"\n"),
            ping: frame(ws::Opcode::Ping, b""),
            meter,
            leaving_bytes: 0,
            dirty: VecDeque::new(),
            actions: VecDeque::new(),
            wheel: Wheel::new(TICK),
            due: Vec::new(),
            outputs: Vec::new(),
            delivered: Vec::new(),
            fanned_out_count: 0,
            slow: Vec::new(),
            behind: Behind::default(),
            sends_alike: SendsAlike::new(),
            round_trips: Vec::new(),
            log_limit: LogLimit::new(),
            audit: Audit::default(),
            seats: {
                let seats = Seats::new(*id, counters.len(), *home_seed, options.admission.seats);
                if options.redis.is_some() { seats.with_news() } else { seats }
            },
            replays: Replays::default(),
            handshakes_pace: Pace::default(),
            ahead: Ahead::default(),
            waiting: Waiting::default(),
            user_paces: UserPaces::default(),
            verifier: (options.auth.as_ref())
                .map(|it| Verifier::new(it.verifier.clone(), Arc::clone(&it.keys))),
            paused: Pause::default(),
            drain: None,
            inquiries: Inquiries::default(),
            is_draining: false,
            is_silenced: false,
            random,
            options,
            identity,
        }
    }

    /// Goes by `options` from now on. What a connection was given when it came, such as the largest
    /// message of its decoder, it keeps.
    pub fn handle_options(&mut self, options: &Arc<Options>) {
        if !Arc::ptr_eq(&self.options, options) {
            self.options = Arc::clone(options);
            self.seats.set_limits(options.admission.seats);
            if let (Some(verifier), Some(auth)) = (&mut self.verifier, &options.auth) {
                verifier.set_options(auth.verifier.clone());
            }
        }
    }

    /// Takes a connection that was accepted; `None` when too many are in their handshake, and the
    /// socket is to be closed.
    pub fn handle_opened(&mut self, now: Now, peer: SocketAddr) -> Option<ConnectionId> {
        if self.options.handshakes_max <= self.handshakes_count.saturating_sub(self.held_count()) {
            let who = Who { address: Some(peer), ..Who::default() };
            let text = "limits.handshakes_pending connections are in their handshake already";
            self.reject(now, Rejected::HandshakesPending, who, text);
            return None;
        }
        let head = Head { bytes: Vec::new(), limits: self.options.http, is_begun: false };
        let key = self.connections.insert(Connection::new(peer, head, now.instant));
        self.handshakes_count += 1;
        let id = ConnectionId(key);
        self.rearm(id);
        Some(id)
    }

    /// The socket is closed, by whomever: forgets the connection.
    pub fn handle_closed(&mut self, now: Now, id: ConnectionId) {
        self.close_lost(now, id);
        let Some(connection) = self.connections.remove(id.0) else {
            return;
        };
        self.leaving_bytes -= connection.leaving_bytes();
        match connection.phase {
            Phase::Head(_) => {
                self.handshakes_count -= 1;
                self.counters.handshakes.of(Handshake::Abandoned).add(1);
            }
            Phase::Closing(closing) if closing.was_active => {
                self.note_gone(!closing.is_write_ended)
            }
            Phase::Closing(_) | Phase::Stomp(_) | Phase::Echo(_) | Phase::Taken => {}
        }
        // Before the limits are looked at: what it held is free.
        drop(connection.outbox);
        self.meter.recount(connection.sealed_bytes, 0);
        if let Some(pace) = connection.user_pace {
            self.user_paces.leave(pace);
        }
        for holder in connection.seats {
            self.seats.free(holder, id.to_bits());
        }
        self.settle(now);
    }

    pub(super) fn enter_active(&mut self) {
        self.active_count += 1;
        self.counters.connections_active.set(self.active_count as u64);
    }

    pub(super) fn leave_active(&mut self) {
        assert!(0 < self.active_count);
        self.active_count -= 1;
        self.counters.connections_active.set(self.active_count as u64);
    }

    /// Open WebSockets of the whole process, as far as the others have told.
    pub(super) fn active_everywhere(&self) -> usize {
        let all = self.identity.counters.iter().map(|it| it.connections_active.get()).sum::<u64>();
        usize::try_from(all).unwrap_or(usize::MAX)
    }

    /// A connection could not be accepted: the process is out of descriptors or memory. It waits in
    /// the backlog, and the owner tries again soon.
    pub fn handle_accept_failed(&mut self, now: Now, error: &io::Error) {
        self.counters.rejected.of(Rejected::Descriptors).add(1);
        if let Some(suppressed) = self.log_limit.admit(now.instant) {
            tracing::warn!(suppressed, "cannot accept, trying again soon: {error}");
        }
    }

    /// Where this shard counts.
    #[must_use]
    pub fn counters(&self) -> &ShardCounters {
        &self.counters
    }

    /// Connections of any kind, for the owner's end.
    #[must_use]
    pub fn connections_count(&self) -> usize {
        self.connections.len()
    }
}
