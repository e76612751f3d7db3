//! Carries between the shard and what the relay works through: the mail of other shards, and links
//! with their sockets.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::broker::relay::redis::LinkAction;
use crate::broker::relay::redis::LinkId;
use crate::shard::link::Links;
use crate::shard::link::Owner;
use crate::shard::link::Taken;
use crate::shard::runtime::Core;
use crate::shard::state::Shard;

impl Core {
    /// Takes a share of the mail; `true` when there is more.
    pub(super) fn take_mail_once(&self) -> bool {
        let mut mailboxes = self.mailboxes.borrow_mut();
        let mut shard = self.shard.borrow_mut();
        let now = self.now();
        mailboxes.receive_notices(now, &mut shard);
        if shard.has_asks() {
            self.asked.notify();
        }
        mailboxes.receive_said(now, &mut shard);
        mailboxes.send(now, &mut shard);
        let has_taken = mailboxes.receive(now, &mut shard);
        self.time_fan_out(now, &mut shard);
        mailboxes.send(now, &mut shard);
        // What was beyond this share; and requests that had no room for their replies are tried
        // again when there is some.
        if has_taken && mailboxes.has_mail() {
            mailboxes.doorbell().ring();
        }
        self.flush.notify();
        mailboxes.doorbell().is_rung()
    }

    /// Does what the relay wants done with its links: at the end of a turn.
    pub(super) fn carry_links(self: &Rc<Self>, links: &Rc<Links>, shard: &mut Shard) {
        while let Some(action) = shard.poll_link_action() {
            match action {
                LinkAction::Open { link, address, beside } => {
                    links.open(self, link.0, &address.host, address.port, beside);
                }
                LinkAction::Look { link, address } => {
                    links.look(self, link.0, &address.host, address.port);
                }
                LinkAction::Close { link } => links.close(link.0),
            }
        }
        while let Some(link) = shard.poll_link_dirty() {
            links.notify(link.0);
        }
    }
}

impl Owner for Core {
    fn handle_connected(&self, link: u64, peer: SocketAddr) {
        self.shard.borrow_mut().handle_link_connected(self.now(), LinkId(link), peer);
        self.notify();
    }

    fn handle_bytes(&self, link: u64, bytes: &mut [u8]) -> Taken {
        let now = self.now();
        let mut shard = self.shard.borrow_mut();
        let taken = shard.handle_link_bytes(now, LinkId(link), bytes);
        self.time_fan_out(now, &mut shard);
        drop(shard);
        self.notify();
        Taken { consumed: taken.consumed, bytes_min: taken.bytes_min }
    }

    fn handle_lost(&self, link: u64, why: &str) {
        self.shard.borrow_mut().handle_link_lost(self.now(), LinkId(link), why);
        self.notify();
    }

    fn handle_looked(&self, link: u64, found: &[SocketAddr]) {
        self.shard.borrow_mut().handle_link_looked(self.now(), LinkId(link), found);
        self.notify();
    }

    fn poll_transmit(&self, link: u64, out: &mut Vec<u8>) {
        self.shard.borrow_mut().poll_link_transmit(self.now(), LinkId(link), out);
        // What left may be the room that paused connections wait for.
        self.notify();
    }
}
