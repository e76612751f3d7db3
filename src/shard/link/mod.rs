//! Connections that the shard opens: whoever owns them says where to, and understands the bytes.
//!
//! One task per link connects and then reads, another writes: one write at a time, and the next
//! one is asked for when it is done, so that commands gather meanwhile. Nothing here waits for a
//! client: what has been received is taken whatever becomes of it. Read `inbox`, this file, then
//! `reader`.

mod connect;
mod inbox;
mod reader;

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rustc_hash::FxBuildHasher;

use crate::io::clock::Clock;
use crate::io::resolver::Resolver;
use crate::io::socket::Socket;
use crate::io::tls;
use crate::shard::link::reader::Reader;
use crate::shard::tasks::Notify;

/// Room that an outgoing buffer keeps.
const OUTGOING_BYTES_KEPT: usize = 128 * 1024;

/// Why a link is given up whose server takes our greeting for the beginning of something else.
const SLOW_HANDSHAKE: &str = "the TLS handshake was not done in time; does the port speak TLS?";

/// What all links of a shard are told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who knows the addresses of names.
    pub resolver: Resolver,
    /// TLS, when the servers speak it.
    pub tls: Option<Tls>,
    /// How long a connection may take: its name, its TCP and its TLS each.
    pub connect_timeout: Duration,
    /// How long sent bytes may stay unanswered by the other end's kernel.
    pub user_timeout: Duration,
}

/// How links speak TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Whom to trust.
    pub config: tls::Client,
    /// The name that certificates are for, where it is not the host's.
    pub server_name: Option<Box<str>>,
}

/// What became of the front of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes that are done with; the rest is kept and comes again with what follows it.
    pub(super) consumed: usize,
    /// How many bytes there must be, the rest among them, for it to be worth another try.
    pub(super) bytes_min: usize,
}

/// Whose links these are. Links have numbers that are never used twice.
pub(super) trait Owner: 'static {
    /// The link is connected to `peer` and, with TLS, safe: it wants to be told what to send.
    fn handle_connected(&self, link: u64, peer: SocketAddr);
    /// Bytes came; they may be changed where they lie.
    fn handle_bytes(&self, link: u64, bytes: &mut [u8]) -> Taken;
    /// The link is over, by nobody's wish. Said once, and not of a link that was closed.
    fn handle_lost(&self, link: u64, why: &str);
    /// What the name of a link leads to now, after [`Links::look`].
    fn handle_looked(&self, link: u64, found: &[SocketAddr]);
    /// Appends what is to be sent next. What was appended before is with the kernel.
    fn poll_transmit(&self, link: u64, out: &mut Vec<u8>);
}

/// The links of one shard.
pub(super) struct Links {
    options: Options,
    clock: Clock,
    links: RefCell<HashMap<u64, Rc<Link>, FxBuildHasher>>,
}

/// One link, shared by its tasks.
#[derive(Default)]
struct Link {
    number: u64,
    socket: RefCell<Option<Rc<Socket>>>,
    tls: RefCell<Option<tls::Session>>,
    /// Bytes for the socket, in order, cipher with TLS.
    outgoing: RefCell<Vec<u8>>,
    /// Connected and safe.
    is_open: Cell<bool>,
    /// Closed or lost: its tasks end as soon as they look.
    is_over: Cell<bool>,
    /// The writer is in the middle of what was outgoing.
    is_sending: Cell<bool>,
    /// Something to send, or the end.
    writer: Notify,
}

impl Links {
    pub(super) fn new(options: Options, clock: Clock) -> Self {
        Self { options, clock, links: RefCell::default() }
    }

    /// Opens a link; it is answered with [`Owner::handle_connected`] or [`Owner::handle_lost`], but
    /// not before this returns. Of the addresses of `host`, `beside` is tried first.
    pub(super) fn open<O: Owner>(
        self: &Rc<Self>,
        owner: &Rc<O>,
        link: u64,
        host: &str,
        port: u16,
        beside: Option<SocketAddr>,
    ) {
        let link = Rc::new(Link { number: link, ..Link::default() });
        self.links.borrow_mut().insert(link.number, Rc::clone(&link));
        let (links, owner, host) = (Rc::clone(self), Rc::clone(owner), Box::<str>::from(host));
        monoio::spawn(async move {
            let why =
                link.carry((&links.options, links.clock), &owner, (&host, port), beside).await;
            links.links.borrow_mut().remove(&link.number);
            link.lose(&*owner, &why);
        });
    }

