//! Who waits where tokens are needed: CONNECTs for their turn, because a signature costs as much
//! as hundreds of messages; CONNECTs, and frames that bring a token, for a key that is being
//! fetched.
//!
//! Those of addresses whose tokens were refused lately come behind the others: newcomers are not
//! read before it is their turn, and CONNECTs that were sent before wait once more.
//!
//! What such a connection has sent is kept meanwhile, up to the size of one message: what is more
//! ends one that has no session yet; one that has is not read for a while.

use std::collections::VecDeque;
use std::mem;
use std::net::IpAddr;
use std::time::Duration;

use crate::broker::close::CloseReason;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Phase;
use crate::shard::connection::Stomp;
use crate::shard::state::Shard;
use crate::shard::suspects::Suspects;
use crate::stdx::slab::Key;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

/// The longest that somebody waits for a key; whoever fetches keys says sooner that it is done.
const KEY_TIMEOUT: Duration = Duration::from_secs(5);
/// Of so many turns one is that of a suspect, however many others wait: they come late, not never.
const SUSPECT_EVERY: u32 = 32;
/// Beside that, suspects wait until nobody has been let in for this time: in a storm those who are
/// not there yet are on their way.
const CALM: Duration = Duration::from_millis(50);
/// So many CONNECTs of suspects wait at most before the next newcomer of theirs is read.
const SUSPECTS_READ_MAX: usize = 64;

/// Those that wait, in the order in which they came; some may be gone.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    turn: VecDeque<Key>,
    suspect: VecDeque<Key>,
    /// Newcomers of suspects that are not read yet.
    door: VecDeque<Key>,
    /// One of them is to be read although others wait.
    is_door_due: bool,
    suspects: Suspects,
    /// Others that had their turn since a suspect had one.
    others_count: u32,
    let_in_at: Option<Instant>,
    key: VecDeque<(Instant, Key)>,
}

/// What a connection has sent that waits.
#[derive(Debug)]
pub(super) struct Parked {
    /// One WebSocket message: with the CONNECT, or from a frame on whose token is to be judged.
    message: Vec<u8>,
    /// What came behind it, as it came.
    rest: Vec<u8>,
}

impl Parked {
    /// Whether nothing more is to be read.
    pub(super) fn is_full(&self, bytes_max: usize) -> bool {
        bytes_max <= self.rest.len()
    }
}

/// What becomes of a newcomer that was held.
#[derive(Debug, PartialEq, Eq)]
pub enum Newcomer {
    /// It is to be read: it may go on, or it was closed meanwhile, which its reader notices.
    Read(ConnectionId),
    /// There is hardly room: it gets this answer, and is closed.
    TurnAway(ConnectionId, Vec<u8>),
}

impl Waiting {
    pub(super) fn awaits_keys(&self) -> bool {
        !self.key.is_empty()
    }

    /// Whose turn it is, and whether as one that may still be found a suspect.
    fn pop(&mut self, now: Instant) -> Option<(Key, bool)> {
        if SUSPECT_EVERY <= self.others_count {
            if let Some(key) = self.suspect.pop_front() {
                self.others_count = 0;
                return Some((key, false));
            }
            if !self.door.is_empty() {
                self.others_count = 0;
                self.is_door_due = true;
            }
        }
        if let Some(key) = self.turn.pop_front() {
            return Some((key, true));
        }
        let key = if self.is_calm(now) { self.suspect.pop_front() } else { None };
        key.map(|key| (key, false))
    }

    fn is_calm(&self, now: Instant) -> bool {
        self.let_in_at.is_none_or(|it| CALM <= now.since(it))
    }
}

impl Shard {
    /// Whether messages of a session wait for their turn.
    pub(super) fn is_parking(&self, stomp: &Stomp) -> bool {
        self.verifier.is_some() && stomp.session.is_fresh()
    }

    /// Keeps a message, and what came behind it, until it is its turn.
    pub(super) fn park(&mut self, id: ConnectionId, message: &[u8], rest: &[u8]) -> Box<Parked> {
        self.waiting.turn.push_back(id.0);
        Box::new(Parked { message: message.to_vec(), rest: rest.to_vec() })
    }

