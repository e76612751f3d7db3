//! One client's STOMP session: what each of its frames means, given who it is and what it may.
//!
//! This file has the session's state and its ends; `connect`, `auth`, `frames`, `replies`,
//! `leaving` and `seen` have the rest.

mod auth;
mod connect;
mod frames;
mod leaving;
mod output;
mod replayed;
mod replies;
mod seen;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::close::CloseReason;
use crate::broker::publication::Publication;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::router::Router;
use crate::broker::table::SubscriptionKey;
use crate::policy::auth::Verifier;
use crate::policy::rules::Rules;
use crate::proto::stomp;
use crate::proto::stomp::Command;
use crate::proto::stomp::Version;
use crate::stdx::rate::Bucket;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

pub use crate::broker::session::auth::AuthOptions;
pub use crate::broker::session::leaving::Leaving;
pub use crate::broker::session::output::Asked;
pub use crate::broker::session::output::Output;
pub use crate::broker::session::output::Publications;
pub use crate::broker::session::output::Replay;
pub use crate::broker::session::output::Subscribe;

/// Longest `receipt`, subscription id or transaction name in bytes.
const NAME_BYTES_MAX: usize = 256;
/// One refusal is forgiven after this time.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a DISCONNECT waits for the receipts of earlier frames.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What all sessions of a shard have in common.
#[derive(Clone, Debug)]
pub struct Options {
    /// Shortest heart-beat interval that is granted.
    pub heart_beat_min: Duration,
    /// Longest heart-beat interval that is granted.
    pub heart_beat_max: Duration,
    /// Whether a refusal ends the connection, as STOMP 1.2 has it for ERROR.
    pub refusal_closes: bool,
    /// Most subscriptions of one session.
    pub subscriptions_max: usize,
    /// Most open transactions of one session.
    pub transactions_max: usize,
    /// Most SENDs in one transaction.
    pub transaction_messages_max: usize,
    /// Most body bytes in one transaction.
    pub transaction_bytes_max: usize,
    /// Most receipts that may be owed at once.
    pub receipts_pending_max: usize,
    /// Refusals that a session may collect at once; one is forgiven per second.
    pub refusals_max: u32,
    /// The `server` header of CONNECTED.
    pub server: String,
    /// How a client proves who it is; none means that its `login` is believed.
    pub auth: Option<AuthOptions>,
}

/// What a session needs from its shard while it handles one frame.
#[derive(Debug)]
pub struct Context<'a> {
    /// This turn's time.
    pub now: Now,
    /// The sessions' common settings.
    pub options: &'a Options,
    /// Where destinations lead.
    pub router: &'a Router,
    /// Who may use which.
    pub rules: &'a Rules,
    /// Judges tokens, where they are needed.
    pub verifier: Option<&'a mut Verifier>,
    /// Whether a frame may wait for the key of its token.
    pub learns_keys: bool,
    /// Whether others wait for one.
    pub awaits_keys: bool,
    /// Prefix of the message ids of this shard.
    pub node: &'a str,
    /// Counts the messages of this shard.
    pub messages_count: &'a mut u64,
}

/// Heart-beat intervals of one session; zero where a direction has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeartBeats {
    /// The server writes at least this often.
    pub send: Duration,
    /// The client promised to write this often.
    pub receive: Duration,
}

