//! A link's reading side: what comes goes to the owner, a share at a time.

use std::io;
use std::time::Duration;

use crate::io::clock::Clock;
use crate::io::socket::Socket;
use crate::io::tls;
use crate::shard::link::Link;
use crate::shard::link::Owner;
use crate::shard::link::inbox::Inbox;
use crate::shard::tasks::Turns;

/// Bytes of one link after which the others of the shard go on.
const SHARE_BYTES: usize = 256 * 1024;
/// Receives in a row after which they do.
const RECEIVES_IN_A_ROW_MAX: u32 = 16;
/// Cipher bytes received at once.
const CIPHER_BYTES: usize = 64 * 1024;
/// Silence after which a link gives its receive buffers back.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A link's reading side.
pub(super) struct Reader<'a> {
    link: &'a Link,
    socket: &'a Socket,
    inbox: Inbox,
    /// Received and not yet decrypted; with TLS only.
    cipher: Vec<u8>,
    turns: Turns,
}

impl<'a> Reader<'a> {
    pub(super) fn new(link: &'a Link, socket: &'a Socket, clock: Clock) -> Self {
        let (inbox, cipher, turns) = (Inbox::default(), Vec::new(), Turns::new(clock));
        Self { link, socket, inbox, cipher, turns }
    }

    /// Reads until the TLS session is open.
    pub(super) async fn shake_hands(&mut self) -> Result<(), String> {
        while self.link.tls.borrow().as_ref().is_some_and(tls::Session::is_handshaking) {
            match self.receive() {
                Ok(Received::End) => return Err("the server closed the connection".to_owned()),
                Ok(Received::Some { .. }) => {}
                Ok(Received::Nothing) => self.wait().await?,
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }

    /// Reads until the other end closes.
    pub(super) async fn read<O: Owner>(&mut self, owner: &O) -> Result<(), String> {
        let (mut share_bytes, mut receives_count) = (0, 0);
        // With TLS the first bytes may have come with the end of the handshake.
        self.inbox.give(|bytes| owner.handle_bytes(self.link.number, bytes));
        loop {
            let is_all = match self.receive()? {
                Received::End => return Ok(()),
                Received::Nothing => true,
                Received::Some { bytes, is_all } => {
                    share_bytes += bytes;
                    self.inbox.give(|bytes| owner.handle_bytes(self.link.number, bytes));
                    is_all
                }
            };
            if self.link.is_over.get() {
                return Ok(());
            }
            if is_all {
                self.wait().await?;
            }
            // With epoll nothing waits while there is something to receive.
            receives_count += 1;
            if SHARE_BYTES <= share_bytes || receives_count == RECEIVES_IN_A_ROW_MAX {
                (share_bytes, receives_count) = (0, 0);
                self.turns.give_way().await;
            }
        }
    }

    /// Waits for bytes; without buffers when it takes long.
    async fn wait(&mut self) -> Result<(), String> {
        let told = |error: io::Error| format!("cannot wait for the connection: {error}");
        if self.inbox.has_room() || !self.cipher.is_empty() {
            let waited = monoio::time::timeout(IDLE_TIMEOUT, self.socket.readable());
            if let Ok(waited) = self.turns.wait(waited).await {
                return waited.map_err(told);
            }
            self.inbox.shrink();
            self.cipher = Vec::new();
        }
        self.turns.wait(self.socket.readable()).await.map_err(told)
    }

    /// Receives once into the inbox.
    fn receive(&mut self) -> Result<Received, String> {
        let mut tls = self.link.tls.borrow_mut();
        if tls.as_ref().is_some_and(tls::Session::is_peer_closed) {
            return Ok(Received::End);
        }
        let room = if tls.is_some() {
            self.cipher.resize(CIPHER_BYTES, 0);
            &mut self.cipher[..]
        } else {
            self.inbox.room()
        };
        let room_bytes = room.len();
        let bytes = match self.socket.try_receive(room) {
            Ok(0) => return Ok(Received::End),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Received::Nothing);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(format!("the connection failed: {error}")),
        };
        let Some(tls) = tls.as_mut() else {
            self.inbox.fill(bytes);
            return Ok(Received::Some { bytes, is_all: bytes < room_bytes });
        };
        let mut outgoing = self.link.outgoing.borrow_mut();
        let received =
            self.inbox.append(|plain| tls.receive(&mut self.cipher[..bytes], plain, &mut outgoing));
        if let Err(error) = received {
            if !self.link.is_sending.get() {
                // Why we go, for the other end's log; there is no later.
                let _told = self.socket.try_send_bytes(&outgoing);
            }
            return Err(error.to_string());
        }
        if !outgoing.is_empty() {
            self.link.writer.notify();
        }
        Ok(Received::Some { bytes, is_all: bytes < room_bytes })
    }
}

/// What one attempt to receive gave.
enum Received {
    Nothing,
    Some {
        bytes: usize,
        /// No more was there.
        is_all: bool,
    },
    End,
}
