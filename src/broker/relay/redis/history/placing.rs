//! Places: a publication goes to the place script, and its answer to the ledger.

use std::sync::Arc;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::relay::Event;
use crate::broker::relay::KEY_LIFE_MS;
use crate::broker::relay::RECORDS_MAX;
use crate::broker::relay::Stored;
use crate::broker::relay::Token;
use crate::broker::relay::redis::Redis;
use crate::broker::relay::redis::counts::Level;
use crate::broker::relay::redis::counts::cleaned;
use crate::broker::relay::redis::entry::Kind;
use crate::broker::relay::redis::entry::Written;
use crate::broker::relay::redis::link::Fault;
use crate::broker::relay::redis::names;
use crate::broker::relay::redis::options::Mode;
use crate::broker::relay::redis::topology::NodeId;
use crate::broker::relay::redis::translate;
use crate::proto::resp::Value;
use crate::stdx::time::Now;

/// How long the id of a message without a key of its own is known: longer than it waits to be
/// sent again after the loss of a link.
const ID_LIFE_MS: u64 = 60_000;

impl Redis {
    /// Sends a publication to its history, and so on its way; `token` is answered when the store
    /// has it.
    pub(in crate::broker::relay) fn place(
        &mut self,
        now: crate::stdx::time::Instant,
        publication: Arc<Publication>,
        token: Option<Token>,
    ) {
        self.counts.published += 1;
        let done = self.push_place(now, publication, token);
        self.finish_push(done, token);
    }

    fn push_place(
        &mut self,
        now: crate::stdx::time::Instant,
        publication: Arc<Publication>,
        token: Option<Token>,
    ) -> Result<Option<NodeId>, Refusal> {
        let Self { history, options, publisher, routes, .. } = self;
        let Some(history) = history else {
            return Err(Refusal::new(Code::StoreUnavailable, "nothing is stored here"));
        };
        let keeping = history.keeping;
        if keeping.has_store && !keeping.defers && !history.ledger.is_up {
            let text = "the store of the history is away, so nothing was sent; try again later";
            return Err(Refusal::new(Code::StoreUnavailable, text));
        }
        let waiting_count = history.ledger.waiting_count() + publisher.places_count();
        if keeping.has_store && history.ledger.is_up && RECORDS_MAX <= waiting_count {
            let text = "the store of the history is behind, so nothing was sent; slow down";
            return Err(Refusal::new(Code::StoreFull, text));
        }
        let name = names::name_of(options.mode, &publication.channel);
        let mut json = Vec::with_capacity(publication.body().len() + 512);
        translate::push_envelope(&mut json, &publication, &name, options)?;
        let verb: &[u8] = match options.mode {
            Mode::PubSub => b"PUBLISH",
            Mode::Sharded => b"SPUBLISH",
        };
        let key = publication.history.as_ref().and_then(|it| it.key.as_deref());
        let (known_as, life_ms) = match key {
            Some(key) => (key.to_owned(), KEY_LIFE_MS),
            None => (format!("\0\0{}", publication.message_id), ID_LIFE_MS),
        };
        let keys = [
            names::state_of(&name),
            names::stream_of(&name),
            names::key_of(&name, &known_as),
            names::unstored_of(options.mode, &name),
        ];
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let seen = history.seen.get(&publication.channel).copied().unwrap_or_default();
        let seen = seen.max(history.tracks.last(&publication.channel).unwrap_or_default());
        let kept_max = if keeping.has_store { 0 } else { keeping.kept_max };
        let numbers = [life_ms, seen.epoch, seen.seq, keeping.unstored_max as u64, kept_max as u64];
        let numbers = numbers.map(|it| it.to_string());
        let mut arguments: Vec<&[u8]> = vec![verb, name.as_bytes(), &json];
        arguments.push(key.unwrap_or("").as_bytes());
        arguments.extend(numbers.iter().map(|it| it.as_bytes()));
        let command = history.scripts.place.command(&keys, &arguments);
        let kind = Kind::Place(publication);
        publisher.push(now, name.as_bytes(), command, kind, token, routes)
    }

