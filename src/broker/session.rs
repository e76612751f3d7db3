//! One client's STOMP session: what each of its frames means, given who it is and what it may.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxBuildHasher;

use crate::broker::close::CloseReason;
use crate::broker::identity;
use crate::broker::publication::Origin;
use crate::broker::publication::Publication;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::router;
use crate::broker::router::Interest;
use crate::broker::router::Router;
use crate::broker::table::SubscriptionKey;
use crate::proto::stomp;
use crate::proto::stomp::Command;
use crate::proto::stomp::Version;
use crate::stdx::rate::Bucket;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

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
    /// Prefix of the message ids of this shard.
    pub node: &'a str,
    /// Counts the messages of this shard.
    pub messages_count: &'a mut u64,
}

/// What the shard has to do for a session, in this order.
#[derive(Debug)]
pub enum Output {
    /// Put this STOMP frame in the outbox, as one text message.
    Reply(Vec<u8>),
    /// The session is open: its heart-beat intervals count from now.
    Connected,
    /// Enter the subscription, then tell [`Session::subscribed`]; the receipt waits for the relay.
    Subscribe(Subscribe),
    /// Take the subscription out of the table.
    Unsubscribe(SubscriptionKey),
    /// Publish these in order; the receipt waits until the relay has accepted all.
    Publish {
        /// What is said.
        publications: Publications,
        /// The client's name for the receipt.
        receipt: Option<Box<str>>,
    },
    /// A frame was refused; counted by its code.
    Refused(Refusal),
    /// Start to close.
    Close(CloseReason),
}

/// One publication, or those of a transaction.
#[derive(Debug)]
pub enum Publications {
    /// Of a plain SEND.
    One(Arc<Publication>),
    /// Of a COMMIT.
    Many(Vec<Arc<Publication>>),
}

/// A new subscription.
#[derive(Debug)]
pub struct Subscribe {
    /// The session's name for it.
    pub id: Box<str>,
    /// What MESSAGE frames say in `subscription`; `None` for a STOMP 1.0 client without ids.
    pub shown_id: Option<Box<str>>,
    /// In what.
    pub interest: Interest,
    /// The version that its frames are encoded for.
    pub version: Version,
    /// The client's name for the receipt.
    pub receipt: Option<Box<str>>,
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
    subscriptions: HashMap<Box<str>, Entry, FxBuildHasher>,
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
    has_id: bool,
}

#[derive(Debug)]
struct Transaction {
    name: Box<str>,
    publications: Vec<Arc<Publication>>,
    body_bytes: usize,
}

impl Session {
    /// A session that waits for CONNECT.
    #[must_use]
    pub fn new(id: String) -> Self {
        let id = id.into_boxed_str();
        Self {
            state: State::Fresh,
            version: Version::V1_2,
            user: id.clone(),
            id,
            is_named: false,
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
            State::Fresh | State::Open | State::Ended => None,
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
            (State::Open, _) => self.handle_open(frame, context, out),
            (State::Ending { .. } | State::Ended, _) => {}
        }
    }

    /// A receipt that was handed out in an [`Output`] has come true.
    pub fn handle_settled(&mut self, receipt: &str, out: &mut Vec<Output>) {
        assert!(0 < self.receipts_pending);
        self.receipts_pending -= 1;
        if self.state != State::Ended {
            self.push_receipt(receipt, out);
        }
        self.end_if_settled(out);
    }

