//! TLS handshakes in turns: each costs as much as hundreds of messages, so a storm of them gets a
//! share of every turn of the shard, and the connections that are open get the rest.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::shard::runtime::Core;
use crate::shard::runtime::Owned;
use crate::shard::secure::Secure;
use crate::shard::tasks::Notify;
use crate::shard::tasks::Turns;

/// Time of one turn after which the handshakes that wait go on in the next. One step is always
/// taken: with a large RSA key it may take as long by itself.
const SHARE: Duration = Duration::from_millis(1);

/// Connections that wait until their handshake may go on, in the order in which they came.
#[derive(Default)]
pub(in crate::shard) struct Handshakes {
    waiting: RefCell<VecDeque<Owned>>,
    bell: Notify,
}

impl Core {
    /// Puts a connection, whose socket is readable, behind those that wait, once.
    pub(in crate::shard) fn queue_handshake(&self, owned: &Owned, secure: &Secure) {
        if let Some(listener) = &self.secure
            && !secure.is_queued.replace(true)
        {
            listener.handshakes.waiting.borrow_mut().push_back(owned.clone());
            listener.handshakes.bell.notify();
        }
    }

    /// Receives for those that wait as long as the share lasts, and tells what that gave; `true`
    /// when some still wait.
    pub(in crate::shard) fn shake_hands(
        self: &Rc<Self>,
        mut told: impl FnMut(&Owned, io::Result<usize>),
    ) -> bool {
        let Some(listener) = &self.secure else { return false };
        let waiting = &listener.handshakes.waiting;
        let start = self.clock.instant();
        loop {
            let Some(owned) = waiting.borrow_mut().pop_front() else { return false };
            if let Some(secure) = &owned.secure {
                secure.is_queued.set(false);
            }
            let received = self.receive(&owned);
            told(&owned, received);
            if SHARE <= self.clock.instant().since(start) {
                return !waiting.borrow().is_empty();
            }
        }
    }

    /// The turns, where each connection has a reader of its own.
    pub(in crate::shard) async fn shake_all(self: Rc<Self>) {
        let Some(listener) = &self.secure else { return };
        let mut turns = Turns::new(self.clock);
        loop {
            turns.wait(listener.handshakes.bell.notified()).await;
            let told = |owned: &Owned, received| {
                let Some(secure) = &owned.secure else { return };
                secure.turn.set(Some(received));
                if let Some(waker) = secure.waiting.take() {
                    waker.wake();
                }
            };
            while self.shake_hands(told) {
                turns.give_way().await;
            }
        }
    }

    /// Receives when it is this connection's turn.
    pub(in crate::shard) async fn receive_in_turn(
        &self,
        owned: &Owned,
        secure: &Secure,
    ) -> io::Result<usize> {
        self.queue_handshake(owned, secure);
        poll_fn(|context| {
            if let Some(received) = secure.turn.take() {
                return Poll::Ready(received);
            }
            secure.waiting.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await
    }
}
