//! What became of what a client waits for, and what its RECEIPT says of that.

use crate::broker::publication::Place;
use crate::broker::refusal::Refusal;

/// What became of one of the things that a client waits for.
#[derive(Debug)]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// It is refused.
    Refused(Refusal),
    /// It is stored, at this place.
    Stored(Place),
    /// It is where it can be stored from, at this place.
    Deferred(Place),
    /// Its replay has ended, with all or not, at this place.
    Recovered(bool, Option<Place>),
}

/// What a RECEIPT says besides its name.
pub(super) fn headers_of(
    answer: &Answer,
    store: Option<&'static str>,
    is_single: bool,
) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    let place = match answer {
        Answer::Done | Answer::Refused(_) => None,
        Answer::Stored(place) => {
            headers.extend(store.map(|it| ("stored", it.to_owned())));
            Some(*place).filter(|_| is_single)
        }
        Answer::Deferred(place) => {
            headers.push(("stored", "deferred".to_owned()));
            Some(*place).filter(|_| is_single)
        }
        Answer::Recovered(is_complete, place) => {
            headers.push(("recovered", is_complete.to_string()));
            *place
        }
    };
    if let Some(place) = place {
        headers.push(("seq", place.seq.to_string()));
        headers.push(("epoch", place.epoch.to_string()));
    }
    headers
}