/// One client's session.
///
/// ```text
/// Fresh ─ CONNECT ─► Open ─ DISCONNECT ─► Ending ─ receipts settled, or 5 s ─► Ended
///   └──── anything else: ERROR, 1002 ──────────────────────────────────────────►┘
/// ```
///
/// Invariants: `receipts_pending` counts the receipts that were handed out in `Output` and not yet
/// settled; `subscriptions` holds just what is in the shard's table for this session.
#[derive(Debug)]
pub struct Session {
    state: State,
    version: Version,
    id: Box<str>,
    /// Encoded for channels; the session id until the client names itself.
    user: Box<str>,
    is_named: bool,
    /// What it lives by, where tokens are needed.
    token: Option<Box<auth::Token>>,
    /// The token that came with the upgrade, until CONNECT.
    http_token: Option<Box<str>>,
    /// The key of a frame's token was missing: the frame is to come again.
    lacks_key: bool,
    /// The next frame is one that has waited so.
    has_waited: bool,
    /// Hashed with a secret: clients choose the ids.
    subscriptions: HashMap<Box<str>, Entry>,
    transactions: Vec<Transaction>,
    receipts_pending: usize,
    notices_count: u32,
    refusals: Option<Bucket>,
    heart_beats: HeartBeats,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Open,
    Ending { receipt: Option<Box<str>>, deadline: Instant },
    Ended,
}

#[derive(Debug)]
struct Entry {
    key: Option<SubscriptionKey>,
    hears_errors: bool,
    hears_session: bool,
    hears_events: bool,
    has_id: bool,
}

#[derive(Debug)]
struct Transaction {
    name: Box<str>,
    publications: Vec<Arc<Publication>>,
    body_bytes: usize,
}

impl Session {
    /// A session that waits for CONNECT; `http_token` came with its upgrade.
    #[must_use]
    pub fn new(id: String, http_token: Option<Box<str>>) -> Self {
        let id = id.into_boxed_str();
        Self {
            state: State::Fresh,
            version: Version::V1_2,
            user: id.clone(),
            id,
            is_named: false,
            token: None,
            http_token,
            lacks_key: false,
            has_waited: false,
            subscriptions: HashMap::default(),
            transactions: Vec::new(),
            receipts_pending: 0,
            notices_count: 0,
            refusals: None,
            heart_beats: HeartBeats::default(),
        }
    }