    /// Keeps what an open session has said, and what came behind it, until there are other keys.
    pub(super) fn park_again(
        &mut self,
        now: Now,
        id: ConnectionId,
        message: Vec<u8>,
        rest: &[u8],
    ) -> Box<Parked> {
        self.waiting.key.push_back((now.instant.after(KEY_TIMEOUT), id.0));
        Box::new(Parked { message, rest: rest.to_vec() })
    }

    /// Keeps more bytes of a connection that waits.
    pub(super) fn park_more(
        &mut self,
        now: Now,
        id: ConnectionId,
        stomp: &mut Stomp,
        bytes: &[u8],
    ) -> Result<(), CloseReason> {
        let bytes_max = self.options.stomp.frame_bytes_max;
        let Some(parked) = &mut stomp.parked else { return Ok(()) };
        let is_over = bytes_max < parked.rest.len().saturating_add(bytes.len());
        if is_over && stomp.session.is_fresh() {
            return Err(CloseReason::Protocol);
        }
        parked.rest.extend_from_slice(bytes);
        if parked.is_full(bytes_max)
            && let Some(connection) = self.connections.get_mut(id.0)
        {
            // While we do not read, its silence is ours.
            connection.received_at = now.instant.after(KEY_TIMEOUT);
        }
        Ok(())
    }

    /// Whether a newcomer comes from an address whose tokens were refused lately; a proxy's own
    /// address tells nothing.
    pub(super) fn is_suspect(&self, peer: IpAddr) -> bool {
        let is_needed = self.verifier.is_some() && !self.options.admission.trusts(peer);
        is_needed && self.waiting.suspects.has(peer)
    }

    /// Whether a newcomer is not to be read before [`Shard::next_newcomer`] names it.
    #[must_use]
    pub fn holds(&mut self, now: Instant, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get(id.0) else { return false };
        let is_held = !self.waiting.is_calm(now) && self.is_suspect(connection.peer.ip());
        if is_held {
            self.waiting.door.push_back(id.0);
        }
        is_held
    }

    /// The next newcomer that was held and whose turn it is.
    pub fn next_newcomer(&mut self, now: Instant) -> Option<Newcomer> {
        while let Some(key) = self.waiting.door.front().copied() {
            let is_fresh = self.is_fresh(key);
            let is_read = !is_fresh || self.reads_newcomers(now);
            if !is_read && !self.is_nearly_full() {
                return None;
            }
            self.waiting.door.pop_front();
            let id = ConnectionId(key);
            if is_read && self.connections.get(key).is_some() {
                self.waiting.is_door_due &= !is_fresh;
                return Some(Newcomer::Read(id));
            } else if !is_read {
                return Some(Newcomer::TurnAway(id, self.turn_away(id)));
            }
        }
        None
    }

    /// Gives up a newcomer that was held; what is to be said to it.
    fn turn_away(&mut self, id: ConnectionId) -> Vec<u8> {
        if let Some(connection) = self.connections.get_mut(id.0) {
            connection.phase = Phase::Taken;
            self.handshakes_count -= 1;
        }
        self.say_no_place()
    }

    /// Newcomers that are held: they have nothing but their sockets, and take nobody's place of
    /// those who shake hands.
    pub(super) fn held_count(&self) -> usize {
        self.waiting.door.len()
    }

    /// Whether the next newcomer that is held may be read.
    fn reads_newcomers(&self, now: Instant) -> bool {
        let waiting = &self.waiting;
        let is_room = waiting.suspect.len() < SUSPECTS_READ_MAX;
        waiting.is_door_due || (is_room && waiting.is_calm(now))
    }

    /// Whether a CONNECT waits for its turn and may have it now, or a newcomer may be read.
    #[must_use]
    pub fn has_waiting(&self, now: Instant) -> bool {
        let waiting = &self.waiting;
        let may_go_on = || waiting.is_calm(now) || self.is_nearly_full();
        let is_next = |front: &Key| {
            self.reads_newcomers(now) || self.is_nearly_full() || !self.is_fresh(*front)
        };
        !waiting.turn.is_empty()
            || (!waiting.suspect.is_empty() && may_go_on())
            || waiting.door.front().is_some_and(is_next)
    }

