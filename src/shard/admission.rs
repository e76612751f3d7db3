//! Who is let on, and how fast: proxies that are believed, rates, and seats of users and addresses.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use crate::broker::close::CloseReason;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::seats;
use crate::broker::seats::Answer;
use crate::broker::seats::Holder;
use crate::broker::seats::UserSeats;
use crate::broker::session::Session;
use crate::metrics::Rejected;
use crate::proto::proxy;
use crate::proto::proxy::Beginning;
use crate::shard::connection::Connection;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Head;
use crate::shard::rates::UserPace;
use crate::shard::state::Shard;
use crate::shard::state::TICK;
use crate::stdx::cidr::Cidr;
use crate::stdx::rate::Pace;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

/// The longest that a connection is not read in one go; what it still owes makes it wait again.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Whether connections begin with the PROXY protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// None may.
    #[default]
    Off,
    /// Those of trusted proxies may.
    Optional,
    /// All do, and come from trusted proxies.
    Required,
}

/// Who is let on, and how fast; 0 means no limit. Rates are this shard's share, or a connection's.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Whose word on other addresses is believed.
    pub trusted_proxies: Vec<Cidr>,
    /// Whether connections begin with the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// Most upgrades of this shard per second.
    pub handshakes_per_second: u64,
    /// Most frames of a connection per second.
    pub frames_per_second: u64,
    /// Most bytes of a connection per second.
    pub bytes_per_second: u64,
    /// Most frames of a user on this shard per second.
    pub user_frames_per_second: u64,
    /// Most bytes of a user on this shard per second.
    pub user_bytes_per_second: u64,
    /// Most connections of one user, and of one address.
    pub seats: seats::Limits,
}

/// How far ahead of time a connection is, by frames or by bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead {
    /// By more than a second.
    pub(super) over: Duration,
    /// Of which limit, and what that is.
    limit: &'static str,
    rate: u64,
    /// Of the bytes that are counted, those behind the message that is being taken.
    pub(super) behind_bytes: usize,
}

impl Ahead {
    /// How far it was ahead by bytes before the last so many of the message, and those behind it: a
    /// message of any size may come, but nothing in one go behind one that is far too large.
    pub(super) fn before(mut self, left_bytes: usize) -> Self {
        if !self.over.is_zero() {
            let left = (left_bytes + self.behind_bytes) as u64;
            // A product that is too large is a time that is too long.
            let nanos = left.saturating_mul(1_000_000_000) / self.rate.max(1);
            self.over = self.over.saturating_sub(Duration::from_nanos(nanos));
        }
        self
    }

    /// Whichever is further.
    pub(super) fn max(self, other: Self) -> Self {
        if self.over < other.over { other } else { self }
    }

    /// What is said to a frame that is ahead by two seconds; by one, it is not read for a while.
    pub(super) fn refusal(self) -> Option<Refusal> {
        let Self { over, limit, rate, .. } = self;
        let text = || format!("faster than limits.{limit}, which is {rate}; slow down");
        (Duration::from_secs(1) < over).then(|| Refusal::new(Code::Rate, text()))
    }
}

impl Admission {
    /// Whether the word of this address is believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        Cidr::any_contains(&self.trusted_proxies, address)
    }

    /// A connection has sent a frame, `user` being all of its user's here.
    pub(super) fn pace_frame(
        &self,
        now: Instant,
        pace: &mut Pace,
        user: Option<&UserPace>,
    ) -> Ahead {
        let Self { frames_per_second: rate, user_frames_per_second: user_rate, .. } = *self;
        let mut ahead = Ahead { limit: "frames_per_second", rate, ..Ahead::default() };
        if rate != 0 {
            ahead.over = pace.take(now, 1, rate);
        }
        if let Some(user) = user {
            let (over, limit) = (user.take_frame(now, user_rate), "user_frames_per_second");
            ahead = ahead.max(Ahead { over, limit, rate: user_rate, behind_bytes: 0 });
        }
        ahead
    }
}

impl Shard {
    /// Takes the header of the PROXY protocol from the front of a connection's bytes; `false` while
    /// more of it is awaited.
    ///
    /// # Errors
    ///
    /// Why the connection is answered 400.
    pub(super) fn begin_head(&mut self, id: ConnectionId, head: &mut Head) -> Result<bool, String> {
        let admission = &self.options.admission;
        if head.is_begun || admission.proxy_protocol == ProxyProtocol::Off {
            return Ok(true);
        }
        let Some(connection) = self.connections.get_mut(id.0) else { return Ok(true) };
        match proxy::decode(&head.bytes) {
            Ok(Beginning::Incomplete) => return Ok(false),
            Ok(Beginning::Absent) => {
                if admission.proxy_protocol == ProxyProtocol::Required {
                    return Err("connections here begin with the PROXY protocol".to_owned());
                }
            }
            Ok(Beginning::Header { bytes, source }) => {
                if !admission.trusts(connection.peer.ip()) {
                    return Err("this address may not speak for others".to_owned());
                }
                head.bytes.drain(..bytes);
                connection.peer = source.unwrap_or(connection.peer);
            }
            Err(error) => return Err(error.to_string()),
        }
        head.is_begun = true;
        Ok(true)
    }