    /// Closes a link; nothing more is heard of it.
    pub(super) fn close(&self, link: u64) {
        if let Some(link) = self.links.borrow_mut().remove(&link) {
            link.end();
        }
    }

    /// There is something to send.
    pub(super) fn notify(&self, link: u64) {
        if let Some(link) = self.links.borrow().get(&link) {
            link.writer.notify();
        }
    }
}

impl Link {
    /// Ends the link; `true` the first time.
    fn end(&self) -> bool {
        let is_first = !self.is_over.replace(true);
        if let Some(socket) = self.socket.take() {
            // Both tasks wait for nothing else but the socket, or for the bell.
            socket.shutdown();
        }
        self.writer.notify();
        is_first
    }

    fn lose<O: Owner>(&self, owner: &O, why: &str) {
        if self.end() {
            owner.handle_lost(self.number, why);
        }
    }

    /// Connects and reads; gives why that is over.
    async fn carry<O: Owner>(
        self: &Rc<Self>,
        (options, clock): (&Options, Clock),
        owner: &Rc<O>,
        (host, port): (&str, u16),
        beside: Option<SocketAddr>,
    ) -> String {
        let (socket, peer) = match connect::connect(options, host, port, beside).await {
            Ok((socket, peer)) => (Rc::new(socket), peer),
            Err(why) => return why,
        };
        if self.is_over.get() {
            return String::new();
        }
        self.socket.replace(Some(Rc::clone(&socket)));
        let mut reader = Reader::new(self, &socket, clock);
        if let Some(tls) = &options.tls {
            let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
            let name = tls.server_name.as_deref().unwrap_or(host);
            match tls::Session::client(&tls.config, name, &mut self.outgoing.borrow_mut()) {
                Ok(session) => self.tls.replace(Some(session)),
                Err(error) => return error.to_string(),
            };
            monoio::spawn(Rc::clone(self).write(Rc::clone(owner), Rc::clone(&socket)));
            let shaken = monoio::time::timeout(options.connect_timeout, reader.shake_hands());
            match shaken.await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => return why,
                Err(_) => return SLOW_HANDSHAKE.to_owned(),
            }
        } else {
            monoio::spawn(Rc::clone(self).write(Rc::clone(owner), Rc::clone(&socket)));
        }
        if self.is_over.get() {
            return String::new();
        }
        self.is_open.set(true);
        owner.handle_connected(self.number, peer);
        self.writer.notify();
        match reader.read(&**owner).await {
            Ok(()) => "the server closed the connection".to_owned(),
            Err(why) => why,
        }
    }

    /// The link's writer.
    async fn write<O: Owner>(self: Rc<Self>, owner: Rc<O>, socket: Rc<Socket>) {
        let mut plain = Vec::new();
        while !self.is_over.get() {
            if let Err(why) = self.fill(&*owner, &mut plain) {
                return self.lose(&*owner, &why);
            }
            let mut bytes = self.outgoing.take();
            if bytes.is_empty() {
                self.outgoing.replace(bytes);
                self.writer.notified().await;
                continue;
            }
            self.is_sending.set(true);
            let sent = send_all(&socket, &bytes).await;
            self.is_sending.set(false);
            if let Err(error) = sent {
                return self.lose(&*owner, &format!("cannot send: {error}"));
            }
            if bytes.capacity() <= OUTGOING_BYTES_KEPT && self.outgoing.borrow().is_empty() {
                bytes.clear();
                self.outgoing.replace(bytes);
            }
        }
    }

    /// Puts what the owner has to say behind what waits.
    fn fill<O: Owner>(&self, owner: &O, plain: &mut Vec<u8>) -> Result<(), String> {
        if !self.is_open.get() {
            return Ok(());
        }
        let mut outgoing = self.outgoing.borrow_mut();
        let mut tls = self.tls.borrow_mut();
        let Some(tls) = tls.as_mut() else {
            owner.poll_transmit(self.number, &mut outgoing);
            return Ok(());
        };
        plain.clear();
        owner.poll_transmit(self.number, plain);
        if plain.is_empty() {
            return Ok(());
        }
        tls.send(plain, &mut outgoing).map_err(|error| error.to_string())
    }
}

async fn send_all(socket: &Socket, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match socket.try_send_bytes(rest) {
            Ok(sent_bytes) => rest = rest.get(sent_bytes..).unwrap_or(&[]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
