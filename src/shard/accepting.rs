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

/// Newcomers in a row after which the others go on.
const ACCEPTS_IN_A_ROW_MAX: u32 = 128;
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
        let mut accepted_count = 0_u32;
        loop {
            match turns.wait(listener.accept()).await {
                Ok((stream, peer)) => {
                    self.open(stream, peer);
                    accepted_count += 1;
                    if self.poller.is_none() {
                        accepted_count += self.accept_more(&more);
                    }
                    // With epoll nothing waits while there is somebody to accept.
                    if ACCEPTS_IN_A_ROW_MAX <= accepted_count {
                        accepted_count = 0;
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

    /// Takes those who are there already, as far as a turn goes.
    fn accept_more(self: &Rc<Self>, listener: &std::net::TcpListener) -> u32 {
        for count in 0..ACCEPTS_IN_A_ROW_MAX {
            // What is wrong here is found by the next one that waits for somebody.
            let Ok((stream, peer)) = listener.accept() else { return count };
            let Ok(stream) = TcpStream::from_std(stream) else { return count };
            self.open(stream, peer);
        }
        ACCEPTS_IN_A_ROW_MAX
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
        match &self.poller {
            None => drop(monoio::spawn(Rc::clone(self).read_all(owned))),
            Some(poller) => {
                if poller.borrow().add(&owned.socket, id.to_bits()).is_err() {
                    self.close(&owned);
                }
            }
        }
    }
}
