//! Copies: what stays above a watermark for too long is stored by whoever finds it, because the one
//! that published it may be dead. The store takes a second copy for the first.

use std::time::Duration;

use crate::broker::publication::Place;
use crate::broker::relay::RECORDS_MAX;
use crate::broker::relay::redis::Redis;
use crate::broker::relay::redis::history::asks::What;
use crate::broker::relay::redis::history::readings::Streamed;
use crate::broker::relay::redis::names;
use crate::proto::resp::Value;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

/// How often a task looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a watermark may stand still.
const AGE_MS: &str = "2000";
/// Destinations that are taken at a time.
const DUE_MAX: &str = "64";

impl Redis {
    /// This core looks for what nobody has stored; one core of a task does.
    pub fn begin_copying(&mut self, now: Instant) {
        if let Some(history) = self.history.as_mut().filter(|it| it.keeping.has_store) {
            history.copies_at = Some(now);
        }
    }

    /// Looks when it is time to.
    pub(in crate::broker::relay::redis) fn ask_due(&mut self, now: Instant) {
        let is_due = |it: &super::History| it.copies_at.is_some_and(|it| it <= now);
        if !self.history.as_ref().is_some_and(|it| it.ledger.is_up && is_due(it)) {
            return;
        }
        let again_at = now.after(self.jittered(LOOK_INTERVAL));
        let Self { history: Some(history), options, routes, .. } = self else { return };
        history.copies_at = Some(again_at);
        for name in names::all_unstored(options.mode) {
            let arguments = [AGE_MS.as_bytes(), DUE_MAX.as_bytes()];
            let command = history.scripts.due.command(&[&name], &arguments);
            history.asks.push(now, What::Due, routes.slot_of(name.as_bytes()), command);
        }
    }

    /// Destinations that were given to us.
    pub(super) fn handle_due(&mut self, now: Now, value: &Value<'_>) {
        for name in value.items().unwrap_or_default() {
            let channel = name.as_str().and_then(|it| names::channel_of(self.options.mode, it));
            if let Some(channel) = channel {
                self.copy(now.instant, &channel);
            }
        }
    }

    fn copy(&mut self, now: Instant, channel: &str) {
        let Some(history) = &mut self.history else { return };
        history.copying.remove(channel);
        if RECORDS_MAX / 2 <= history.ledger.waiting_count() {
            // It is given out again.
            return;
        }
        let what = What::Unstored(channel.into());
        self.ask_stream(now, channel, "unstored", Place::default(), "none", what);
    }

    /// What of a channel is not stored.
    pub(super) fn handle_unstored(
        &mut self,
        now: Now,
        channel: &str,
        streamed: Streamed,
        broken: Vec<Place>,
    ) {
        let Some(history) = &mut self.history else { return };
        self.counts.copied += streamed.records.len() as u64;
        let places = streamed.records.iter().filter_map(|it| it.place());
        if let Some(last) = places.chain(broken.iter().copied()).max() {
            history.copying.insert(channel.into(), (last, streamed.has_more));
        }
        for record in streamed.records {
            history.ledger.push(record, None, &mut self.events);
        }
        for place in broken {
            // Nobody can ever store what is no message.
            history.ledger.mark(channel, place);
        }
        self.ask_marks(now.instant);
    }

    /// Marks of a channel are noted, and its watermark is here.
    pub(super) fn handle_marked(&mut self, now: Now, channel: &str, watermark: Place) {
        let Some(history) = &mut self.history else { return };
        history.ledger.settle_marks(channel);
        if let Some((last, has_more)) = history.copying.get(channel).copied()
            && last <= watermark
        {
            history.copying.remove(channel);
            if has_more {
                self.copy(now.instant, channel);
            }
        }
        self.ask_marks(now.instant);
    }
}