    fn is_fresh(&self, key: Key) -> bool {
        self.connections.get(key).is_some_and(|it| matches!(it.phase, Phase::Head(_)))
    }

    /// Takes the next CONNECT that waits for its turn; `false` when none does.
    pub fn admit_next(&mut self, now: Now) -> bool {
        if !self.waiting.suspect.is_empty() && self.is_nearly_full() {
            // They would take the places of those who come with good tokens.
            if let Some(key) = self.waiting.suspect.pop_front() {
                self.close(now, ConnectionId(key), CloseReason::Full);
                self.settle(now);
            }
            return true;
        }
        let Some((key, may_be_suspect)) = self.waiting.pop(now.instant) else { return false };
        let id = ConnectionId(key);
        let Some(connection) = self.connections.get_mut(key) else { return true };
        let address = connection.peer.ip();
        // An open session that has waited for a key has shown who it is.
        let is_connect = matches!(&connection.phase, Phase::Stomp(it) if it.session.is_fresh());
        if is_connect && may_be_suspect && self.waiting.suspects.has(address) {
            self.waiting.suspect.push_back(key);
            return true;
        }
        self.waiting.others_count += u32::from(is_connect && may_be_suspect);
        let mut stomp = match mem::replace(&mut connection.phase, Phase::Taken) {
            Phase::Stomp(stomp) => stomp,
            other @ (Phase::Head(_) | Phase::Echo(_) | Phase::Closing(_) | Phase::Taken) => {
                connection.phase = other;
                return true;
            }
        };
        let mut rest = Vec::new();
        let mut close = None;
        if let Some(mut parked) = stomp.parked.take() {
            let learns = self.options.auth.as_ref().is_some_and(|it| it.learns_keys);
            // Decoding works on it where it lies; a CONNECT may be needed once more.
            let connect = (learns && is_connect).then(|| parked.message.clone());
            let Stomp { decoder, session, pace, .. } = &mut *stomp;
            let speaker = (decoder, session, pace);
            let again = match self.ingest_message(now, id, speaker, &mut parked.message) {
                Ok(again) => again.or(connect),
                Err(reason) => {
                    close = Some(reason);
                    None
                }
            };
            match again.filter(|_| stomp.session.take_lack_of_key()) {
                None => {
                    rest = parked.rest;
                    if is_connect {
                        let is_good = stomp.session.has_token();
                        if is_good {
                            self.waiting.let_in_at = Some(now.instant);
                        }
                        self.waiting.suspects.note(now.instant, address, is_good);
                    }
                }
                Some(message) => {
                    stomp.parked = Some(Box::new(Parked { message, ..*parked }));
                    self.waiting.key.push_back((now.instant.after(KEY_TIMEOUT), key));
                }
            }
        }
        self.put_back(id, Phase::Stomp(stomp));
        if let Some(reason) = close {
            self.close(now, id, reason);
        }
        if !rest.is_empty() {
            self.ingest(now, id, &mut rest);
        }
        self.settle(now);
        self.rearm(id);
        true
    }

    /// Whether the last places are left, which suspects do not get.
    pub(super) fn is_nearly_full(&self) -> bool {
        let places_max = self.options.connections_max;
        // The others hold as many, more or less.
        let held_count = self.held_count() * self.identity.counters.len();
        places_max - places_max / 16 <= self.active_everywhere() + held_count
    }

    /// Has those try again that wait for a key: there are others, or none will come.
    pub(super) fn retry_keyless(&mut self) {
        let keyless = mem::take(&mut self.waiting.key);
        self.waiting.turn.extend(keyless.into_iter().map(|(_, key)| key));
    }

    /// Has those try again that have waited long enough for a key.
    pub(super) fn expire_keyless(&mut self, now: Instant) {
        while let Some((_, key)) = self.waiting.key.pop_front_if(|(deadline, _)| *deadline <= now) {
            self.waiting.turn.push_back(key);
        }
    }
}
