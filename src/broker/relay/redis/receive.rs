//! What Redis says: messages to publications, answers to whoever asked.

use std::sync::Arc;

use crate::broker::relay::Audience;
use crate::broker::relay::Event;
use crate::broker::relay::redis::Place;
use crate::broker::relay::redis::Redis;
use crate::broker::relay::redis::counts::Dropped;
use crate::broker::relay::redis::counts::Level;
use crate::broker::relay::redis::counts::cleaned;
use crate::broker::relay::redis::interest::Subject;
use crate::broker::relay::redis::link::Fault;
use crate::broker::relay::redis::link::LinkId;
use crate::broker::relay::redis::link::Part;
use crate::broker::relay::redis::link_of;
use crate::broker::relay::redis::names;
use crate::broker::relay::redis::options::Mode;
use crate::broker::relay::redis::surface::Taken;
use crate::broker::relay::redis::topology::NodeId;
use crate::proto::resp;
use crate::proto::resp::Scanned;
use crate::stdx::time::Now;

/// Most elements of an answer: CLUSTER SLOTS of a large, fragmented cluster.
const ITEMS_MAX: usize = 1 << 18;
const DEPTH_MAX: usize = 8;

impl Redis {
    /// Takes what came on a link, in place: messages are decoded where they lie. The caller keeps
    /// what was not consumed, and gives it again with what follows it.
    pub fn handle_bytes(&mut self, now: Now, id: LinkId, bytes: &mut [u8]) -> Taken {
        let all = Taken { consumed: bytes.len(), bytes_min: 0 };
        self.time = now.instant;
        let Some(Place { part, .. }) = self.links.get(&id).copied() else { return all };
        let Self { links, nodes, scout, .. } = self;
        if let Some(link) = link_of(links, nodes, scout, id) {
            link.handle_received(now.instant);
        }
        let mut at = 0;
        let mut bytes_min = 0;
        while at < bytes.len() {
            match self.handle_front(now, id, part, &mut bytes[at..]) {
                Ok(Front::Taken(count)) => at += count,
                Ok(Front::Incomplete(min)) => {
                    bytes_min = min;
                    break;
                }
                Err(fault) => {
                    self.fail(now.instant, id, &fault, false);
                    self.finish(now.instant);
                    return all;
                }
            }
        }
        if std::mem::take(&mut self.is_changed) {
            self.finish(now.instant);
        }
        if self.links.contains_key(&id) { Taken { consumed: at, bytes_min } } else { all }
    }

    /// Takes what is at the front of `bytes`.
    fn handle_front(
        &mut self,
        now: Now,
        id: LinkId,
        part: Part,
        bytes: &mut [u8],
    ) -> Result<Front, Fault> {
        let broken = |error: resp::Error| Fault::Protocol(error.to_string());
        let Self { links, nodes, scout, .. } = self;
        let Some(link) = link_of(links, nodes, scout, id) else {
            return Ok(Front::Taken(bytes.len()));
        };
        if let Some(skip) = &mut link.skip {
            let count = skip.advance(bytes).map_err(broken)?;
            if skip.is_done() {
                link.skip = None;
            } else if count == 0 {
                return Ok(Front::Incomplete(0));
            }
            return Ok(Front::Taken(count));
        }
        let limits = resp::Limits {
            bulk_bytes_max: self.options.envelope_bytes_max(),
            items_max: ITEMS_MAX,
            depth_max: DEPTH_MAX,
        };
        let scanned = match part {
            Part::Subscriber => resp::scan(bytes, &limits).map_err(broken)?,
            // Elsewhere an array may look like a message.
            Part::Publisher | Part::Scout => Scanned::Other { end: 0 },
        };
        match scanned {
            Scanned::Incomplete { bytes_min } => Ok(Front::Incomplete(bytes_min)),
            Scanned::Message { channel, payload, end } => {
                let (head, tail) = bytes.split_at_mut(payload.start);
                let node = self.links.get(&id).and_then(|it| it.node);
                self.handle_message(now, node, &head[channel], &mut tail[..payload.len()]);
                Ok(Front::Taken(end))
            }
            Scanned::PatternMessage { pattern, channel, payload, end } => {
                let (head, tail) = bytes.split_at_mut(payload.start);
                let json = &mut tail[..payload.len()];
                self.handle_pattern_message(now, &head[pattern], &head[channel], json);
                Ok(Front::Taken(end))
            }
            Scanned::Oversize { channel, skip, .. } => {
                self.counts.received += 1;
                let name = channel.map_or(&b"?"[..], |it| &bytes[it]);
                self.dropped(Dropped::Oversize, name);
                let Self { links, nodes, scout, .. } = self;
                if let Some(link) = link_of(links, nodes, scout, id) {
                    link.skip = Some(skip);
                }
                Ok(Front::Taken(0))
            }
            Scanned::Other { .. } => match resp::parse(bytes, &limits).map_err(broken)? {
                None => Ok(Front::Incomplete(0)),
                Some((value, end)) => {
                    self.is_changed = true;
                    self.handle_value(now, id, part, &value)?;
                    Ok(Front::Taken(end))
                }
            },
        }
    }

