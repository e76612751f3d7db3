//! Pages: for whoever replays, for the base of a track, and for what fills a hole.

use std::sync::Arc;

use crate::broker::publication::Place;
use crate::broker::relay::Event;
use crate::broker::relay::PAGE_COUNT;
use crate::broker::relay::Page;
use crate::broker::relay::Query;
use crate::broker::relay::Read;
use crate::broker::relay::Token;
use crate::broker::relay::redis::Redis;
use crate::broker::relay::redis::history::Ask;
use crate::broker::relay::redis::history::asks::What;
use crate::broker::relay::redis::history::readings::Step;
use crate::broker::relay::redis::history::readings::Streamed;
use crate::broker::relay::redis::history::readings::place_of;
use crate::broker::relay::redis::link::Fault;
use crate::broker::relay::redis::link::LinkId;
use crate::broker::relay::redis::names;
use crate::broker::relay::redis::topology;
use crate::proto::resp;
use crate::proto::resp::Value;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

/// Bytes of one page.
const PAGE_BYTES: &str = "262144";
/// No entry of a stream is called so.
const NO_ENTRY: &str = "none";
/// How long a stored stream lives after its last message.
const STREAM_LIFE_MS: &str = "86400000";

/// What came back from a stream.
struct Answer {
    streamed: Streamed,
    end: Option<Place>,
    /// Entries that are none, by their ids.
    broken: Vec<Place>,
}

impl Redis {
    /// Asks for a page; it comes as [`Event::Page`] with the same token.
    pub fn read(&mut self, now: Instant, token: Token, channel: &Arc<str>, query: Query) {
        let Some(history) = &mut self.history else { return };
        let step = history.readings.read(token.0, channel, query);
        self.take_step(Now { instant: now, unix_ms: 0 }, token.0, step, None);
        self.mark_dirty();
    }

    /// Nobody wants pages by this token any more.
    pub fn forget_reading(&mut self, token: Token) {
        if let Some(history) = &mut self.history {
            history.readings.forget(token.0);
        }
    }

    /// A page of the store.
    pub fn handle_page(&mut self, now: Now, token: u64, page: Option<&Page>) {
        let Some(history) = &mut self.history else { return };
        let Some(step) = history.readings.handle_page(token, page) else { return };
        self.take_step(now, token, step, None);
        self.mark_dirty();
    }

    /// The next page to be read from the store.
    pub fn poll_read(&mut self) -> Option<Read> {
        self.history.as_mut()?.readings.poll_read()
    }

    /// Whether pages are to be read from the store.
    #[must_use]
    pub fn has_reads(&self) -> bool {
        self.history.as_ref().is_some_and(|it| it.readings.has_reads())
    }

    pub(super) fn take_step(&mut self, now: Now, token: u64, step: Step, end: Option<Place>) {
        match step {
            Step::Wait => {}
            Step::Stream(channel, query, told) => {
                let (what, place) = match query {
                    Query::Last(count) => ("last", Place { epoch: u64::from(count), seq: 0 }),
                    Query::Since(place) | Query::After(place) => ("after", place),
                };
                let told = told.as_deref().unwrap_or(NO_ENTRY);
                self.ask_stream(now.instant, &channel, what, place, told, What::Page(vec![token]));
            }
            Step::Done(channel, page) => {
                let is_own = self.history.as_ref().is_some_and(|it| it.tracks.is_own(token));
                if is_own {
                    return self.heal(now, token, &channel, &page, end);
                }
                self.events.push_back(Event::Page(Token(token), Arc::new(page)));
            }
        }
    }

    pub(super) fn ask_stream(
        &mut self,
        now: Instant,
        channel: &str,
        kind: &str,
        place: Place,
        told: &str,
        what: What,
    ) {
        let Some(history) = &mut self.history else { return };
        let name = names::name_of(self.options.mode, channel);
        let keys = [names::state_of(&name), names::stream_of(&name)];
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let numbers = [place.epoch, place.seq, PAGE_COUNT as u64].map(|it| it.to_string());
        let mut arguments: Vec<&[u8]> = vec![kind.as_bytes()];
        arguments.extend(numbers.iter().map(|it| it.as_bytes()));
        arguments.extend([PAGE_BYTES.as_bytes(), told.as_bytes()]);
        let command = history.scripts.read.command(&keys, &arguments);
        history.asks.push(now, what, self.routes.slot_of(name.as_bytes()), command);
    }

    /// Has what is stored noted.
    pub(super) fn ask_marks(&mut self, now: Instant) {
        let Self { history: Some(history), options, routes, .. } = self else { return };
        while let Some((channel, runs)) = history.ledger.poll_marks() {
            let name = names::name_of(options.mode, &channel);
            let keys = [
                names::state_of(&name),
                names::stream_of(&name),
                names::stored_of(&name),
                names::unstored_of(options.mode, &name),
            ];
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let kept_max = history.keeping.kept_max.to_string();
            let numbers = runs.iter().flat_map(|it| [it.0, it.1, it.2]);
            let numbers: Vec<String> = numbers.map(|it| it.to_string()).collect();
            let mut arguments: Vec<&[u8]> =
                vec![name.as_bytes(), kept_max.as_bytes(), STREAM_LIFE_MS.as_bytes()];
            arguments.extend(numbers.iter().map(|it| it.as_bytes()));
            let command = history.scripts.mark.command(&keys, &arguments);
            let slot = routes.slot_of(name.as_bytes());
            history.asks.push(now, What::Mark(channel), slot, command);
        }
    }

