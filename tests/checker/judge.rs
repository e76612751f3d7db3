//! Judges a run: what was promised to each sender and each listener, against what they were given
//! and what the store holds.
//!
//! A pure function of a [`History`]; `planted.rs` shows that it notices each kind of fault.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fmt;

use super::record::Event;
use super::record::History;
use super::record::Id;
use super::record::Kept;
use super::record::Listener;
use super::record::Micros;
use super::record::Place;
use super::record::Receipt;
use super::record::Said;
use super::record::Wish;
use super::view::View;

/// What a good run had; printed, so that a run that proves little shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Messages that have a RECEIPT.
    pub(crate) acknowledged: usize,
    /// SENDs of a message beyond its first.
    pub(crate) repeats: usize,
    /// Times that a listener went on with `since` and was told `recovered:true`.
    pub(crate) resumed: usize,
    /// Times that a listener was told `recovered:false`, and asked for everything.
    pub(crate) unrecovered: usize,
    /// MESSAGEs that listeners were given.
    pub(crate) heard: usize,
    /// Those of them that the store does not hold, as Redis had lost them.
    pub(crate) unkept: usize,
    /// Messages with `stored:deferred` that Redis had lost.
    pub(crate) deferred_lost: usize,
    /// Repeats that made a second message, as Redis had lost what it knew of the first.
    pub(crate) forgotten: usize,
}

/// A broken promise, and what happened around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) what: String,
    pub(crate) around: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.what)?;
        self.around.iter().try_for_each(|line| write!(out, "\n    {line}"))
    }
}

fn violation(what: String) -> Violation {
    Violation { what, around: Vec::new() }
}

/// Checks the promises, and tells the first that is broken.
///
/// - Each message has its RECEIPT in the end, and all RECEIPTs of one name one place, which no
///   other message has. What had its RECEIPT before another was sent stands before it.
/// - The store holds what was acknowledged at the place of the RECEIPT, each message once, and
///   the numbers of an epoch without a hole.
/// - A listener is given each message of the store once, in the order of places, over all its
///   subscriptions; and nothing else.
/// - `recovered:true` is true: the place that it goes on from was stored, nothing is missing up to
///   the place that it names, and that is not before what was acknowledged by then.
///
/// Where Redis has lost what it had, what was `stored:deferred` may be missing, listeners may have
/// heard what the store never got, there may be holes, and a repeat of what Redis has lost makes a
/// second message, which has promises of its own. These are counted.
pub(crate) fn judge(history: &History) -> Result<Figures, Violation> {
    let mut figures = Figures::default();
    for one in &history.said {
        let (Some(_), Some(_)) = (one.sent_at, one.receipts.first()) else {
            let count = one.sent_count;
            return Err(violation(format!("{} has no RECEIPT, sent {count} times", one.id)));
        };
        figures.acknowledged += 1;
        figures.repeats += one.sent_count as usize - 1;
    }
    let rooms: BTreeSet<u32> = history.said.iter().map(|it| it.room).collect();
    let mut judged = BTreeMap::new();
    for number in rooms {
        let said = history.said.iter().filter(|it| it.room == number).collect();
        let mut room = Room { number, said, rows: BTreeMap::new(), history };
        room.judge_receipts()?;
        room.judge_store(&mut figures)?;
        judged.insert(number, room);
    }
    for listener in &history.listeners {
        judged[&listener.room].judge_listener(listener, &mut figures)?;
    }
    Ok(figures)
}

/// What was said in one room, and what the store holds of it.
struct Room<'h> {
    number: u32,
    said: Vec<&'h Said>,
    rows: BTreeMap<Place, Id>,
    history: &'h History,
}

/// The first RECEIPT, when there is one: [`judge`] has seen to that.
fn first(said: &Said) -> Receipt {
    said.receipts[0]
}

