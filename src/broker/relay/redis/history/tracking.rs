//! Subscribers to channels with a history, and the messages for them: in order, each once.

use std::sync::Arc;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::relay::Audience;
use crate::broker::relay::Event;
use crate::broker::relay::Page;
use crate::broker::relay::Target;
use crate::broker::relay::Token;
use crate::broker::relay::redis::Redis;
use crate::broker::relay::redis::history::tracks::Arrival;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

impl Redis {
    /// A subscriber to a channel with a history.
    pub(in crate::broker::relay) fn track(&mut self, target: &Target, token: Option<Token>) {
        if let (Some(history), Target::Channel(channel)) = (&mut self.history, target) {
            history.tracks.subscribe(channel, token);
        }
    }

    /// The last subscriber to a channel has gone.
    pub(in crate::broker::relay::redis) fn untrack(&mut self, target: &Target) {
        if let (Some(history), Target::Channel(channel)) = (&mut self.history, target) {
            let (tokens, reading) = history.tracks.unsubscribe(channel);
            if let Some(reading) = reading {
                history.readings.forget(reading);
            }
            self.events.extend(tokens.into_iter().map(Event::Settled));
        }
    }

    /// The next event; what waits for the base of its track is kept back.
    pub(in crate::broker::relay::redis) fn next_event(&mut self) -> Option<Event> {
        loop {
            let event = self.events.pop_front()?;
            let Some(history) = &mut self.history else { return Some(event) };
            match event {
                Event::Settled(token) => match history.tracks.confirm(token) {
                    (false, _) => return Some(Event::Settled(token)),
                    (true, read) => {
                        let Some((reading, channel, query)) = read else { continue };
                        let step = history.readings.read(reading, &channel, query);
                        let now = Now { instant: self.time, unix_ms: 0 };
                        self.take_step(now, reading, step, None);
                        self.mark_dirty();
                    }
                },
                Event::Refused(token, refusal) => {
                    history.tracks.refuse(token);
                    return Some(Event::Refused(token, refusal));
                }
                event @ (Event::Stored(..)
                | Event::Deferred(..)
                | Event::Page(..)
                | Event::Deliver { .. }
                | Event::Control(_)) => return Some(event),
            }
        }
    }

    /// Channels that Redis tells us of from now on: what was said before is looked for.
    pub(in crate::broker::relay::redis) fn enter(&mut self, now: Instant) {
        let entered = std::mem::take(&mut self.interests.entered);
        for channel in entered {
            let Some(history) = &mut self.history else { continue };
            let Some((reading, query)) = history.tracks.enter(&channel) else { continue };
            let step = history.readings.read(reading, &channel, query);
            self.take_step(Now { instant: now, unix_ms: 0 }, reading, step, None);
        }
    }

    /// A message of a channel that is subscribed to by its name.
    pub(in crate::broker::relay::redis) fn arrive(&mut self, now: Now, publication: Publication) {
        let publication = Arc::new(publication);
        let Some(history) = &mut self.history else { return self.give(publication) };
        if !history.tracks.has(&publication.channel) {
            return self.give(publication);
        }
        let Some(place) = publication.place() else {
            self.counts.unplaced += 1;
            if !history.tracks.hold_plain(&publication) {
                self.give(publication);
            }
            return;
        };
        match history.tracks.arrive(&publication, place) {
            (Arrival::Give, _) => self.give(publication),
            (Arrival::Repeated, _) => self.counts.repeated += 1,
            (Arrival::Held, _) => {}
            (Arrival::Read(query), reading) => {
                let Some(reading) = reading else { return };
                let channel: Arc<str> = (&*publication.channel).into();
                let step = history.readings.read(reading, &channel, query);
                self.take_step(now, reading, step, None);
                self.is_changed = true;
            }
        }
    }

    fn give(&mut self, publication: Arc<Publication>) {
        self.counts.delivered += 1;
        self.events.push_back(Event::Deliver { publication, audience: Audience::Exact });
    }

    pub(super) fn heal(
        &mut self,
        now: Now,
        reading: u64,
        channel: &Arc<str>,
        page: &Page,
        end: Option<Place>,
    ) {
        let Some(history) = &mut self.history else { return };
        let Some((_, healed)) = history.tracks.handle_page(reading, page, end) else { return };
        match healed.read {
            Some(query) => {
                let step = history.readings.read(reading, channel, query);
                self.take_step(now, reading, step, None);
            }
            None => history.readings.forget(reading),
        }
        self.counts.healed += healed.filled_count;
        for publication in healed.give {
            self.give(publication);
        }
        for publication in healed.strange {
            self.counts.unplaced += 1;
            self.give(Arc::new(publication.without_place()));
        }
        self.events.extend(healed.tokens.into_iter().map(Event::Settled));
    }
}
