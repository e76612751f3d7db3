//! What the peers that we wrote share: a room, a listener, a runtime of one thread.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::runtime::LocalRuntime;
use tokio::sync::mpsc;

/// A storm of connections must not be refused by a short queue.
const LISTEN_BACKLOG: u32 = 4096;
/// What may wait for one connection; a slower one loses messages, and the client counts them.
const QUEUE_COUNT_MAX: usize = 1024;

/// The queues of all subscribed connections by the number of the connection.
pub struct Room<T> {
    next_number: Cell<u64>,
    queues: RefCell<BTreeMap<u64, mpsc::Sender<T>>>,
}

impl<T> Default for Room<T> {
    fn default() -> Self {
        Self { next_number: Cell::new(0), queues: RefCell::default() }
    }
}

impl<T: Clone> Room<T> {
    /// Takes a connection in: its number, and what it is to be given.
    pub fn enter(&self) -> (u64, mpsc::Receiver<T>) {
        let number = self.next_number.replace(self.next_number.get() + 1);
        let (sender, receiver) = mpsc::channel(QUEUE_COUNT_MAX);
        self.queues.borrow_mut().insert(number, sender);
        (number, receiver)
    }

    /// Forgets a connection.
    pub fn leave(&self, number: u64) {
        self.queues.borrow_mut().remove(&number);
    }

    /// Gives `text` to all but the one it is from.
    pub fn broadcast(&self, from: Option<u64>, text: &T) {
        for (number, queue) in self.queues.borrow().iter() {
            if Some(*number) != from && queue.try_send(text.clone()).is_err() {
                eprintln!("the queue of connection {number} is full: a message is dropped");
            }
        }
    }
}

/// Listens with a long queue.
///
/// # Errors
///
/// The address is taken or not ours.
pub fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("cannot bind {address}"))?;
    Ok(socket.listen(LISTEN_BACKLOG)?)
}

/// A runtime on this thread.
///
/// # Errors
///
/// The kernel has no descriptors for it.
pub fn runtime() -> anyhow::Result<LocalRuntime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_io().build_local(tokio::runtime::LocalOptions::default())?)
}
