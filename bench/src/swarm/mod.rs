//! Thousands of client connections on one thread: a bare epoll loop, cheaper than what it loads.
//!
//! Knows WebSocket and how a session is opened; must never know what a scenario measures. Read
//! `inbox` (bytes to messages), then this file (the loop), then `opening` (up to the subscription).

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::event::epoll::EventData;
use rustix::event::epoll::EventFlags;

use crate::clock;
use crate::ws;
use crate::ws::Masks;
use crate::ws::Opcode;

mod inbox;
mod opening;
pub mod stream;

pub use inbox::Inbox;
pub use inbox::Incoming;
pub use inbox::Trouble;
pub use opening::Opened;
pub use opening::Opening;

use stream::Stream;

/// One read takes at most this; all connections share the buffer.
const INPUT_BYTES: usize = 64 * 1024;
/// Sockets that one wait can report.
const EVENTS_COUNT: usize = 1024;
/// What may wait for a server that does not read.
const OUTBOX_BYTES_MAX: usize = 16 << 20;

/// A connection that ended although this client did not end it.
#[derive(Clone, Debug)]
pub struct Closing {
    /// Which connection.
    pub index: usize,
    /// The server's code and reason, or what the socket said.
    pub why: String,
    /// When.
    pub at: Instant,
}

/// All connections of one run.
pub struct Swarm {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    events: Vec<epoll::Event>,
    input: Box<[u8]>,
    masks: Masks,
    closings: Vec<Closing>,
    pings_count: u64,
    open_count: usize,
    idle_ns: u64,
    heart_beats: Option<(Duration, Duration)>,
    is_binary: bool,
}

/// Whether this process asks again instead of sleeping; said once, before the first swarm.
static SPIN: AtomicBool = AtomicBool::new(false);

/// Says whether swarms of this process sleep while they wait.
pub fn set_spin(does_spin: bool) {
    SPIN.store(does_spin, Ordering::Relaxed);
}

struct Connection {
    /// `None` once it is closed.
    stream: Option<Stream>,
    inbox: Inbox,
    outbox: Vec<u8>,
    /// epoll tells us when the socket takes more.
    awaits_room: bool,
    /// Nothing is read from it any more.
    is_paused: bool,
    heard_at: Instant,
    said_at: Instant,
}

/// Takes what is to be sent on one connection; all of it leaves in one write.
pub struct Outlet<'a> {
    /// When the bytes were read that are being handled, or when the sending began.
    pub now: Instant,
    outbox: &'a mut Vec<u8>,
    masks: &'a mut Masks,
    is_binary: bool,
}

impl Outlet<'_> {
    /// Adds a message, of the kind that this swarm speaks in.
    pub fn message(&mut self, payload: &[u8]) {
        let opcode = if self.is_binary { Opcode::Binary } else { Opcode::Text };
        ws::encode(opcode, payload, self.masks.next_mask(), self.outbox);
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) {
        ws::encode(opcode, payload, self.masks.next_mask(), self.outbox);
    }
}