    /// Ends a DISCONNECT that has waited long enough.
    pub fn handle_timer(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.receipts_pending = 0;
            self.end_if_settled(out);
        }
    }

    /// Notes where the table keeps a subscription; returns the one that it replaced.
    pub fn subscribed(&mut self, id: &str, key: SubscriptionKey) -> Option<SubscriptionKey> {
        self.subscriptions.get_mut(id).and_then(|entry| entry.key.replace(key))
    }

    /// Answers bytes that are no STOMP frame: the one ERROR, then the close.
    pub fn handle_broken(&mut self, error: stomp::Error, out: &mut Vec<Output>) {
        if self.state == State::Ended {
            return;
        }
        self.push_error(&error.to_string(), None, error.detail(), out);
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
            Command::Commit => self.commit(frame, out),
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

    fn connect(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) {
        let Some(version) = Version::negotiate(frame.headers.get("accept-version")) else {
            let mut bytes = Vec::new();
            let headers = [
                ("message", "no common version, this server speaks 1.0, 1.1 and 1.2"),
                ("version", "1.2,1.1,1.0"),
                ("content-type", "text/plain"),
            ];
            stomp::push_frame(&mut bytes, Version::V1_2, "ERROR", &headers, b"");
            self.state = State::Ended;
            out.push(Output::Reply(bytes));
            out.push(Output::Close(CloseReason::Protocol));
            return;
        };
        self.version = version;
        let wish = match frame.headers.get("heart-beat").map(stomp::HeartBeat::parse) {
            None => stomp::HeartBeat { send_ms: 0, receive_ms: 0 },
            Some(Ok(wish)) => wish,
            Some(Err(error)) => return self.break_off(frame, &error.to_string(), out),
        };
        if let Some(login) = frame.headers.get("login").filter(|it| !it.is_empty()) {
            if identity::USER_BYTES_MAX < login.len() || login.contains(['\r', '\n', '\0']) {
                return self.break_off(frame, "the login is too long or holds a line end", out);
            }
            let mut user = String::with_capacity(login.len());
            identity::push_encoded(&mut user, login);
            self.user = user.into_boxed_str();
            self.is_named = true;
        }
        let options = context.options;
        let grant = |wish_ms: u64| match wish_ms {
            0 => Duration::ZERO,
            _ => {
                Duration::from_millis(wish_ms).clamp(options.heart_beat_min, options.heart_beat_max)
            }
        };
        // What the client can send is what we receive, and the other way round.
        let granted = HeartBeats { send: grant(wish.receive_ms), receive: grant(wish.send_ms) };
        self.heart_beats = HeartBeats {
            send: granted.send.max(Duration::from_millis(wish.receive_ms)),
            receive: granted.receive.max(Duration::from_millis(wish.send_ms)),
        };
        let heart_beat = format!("{},{}", granted.send.as_millis(), granted.receive.as_millis());
        let login = frame.headers.get("login").unwrap_or("");
        let mut headers = vec![
            ("version", version.as_str()),
            ("heart-beat", &heart_beat),
            ("session", &self.id),
            ("server", &options.server),
        ];
        if self.is_named && identity::is_plain_value(login) {
            headers.push(("user-name", login));
        }
        let mut bytes = Vec::new();
        stomp::push_frame(&mut bytes, version, "CONNECTED", &headers, b"");
        self.state = State::Open;
        self.refusals = Some(Bucket::new(options.refusals_max, context.now.instant));
        out.push(Output::Reply(bytes));
        out.push(Output::Connected);
    }

    fn send(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let destination = destination_of(frame, "SEND has no destination")?;
        let receipt = self.receipt_of(frame, context)?;
        let delivery = context.router.resolve_send(destination)?;
        *context.messages_count += 1;
        let origin = Origin {
            node: context.node,
            number: *context.messages_count,
            user: (self.is_named && identity::is_plain_value(&self.user)).then_some(&*self.user),
            unix_ms: context.now.unix_ms,
            received_at: context.now.instant,
        };
        let publication =
            Publication::from_send(frame, delivery.channel, delivery.destination, origin);
        let publication = Arc::new(publication);
        let Some(name) = frame.headers.get("transaction") else {
            self.receipts_pending += usize::from(receipt.is_some());
            let publications = Publications::One(publication);
            out.push(Output::Publish { publications, receipt });
            return Ok(());
        };
        let transaction = self.transactions.iter_mut().find(|it| &*it.name == name);
        let transaction = transaction.ok_or_else(|| unknown_transaction(name))?;
        let body_bytes = transaction.body_bytes + publication.body().len();
        let options = context.options;
        if options.transaction_messages_max <= transaction.publications.len()
            || options.transaction_bytes_max < body_bytes
        {
            let text = format!(
                "transaction {name} is full: {} messages or {} bytes at most",
                options.transaction_messages_max, options.transaction_bytes_max
            );
            return Err(Refusal::new(Code::Limit, text).into());
        }
        transaction.body_bytes = body_bytes;
        transaction.publications.push(publication);
        // Taken into the transaction; what COMMIT promises comes with COMMIT's own receipt.
        if let Some(receipt) = receipt {
            self.push_receipt(&receipt, out);
        }
        Ok(())
    }
}

