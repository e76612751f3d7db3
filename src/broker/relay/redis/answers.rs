//! Answers: each goes to what asked for it.

use std::sync::Arc;

use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::relay::redis::Place;
use crate::broker::relay::redis::Redis;
use crate::broker::relay::redis::batch::Batch;
use crate::broker::relay::redis::batch::Verb;
use crate::broker::relay::redis::counts::Level;
use crate::broker::relay::redis::counts::cleaned;
use crate::broker::relay::redis::entry::Kind;
use crate::broker::relay::redis::entry::Written;
use crate::broker::relay::redis::link::Expect;
use crate::broker::relay::redis::link::Fault;
use crate::broker::relay::redis::link::LinkId;
use crate::broker::relay::redis::link::Part;
use crate::broker::relay::redis::link::Step;
use crate::broker::relay::redis::link_of;
use crate::broker::relay::redis::options::Address;
use crate::broker::relay::redis::topology;
use crate::broker::relay::redis::topology::NodeId;
use crate::proto::resp::Value;
use crate::stdx::time::Now;

impl Redis {
    pub(super) fn handle_value(
        &mut self,
        now: Now,
        id: LinkId,
        part: Part,
        value: &Value<'_>,
    ) -> Result<(), Fault> {
        if part == Part::Subscriber && self.handle_confirmation(now, id, value)? {
            return Ok(());
        }
        if matches!(value, Value::Push(_)) {
            return Ok(()); // what we did not ask for and do not know
        }
        let Self { options, links, nodes, scout, .. } = self;
        let Some(link) = link_of(links, nodes, scout, id) else { return Ok(()) };
        match link.handle_answer(now.instant, value, options)? {
            Step::Nothing => Ok(()),
            Step::Ready => {
                self.handle_ready(now, id);
                Ok(())
            }
            Step::Answer(Expect::Batch(batch)) => self.handle_batch_answer(now, id, &batch, value),
            Step::Answer(Expect::Publication(written)) => {
                self.handle_publication_answer(now, id, written, value)
            }
            Step::Answer(Expect::Ask(ask)) => self.handle_ask_answer(now, id, ask, value),
            Step::Answer(Expect::Revoked) => self.handle_revoked(now, id, value),
            Step::Answer(Expect::Slots) => self.handle_slots(now, id, value),
            Step::Answer(Expect::Hello | Expect::Auth | Expect::Role | Expect::Ping) => Ok(()),
            Step::Answer(Expect::Asking) => Ok(()),
        }
    }

    fn handle_ready(&mut self, now: Now, id: LinkId) {
        let Some(Place { node, part }) = self.links.get(&id).copied() else { return };
        let Self { links, nodes, scout, .. } = self;
        let Some(link) = link_of(links, nodes, scout, id) else { return };
        let (is_blind, address) = (link.is_blind(), link.address.clone());
        if is_blind && part == Part::Publisher {
            let text = format!(
                "Redis at {address} does not tell its role: a replica would not be noticed; \
                 allow ROLE"
            );
            self.note(Level::Warn, text);
        }
        match (part, node) {
            (Part::Subscriber, Some(node)) => {
                let count = self.interests.open(node);
                if self.nodes.get(&node).is_some_and(|it| it.was_up) {
                    self.counts.resubscribed += count as u64;
                }
            }
            (Part::Scout, _) => {
                if let Some(link) = &mut self.scout {
                    link.ask_slots(now.instant);
                }
            }
            (Part::Publisher, Some(node)) => self.publisher.note_link(node),
            (Part::Publisher | Part::Subscriber, None) => {}
        }
    }

    /// Whether `value` confirms a change of subscriptions. A RESP2 server says so in an array.
    fn handle_confirmation(
        &mut self,
        now: Now,
        id: LinkId,
        value: &Value<'_>,
    ) -> Result<bool, Fault> {
        let (Value::Push(items) | Value::Array(items)) = value else { return Ok(false) };
        let [kind, name, _] = &**items else { return Ok(false) };
        let (Some(kind), Some(name)) = (kind.as_bytes(), name.as_bytes()) else {
            return Ok(false);
        };
        let verb = |enters, is_glob| Verb { enters, is_glob };
        let verb = match kind {
            b"subscribe" | b"ssubscribe" => verb(true, false),
            b"psubscribe" => verb(true, true),
            b"unsubscribe" | b"sunsubscribe" => verb(false, false),
            b"punsubscribe" => verb(false, true),
            _ => return Ok(false),
        };
        let Some(Place { node: Some(node), .. }) = self.links.get(&id).copied() else {
            return Ok(false);
        };
        let Self { nodes, interests, events, routes, .. } = self;
        let link = nodes.get_mut(&node).and_then(|it| it.subscriber.link.as_mut());
        let Some(link) = link else { return Ok(true) };
        if let Some(batch) = link.batch()
            && interests.confirm(node, batch, verb, name, events)
        {
            if batch.confirmed_count == batch.keys.len() {
                link.pop_batch();
            }
            return Ok(true);
        }
        if kind != b"sunsubscribe" {
            let text = "a confirmation of what was not asked for".to_owned();
            return Err(Fault::Protocol(text));
        }
        // The slot has moved; who has it now, a refusal or the cluster's slots will say.
        interests.expel(node, name, routes);
        self.topology_due = now.instant;
        Ok(true)
    }