impl Swarm {
    /// A swarm without connections, which speaks in text or in binary messages.
    ///
    /// # Errors
    ///
    /// The kernel has no descriptor for us.
    pub fn new(seed: u64, is_binary: bool) -> anyhow::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot create an epoll")?,
            connections: Vec::new(),
            events: Vec::with_capacity(EVENTS_COUNT),
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            masks: Masks::new(seed),
            closings: Vec::new(),
            pings_count: 0,
            open_count: 0,
            idle_ns: 0,
            heart_beats: None,
            is_binary,
        })
    }

    /// Connections there are, closed ones too.
    #[must_use]
    pub fn connections_count(&self) -> usize {
        self.connections.len()
    }

    /// Connections that have not ended.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open_count
    }

    /// Time that was spent in waiting for something to do.
    #[must_use]
    pub fn idle_ns(&self) -> u64 {
        self.idle_ns
    }

    /// Connections that ended by no wish of ours, in the order they did.
    #[must_use]
    pub fn closings(&self) -> &[Closing] {
        &self.closings
    }

    /// Pings of the server that were answered.
    #[must_use]
    pub fn pings_count(&self) -> u64 {
        self.pings_count
    }

    /// The heart-beats agreed on with the server, the same on every connection: how often it speaks
    /// and how often we do, zero for never. `None` before the first CONNECTED.
    #[must_use]
    pub fn heart_beats(&self) -> Option<(Duration, Duration)> {
        self.heart_beats
    }

    /// When the last bytes came from, and the last ones went to, connection `index`.
    #[must_use]
    pub fn last_heard_and_said(&self, index: usize) -> (Instant, Instant) {
        let connection = &self.connections[index];
        (connection.heard_at, connection.said_at)
    }

    /// Whether connection `index` is there to be spoken to.
    #[must_use]
    pub fn is_open(&self, index: usize) -> bool {
        self.connections[index].stream.is_some()
    }

    /// Sends what `fill` puts into the outlet of connection `index`, in one write.
    ///
    /// # Errors
    ///
    /// The server has not read for so long that the limit of waiting bytes is reached.
    pub fn send(
        &mut self,
        index: usize,
        now: Instant,
        fill: impl FnOnce(&mut Outlet<'_>),
    ) -> anyhow::Result<()> {
        let connection = &mut self.connections[index];
        let is_binary = self.is_binary;
        let (outbox, masks) = (&mut connection.outbox, &mut self.masks);
        fill(&mut Outlet { now, outbox, masks, is_binary });
        self.flush(index, now)
    }

    /// Reads nothing more from connection `index`: the kernel fills up, then the server does.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn pause(&mut self, index: usize) -> anyhow::Result<()> {
        let connection = &mut self.connections[index];
        connection.is_paused = true;
        connection.awaits_room = false;
        let Some(stream) = &connection.stream else { return Ok(()) };
        let data = EventData::new_u64(index as u64);
        epoll::modify(&self.epoll, stream, data, EventFlags::empty()).context("cannot stop reading")
    }

    /// Makes room for connections below `count`, closed until they are opened.
    fn make_places(&mut self, count: usize) {
        let now = clock::now();
        let closed = || Connection {
            stream: None,
            inbox: Inbox::new(""),
            outbox: Vec::new(),
            awaits_room: false,
            is_paused: false,
            heard_at: now,
            said_at: now,
        };
        let count = count.max(self.connections.len());
        self.connections.resize_with(count, closed);
    }

    /// Lets go of every socket without a word, as a client does that loses its network.
    pub fn hang_up_all(&mut self) {
        for connection in &mut self.connections {
            self.open_count -= usize::from(connection.stream.take().is_some());
        }
    }

    /// Waits up to `timeout` for any socket, reads what is there and gives it to `handle` with the
    /// index of its connection; then sends what `handle` put into the outlets.
    ///
    /// # Errors
    ///
    /// What `handle` returns; or the kernel refuses to wait.
    pub fn poll<F>(&mut self, timeout: Duration, handle: &mut F) -> anyhow::Result<()>
    where
        F: FnMut(&mut Outlet<'_>, usize, Incoming<'_>) -> anyhow::Result<()>,
    {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let does_spin = SPIN.load(Ordering::Relaxed);
        let from = clock::now();
        let deadline = from + timeout;
        loop {
            let left = if does_spin { Duration::ZERO } else { timeout };
            let left = Timespec::try_from(left).context("the timeout is too long")?;
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for the sockets"),
            }
            if !does_spin || !events.is_empty() || deadline <= clock::now() {
                break;
            }
        }
        self.idle_ns += clock::elapsed_ns(from, clock::now());
        for event in &events {
            let (flags, data) = (event.flags, event.data);
            let index = usize::try_from(data.u64())?;
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.read(index, handle)?;
            } else {
                self.flush(index, clock::now())?;
            }
        }
        self.events = events;
        Ok(())
    }

    /// Says goodbye on every connection and lets go of the sockets.
    pub fn close(mut self) {
        let now = clock::now();
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            if connection.stream.is_some() {
                let (outbox, masks) = (&mut connection.outbox, &mut self.masks);
                let mut outlet = Outlet { now, outbox, masks, is_binary: self.is_binary };
                outlet.control(Opcode::Close, &1000_u16.to_be_bytes());
                // A server that is gone already needs no goodbye.
                drop(self.flush(index, now));
            }
        }
    }

    fn read<F>(&mut self, index: usize, handle: &mut F) -> anyhow::Result<()>
    where
        F: FnMut(&mut Outlet<'_>, usize, Incoming<'_>) -> anyhow::Result<()>,
    {
        while self.read_once(index, handle)? {}
        self.flush(index, clock::now())
    }

    /// Reads once; `true` when there may be more that the kernel would not tell of again.
    fn read_once<F>(&mut self, index: usize, handle: &mut F) -> anyhow::Result<bool>
    where
        F: FnMut(&mut Outlet<'_>, usize, Incoming<'_>) -> anyhow::Result<()>,
    {
        let Self { connections, input, masks, pings_count, is_binary, .. } = self;
        let Connection { stream, inbox, outbox, heard_at, .. } = &mut connections[index];
        let Some(stream) = stream else { return Ok(false) };
        let read_bytes = match stream.read(input) {
            Ok(bytes) => bytes,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(false);
            }
            Err(error) => return self.end(index, error.to_string(), handle),
        };
        if read_bytes == 0 {
            let why = inbox.half_answer().unwrap_or_else(|| "the server hung up".to_owned());
            return self.end(index, why, handle);
        }
        let may_have_more = stream.holds_bytes_back();
        let now = clock::now();
        *heard_at = now;
        let mut goodbye = None;
        let fed = inbox.feed(&input[..read_bytes], &mut |incoming| {
            let mut outlet = Outlet { now, outbox, masks, is_binary: *is_binary };
            match incoming {
                Incoming::Ping(payload) => {
                    *pings_count += 1;
                    outlet.control(Opcode::Pong, payload);
                    Ok(())
                }
                Incoming::Closed(why) => {
                    goodbye = Some(why.to_owned());
                    Ok(())
                }
                Incoming::Upgraded | Incoming::Message(_) => handle(&mut outlet, index, incoming),
            }
        });
        match (fed, goodbye) {
            (Err(Trouble::Server(why)), _) | (Ok(()), Some(why)) => self.end(index, why, handle),
            (Err(Trouble::Ours(error)), _) => Err(error),
            (Ok(()), None) => Ok(may_have_more),
        }
    }

    fn flush(&mut self, index: usize, now: Instant) -> anyhow::Result<()> {
        let connection = &mut self.connections[index];
        let Some(stream) = &mut connection.stream else { return Ok(()) };
        if !connection.outbox.is_empty() || stream.has_unsent() {
            match stream.write(&connection.outbox) {
                Ok(bytes) if bytes == connection.outbox.len() => connection.outbox.clear(),
                Ok(bytes) => drop(connection.outbox.drain(..bytes)),
                // An error of the socket is reported by the read that follows.
                Err(_) => {}
            }
            connection.said_at = now;
        }
        let waiting_bytes = connection.outbox.len();
        anyhow::ensure!(
            waiting_bytes <= OUTBOX_BYTES_MAX,
            "the server does not read: {waiting_bytes} bytes wait on connection {index}"
        );
        let must_wait = waiting_bytes != 0 || stream.has_unsent();
        if must_wait != connection.awaits_room && !connection.is_paused {
            connection.awaits_room = must_wait;
            let out = if must_wait { EventFlags::OUT } else { EventFlags::empty() };
            let data = EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &*stream, data, EventFlags::IN | out)
                .context("cannot change what a socket is watched for")?;
        }
        Ok(())
    }

    /// Takes note of the end of connection `index`; there is nothing more to be read from it.
    fn end<F>(&mut self, index: usize, why: String, handle: &mut F) -> anyhow::Result<bool>
    where
        F: FnMut(&mut Outlet<'_>, usize, Incoming<'_>) -> anyhow::Result<()>,
    {
        let connection = &mut self.connections[index];
        // Closing the descriptor also takes it out of the epoll.
        connection.stream = None;
        self.open_count -= 1;
        let mut unsent = Vec::new();
        let (now, is_binary) = (clock::now(), self.is_binary);
        let mut outlet = Outlet { now, outbox: &mut unsent, masks: &mut self.masks, is_binary };
        let handled = handle(&mut outlet, index, Incoming::Closed(&why));
        self.closings.push(Closing { index, why, at: now });
        handled.map(|()| false)
    }
}
