//! One connection to one Redis server: how it greets, what it still has to answer, when it is given
//! up.
//!
//! ```text
//! Opening ─connected─► Greeting ─HELLO, or AUTH─► Asking ─ROLE: a primary─► Ready
//!    └──────────────────────┴────── Fault: closed, tried again ──┴────────────┘
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;

use crate::broker::relay::redis::batch::Batch;
use crate::broker::relay::redis::counts::cleaned;
use crate::broker::relay::redis::entry::Written;
use crate::broker::relay::redis::history::Ask;
use crate::broker::relay::redis::options::Address;
use crate::broker::relay::redis::options::Options;
use crate::proto::resp;
use crate::proto::resp::Value;
use crate::stdx::time::Instant;

/// Names one connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Subscriber,
    Publisher,
    /// Only asks a cluster for its slots.
    Scout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Greeting,
    Asking,
    Ready,
}

/// A question that has been written, or will be before any other.
#[derive(Debug)]
pub(super) enum Expect {
    Hello,
    Auth,
    Role,
    Ping,
    Slots,
    /// A page of what is revoked.
    Revoked,
    /// The `OK` in front of what is asked at a node that does not own the slot yet.
    Asking,
    Batch(Batch),
    Publication(Written),
    /// About a history.
    Ask(Ask),
}

/// Why a link is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What the socket's side says.
    Lost(String),
    ConnectTimeout,
    Silent,
    /// Its name leads to this server now: its pair was connected there, or it was looked up.
    Moved(SocketAddr),
    /// A replica, or a primary that has become one.
    Replica,
    /// A Sentinel, or something else that is no primary.
    NoPrimary(String),
    /// The server wants other credentials, or does not let these do what is needed.
    Denied(String),
    /// Another error in the greeting.
    Refused(String),
    /// What came is not RESP, or not an answer to what was asked.
    Protocol(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(why) => write!(out, "connection lost: {why}"),
            Self::ConnectTimeout => out.write_str("no connection in time"),
            Self::Silent => out.write_str("no answer in time"),
            Self::Moved(peer) => write!(out, "the name leads to {peer} now"),
            Self::Replica => out.write_str("it is a replica, which is not used"),
            Self::NoPrimary(what) => write!(out, "it is no primary but \"{what}\""),
            Self::Denied(text) => {
                write!(out, "access denied: {text}; check relay.user, relay.password and the ACL")
            }
            Self::Refused(text) => write!(out, "it refuses: {text}"),
            Self::Protocol(what) => write!(out, "not understood: {what}"),
        }
    }
}

/// What an answer leads to.
#[derive(Debug)]
pub(super) enum Step {
    Nothing,
    /// The greeting is through.
    Ready,
    /// An answer to this, for its owner.
    Answer(Expect),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) part: Part,
    pub(super) address: Address,
    /// What the address led to, once it is connected.
    pub(super) peer: Option<SocketAddr>,
    phase: Phase,
    opened_at: Instant,
    received_at: Instant,
    /// When it was last asked something only to hear an answer.
    pinged_at: Instant,
    /// Whether the greeting was HELLO: then a link that subscribes may ask anything.
    is_resp3: bool,
    /// Whether the server lets us ask for its role.
    has_role: bool,
    expected: VecDeque<(Instant, Expect)>,
    /// Commands of the link itself; they go out before all others, in the order of `expected`.
    own: Vec<u8>,
    /// What is left of a message that is too large to be looked at.
    pub(super) skip: Option<resp::Skip>,
    pub(super) commands_count: u64,
}

