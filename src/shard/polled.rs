//! Readers of the epoll driver: one task takes the edges of all sockets, then ends the turn itself.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::io::poller::Readiness;
use crate::shard::connection::ConnectionId;
use crate::shard::runtime::Core;
use crate::shard::runtime::Owned;
use crate::shard::runtime::RECEIVE_BYTES;
use crate::shard::tasks::Turns;
use crate::shard::tasks::after;
use crate::shard::tasks::yield_once;

/// How long timers may be left alone while there is always something to receive.
const TIMER_DELAY_MAX: Duration = Duration::from_millis(5);

/// A connection that may have something to receive.
#[derive(Clone, Copy)]
struct Ready {
    id: ConnectionId,
    /// The end was told with the edge: no further edge will come for it.
    has_ended: bool,
}

impl Core {
    /// Receives from all connections, one share each per turn.
    pub(super) async fn poll_all(self: Rc<Self>) {
        let mut told: Vec<Readiness> = Vec::new();
        let mut ready: VecDeque<ConnectionId> = VecDeque::new();
        let (mut has_more, mut has_handshakes) = (false, false);
        let mut has_waited_at = self.clock.instant();
        loop {
            if ready.is_empty() && !has_more && !has_handshakes {
                self.wait().await;
                has_waited_at = self.clock.instant();
            } else if self.clock.instant().since(has_waited_at) < TIMER_DELAY_MAX {
                yield_once().await;
            } else {
                self.step_aside().await;
                has_waited_at = self.clock.instant();
            }
            told.clear();
            has_more = self.take_edges(&mut told);
            for edge in &told {
                let id = ConnectionId::from_bits(edge.token);
                if edge.is_writable {
                    self.note_room(id);
                }
                if edge.is_readable {
                    self.queue(&mut ready, Ready { id, has_ended: edge.has_ended });
                }
            }
            for _ in 0..ready.len() {
                self.credit().await;
                let Some(next) = self.take_queued(&mut ready) else { break };
                if self.receive_share(next) {
                    self.queue(&mut ready, next);
                }
            }
            has_handshakes = self.shake_hands(|owned, received| {
                // The end may have been told with the edge that brought it into the queue.
                let next = Ready { id: owned.id, has_ended: true };
                if self.judge(next, owned, received) {
                    self.queue(&mut ready, next);
                }
            });
            self.flush_once();
        }
    }

    /// Queues a connection, unless it is: edges come while it waits for its share, and one that is
    /// in the queue for each of them would take a share for each.
    fn queue(&self, queue: &mut VecDeque<ConnectionId>, ready: Ready) {
        let mut sockets = self.sockets.borrow_mut();
        let entry = sockets.get_mut(ready.id.index()).and_then(Option::as_mut);
        let Some(entry) = entry.filter(|it| it.id == ready.id) else { return };
        entry.has_ended |= ready.has_ended;
        if !std::mem::replace(&mut entry.is_queued, true) {
            queue.push_back(ready.id);
        }
    }

    /// The next connection whose share it is; one that was closed meanwhile has nothing to receive.
    fn take_queued(&self, queue: &mut VecDeque<ConnectionId>) -> Option<Ready> {
        let id = queue.pop_front()?;
        let mut sockets = self.sockets.borrow_mut();
        let entry = sockets.get_mut(id.index()).and_then(Option::as_mut);
        let entry = entry.filter(|it| it.id == id);
        let has_ended = entry.is_some_and(|entry| {
            entry.is_queued = false;
            entry.has_ended
        });
        Some(Ready { id, has_ended })
    }

    /// The borrow across the wait is shared: others only add sockets meanwhile.
    #[expect(
        clippy::await_holding_refcell_ref,
        reason = "nobody borrows it mutably but the waiter"
    )]
    async fn wait(&self) {
        let Some(poller) = &self.poller else { return };
        let waited = poller.borrow().wait().await;
        if let Err(error) = waited {
            tracing::error!("cannot wait for the sockets: {error}");
            yield_once().await;
        }
    }

    /// Lets the runtime look at its timers, which it does only when no task is left to run.
    #[expect(
        clippy::await_holding_refcell_ref,
        reason = "nobody borrows it mutably but who steps aside"
    )]
    async fn step_aside(&self) {
        let Some(poller) = &self.poller else { return };
        if let Err(error) = poller.borrow().step_aside().await {
            tracing::error!("cannot step aside: {error}");
            yield_once().await;
        }
    }

    fn take_edges(&self, told: &mut Vec<Readiness>) -> bool {
        let Some(poller) = &self.poller else { return false };
        poller.borrow_mut().take(told).unwrap_or_else(|error| {
            tracing::error!("cannot look at the sockets: {error}");
            false
        })
    }

    /// Reads a connection that sent too fast once it may again, in a task of its own.
    fn read_later(self: &Rc<Self>, ready: Ready, pause: Duration) {
        let core = Rc::clone(self);
        after(pause, async move {
            core.pause_reading(ready.id).await;
            // Whatever edges came meanwhile were let go: it is read until there is nothing.
            let ready = Ready { has_ended: true, ..ready };
            let mut turns = Turns::new(core.clock);
            while core.receive_share(ready) {
                turns.give_way().await;
            }
            core.flush_once();
        });
    }

    /// Receives once; `true` when there may be more to receive.
    fn receive_share(self: &Rc<Self>, ready: Ready) -> bool {
        let Some(owned) = self.owned(ready.id) else { return false };
        if self.read_pause(ready.id).is_some() {
            // Whoever made it wait reads it afterwards.
            return false;
        }
        if let Some(secure) = owned.secure.as_ref().filter(|it| it.is_handshaking()) {
            self.queue_handshake(&owned, secure);
            return false;
        }
        let received = self.receive(&owned);
        self.judge(ready, &owned, received)
    }

    /// Closes a connection that is over; `true` when there may be more to receive.
    fn judge(self: &Rc<Self>, ready: Ready, owned: &Owned, received: io::Result<usize>) -> bool {
        match received {
            Ok(0) => {
                self.close(owned);
                false
            }
            Ok(_) if self.read_pause(ready.id).is_some() => {
                let pause = self.read_pause(ready.id).unwrap_or_default();
                self.read_later(ready, pause);
                false
            }
            // An edge comes for what arrives after a short read, unless it came with the end.
            Ok(received_bytes) => ready.has_ended || received_bytes == RECEIVE_BYTES,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(_) => {
                self.close(owned);
                false
            }
        }
    }

    /// A send found no room: it is tried again when the poller tells of some.
    pub(super) fn await_room(&self, id: ConnectionId) {
        if let Some(Some(owned)) = self.sockets.borrow_mut().get_mut(id.index())
            && owned.id == id
        {
            owned.awaits_room = true;
        }
    }

    fn note_room(self: &Rc<Self>, id: ConnectionId) {
        let mut sockets = self.sockets.borrow_mut();
        let Some(Some(owned)) = sockets.get_mut(id.index()) else { return };
        if owned.id != id || !std::mem::take(&mut owned.awaits_room) {
            return;
        }
        let owned = owned.clone();
        drop(sockets);
        let mut shard = self.shard.borrow_mut();
        match &owned.secure {
            None => shard.handle_sent(self.now(), id, 0),
            Some(secure) => self.push_secure(&mut shard, &owned, secure),
        }
    }
}
