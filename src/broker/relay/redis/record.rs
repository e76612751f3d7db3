//! The record of what is revoked, in Redis: whoever was away, or has just come, reads there what it
//! has not heard.
//!
//! It is read each time a server has come up, that is after everything is subscribed to: what is
//! revoked later is heard. Its entries are control messages, proved like those, whatever their age.

use std::time::Duration;

use crate::broker::relay::Event;
use crate::broker::relay::redis::Control;
use crate::broker::relay::redis::Redis;
use crate::broker::relay::redis::counts::Dropped;
use crate::broker::relay::redis::counts::Level;
use crate::broker::relay::redis::counts::cleaned;
use crate::broker::relay::redis::link::Fault;
use crate::broker::relay::redis::link::LinkId;
use crate::broker::relay::redis::names;
use crate::broker::relay::redis::options::Mode;
use crate::broker::relay::redis::topology;
use crate::broker::relay::redis::topology::NodeId;
use crate::proto::control;
use crate::proto::resp;
use crate::proto::resp::Value;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

/// About how many entries one page has.
const PAGE_COUNT: &str = "1000";
/// Where reading begins, and what says that it is over.
const START: &str = "0";
/// A cursor is a number of 64 bits.
const CURSOR_BYTES_MAX: usize = 20;
/// How long after a refusal it is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How far the record is read.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// When the next reading begins.
    due_at: Option<Instant>,
    /// A page was asked for and has not come.
    is_asked: bool,
    /// Whether the last answer was a refusal, which has been told.
    is_refused: bool,
}

impl Record {
    /// Has it read anew, from the start.
    pub(super) fn demand(&mut self, now: Instant) {
        self.due_at = Some(now);
    }

    /// The page that was asked for will not come; whoever lost it demands another reading.
    pub(super) fn forget(&mut self) {
        self.is_asked = false;
    }
}

impl Redis {
    /// Begins to read when that is due and the server can be asked.
    pub(super) fn ask_revoked(&mut self, now: Instant) {
        let is_due = self.record.due_at.is_some_and(|it| it <= now);
        if self.options.reads_revoked && is_due && !self.record.is_asked {
            self.ask_page(now, START);
        }
    }

    fn ask_page(&mut self, now: Instant, cursor: &str) {
        let Some(node) = self.keeper() else { return };
        let Some(node) = self.nodes.get_mut(&node).filter(|it| it.is_up) else { return };
        let Some(link) = &mut node.publisher.link else { return };
        link.ask_revoked(now, names::REVOKED, cursor, PAGE_COUNT);
        self.record.is_asked = true;
        self.record.due_at = None;
    }

    /// Who has the record.
    fn keeper(&self) -> Option<NodeId> {
        match self.options.mode {
            Mode::PubSub => self.routes.node_of(0),
            Mode::Sharded => self.routes.node_of(resp::slot_of(names::REVOKED.as_bytes())),
        }
    }

    /// Takes one page, and asks for the next.
    pub(super) fn handle_revoked(
        &mut self,
        now: Now,
        id: LinkId,
        value: &Value<'_>,
    ) -> Result<(), Fault> {
        self.record.is_asked = false;
        if let Value::Error(text) = value {
            self.handle_record_error(now, id, text);
            return Ok(());
        }
        let wrong = || Fault::Protocol("the record of revocations is something else".to_owned());
        let [cursor, entries] = value.items().ok_or_else(wrong)? else { return Err(wrong()) };
        let cursor = cursor.as_str().filter(|it| it.len() <= CURSOR_BYTES_MAX).ok_or_else(wrong)?;
        let entries = entries.items().ok_or_else(wrong)?;
        let mut revocations = Vec::with_capacity(entries.len() / 2);
        // Each is followed by its score, which says the same as it does.
        for entry in entries.iter().step_by(2) {
            let json = entry.as_bytes().ok_or_else(wrong)?;
            match self.admit_entry(&mut json.to_vec()) {
                Ok(Control::Revoke(some)) => revocations.extend(some),
                Ok(Control::Drain { .. } | Control::Disconnect { .. }) => {
                    self.dropped(Dropped::Control, names::REVOKED.as_bytes());
                }
                Err(why) => self.dropped(why, names::REVOKED.as_bytes()),
            }
        }
        if !revocations.is_empty() {
            self.events.push_back(Event::Control(Control::Revoke(revocations)));
        }
        self.record.is_refused = false;
        if cursor != START && self.record.due_at.is_none() {
            self.ask_page(now.instant, cursor);
            if !self.record.is_asked {
                self.record.demand(now.instant);
            }
        }
        Ok(())
    }

    fn admit_entry(&self, json: &mut [u8]) -> Result<Control, Dropped> {
        let key = self.options.key.as_ref().ok_or(Dropped::Control)?;
        let message = control::decode(json).map_err(|_| Dropped::Control)?;
        message.verify(key, message.timestamp_ms, 0)?;
        Ok(Control::from(&message))
    }

    fn handle_record_error(&mut self, now: Now, id: LinkId, text: &[u8]) {
        self.record.demand(now.instant.after(RETRY_INTERVAL));
        let Some((_, address)) = self.whereabouts(id) else { return };
        if let Some((slot, owner)) = topology::parse_redirect(text, &address) {
            if text.starts_with(b"MOVED") {
                self.move_slot(now, slot, &owner);
            }
            return;
        }
        if !std::mem::replace(&mut self.record.is_refused, true) {
            let text = format!(
                "Redis at {address} does not show what is revoked: {}; allow ZSCAN on {}",
                cleaned(text),
                names::REVOKED
            );
            self.note(Level::Warn, text);
        }
    }
}