    /// Whether CONNECT is still awaited.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.state == State::Fresh
    }

    /// The session's id, for logs.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The intervals that CONNECTED agreed on.
    #[must_use]
    pub fn heart_beats(&self) -> HeartBeats {
        self.heart_beats
    }

    /// The version that CONNECTED agreed on.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// When the session wants [`Session::handle_timer`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Ending { deadline, .. } => Some(*deadline),
            State::Open => self.token.as_ref().map(|it| it.next_deadline()),
            State::Fresh | State::Ended => None,
        }
    }

    /// Takes all subscriptions out, for a session that is gone.
    pub fn take_subscriptions(&mut self) -> Vec<SubscriptionKey> {
        let mut keys: Vec<_> = self.subscriptions.drain().filter_map(|(_, it)| it.key).collect();
        keys.sort_unstable();
        keys
    }

    /// Handles one frame of the client.
    pub fn handle_frame(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) {
        match (&self.state, frame.command) {
            (State::Fresh, Command::Connect | Command::Stomp) => {
                self.connect(frame, context, out);
            }
            (State::Fresh, _) => self.break_off(frame, "CONNECT must come first", out),
            (State::Open, Command::Connect | Command::Stomp) => {
                self.break_off(frame, "already connected", out);
            }
            (State::Open, _) => {
                if self.token.is_none() || self.check_token(frame, context, out) {
                    self.handle_open(frame, context, out);
                }
            }
            (State::Ending { .. } | State::Ended, _) => {}
        }
    }

    /// A receipt that was handed out in an [`Output`] has come true.
    /// `more` are further headers of the answer.
    pub fn handle_settled(&mut self, receipt: &str, more: &[(&str, &str)], out: &mut Vec<Output>) {
        assert!(0 < self.receipts_pending);
        self.receipts_pending -= 1;
        if self.state != State::Ended {
            self.push_receipt_with(receipt, more, out);
        }
        self.end_if_settled(out);
    }

    /// Does what is due: ends a DISCONNECT that has waited long enough, warns of the end of a
    /// token, and ends the session with it.
    pub fn handle_timer(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.next_deadline().is_none_or(|deadline| now.instant < deadline) {
            return;
        }
        if self.state == State::Open {
            return self.expire_token(now, out);
        }
        self.receipts_pending = 0;
        self.end_if_settled(out);
    }

    /// Gives up a client whose heart-beats stopped: the one ERROR, as Spring words it, then the
    /// close.
    pub fn handle_heart_beat_lost(&mut self, out: &mut Vec<Output>) {
        self.push_error("Session closed.", None, "The heart-beats stopped.", out);
        self.state = State::Ended;
        out.push(Output::Close(CloseReason::HeartBeatLost));
    }

    /// Ends a session whose user has as many as it may have.
    pub fn handle_crowded(&mut self, out: &mut Vec<Output>) {
        self.push_error("too many connections", None, "This user has too many connections.", out);
        self.state = State::Ended;
        out.push(Output::Close(CloseReason::Crowded));
    }

    /// Refuses a frame of an open session before anything is done for it.
    pub fn handle_refusal(
        &mut self,
        frame: &stomp::Frame<'_>,
        refusal: Refusal,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) {
        if self.state == State::Open {
            self.refuse(frame, refusal, context, out);
        }
    }

    /// Notes where the table keeps a subscription; returns the one that it replaced.
    pub fn subscribed(&mut self, id: &str, key: SubscriptionKey) -> Option<SubscriptionKey> {
        self.subscriptions.get_mut(id).and_then(|entry| entry.key.replace(key))
    }

    /// Answers bytes that are no STOMP frame: the one ERROR, then the close.
    pub fn handle_broken(
        &mut self,
        error: stomp::Error,
        receipt: Option<&str>,
        out: &mut Vec<Output>,
    ) {
        if self.state == State::Ended {
            return;
        }
        self.push_error(&error.to_string(), receipt, error.detail(), out);
        self.state = State::Ended;
        out.push(Output::Close(CloseReason::Stomp(error)));
    }

    fn handle_open(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) {
        let names = ["receipt", "id", "transaction"];
        let long = names
            .iter()
            .find(|name| frame.headers.get(name).is_some_and(|value| NAME_BYTES_MAX < value.len()));
        if let Some(name) = long {
            let text = format!("the {name} header is longer than {NAME_BYTES_MAX} bytes");
            return self.break_off(frame, &text, out);
        }
        let done = match frame.command {
            Command::Send => self.send(frame, context, out),
            Command::Subscribe => self.subscribe(frame, context, out),
            Command::Unsubscribe => self.unsubscribe(frame, out),
            Command::Begin => self.begin(frame, context, out),
            Command::Commit => self.commit(frame, context, out),
            Command::Abort => self.abort(frame, out),
            Command::Ack | Command::Nack => {
                self.receipt_now(frame, out);
                Ok(())
            }
            Command::Disconnect => {
                self.disconnect(frame, context, out);
                Ok(())
            }
            Command::Connect | Command::Stomp => Ok(()),
        };
        match done {
            Ok(()) => {}
            Err(Fault::Broken(text)) => self.break_off(frame, text, out),
            Err(Fault::Refused(refusal)) => self.refuse(frame, refusal, context, out),
        }
    }
}

/// Why a frame is not done.
enum Fault {
    /// The frame is broken: a protocol error.
    Broken(&'static str),
    /// The frame is fine, but not allowed or not possible.
    Refused(Refusal),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn destination_of<'f>(frame: &stomp::Frame<'f>, missing: &'static str) -> Result<&'f str, Fault> {
    frame.headers.get("destination").filter(|it| !it.is_empty()).ok_or(Fault::Broken(missing))
}

fn transaction_of<'f>(frame: &stomp::Frame<'f>) -> Result<&'f str, Fault> {
    frame.headers.get("transaction").ok_or(Fault::Broken("the transaction header is missing"))
}

fn unknown_transaction(name: &str) -> Fault {
    Refusal::new(Code::Transaction, format!("no transaction {name} is open")).into()
}
