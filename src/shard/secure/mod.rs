//! TLS of the public listener, between the sockets and the shard, which knows plain bytes only.
//!
//! A connection that nothing is on its way to or from keeps its session and no buffer. Fan-outs
//! stay shared: each connection encrypts its own batch when it is flushed, and the shard hears that
//! the batch was sent when the last byte of its cipher text was. Read `certificates`, then this
//! file, then `handshakes`.

mod certificates;
mod handshakes;

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::mem;
use std::rc::Rc;
use std::task::Waker;

use crate::io::tls;
use crate::io::tls::Session;
use crate::metrics::TlsHandshake;
use crate::shard::connection::ConnectionId;
use crate::shard::runtime::Core;
use crate::shard::runtime::Owned;
use crate::shard::state::Shard;
use crate::stdx::bytes::Batch;
use crate::stdx::bytes::Meter;
use crate::stdx::bytes::Shared;
use crate::stdx::time::Now;

pub use certificates::Certificates;
pub use certificates::Changer;
pub(super) use handshakes::Handshakes;

/// Plain bytes of a batch that are encrypted at once: a peer that reads slowly holds so much cipher
/// text of its own, and the rest waits shared.
const SEALED_BYTES_MAX: usize = 64 * 1024;
/// Room that the shard's own buffers keep.
const BYTES_KEPT: usize = 128 * 1024;
/// The answer to a client that speaks HTTP without TLS.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Content-Length: 45\r\nConnection: close\r\n\r\n\
    This port speaks TLS: use wss:// or https://\n";

/// What a shard's TLS connections share.
pub(super) struct Listener {
    certificates: Certificates,
    pub(super) handshakes: Handshakes,
    /// Decrypted bytes on their way to the shard.
    plain: Cell<Vec<u8>>,
    /// A batch's runs, put together to be encrypted as one.
    gathered: Cell<Vec<u8>>,
    /// An empty buffer for cipher text.
    spare: Cell<Vec<u8>>,
}

/// One connection's TLS.
pub(super) struct Secure {
    state: RefCell<State>,
    /// The reader that waits until its handshake may go on, and what that gave.
    waiting: Cell<Option<Waker>>,
    turn: Cell<Option<io::Result<usize>>>,
    /// It is among those that wait for a turn.
    is_queued: Cell<bool>,
}

struct State {
    session: Session,
    /// Cipher text for the socket, which has taken `sent_bytes` of it.
    outgoing: Vec<u8>,
    sent_bytes: usize,
    /// Plain bytes of the shard's batch that end with `outgoing`: sent when that is.
    batch_bytes: usize,
    /// A send through the ring is under way, of so many bytes.
    is_sending: bool,
    sending_bytes: usize,
    /// What the shard was told that waits here.
    told_bytes: usize,
    /// Behind `outgoing` the write side ends.
    ends_write: bool,
}

impl Listener {
    pub(super) fn new(certificates: Certificates) -> Self {
        Self {
            certificates,
            handshakes: Handshakes::default(),
            plain: Cell::default(),
            gathered: Cell::default(),
            spare: Cell::default(),
        }
    }

    /// The TLS of a connection that was accepted just now.
    pub(super) fn accept(&self) -> Result<Rc<Secure>, tls::Error> {
        let state = State {
            session: Session::server(&self.certificates.current())?,
            outgoing: Vec::new(),
            sent_bytes: 0,
            batch_bytes: 0,
            is_sending: false,
            sending_bytes: 0,
            told_bytes: 0,
            ends_write: false,
        };
        let state = RefCell::new(state);
        let (waiting, turn, is_queued) = (Cell::default(), Cell::default(), Cell::default());
        Ok(Rc::new(Secure { state, waiting, turn, is_queued }))
    }

    /// Keeps an emptied buffer for the next one who needs it.
    fn keep(place: &Cell<Vec<u8>>, mut buffer: Vec<u8>) {
        if buffer.capacity() <= BYTES_KEPT {
            buffer.clear();
            place.set(buffer);
        }
    }
}

impl Secure {
    pub(super) fn is_handshaking(&self) -> bool {
        self.state.borrow().session.is_handshaking()
    }
}

impl State {
    /// Tells the shard how much cipher text waits for the socket, where that has changed: all that
    /// is kept, since what was sent of it goes with the rest.
    fn tell(&mut self, shard: &mut Shard, id: ConnectionId) {
        let waiting_bytes = self.outgoing.len() + self.sending_bytes;
        if mem::replace(&mut self.told_bytes, waiting_bytes) != waiting_bytes {
            shard.handle_sealed(id, waiting_bytes);
        }
    }

