//! The end of a turn: what the shard has to say leaves through its sockets.

use std::io;
use std::rc::Rc;
use std::task::Waker;

use crate::io::socket::Socket;
use crate::shard::connection::ConnectionId;
use crate::shard::flush::Action;
use crate::shard::runtime::Core;
use crate::stdx::bytes::Batch;

/// So few sends of one turn are made without the ring: it wakes the shard once more for what each
/// has come to, and only with many the saved calls outweigh that.
const DIRECT_MAX: usize = 32;

impl Core {
    pub(super) async fn flush_all(self: Rc<Self>) {
        loop {
            self.flush.notified().await;
            self.flush_once();
        }
    }

    pub(super) fn flush_once(self: &Rc<Self>) {
        let now = self.now();
        let mut shard = self.shard.borrow_mut();
        shard.handle_turn_end(now.instant);
        self.mailboxes.borrow_mut().send(now, &mut shard);
        let is_direct = self.poller.is_some() || shard.sends_max() <= DIRECT_MAX;
        while let Some((id, batch)) = shard.poll_send() {
            let Some(owned) = self.owned(id) else {
                shard.handle_send_failed(now, id);
                continue;
            };
            if let Some(secure) = &owned.secure {
                self.send_secure(&mut shard, &owned, secure, &batch);
                continue;
            }
            if !is_direct {
                monoio::spawn(Rc::clone(self).send(id, owned.socket, batch));
                continue;
            }
            match owned.socket.try_send(&batch) {
                Ok(sent_bytes) => shard.handle_sent(now, id, sent_bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.poller {
                    None => drop(monoio::spawn(Rc::clone(self).send(id, owned.socket, batch))),
                    Some(_) => self.await_room(id),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    shard.handle_sent(now, id, 0);
                }
                Err(_) => shard.handle_send_failed(now, id),
            }
        }
        // What left may have been the room that a replay waited for.
        self.mailboxes.borrow_mut().send_history(&mut shard);
        while let Some((id, action)) = shard.poll_action() {
            let Some(owned) = self.owned(id) else { continue };
            match (action, &owned.secure) {
                (Action::EndWrite, None) => owned.socket.shutdown_write(),
                (Action::EndWrite, Some(secure)) => {
                    self.end_write_secure(&mut shard, &owned, secure);
                }
                (Action::Abort, _) => owned.socket.shutdown(),
            }
        }
        if let Some(links) = &self.links {
            self.carry_links(links, &mut shard);
        }
        if shard.has_credit(now.instant) {
            self.starved.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }

    /// One send through the ring, which waits for room where there is none; the connection has no other until it is answered.
    async fn send(self: Rc<Self>, id: ConnectionId, socket: Rc<Socket>, batch: Batch) {
        let sent = socket.send(batch).await;
        // As a rule the ring answers in the turn of the send; a tick's age does no harm either.
        let now = self.recent.get();
        let mut shard = self.shard.borrow_mut();
        match sent {
            Ok(sent_bytes) => shard.handle_sent(now, id, sent_bytes),
            Err(_) => shard.handle_send_failed(now, id),
        }
        drop(shard);
        self.notify();
    }
}
