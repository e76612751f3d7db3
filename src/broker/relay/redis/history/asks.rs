//! What Redis is asked about histories besides the places themselves: pages, marks, what is due.
//!
//! Each of them may be asked again, so what a lost link has not answered is.

use std::collections::VecDeque;
use std::time::Duration;

use crate::broker::relay::redis::topology::NodeId;
use crate::broker::relay::redis::topology::Routes;
use crate::stdx::time::Instant;

/// Asked and not answered at the same time; more wait here.
const FLYING_MAX: usize = 1024;
/// Where an equal one is looked for among those that wait.
const JOIN_MAX: usize = 64;
/// Times that one is sent elsewhere, or again, before it has failed.
const TRIES_MAX: u32 = 8;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A page, for these readings.
    Page(Vec<u64>),
    /// To note what of a channel is stored.
    Mark(Box<str>),
    /// Which destinations have waited for too long.
    Due,
    /// What of a channel is not stored.
    Unstored(Box<str>),
}

/// One question.
#[derive(Debug)]
pub(in crate::broker::relay::redis) struct Ask {
    pub(super) what: What,
    slot: u16,
    command: Vec<u8>,
    asked_at: Instant,
    tries_count: u32,
}

/// All of one core that are not answered.
#[derive(Debug, Default)]
pub(in crate::broker::relay::redis) struct Asks {
    waiting: VecDeque<Ask>,
    flying_count: usize,
}

impl Asks {
    pub(super) fn push(&mut self, now: Instant, what: What, slot: u16, command: Vec<u8>) {
        if let What::Page(more) = &what {
            // A crowd asks for the same at the same time.
            for ask in self.waiting.iter_mut().rev().take(JOIN_MAX) {
                if ask.command == command
                    && let What::Page(readings) = &mut ask.what
                {
                    readings.extend(more);
                    return;
                }
            }
        }
        self.waiting.push_back(Ask { what, slot, command, asked_at: now, tries_count: 0 });
    }

    /// Whether node `node` is to be asked something.
    pub(in crate::broker::relay::redis) fn wants_transmit(
        &self,
        node: NodeId,
        routes: &Routes,
    ) -> bool {
        self.flying_count < FLYING_MAX
            && self.waiting.iter().any(|it| routes.node_of(it.slot) == Some(node))
    }

    /// Appends what node `node` is asked, up to `bytes_max`, and gives each to `sent`.
    pub(in crate::broker::relay::redis) fn transmit(
        &mut self,
        node: NodeId,
        routes: &Routes,
        out: &mut Vec<u8>,
        bytes_max: usize,
        sent: &mut impl FnMut(Ask),
    ) {
        let mut at = 0;
        while out.len() < bytes_max && self.flying_count < FLYING_MAX {
            let Some(ask) = self.waiting.get(at) else { return };
            if routes.node_of(ask.slot) != Some(node) {
                at += 1;
                continue;
            }
            let Some(ask) = self.waiting.remove(at) else { return };
            out.extend_from_slice(&ask.command);
            self.flying_count += 1;
            sent(ask);
        }
    }

    /// It is answered.
    pub(super) fn land(&mut self) {
        self.flying_count -= 1;
    }

    /// It is to be asked again, perhaps by another command; gives it back when that was too often.
    pub(super) fn repeat(&mut self, mut ask: Ask, command: Option<Vec<u8>>) -> Result<(), Ask> {
        ask.tries_count += 1;
        if TRIES_MAX < ask.tries_count {
            return Err(ask);
        }
        if let Some(command) = command {
            ask.command = command;
        }
        self.waiting.push_front(ask);
        Ok(())
    }

    /// The link was lost before it was answered.
    pub(in crate::broker::relay::redis) fn put_back(&mut self, ask: Ask) {
        self.land();
        self.waiting.push_back(ask);
    }

    /// The next that has waited for too long.
    pub(super) fn poll_expired(&mut self, now: Instant, timeout: Duration) -> Option<Ask> {
        self.waiting.pop_front_if(|it| timeout <= now.since(it.asked_at))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.flying_count == 0
    }
}

impl Ask {
    pub(super) fn command(&self) -> &[u8] {
        &self.command
    }
}