    /// The answer of the place script.
    pub(in crate::broker::relay::redis) fn handle_placed(
        &mut self,
        now: Now,
        node: NodeId,
        written: Written,
        publication: &Arc<Publication>,
        value: &Value<'_>,
    ) -> Result<(), Fault> {
        let placed = placed_of(value);
        let Some(history) = &mut self.history else { return Ok(()) };
        history.is_loading = false;
        let Some(placed) = placed else {
            let text = "Redis has answered with something else";
            self.refuse(node, written, Refusal::new(Code::RelayUnknown, text));
            return Err(Fault::Protocol("a place is answered by something else".to_owned()));
        };
        if let Placed::Full = placed {
            let text = "too many messages of this destination wait for the store, so nothing was \
                        sent; slow down";
            self.refuse(node, written, Refusal::new(Code::StoreFull, text));
            return Ok(());
        }
        self.counts.answered += 1;
        let token = self.publisher.finish(now.instant, node, written);
        let keeping = history.keeping;
        let channel = &publication.channel;
        match placed {
            Placed::New(place) => {
                history.note_seen(channel, place);
                if let Some(historic) = &publication.history {
                    historic.settle(place);
                }
                if keeping.has_store {
                    history.ledger.push(Arc::clone(publication), token, &mut self.events);
                } else {
                    self.events.extend(token.map(|token| Event::Stored(token, place)));
                }
            }
            Placed::Known(place) => {
                self.events.extend(token.map(|token| Event::Stored(token, place)));
            }
            Placed::Again(place, json) => self.take_again(now, channel, place, &json, token),
            Placed::Full => {}
        }
        Ok(())
    }

    /// A repeat of what somebody else may be about to store, or to have died with.
    fn take_again(
        &mut self,
        now: Now,
        channel: &str,
        place: Place,
        json: &[u8],
        token: Option<Token>,
    ) {
        let record = self.record_of(now, channel, json, "");
        let Some(history) = &mut self.history else { return };
        match record {
            Some(record) => history.ledger.push(record, token, &mut self.events),
            None => {
                let text = format!("it was sent before, as {}:{}", place.epoch, place.seq);
                let refusal = Refusal::new(Code::StoreUnknown, text);
                self.events.extend(token.map(|token| Event::Refused(token, refusal)));
            }
        }
    }

    /// The publication of an entry of a stream.
    pub(super) fn record_of(
        &mut self,
        now: Now,
        channel: &str,
        json: &[u8],
        key: &str,
    ) -> Option<Arc<Publication>> {
        let name = names::name_of(self.options.mode, channel);
        match self.translator.kept(now, name.as_bytes(), channel, &mut json.to_vec()) {
            Ok(mut publication) => {
                let place = publication.place()?;
                if !key.is_empty() {
                    let historic = crate::broker::publication::Historic::new(Some(key.into()));
                    historic.settle(place);
                    publication.history = Some(Box::new(historic));
                }
                Some(Arc::new(publication))
            }
            Err(why) => {
                self.dropped(why, name.as_bytes());
                None
            }
        }
    }

    /// Redis does not know the script: it is sent whole, once, before all that found it missing.
    pub(in crate::broker::relay::redis) fn resend_whole(
        &mut self,
        node: NodeId,
        written: Written,
    ) -> Result<(), Written> {
        let Some(history) = &mut self.history else { return Err(written) };
        let is_first = !std::mem::replace(&mut history.is_loading, true);
        let scripts = &history.scripts;
        self.publisher.resend_as(
            node,
            written,
            |it| {
                if is_first { scripts.whole(it) } else { None }
            },
        )
    }

    /// What the store of the history has said.
    pub fn handle_stored(&mut self, now: crate::stdx::time::Instant, stored: &Stored) {
        let Some(history) = &mut self.history else { return };
        history.ledger.handle_stored(stored, &mut self.events);
        self.counts.deferred = history.ledger.deferred_count;
        self.ask_marks(now);
        self.mark_dirty();
    }

    /// The next publication to be stored.
    pub fn poll_record(&mut self) -> Option<Arc<Publication>> {
        self.history.as_mut()?.ledger.poll_record()
    }

    /// Whether publications wait to be stored.
    #[must_use]
    pub fn has_records(&self) -> bool {
        self.history.as_ref().is_some_and(|it| it.ledger.has_records())
    }

    pub(super) fn note_refused(&mut self, what: &str, text: &[u8]) {
        let text = format!("Redis refuses {what} of a history: {}", cleaned(text));
        self.note(Level::Warn, text);
    }
}

enum Placed {
    New(Place),
    Known(Place),
    Again(Place, Vec<u8>),
    Full,
}

fn placed_of(value: &Value<'_>) -> Option<Placed> {
    let items = value.items()?;
    let number = |at: usize| u64::try_from(items.get(at)?.as_integer()?).ok();
    let place = || Some(Place { epoch: number(1)?, seq: number(2)? });
    match items.first()?.as_bytes()? {
        b"new" => Some(Placed::New(place()?)),
        b"known" => Some(Placed::Known(place()?)),
        b"again" => Some(Placed::Again(place()?, items.get(3)?.as_bytes()?.to_vec())),
        b"full" => Some(Placed::Full),
        _ => None,
    }
}