    /// An answer to one of our questions.
    pub(in crate::broker::relay::redis) fn handle_ask_answer(
        &mut self,
        now: Now,
        id: LinkId,
        ask: Ask,
        value: &Value<'_>,
    ) -> Result<(), Fault> {
        let Some(history) = &mut self.history else { return Ok(()) };
        history.asks.land();
        if let Value::Error(text) = value {
            self.handle_ask_error(now, id, ask, text);
            return Ok(());
        }
        match ask.what {
            What::Page(readings) => {
                let Some(channel) = self.channel_of_ask(&readings) else { return Ok(()) };
                let answer = self.answer_of(now, &channel, value);
                let wrong = || Fault::Protocol("a page is answered by something else".to_owned());
                let answer = answer.ok_or_else(wrong)?;
                for reading in readings {
                    self.handle_streamed(now, reading, Some(&answer));
                }
            }
            What::Mark(channel) => {
                let number = |it: &Value<'_>| u64::try_from(it.as_integer()?).ok();
                let numbers: Vec<u64> =
                    value.items().unwrap_or_default().iter().filter_map(number).collect();
                let place = match numbers[..] {
                    [epoch, seq] => Place { epoch, seq },
                    _ => Place::default(),
                };
                self.handle_marked(now, &channel, place);
            }
            What::Due => self.handle_due(now, value),
            What::Unstored(channel) => match self.answer_of(now, &channel, value) {
                Some(Answer { streamed, broken, .. }) => {
                    self.handle_unstored(now, &channel, streamed, broken);
                }
                None => return Err(Fault::Protocol("what is not stored is none".to_owned())),
            },
        }
        Ok(())
    }

    /// The channel of readings that were asked for together.
    fn channel_of_ask(&self, readings: &[u64]) -> Option<Arc<str>> {
        let history = self.history.as_ref()?;
        readings.iter().find_map(|it| history.readings.channel(*it))
    }

    fn handle_streamed(&mut self, now: Now, reading: u64, answer: Option<&Answer>) {
        let Some(history) = &mut self.history else { return };
        let streamed = answer.map(|it| &it.streamed);
        let end = answer.and_then(|it| it.end);
        let Some(step) = history.readings.handle_streamed(reading, streamed) else { return };
        self.take_step(now, reading, step, end);
    }

    /// An error means that nothing was done.
    fn handle_ask_error(&mut self, now: Now, id: LinkId, ask: Ask, text: &[u8]) {
        let Some((_, address)) = self.whereabouts(id) else { return };
        if text.starts_with(b"MOVED")
            && let Some((slot, owner)) = topology::parse_redirect(text, &address)
        {
            self.move_slot(now, slot, &owner);
        }
        let is_passing = [&b"MOVED"[..], b"ASK", b"TRYAGAIN", b"NOSCRIPT"];
        let is_passing = is_passing.iter().any(|it| text.starts_with(it));
        let Some(history) = &mut self.history else { return };
        let whole =
            if text.starts_with(b"NOSCRIPT") { history.scripts.whole(ask.command()) } else { None };
        let ask = match is_passing {
            true => history.asks.repeat(ask, whole),
            false => Err(ask),
        };
        let Err(ask) = ask else { return };
        self.note_refused("a page or a mark", text);
        self.fail_ask(now, ask);
    }

    /// It will not be answered.
    fn fail_ask(&mut self, now: Now, ask: Ask) {
        match ask.what {
            What::Page(readings) => {
                for reading in readings {
                    self.handle_streamed(now, reading, None);
                }
            }
            What::Mark(channel) => {
                if let Some(history) = &mut self.history {
                    history.ledger.settle_marks(&channel);
                    history.copying.remove(&channel);
                }
            }
            What::Due => {}
            What::Unstored(channel) => {
                if let Some(history) = &mut self.history {
                    history.copying.remove(&channel);
                }
            }
        }
    }

    /// Gives up what has waited for a server for too long.
    pub(in crate::broker::relay::redis) fn expire_asks(&mut self, now: Now) {
        let timeout = self.options.outbox_timeout;
        while let Some(ask) =
            self.history.as_mut().and_then(|it| it.asks.poll_expired(now.instant, timeout))
        {
            self.fail_ask(now, ask);
        }
        self.ask_marks(now.instant);
    }

    fn answer_of(&mut self, now: Now, channel: &str, value: &Value<'_>) -> Option<Answer> {
        let [reaches, epoch, seq, oldest, has_more, entries @ ..] = value.items()? else {
            return None;
        };
        let number = |value: &Value<'_>| u64::try_from(value.as_integer()?).ok();
        let end = Place { epoch: number(epoch)?, seq: number(seq)? };
        let mut records = Vec::with_capacity(entries.len() / 3);
        let mut broken = Vec::new();
        for [id, json, key] in entries.as_chunks::<3>().0 {
            let place = place_of(id.as_str()?)?;
            let key = key.as_str().unwrap_or("");
            let record = self.record_of(now, channel, json.as_bytes()?, key);
            match record.filter(|it| it.place() == Some(place)) {
                Some(record) => records.push(record),
                None => broken.push(place),
            }
        }
        let end = (end != Place::default()).then_some(end);
        if let (Some(history), Some(end)) = (&mut self.history, end.filter(|it| 0 < it.seq)) {
            history.note_seen(channel, end);
        }
        let streamed = Streamed {
            reaches: reaches.as_integer()? == 1,
            oldest: oldest.as_str()?.into(),
            has_more: has_more.as_integer()? == 1,
            records,
        };
        Some(Answer { streamed, end, broken })
    }
}

impl topology::Routes {
    /// The slot of a name; one for all where there are no slots.
    pub(super) fn slot_of(&self, name: &[u8]) -> u16 {
        match self {
            Self::Single(_) => 0,
            Self::Slots(_) => resp::slot_of(name),
        }
    }
}