impl Link {
    pub(super) fn new(id: LinkId, part: Part, address: Address, now: Instant) -> Self {
        Self {
            id,
            part,
            address,
            peer: None,
            phase: Phase::Opening,
            opened_at: now,
            received_at: now,
            pinged_at: now,
            is_resp3: true,
            has_role: true,
            expected: VecDeque::new(),
            own: Vec::new(),
            skip: None,
            commands_count: 0,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether something that it was given to publish is not answered.
    pub(super) fn awaits_publications(&self) -> bool {
        self.expected.iter().any(|(_, it)| matches!(it, Expect::Publication(_)))
    }

    /// Whether a question of this kind is open.
    pub(super) fn awaits_slots(&self) -> bool {
        self.expected.iter().any(|(_, it)| matches!(it, Expect::Slots))
    }

    pub(super) fn handle_connected(&mut self, now: Instant, peer: SocketAddr, options: &Options) {
        if self.phase != Phase::Opening {
            return;
        }
        self.peer = Some(peer);
        self.phase = Phase::Greeting;
        self.received_at = now;
        let user = options.user.as_deref().unwrap_or("default");
        match options.password.as_deref() {
            None => self.ask(now, Expect::Hello, &["HELLO", "3"]),
            Some(password) => {
                self.ask(now, Expect::Hello, &["HELLO", "3", "AUTH", user, password]);
            }
        }
    }

    /// Notes that bytes came: the server lives.
    pub(super) fn handle_received(&mut self, now: Instant) {
        self.received_at = now;
    }

    /// Takes one answer. Pushes are not answers: the caller keeps them, but for the confirmations
    /// that [`Link::batch`] waits for.
    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        value: &Value<'_>,
        options: &Options,
    ) -> Result<Step, Fault> {
        let Some((_, expected)) = self.expected.pop_front() else {
            return Err(Fault::Protocol("an answer that nobody asked for".to_owned()));
        };
        match expected {
            Expect::Hello => self.handle_hello(now, value, options),
            Expect::Auth => {
                if let Value::Error(text) = value {
                    return Err(fault_of(text));
                }
                Ok(self.ask_role(now))
            }
            Expect::Role => self.handle_role(value),
            Expect::Ping | Expect::Asking => Ok(Step::Nothing),
            Expect::Slots
            | Expect::Revoked
            | Expect::Batch(_)
            | Expect::Publication(_)
            | Expect::Ask(_) => Ok(Step::Answer(expected)),
        }
    }

    fn handle_hello(
        &mut self,
        now: Instant,
        value: &Value<'_>,
        options: &Options,
    ) -> Result<Step, Fault> {
        let Value::Error(text) = value else {
            return Ok(self.ask_role(now));
        };
        // Also where a rule forbids HELLO itself: AUTH and PUBLISH may be allowed all the same.
        let unknown: [&[u8]; 3] = [b"ERR unknown command", b"NOPROTO", b"NOPERM"];
        if !unknown.iter().any(|it| text.starts_with(it)) {
            return Err(fault_of(text));
        }
        self.is_resp3 = false;
        match (options.user.as_deref(), options.password.as_deref()) {
            (_, None) => return Ok(self.ask_role(now)),
            (None, Some(password)) => self.ask(now, Expect::Auth, &["AUTH", password]),
            (Some(user), Some(password)) => self.ask(now, Expect::Auth, &["AUTH", user, password]),
        }
        Ok(Step::Nothing)
    }

    fn handle_role(&mut self, value: &Value<'_>) -> Result<Step, Fault> {
        let is_first = self.phase == Phase::Asking;
        if let Value::Error(text) = value {
            let is_denied = text.starts_with(b"NOPERM") || text.starts_with(b"ERR unknown command");
            if !is_denied {
                return Err(fault_of(text));
            }
            // Not being allowed to ask is no reason to be without a relay.
            self.has_role = false;
        } else {
            let role = value.items().and_then(|it| it.first()).and_then(Value::as_bytes);
            match role {
                Some(b"master") => {}
                Some(b"slave" | b"replica") => return Err(Fault::Replica),
                Some(other) => return Err(Fault::NoPrimary(cleaned(other))),
                None => return Err(Fault::Protocol("an answer to ROLE that is none".to_owned())),
            }
        }
        if !is_first {
            return Ok(Step::Nothing);
        }
        self.phase = Phase::Ready;
        Ok(Step::Ready)
    }

    fn ask_role(&mut self, now: Instant) -> Step {
        if self.part == Part::Scout {
            // A replica knows the slots as well.
            self.phase = Phase::Ready;
            return Step::Ready;
        }
        self.phase = Phase::Asking;
        self.ask(now, Expect::Role, &["ROLE"]);
        Step::Nothing
    }

    /// Whether the server has refused to tell its role.
    pub(super) fn is_blind(&self) -> bool {
        !self.has_role
    }

    /// Asks whether the server is still there, and still a primary, when it is time to.
    pub(super) fn handle_timer(&mut self, now: Instant, options: &Options) -> Result<(), Fault> {
        match self.phase {
            Phase::Opening if options.connect_timeout <= now.since(self.opened_at) => {
                return Err(Fault::ConnectTimeout);
            }
            Phase::Opening => return Ok(()),
            Phase::Greeting | Phase::Asking | Phase::Ready => {}
        }
        if let Some((asked_at, _)) = self.expected.front() {
            let silent_since = self.received_at.max(*asked_at);
            if options.ping_timeout <= now.since(silent_since) {
                return Err(Fault::Silent);
            }
        }
        let is_due = match self.part {
            Part::Publisher => options.role_interval <= now.since(self.pinged_at),
            Part::Subscriber | Part::Scout => {
                let last = self.received_at.max(self.pinged_at);
                options.ping_interval <= now.since(last)
            }
        };
        let is_asked =
            self.expected.iter().any(|(_, it)| matches!(it, Expect::Role | Expect::Ping));
        if self.phase != Phase::Ready || !is_due || is_asked {
            return Ok(());
        }
        // A RESP2 link that subscribes may ask nothing but PING.
        let may_ask_role = self.has_role && (self.is_resp3 || self.part == Part::Publisher);
        if may_ask_role && self.part != Part::Scout {
            self.ask(now, Expect::Role, &["ROLE"]);
        } else {
            self.ask(now, Expect::Ping, &["PING"]);
        }
        self.pinged_at = now;
        Ok(())
    }

    pub(super) fn ask_slots(&mut self, now: Instant) {
        self.ask(now, Expect::Slots, &["CLUSTER", "SLOTS"]);
    }

    pub(super) fn ask_revoked(&mut self, now: Instant, key: &str, cursor: &str, count: &str) {
        self.ask(now, Expect::Revoked, &["ZSCAN", key, cursor, "COUNT", count]);
    }

    /// The batch whose confirmations come next.
    pub(super) fn batch(&mut self) -> Option<&mut Batch> {
        let (_, Expect::Batch(batch)) = self.expected.front_mut()? else { return None };
        Some(batch)
    }

    /// Forgets the batch at the front: all of it is confirmed.
    pub(super) fn pop_batch(&mut self) {
        if self.batch().is_some() {
            self.expected.pop_front();
        }
    }

    /// Says that a command was appended to what is transmitted.
    pub(super) fn expect(&mut self, now: Instant, what: Expect) {
        self.commands_count += 1;
        self.expected.push_back((now, what));
    }

    pub(super) fn wants_transmit(&self) -> bool {
        !self.own.is_empty()
    }

    /// Appends the link's own commands; others may follow them.
    pub(super) fn transmit(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.own);
    }

    /// What was written and not answered, oldest first: the link is gone.
    pub(super) fn into_expected(self) -> impl Iterator<Item = Expect> {
        self.expected.into_iter().map(|(_, what)| what)
    }

    fn ask(&mut self, now: Instant, what: Expect, parts: &[&str]) {
        let parts: Vec<&[u8]> = parts.iter().map(|it| it.as_bytes()).collect();
        resp::push_command(&mut self.own, &parts);
        self.expect(now, what);
    }
}

fn fault_of(text: &[u8]) -> Fault {
    let is_denied = ["NOAUTH", "WRONGPASS", "NOPERM", "ERR invalid password", "ERR AUTH"]
        .iter()
        .any(|it| text.starts_with(it.as_bytes()));
    if is_denied { Fault::Denied(cleaned(text)) } else { Fault::Refused(cleaned(text)) }
}