    /// What is to be sent through the ring next.
    fn take_outgoing(&mut self) -> Vec<u8> {
        let bytes = mem::take(&mut self.outgoing);
        self.sending_bytes = bytes.len();
        bytes
    }

    /// Encrypts the front of a batch; gives how many plain bytes that was.
    fn seal(&mut self, batch: &Batch, listener: &Listener) -> Result<usize, tls::Error> {
        if self.outgoing.capacity() == 0 {
            self.outgoing = listener.spare.take();
        }
        let mut slices = batch.slices();
        let first = slices.next().unwrap_or(&[]);
        if SEALED_BYTES_MAX <= first.len() || slices.next().is_none() {
            let front = first.get(..SEALED_BYTES_MAX).unwrap_or(first);
            self.session.send(front, &mut self.outgoing)?;
            return Ok(front.len());
        }
        let mut gathered = listener.gathered.take();
        for slice in batch.slices() {
            let room_bytes = SEALED_BYTES_MAX - gathered.len();
            gathered.extend_from_slice(slice.get(..room_bytes).unwrap_or(slice));
        }
        let sealed = self.session.send(&gathered, &mut self.outgoing);
        let sealed_bytes = gathered.len();
        Listener::keep(&listener.gathered, gathered);
        sealed.map(|()| sealed_bytes)
    }
}

impl Core {
    /// Takes what a TLS connection received; gives 0 when its peer has said that this was all.
    pub(super) fn receive_secure(
        self: &Rc<Self>,
        owned: &Owned,
        secure: &Rc<Secure>,
        cipher: &mut [u8],
    ) -> io::Result<usize> {
        let Some(listener) = &self.secure else { return Err(io::ErrorKind::Unsupported.into()) };
        let received_bytes = cipher.len();
        let speaks_http = cipher.first().is_some_and(u8::is_ascii_uppercase);
        let mut plain = listener.plain.take();
        let mut state = secure.state.borrow_mut();
        let State { session, outgoing, .. } = &mut *state;
        let was_handshaking = session.is_handshaking();
        let result = session.receive(cipher, &mut plain, outgoing);
        let opened = was_handshaking && !session.is_handshaking();
        let (is_resumed, is_peer_closed) = (session.is_resumed(), session.is_peer_closed());
        drop(state);
        if opened {
            self.shard.borrow_mut().handle_tls_opened(is_resumed);
        }
        if !plain.is_empty() {
            self.take(owned.id, &mut plain);
        }
        Listener::keep(&listener.plain, plain);
        if let Err(error) = result {
            let is_http = was_handshaking && speaks_http && error.is_not_tls();
            secure.say_last(owned, if is_http { Some(NOT_TLS) } else { None });
            let now = self.now();
            self.shard.borrow_mut().handle_tls_failed(now, owned.id, was_handshaking, &error);
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.push_secure(&mut self.shard.borrow_mut(), owned, secure);
        self.notify();
        Ok(if is_peer_closed { 0 } else { received_bytes })
    }

    /// Encrypts the shard's batch for a TLS connection and sends it.
    pub(super) fn send_secure(
        self: &Rc<Self>,
        shard: &mut Shard,
        owned: &Owned,
        secure: &Rc<Secure>,
        batch: &Batch,
    ) {
        let Some(listener) = &self.secure else { return };
        let mut state = secure.state.borrow_mut();
        let sealed = state.seal(batch, listener);
        if let Ok(sealed_bytes) = sealed {
            state.batch_bytes = sealed_bytes;
            drop(state);
            self.push_secure(shard, owned, secure);
        } else {
            // Nothing can be said before the handshake is done, nor after a failure.
            drop(state);
            shard.handle_send_failed(self.recent.get(), owned.id);
        }
    }

    /// Says that nothing more comes, and ends the write side behind it.
    pub(super) fn end_write_secure(
        self: &Rc<Self>,
        shard: &mut Shard,
        owned: &Owned,
        secure: &Rc<Secure>,
    ) {
        let mut state = secure.state.borrow_mut();
        let State { session, outgoing, ends_write, .. } = &mut *state;
        // Without a session there is nothing to say it in.
        let _unsaid = session.close(outgoing);
        *ends_write = true;
        drop(state);
        self.push_secure(shard, owned, secure);
    }

    /// Sends what is outgoing, as far as there is room.
    pub(super) fn push_secure(
        self: &Rc<Self>,
        shard: &mut Shard,
        owned: &Owned,
        secure: &Rc<Secure>,
    ) {
        let mut state = secure.state.borrow_mut();
        if self.poller.is_none() {
            if !state.is_sending && (!state.outgoing.is_empty() || state.ends_write) {
                state.is_sending = true;
                monoio::spawn(Rc::clone(self).send_outgoing(owned.clone(), Rc::clone(secure)));
            }
            return state.tell(shard, owned.id);
        }
        while let Some(rest) = state.outgoing.get(state.sent_bytes..).filter(|it| !it.is_empty()) {
            match owned.socket.try_send_bytes(rest) {
                Ok(sent_bytes) => state.sent_bytes += sent_bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.tell(shard, owned.id);
                    return self.await_room(owned.id);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    state.batch_bytes = 0;
                    return shard.handle_send_failed(self.recent.get(), owned.id);
                }
            }
        }
        state.sent_bytes = 0;
        if let Some(listener) = &self.secure {
            Listener::keep(&listener.spare, mem::take(&mut state.outgoing));
        }
        state.tell(shard, owned.id);
        self.settle_sent(shard, owned, &mut state);
    }