    fn handle_batch_answer(
        &mut self,
        now: Now,
        id: LinkId,
        batch: &Batch,
        value: &Value<'_>,
    ) -> Result<(), Fault> {
        let Value::Error(text) = value else {
            return Err(Fault::Protocol("a subscription is answered by something else".to_owned()));
        };
        let Some((node, address)) = self.whereabouts(id) else { return Ok(()) };
        if text.starts_with(b"MOVED") {
            let Some((slot, owner)) = topology::parse_redirect(text, &address) else {
                return Err(Fault::Protocol(cleaned(text)));
            };
            self.move_slot(now, slot, &owner);
            self.interests.redirect(node, batch, &self.routes);
            return Ok(());
        }
        // About the names in it; any other error is about the server.
        if !text.starts_with(b"NOPERM") && !text.starts_with(b"ERR") {
            return Err(Fault::Refused(cleaned(text)));
        }
        if let Some(name) = self.interests.refuse(node, batch, text, &mut self.events) {
            let text = format!("Redis at {address} refuses {name}: {}", cleaned(text));
            self.note(Level::Warn, text);
        }
        Ok(())
    }

    fn handle_slots(&mut self, now: Now, id: LinkId, value: &Value<'_>) -> Result<(), Fault> {
        let Self { links, nodes, scout, .. } = self;
        let Some(link) = link_of(links, nodes, scout, id) else { return Ok(()) };
        let (part, address) = (link.part, link.address.clone());
        match topology::parse_slots(value, &address) {
            Some(ranges) => {
                self.take_topology(now.instant, &ranges);
                Ok(())
            }
            None if part == Part::Scout => {
                let text = if let Value::Error(text) = value { text } else { &b"no slots"[..] };
                let text = cleaned(text);
                Err(Fault::Refused(text))
            }
            None => Ok(()),
        }
    }

    fn handle_publication_answer(
        &mut self,
        now: Now,
        id: LinkId,
        written: Written,
        value: &Value<'_>,
    ) -> Result<(), Fault> {
        let Some(Place { node: Some(node), .. }) = self.links.get(&id).copied() else {
            return Ok(());
        };
        if let Value::Error(text) = value {
            if let Some((_, address)) = self.whereabouts(id) {
                self.handle_publication_error(now, node, &address, written, text);
            }
            return Ok(());
        }
        let is_expected = match &written.kind {
            Kind::Publish => matches!(value, Value::Integer(_)),
            Kind::Append => matches!(value, Value::Bulk(_)),
            Kind::Place(publication) => {
                let publication = Arc::clone(publication);
                return self.handle_placed(now, node, written, &publication, value);
            }
        };
        if !is_expected {
            let text = "Redis has answered with something else";
            self.refuse(node, written, Refusal::new(Code::RelayUnknown, text));
            return Err(Fault::Protocol("a publication is answered by something else".to_owned()));
        }
        self.counts.answered += 1;
        self.publisher.settle(now.instant, node, written, &mut self.events);
        Ok(())
    }

    /// An error means that the command was not executed.
    fn handle_publication_error(
        &mut self,
        now: Now,
        node: NodeId,
        asked: &Address,
        written: Written,
        text: &[u8],
    ) {
        let kind = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        let written = match (kind, topology::parse_redirect(text, asked)) {
            (b"MOVED", Some((slot, owner))) => {
                let to = self.move_slot(now, slot, &owner);
                self.publisher.resend(node, written, Some(to), false)
            }
            (b"ASK", Some((_, target))) => {
                let to = self.node_at(now.instant, &target);
                self.publisher.resend(node, written, Some(to), true)
            }
            (b"NOSCRIPT", _) => self.resend_whole(node, written),
            _ => Err(written),
        };
        let Err(written) = written else {
            self.counts.redirected += 1;
            return;
        };
        let refusal = match kind {
            b"LOADING" | b"READONLY" | b"MASTERDOWN" | b"CLUSTERDOWN" | b"TRYAGAIN" | b"BUSY"
            | b"NOREPLICAS" | b"MOVED" | b"ASK" => {
                self.topology_due = now.instant;
                let text =
                    format!("Redis does not take it now: {}; try again later", cleaned(text));
                Refusal::new(Code::RelayUnavailable, text)
            }
            _ => {
                let text = format!("Redis refuses it: {}", cleaned(text));
                Refusal::new(Code::RelayRefused, text)
            }
        };
        self.note(Level::Warn, format!("Redis at {asked}: {refusal}"));
        self.refuse(node, written, refusal);
    }

    pub(super) fn refuse(&mut self, node: NodeId, written: Written, refusal: Refusal) {
        self.counts.refused += 1;
        self.publisher.refuse(node, written, refusal, &mut self.events);
    }

    /// The cluster says that `slot` is at `owner`; all else that has moved will be asked for.
    pub(super) fn move_slot(&mut self, now: Now, slot: u16, owner: &Address) -> NodeId {
        let to = self.node_at(now.instant, owner);
        if let Some(node) = self.nodes.get_mut(&to) {
            node.is_retiring = false;
        }
        if self.routes.move_slot(slot, to) {
            // First our own subscriptions: the new owner is not up before it has them, so what is
            // sent on to it is heard here.
            self.interests.reroute_slot(slot, &self.routes);
            self.publisher.reroute_slot(slot, &self.routes);
            self.topology_due = now.instant;
        }
        to
    }

    pub(super) fn whereabouts(&self, id: LinkId) -> Option<(NodeId, Address)> {
        let Place { node, part } = *self.links.get(&id)?;
        let link = self.nodes.get(&node?)?.side(part).link.as_ref()?;
        Some((node?, link.address.clone()))
    }
}