impl Session {
    fn subscribe(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let destination = destination_of(frame, "SUBSCRIBE has no destination")?;
        // STOMP 1.0 clients may leave the id out; the destination then serves as one.
        let shown_id = frame.headers.get("id");
        let id = match shown_id {
            Some(id) => id,
            None if self.version == Version::V1_0 => destination,
            None => return Err(Fault::Broken("SUBSCRIBE has no id")),
        };
        let receipt = self.receipt_of(frame, context)?;
        let interest = context.router.resolve_subscribe(destination, &self.user)?;
        let is_new = !self.subscriptions.contains_key(id);
        if is_new && context.options.subscriptions_max <= self.subscriptions.len() {
            let text = format!(
                "the session has {} subscriptions, limits.subscriptions_per_session allows no more",
                self.subscriptions.len()
            );
            return Err(Refusal::new(Code::Limit, text).into());
        }
        let entry = self.subscriptions.entry(Box::from(id)).or_insert(Entry {
            key: None,
            hears_errors: false,
            has_id: false,
        });
        entry.hears_errors = destination == router::ERRORS;
        entry.has_id = shown_id.is_some();
        self.receipts_pending += usize::from(receipt.is_some());
        out.push(Output::Subscribe(Subscribe {
            id: Box::from(id),
            shown_id: shown_id.map(Box::from),
            interest,
            version: self.version,
            receipt,
        }));
        Ok(())
    }

    fn unsubscribe(
        &mut self,
        frame: &stomp::Frame<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        // STOMP 1.0 allows the destination in place of an id.
        let named = match frame.headers.get("id") {
            None if self.version == Version::V1_0 => frame.headers.get("destination"),
            id => id,
        };
        let id = named.ok_or(Fault::Broken("UNSUBSCRIBE has no id"))?;
        if let Some(key) = self.subscriptions.remove(id).and_then(|entry| entry.key) {
            out.push(Output::Unsubscribe(key));
        }
        self.receipt_now(frame, out);
        Ok(())
    }

    fn begin(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let name = transaction_of(frame)?;
        if self.transactions.iter().any(|it| &*it.name == name) {
            let text = format!("transaction {name} is open already");
            return Err(Refusal::new(Code::Transaction, text).into());
        }
        if context.options.transactions_max <= self.transactions.len() {
            let text = format!("{} transactions are open, end one first", self.transactions.len());
            return Err(Refusal::new(Code::Limit, text).into());
        }
        let name = Box::from(name);
        self.transactions.push(Transaction { name, publications: Vec::new(), body_bytes: 0 });
        self.receipt_now(frame, out);
        Ok(())
    }

    fn commit(&mut self, frame: &stomp::Frame<'_>, out: &mut Vec<Output>) -> Result<(), Fault> {
        let transaction = self.take_transaction(frame)?;
        if transaction.publications.is_empty() {
            self.receipt_now(frame, out);
            return Ok(());
        }
        let receipt = frame.headers.get("receipt").map(Box::from);
        self.receipts_pending += usize::from(receipt.is_some());
        let publications = Publications::Many(transaction.publications);
        out.push(Output::Publish { publications, receipt });
        Ok(())
    }

    fn abort(&mut self, frame: &stomp::Frame<'_>, out: &mut Vec<Output>) -> Result<(), Fault> {
        self.take_transaction(frame)?;
        self.receipt_now(frame, out);
        Ok(())
    }

    fn take_transaction(&mut self, frame: &stomp::Frame<'_>) -> Result<Transaction, Fault> {
        let name = transaction_of(frame)?;
        let position = self.transactions.iter().position(|it| &*it.name == name);
        let position = position.ok_or_else(|| unknown_transaction(name))?;
        Ok(self.transactions.remove(position))
    }

    fn disconnect(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) {
        let receipt = frame.headers.get("receipt").map(Box::from);
        let deadline = context.now.instant.after(DISCONNECT_TIMEOUT);
        self.transactions = Vec::new();
        self.state = State::Ending { receipt, deadline };
        self.end_if_settled(out);
    }

    fn end_if_settled(&mut self, out: &mut Vec<Output>) {
        if 0 < self.receipts_pending {
            return;
        }
        let State::Ending { receipt, .. } = &mut self.state else {
            return;
        };
        let receipt = receipt.take();
        self.state = State::Ended;
        if let Some(receipt) = receipt {
            self.push_receipt(&receipt, out);
        }
        out.push(Output::Close(CloseReason::Disconnected));
    }