    /// All that was outgoing is with the kernel.
    fn settle_sent(&self, shard: &mut Shard, owned: &Owned, state: &mut State) {
        let batch_bytes = mem::take(&mut state.batch_bytes);
        if 0 < batch_bytes {
            shard.handle_sent(self.recent.get(), owned.id, batch_bytes);
        }
        if mem::take(&mut state.ends_write) {
            owned.socket.shutdown_write();
        }
    }

    /// One connection's sends through the ring, until nothing is outgoing.
    async fn send_outgoing(self: Rc<Self>, owned: Owned, secure: Rc<Secure>) {
        loop {
            let bytes = secure.state.borrow_mut().take_outgoing();
            if bytes.is_empty() {
                break;
            }
            if send_all(&owned, bytes).await.is_err() {
                let mut state = secure.state.borrow_mut();
                state.batch_bytes = 0;
                state.is_sending = false;
                state.sending_bytes = 0;
                self.shard.borrow_mut().handle_send_failed(self.recent.get(), owned.id);
                drop(state);
                return self.notify();
            }
        }
        let mut state = secure.state.borrow_mut();
        state.is_sending = false;
        let mut shard = self.shard.borrow_mut();
        state.tell(&mut shard, owned.id);
        self.settle_sent(&mut shard, &owned, &mut state);
        drop(shard);
        drop(state);
        self.notify();
    }
}

impl Secure {
    /// Says a last thing, if that is possible at once: what is outgoing, or `instead` of it.
    pub(super) fn say_last(&self, owned: &Owned, instead: Option<&[u8]>) {
        let mut state = self.state.borrow_mut();
        let State { session, outgoing, sent_bytes, is_sending, .. } = &mut *state;
        if *is_sending || 0 < *sent_bytes {
            return;
        }
        // After a failure its alert is outgoing, and closing adds nothing.
        let _unsaid = session.close(outgoing);
        let last = instead.unwrap_or(outgoing);
        if !last.is_empty() {
            // Whether the peer still hears it is its own affair.
            let _sent = owned.socket.try_send_bytes(last);
        }
        *outgoing = Vec::new();
    }
}

async fn send_all(owned: &Owned, bytes: Vec<u8>) -> io::Result<()> {
    let bytes = Shared::new(bytes, &Meter::default());
    let mut sent_bytes = 0;
    while sent_bytes < bytes.len() {
        match owned.socket.send(Batch::One(bytes.clone(), sent_bytes)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            more_bytes => sent_bytes += more_bytes,
        }
    }
    Ok(())
}

impl Shard {
    /// A TLS session is open.
    fn handle_tls_opened(&mut self, is_resumed: bool) {
        let label = if is_resumed { TlsHandshake::Resumed } else { TlsHandshake::Full };
        self.counters.tls_handshakes.of(label).add(1);
    }

    /// A TLS session failed; its connection ends.
    fn handle_tls_failed(
        &mut self,
        now: Now,
        id: ConnectionId,
        was_handshaking: bool,
        error: &tls::Error,
    ) {
        if was_handshaking {
            self.counters.tls_handshakes.of(TlsHandshake::Failed).add(1);
        }
        if let Some(suppressed) = self.log_limit.admit(now.instant) {
            let peer = self.connections.get(id.0).map(|it| it.peer);
            tracing::info!(?peer, suppressed, "TLS of a client failed: {error}");
        }
    }
}