    /// Notes whose an upgraded connection is, and asks for its seat.
    pub(super) fn note_address(&mut self, id: ConnectionId, address: IpAddr) {
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        if connection.peer.ip() != address {
            // Which port it had is known to the proxy alone.
            connection.peer = SocketAddr::new(address, 0);
        }
        self.take_seat(id, Holder::Address(address.to_canonical()));
    }

    /// Asks for a seat, where they are counted.
    pub(super) fn take_seat(&mut self, id: ConnectionId, holder: Holder) {
        if self.seats.counts(&holder) {
            self.seats.take(holder, id.to_bits());
        }
    }

    /// A home has answered: the connection has its seat, or is closed.
    pub(super) fn seat(&mut self, now: Now, answer: Answer) {
        let Answer { holder, connection: bits, is_granted } = answer;
        let id = ConnectionId::from_bits(bits);
        if is_granted {
            match self.connections.get_mut(id.0) {
                Some(connection) => connection.seats.push(holder),
                None => self.seats.free(holder, bits),
            }
            return;
        }
        if !self.connections.get(id.0).is_some_and(Connection::is_open) {
            return;
        }
        let (label, event) = match &holder {
            Holder::User(_) => (Rejected::User, "user-full"),
            Holder::Address(_) => (Rejected::Address, "address-full"),
        };
        self.counters.rejected.of(label).add(1);
        if let Some(suppressed) = self.audit_limit.admit(now.instant) {
            let peer = self.connections.get(id.0).map(|it| it.peer);
            tracing::warn!(
                target: "ringway::audit", event, ?holder, ?peer, suppressed,
                "a connection over the limit was closed"
            );
        }
        match holder {
            Holder::User(_) => self.with_session(now, id, Session::handle_crowded),
            Holder::Address(_) => self.close(now, id, CloseReason::Crowded),
        }
    }

    /// How many seats users have whose home this is, where that has changed.
    pub fn take_seat_news(&mut self) -> Vec<UserSeats> {
        self.seats.take_news()
    }

    /// Nobody has heard these news: they come again.
    pub fn put_seat_news_back(&mut self, unheard: Vec<UserSeats>) {
        self.seats.put_news_back(unheard);
    }

    /// Whether another upgrade is within the rate.
    pub(super) fn takes_handshake(&mut self, now: Now) -> bool {
        let rate = self.options.admission.handshakes_per_second;
        let mut pace = self.handshakes_pace;
        let is_within = rate == 0 || pace.take(now.instant, 1, rate).is_zero();
        if is_within {
            // Who is turned away takes nothing from those who come next.
            self.handshakes_pace = pace;
        }
        is_within
    }

    /// A connection has received so many bytes: how far ahead of time that makes it.
    pub(super) fn pace_bytes(&mut self, now: Now, id: ConnectionId, count: usize) -> Ahead {
        let Admission { bytes_per_second: rate, user_bytes_per_second: user_rate, .. } =
            self.options.admission;
        if rate == 0 && user_rate == 0 {
            return Ahead::default();
        }
        let Some(connection) = self.connections.get_mut(id.0) else { return Ahead::default() };
        let mut ahead = Ahead { limit: "bytes_per_second", rate, ..Ahead::default() };
        if rate != 0 {
            ahead.over = connection.bytes_pace.take(now.instant, count as u64, rate);
        }
        if let Some(user) = &connection.user_pace {
            let over = user.take_bytes(now.instant, count as u64, user_rate);
            let limit = "user_bytes_per_second";
            ahead = ahead.max(Ahead { over, limit, rate: user_rate, behind_bytes: 0 });
        }
        ahead
    }

    /// Lets a connection wait before it is read again.
    pub(super) fn throttle(&mut self, now: Now, id: ConnectionId, over: Duration) {
        let Some(connection) = self.connections.get_mut(id.0).filter(|_| !over.is_zero()) else {
            return;
        };
        let until = now.instant.after(over.min(PAUSE_MAX));
        if connection.throttled_until < until {
            connection.throttled_until = until;
            // While we do not read, its silence is ours.
            connection.received_at = connection.received_at.max(until);
            self.counters.throttled.add(1);
        }
    }

    /// How long a connection is not to be read; `None` when it may be.
    #[must_use]
    pub fn read_pause(&self, now: Now, id: ConnectionId) -> Option<Duration> {
        let connection = self.connections.get(id.0)?;
        let left = connection.throttled_until.since(now.instant);
        if !left.is_zero() {
            return Some(left);
        }
        let bytes_max = self.options.stomp.frame_bytes_max;
        connection.parked().is_some_and(|it| it.is_full(bytes_max)).then_some(TICK)
    }
}