    /// The receipt that the frame asks for, if there is room for one more that waits.
    fn receipt_of(
        &self,
        frame: &stomp::Frame<'_>,
        context: &Context<'_>,
    ) -> Result<Option<Box<str>>, Fault> {
        let receipt = frame.headers.get("receipt");
        if receipt.is_some() && context.options.receipts_pending_max <= self.receipts_pending {
            let text = format!("{} receipts are owed, wait for them", self.receipts_pending);
            return Err(Refusal::new(Code::Limit, text).into());
        }
        Ok(receipt.map(Box::from))
    }

    fn receipt_now(&self, frame: &stomp::Frame<'_>, out: &mut Vec<Output>) {
        if let Some(receipt) = frame.headers.get("receipt") {
            self.push_receipt(receipt, out);
        }
    }

    fn push_receipt(&self, receipt: &str, out: &mut Vec<Output>) {
        let mut bytes = Vec::new();
        stomp::push_frame(&mut bytes, self.version, "RECEIPT", &[("receipt-id", receipt)], b"");
        out.push(Output::Reply(bytes));
    }

    fn push_error(&self, message: &str, receipt: Option<&str>, body: &str, out: &mut Vec<Output>) {
        let mut headers = vec![("message", message)];
        headers.extend(receipt.map(|it| ("receipt-id", it)));
        if !body.is_empty() {
            headers.push(("content-type", "text/plain"));
        }
        let mut bytes = Vec::new();
        stomp::push_frame(&mut bytes, self.version, "ERROR", &headers, body.as_bytes());
        out.push(Output::Reply(bytes));
    }

    /// A protocol error: one ERROR, then the close.
    fn break_off(&mut self, frame: &stomp::Frame<'_>, text: &str, out: &mut Vec<Output>) {
        self.push_error(text, frame.headers.get("receipt"), "", out);
        self.state = State::Ended;
        out.push(Output::Close(CloseReason::Protocol));
    }

    /// A refusal: told on `/user/queue/errors` and by an ERROR for the receipt; the session goes on.
    fn refuse(
        &mut self,
        frame: &stomp::Frame<'_>,
        refusal: Refusal,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) {
        let receipt = frame.headers.get("receipt");
        let destination = frame.headers.get("destination").unwrap_or("");
        self.push_notices(&refusal, destination, receipt, out);
        let closes = context.options.refusal_closes;
        if receipt.is_some() || closes {
            self.push_error(refusal.code.as_str(), receipt, &refusal.text, out);
        }
        out.push(Output::Refused(refusal));
        let refusals = self.refusals.as_mut().expect("an open session has its bucket");
        let is_over = !refusals.take(context.now.instant, REFUSAL_INTERVAL);
        if closes || is_over {
            self.state = State::Ended;
            let reason = if closes { CloseReason::Refused } else { CloseReason::RefusalLimit };
            out.push(Output::Close(reason));
        }
    }

    fn push_notices(
        &mut self,
        refusal: &Refusal,
        destination: &str,
        receipt: Option<&str>,
        out: &mut Vec<Output>,
    ) {
        let mut ids: Vec<&str> = self
            .subscriptions
            .iter()
            .filter(|(_, entry)| entry.hears_errors)
            .map(|(id, entry)| if entry.has_id { &**id } else { "" })
            .collect();
        ids.sort_unstable();
        for id in ids {
            self.notices_count += 1;
            let message_id = format!("{}-e{:x}", self.id, self.notices_count);
            let mut headers = vec![
                ("destination", router::ERRORS),
                ("content-type", "text/plain"),
                ("subscription", id),
                ("message-id", &message_id),
                ("code", refusal.code.as_str()),
            ];
            // A destination with white space stays out: no header value of ours holds any.
            if !destination.contains(char::is_whitespace) {
                headers.push(("refused-destination", destination));
            }
            headers.extend(receipt.map(|it| ("receipt-id", it)));
            let mut bytes = Vec::new();
            let body = refusal.text.as_bytes();
            stomp::push_frame(&mut bytes, self.version, "MESSAGE", &headers, body);
            out.push(Output::Reply(bytes));
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
