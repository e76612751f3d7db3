//! Newcomers: they are accepted, and given a reader.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use monoio::net::TcpListener;
use monoio::net::TcpStream;

use crate::io::socket::Socket;
use crate::shard::runtime::Core;
use crate::shard::runtime::Owned;
use crate::shard::secure;
use crate::shard::tasks::Turns;
use crate::shard::waiting::Newcomer;

/// Newcomers in a row after which the others go on.
const ACCEPTS_IN_A_ROW_MAX: u32 = 128;
/// Newcomers that were held and are given readers in one turn.
const HELD_IN_A_ROW_MAX: u32 = 32;
/// How long a shard without descriptors waits before it accepts again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Core {
    /// `more` is the same listener once more, for those who wait behind a newcomer: the ring gives
    /// one in a turn of the loop, and in a storm turns are long and the queue of the kernel short.
    pub(super) async fn accept_all(
        self: Rc<Self>,
        listener: TcpListener,
        more: std::net::TcpListener,
    ) {
        let mut turns = Turns::new(self.clock);
        loop {
            match turns.wait(listener.accept()).await {
                Ok((stream, peer)) => {
                    self.open(stream, peer);
                    while self.accept_more(&more) {
                        turns.give_way().await;
                    }
                }
                Err(error) => {
                    self.shard.borrow_mut().handle_accept_failed(self.now(), &error);
                    monoio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Takes those who are there already, as far as a turn goes; `true` when there may be more.
    fn accept_more(self: &Rc<Self>, listener: &std::net::TcpListener) -> bool {
        let is_crowded = (0..ACCEPTS_IN_A_ROW_MAX).all(|_| {
            // What is wrong here is found by the next one that waits for somebody.
            let Ok((stream, peer)) = listener.accept() else { return false };
            let Ok(stream) = TcpStream::from_std(stream) else { return false };
            self.open(stream, peer);
            true
        });
        self.is_crowded.set(is_crowded);
        is_crowded
    }

    fn open(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        let now = self.now();
        let Some(id) = self.shard.borrow_mut().handle_opened(now, peer) else {
            return;
        };
        let socket = match self.poller {
            None => Socket::ring(stream),
            Some(_) => Socket::polled(stream),
        };
        let socket = Rc::new(socket);
        let secure = self.secure.as_ref().map(secure::Listener::accept).transpose();
        let Ok(secure) = secure else {
            return self.shard.borrow_mut().handle_closed(now, id);
        };
        let owned =
            Owned { id, socket, awaits_room: false, is_queued: false, has_ended: false, secure };
        let mut sockets = self.sockets.borrow_mut();
        if sockets.len() <= id.index() {
            sockets.resize_with(id.index() + 1, || None);
        }
        sockets[id.index()] = Some(owned.clone());
        drop(sockets);
        if !self.shard.borrow_mut().holds(now.instant, id) {
            self.read(owned);
        }
    }

    /// Gives readers to newcomers that were held, or turns them away, as far as it is their turn.
    pub(super) fn read_held(self: &Rc<Self>) {
        let now = self.clock.instant();
        for _ in 0..HELD_IN_A_ROW_MAX {
            let next = self.shard.borrow_mut().next_newcomer(now);
            match next {
                None => return,
                Some(Newcomer::Read(id)) => {
                    if let Some(owned) = self.owned(id) {
                        self.read(owned);
                    }
                }
                Some(Newcomer::TurnAway(id, answer)) => {
                    if let Some(owned) = self.owned(id) {
                        self.turn_away(&owned, &answer);
                    }
                }
            }
        }
    }

    /// Says the last word to somebody who was not read.
    fn turn_away(self: &Rc<Self>, owned: &Owned, answer: &[u8]) {
        if owned.secure.is_none() {
            // What is unread would have the kernel reset the connection, and the answer be lost.
            drop(owned.socket.try_receive(&mut self.buffer.borrow_mut()));
            drop(owned.socket.try_send_bytes(answer));
        }
        self.close(owned);
    }

    fn read(self: &Rc<Self>, owned: Owned) {
        match &self.poller {
            None => drop(monoio::spawn(Rc::clone(self).read_all(owned))),
            Some(poller) => {
                if poller.borrow().add(&owned.socket, owned.id.to_bits()).is_err() {
                    self.close(&owned);
                }
            }
        }
    }
}