    fn handle_message(&mut self, now: Now, node: Option<NodeId>, name: &[u8], json: &mut [u8]) {
        self.counts.received += 1;
        let key = self.interests.find(false, name);
        let interest = key.and_then(|key| self.interests.get_mut(key));
        let Some(interest) = interest.and_then(|it| (it.is_wanted && it.hears(node)).then_some(it))
        else {
            self.counts.unwanted += 1;
            return;
        };
        let made = match &interest.subject {
            Subject::Channel(channel) => self.translator.publication(now, name, channel, json),
            Subject::Control => return self.handle_control(now, name, json),
            // They are found by pattern messages.
            Subject::Glob(_) | Subject::EmptySegments => return,
        };
        match made {
            Ok(publication) => {
                let id = &publication.message_id;
                if self.options.mode == Mode::Sharded && !self.recent.admit(now.instant, name, id) {
                    self.counts.unwanted += 1;
                    return;
                }
                self.arrive(now, publication);
            }
            Err(why) => self.dropped(why, name),
        }
    }

    fn handle_control(&mut self, now: Now, name: &[u8], json: &mut [u8]) {
        match self.gate.admit(now, json, &self.options) {
            Ok(Some(control)) => {
                self.counts.controls += 1;
                self.events.push_back(Event::Control(control));
            }
            Ok(None) => {}
            Err(why) => self.dropped(why, name),
        }
    }

    fn handle_pattern_message(&mut self, now: Now, glob: &[u8], name: &[u8], json: &mut [u8]) {
        self.counts.received += 1;
        let channel =
            str::from_utf8(name).ok().and_then(|it| names::channel_of(self.options.mode, it));
        let Some(channel) = channel.filter(|it| it.starts_with('/')) else {
            self.counts.unwanted += 1;
            return;
        };
        let audience = self.interests.matching(glob, &channel);
        if audience.is_empty() {
            self.counts.unwanted += 1;
            return;
        }
        match self.translator.publication(now, name, &channel, json) {
            Ok(publication) => {
                self.counts.delivered += 1;
                let publication = Arc::new(publication);
                self.events.extend(audience.into_iter().map(|pattern| Event::Deliver {
                    publication: Arc::clone(&publication),
                    audience: Audience::Pattern(pattern),
                }));
            }
            Err(why) => self.dropped(why, name),
        }
    }

    pub(super) fn dropped(&mut self, why: Dropped, name: &[u8]) {
        self.counts.drop(why);
        let text = format!("dropped a message on {}: {}", cleaned(name), why.as_str());
        self.note(Level::Warn, text);
    }
}

/// What became of the front of the bytes.
enum Front {
    Taken(usize),
    Incomplete(usize),
}