impl Room<'_> {
    fn judge_receipts(&self) -> Result<(), Violation> {
        let mut taken: HashMap<Place, Id> = HashMap::new();
        for one in &self.said {
            let place = first(one).place;
            let other = one.receipts.iter().find(|it| it.place != place);
            if let Some(other) = other.filter(|_| !self.history.has_lost_stream) {
                let text = format!("{} was acknowledged at {place} and {}", one.id, other.place);
                return Err(self.around(place, text));
            }
            for place in one.receipts.iter().map(|it| it.place) {
                if let Some(other) = taken.insert(place, one.id).filter(|it| *it != one.id) {
                    let text = format!("{} and {other} were acknowledged at {place}", one.id);
                    return Err(self.around(place, text));
                }
            }
        }
        // What was answered before another was sent stands before it.
        let mut answered: Vec<(Micros, Place, Id)> =
            self.said.iter().map(|it| (first(it).at, first(it).place, it.id)).collect();
        answered.sort_unstable();
        let mut sent: Vec<(Micros, Place, Id)> = self.said.iter().map(|it| sent(it)).collect();
        sent.sort_unstable();
        let mut answered = answered.into_iter().peekable();
        let mut last: Option<(Place, Id)> = None;
        for (sent_at, place, id) in sent {
            while let Some((_, place, id)) = answered.next_if(|it| it.0 < sent_at) {
                last = last.max(Some((place, id)));
            }
            if let Some((before, earlier)) = last
                && place < before
            {
                let text = format!(
                    "{id} was sent when {earlier} had its place {before}, and stands before it \
                     at {place}"
                );
                return Err(self.around(place, text));
            }
        }
        Ok(())
    }

    fn judge_store(&mut self, figures: &mut Figures) -> Result<(), Violation> {
        let mut places: HashMap<Id, Place> = HashMap::new();
        let may_forget = self.history.has_lost_stream;
        let known: BTreeSet<Id> = self.said.iter().map(|it| it.id).collect();
        for row in self.history.rows.iter().filter(|it| it.room == self.number) {
            if let Some(other) = self.rows.insert(row.place, row.id) {
                let text = format!("the store holds {other} and {} at {}", row.id, row.place);
                return Err(self.around(row.place, text));
            }
            if !known.contains(&row.id) {
                let text =
                    format!("the store holds {} at {}, which nobody said", row.id, row.place);
                return Err(self.around(row.place, text));
            }
            let other = places.insert(row.id, row.place);
            figures.forgotten += usize::from(other.is_some());
            if let Some(other) = other.filter(|_| !may_forget) {
                let text =
                    format!("the store holds {} twice, at {other} and {}", row.id, row.place);
                return Err(self.around(row.place, text));
            }
        }
        let receipts = self.said.iter().flat_map(|it| it.receipts.iter().map(move |one| (it, one)));
        for (one, Receipt { place, kept, .. }) in receipts {
            match (self.rows.get(place) == Some(&one.id), kept) {
                (true, _) => {}
                (false, Kept::Deferred) if may_forget => figures.deferred_lost += 1,
                (false, _) => {
                    let found = places.get(&one.id);
                    let found = found.map_or("not at all".to_owned(), |it| format!("at {it}"));
                    let text = format!(
                        "{} was acknowledged at {place} as {kept:?}, and the store holds it \
                         {found}",
                        one.id
                    );
                    return Err(self.around(*place, text));
                }
            }
        }
        let mut last = Place::default();
        for place in self.rows.keys() {
            let is_next = place.epoch == last.epoch && place.seq == last.seq + 1;
            let begins = last.epoch < place.epoch && place.seq == 1;
            if !is_next && !begins && !self.history.has_lost_stream {
                let text = format!("the store has a hole between {last} and {place}");
                return Err(self.around(*place, text));
            }
            last = *place;
        }
        Ok(())
    }

    fn judge_listener(&self, who: &Listener, figures: &mut Figures) -> Result<(), Violation> {
        let mut view = View::default();
        for (index, event) in who.events.iter().enumerate() {
            let told = match *event {
                Event::Asked(at, wish) => view.ask(at, wish),
                Event::Left(_) => Ok(()),
                Event::Heard(_, place, id) => {
                    figures.heard += 1;
                    view.hear(place, id)
                }
                Event::Answered(_, true, last) => {
                    view.is_answered = true;
                    figures.resumed += usize::from(matches!(view.wish, Wish::Since(_)));
                    view.is_whole = true;
                    self.judge_claim(&view, last)
                }
                Event::Answered(_, false, _) => {
                    view.is_answered = true;
                    figures.unrecovered += usize::from(view.wish != Wish::Live);
                    view.is_whole = view.wish == Wish::Live;
                    Ok(())
                }
            };
            told.map_err(|what| self.at_event(who, index, what))?;
        }
        let end = who.events.len().saturating_sub(1);
        self.judge_view(&view, figures).map_err(|(place, what)| {
            let mut told = self.at_event(who, nearest(who, place).unwrap_or(end), what);
            told.around.extend(self.near(place));
            told.around.push(format!("heard: {}", self.heard_by(place)));
            told
        })
    }

    /// `recovered:true`, and what was given last.
    fn judge_claim(&self, view: &View, last: Option<Place>) -> Result<(), String> {
        let given = view.heard.last().map(|(place, _)| *place);
        if last != given && view.wish != Wish::Live {
            return Err(format!("the RECEIPT names {last:?}, and the last given was {given:?}"));
        }
        let from = match view.wish {
            Wish::Live => return Ok(()),
            Wish::All => Place::default(),
            Wish::Since(place) => place,
        };
        let has_place = matches!(view.wish, Wish::All) || self.rows.contains_key(&from);
        if !has_place && !self.history.has_lost_stream {
            return Err(format!("recovered:true since {from}, which the store does not hold"));
        }
        let until = given.unwrap_or(from);
        let heard: BTreeSet<Place> = view.heard.iter().map(|(place, _)| *place).collect();
        for (place, id) in &self.rows {
            if from < *place && *place <= until && !heard.contains(place) {
                return Err(format!("recovered:true, and {id} at {place} was not given"));
            }
        }
        for one in &self.said {
            let Receipt { place, at, .. } = first(one);
            if at < view.asked_at && until < place && self.rows.contains_key(&place) {
                return Err(format!(
                    "recovered:true up to {until}, and {} was acknowledged at {place} before it \
                     was asked",
                    one.id
                ));
            }
        }
        Ok(())
    }

    /// What a listener has in the end.
    fn judge_view(&self, view: &View, figures: &mut Figures) -> Result<(), (Place, String)> {
        let heard: BTreeMap<Place, Id> = view.heard.iter().copied().collect();
        for (place, id) in &self.rows {
            match heard.get(place) {
                Some(heard) if heard == id => {}
                Some(heard) => {
                    return Err((
                        *place,
                        format!("heard {heard} at {place}, where {id} is stored"),
                    ));
                }
                None => return Err((*place, format!("never heard {id} at {place}"))),
            }
        }
        let mut seen: BTreeMap<Id, Place> = BTreeMap::new();
        for (place, id) in &heard {
            let is_kept = self.rows.contains_key(place);
            figures.unkept += usize::from(!is_kept);
            if !is_kept && !self.history.has_lost_stream {
                return Err((*place, format!("heard {id} at {place}, which the store never had")));
            }
            let other = seen.insert(*id, *place).filter(|_| !self.history.has_lost_stream);
            if is_kept && let Some(other) = other {
                return Err((*place, format!("heard {id} twice, at {other} and {place}")));
            }
        }
        if !view.is_whole {
            let last = view.heard.last().map(|(place, _)| *place).unwrap_or_default();
            return Err((last, "was never told recovered:true in the end".to_owned()));
        }
        Ok(())
    }

    fn at_event(&self, who: &Listener, index: usize, what: String) -> Violation {
        let (name, room) = (&who.name, self.number);
        let from = index.saturating_sub(6);
        let shown = who.events.iter().enumerate().skip(from).take(index - from + 5);
        let mark = |at: usize| if at == index { ">" } else { " " };
        let around = shown.map(|(at, event)| format!("{} {event}", mark(at))).collect();
        Violation { what: format!("{name} in room {room}: {what}"), around }
    }

    /// Who else heard what is at a place, and when last.
    fn heard_by(&self, place: Place) -> String {
        let when = |it: &Listener| {
            let heard = it.events.iter().rev().find_map(|event| match event {
                Event::Heard(at, found, _) if *found == place => Some(*at),
                Event::Heard(..) | Event::Asked(..) | Event::Answered(..) | Event::Left(_) => None,
            });
            Some(format!("{} at {} us", it.name, heard?))
        };
        let listeners = self.history.listeners.iter().filter(|it| it.room == self.number);
        listeners.filter_map(when).collect::<Vec<_>>().join(", ")
    }

    fn around(&self, place: Place, what: String) -> Violation {
        Violation { what: format!("room {}: {what}", self.number), around: self.near(place) }
    }

    /// What was stored and acknowledged around a place.
    fn near(&self, place: Place) -> Vec<String> {
        let mut rows: Vec<_> =
            self.history.rows.iter().filter(|it| it.room == self.number).collect();
        rows.sort_unstable_by_key(|it| it.place);
        let at = rows.partition_point(|it| it.place < place);
        let rows = rows.iter().enumerate().skip(at.saturating_sub(3)).take(7);
        let mut lines: Vec<String> =
            rows.map(|(_, it)| format!("stored: {} at {}", it.id, it.place)).collect();
        let mut said: Vec<(Place, &&Said)> =
            self.said.iter().filter_map(|it| Some((it.receipts.first()?.place, it))).collect();
        said.sort_unstable_by_key(|it| it.0);
        let at = said.partition_point(|it| it.0 < place);
        let said = said.iter().skip(at.saturating_sub(2)).take(5);
        lines.extend(said.map(|(_, it)| {
            let (sent_at, receipts) = (it.sent_at.unwrap_or_default(), &it.receipts);
            format!("said: {} at {sent_at} us, {} times: {receipts:?}", it.id, it.sent_count)
        }));
        lines
    }
}

/// When a message was sent, and where it stands.
fn sent(said: &Said) -> (Micros, Place, Id) {
    (said.sent_at.unwrap_or_default(), first(said).place, said.id)
}

/// The event that heard the first message at `place` or behind it.
fn nearest(who: &Listener, place: Place) -> Option<usize> {
    who.events.iter().rposition(|it| matches!(it, Event::Heard(_, at, _) if *at <= place))
}
