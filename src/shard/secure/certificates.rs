//! The listener's certificates, which can be changed while it serves.

use std::cell::RefCell;
use std::sync::mpsc;

use crate::io::tls::Server;

/// One shard's copy of what the listener shows.
#[derive(Debug)]
pub struct Certificates {
    current: RefCell<Server>,
    changes: mpsc::Receiver<Server>,
}

/// Changes what the listener shows, on all shards, from any thread.
#[derive(Clone, Debug)]
pub struct Changer(Vec<mpsc::Sender<Server>>);

impl Certificates {
    /// The same certificates for `count` shards.
    #[must_use]
    pub fn share(first: &Server, count: usize) -> (Vec<Self>, Changer) {
        let one = |_| {
            let (sender, changes) = mpsc::channel();
            (Self { current: RefCell::new(first.clone()), changes }, sender)
        };
        let (all, senders) = (0..count).map(one).unzip();
        (all, Changer(senders))
    }

    /// What a connection is shown that comes now.
    pub(super) fn current(&self) -> Server {
        if let Some(newest) = self.changes.try_iter().last() {
            self.current.replace(newest);
        }
        self.current.borrow().clone()
    }
}

impl Changer {
    /// Connections that come from now on are shown `server`; those that are open stay as they are.
    pub fn change(&self, server: &Server) {
        for sender in &self.0 {
            // A shard that has ended accepts nobody.
            let _ended = sender.send(server.clone());
        }
    }
}
