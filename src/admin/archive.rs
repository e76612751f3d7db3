//! The history of a destination, read a page at a time from the store, which no shard waits for.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;

use axum::extract::OriginalUri;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::admin::View;
use crate::admin::api::Gone;
use crate::admin::api::LOOKS_MAX;
use crate::admin::api::Outcome;
use crate::admin::api::done;
use crate::admin::api::limit_of;
use crate::admin::api::parameter;
use crate::admin::api::wait_until;
use crate::admin::extract::Id;
use crate::admin::extract::bad;
use crate::admin::guard::Failure;

/// An answer goes no further behind so many bytes of bodies.
const BYTES_MAX: usize = 4 << 20;
/// Digits of an epoch and of a seq, so that every JSON reader has them exactly.
const DIGITS_MAX: usize = 15;

/// A place in a history: its epoch and its seq.
type Place = (u64, u64);

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// So many before the end.
    Last(u32),
    /// Behind this place, which may be known or not.
    Since(u64, u64),
    /// Behind this place.
    After(u64, u64),
}

/// Some messages of one destination, in their order.
#[derive(Debug, Default)]
pub struct Leaf {
    /// Each with its place.
    pub rows: Vec<(Place, Value)>,
    /// Of their bodies.
    pub bytes: usize,
    /// These are the last.
    pub is_end: bool,
    /// The place of [`Start::Since`] is there.
    pub is_known: bool,
}

/// Why nothing can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// That is no destination.
    Malformed(String),
    /// Nothing of this destination is kept.
    Unkept(String),
    /// Nothing is kept anywhere.
    NoHistory(String),
    /// The store is away.
    Away,
    /// Too many read.
    Busy,
}

/// Looks whether a leaf has come; none when it could not be read.
pub type Look = Box<dyn Fn() -> Result<Option<Leaf>, TryRecvError> + Send>;

type Reads = dyn Fn(&str, Start) -> Result<Look, Unread> + Send + Sync;

/// Reads the history.
#[derive(Clone)]
pub struct Archive(Arc<Reads>);

impl Archive {
    /// One that does it so.
    #[must_use]
    pub fn new(read: impl Fn(&str, Start) -> Result<Look, Unread> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Archive")
    }
}

impl From<Unread> for Failure {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Malformed(why) => bad(why),
            Unread::Unkept(why) => Self::new(StatusCode::NOT_FOUND, "not-kept", why),
            Unread::NoHistory(why) => Self::new(StatusCode::NOT_FOUND, "no-history", why),
            Unread::Away => {
                let text = "the store of the history is away";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", text)
            }
            Unread::Busy => {
                let text = "the store of the history has too much to read; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text)
            }
        }
    }
}

pub(super) async fn history(
    State(view): State<View>,
    Id(name): Id,
    OriginalUri(uri): OriginalUri,
) -> Outcome {
    let rows_max = limit_of(uri.query())?;
    let since = since_of(uri.query())?;
    // As it is written, or with its slashes percent-encoded.
    let destination = if name.starts_with('/') { name } else { format!("/{name}") };
    let mut start = match since {
        Some((epoch, seq)) => Start::Since(epoch, seq),
        None => Start::Last(u32::try_from(rows_max).unwrap_or(u32::MAX)),
    };
    let mut document = json!({ "destination": destination });
    let mut messages = Vec::new();
    let mut bytes = 0;
    let next = loop {
        let leaf = read(&view, &destination, start).await?;
        if let Start::Since(..) = start {
            document["known"] = leaf.is_known.into();
        }
        let left_count = rows_max - messages.len();
        let is_cut = left_count < leaf.rows.len();
        bytes += leaf.bytes;
        let mut last = None;
        for (place, row) in leaf.rows.into_iter().take(left_count) {
            last = Some(place);
            messages.push(row);
        }
        let Some((epoch, seq)) = last.filter(|_| is_cut || !leaf.is_end) else { break None };
        if is_cut || messages.len() == rows_max || BYTES_MAX <= bytes {
            break Some(format!("{epoch}:{seq}"));
        }
        start = Start::After(epoch, seq);
    };
    document["count"] = messages.len().into();
    document["messages"] = messages.into();
    document["next"] = next.into();
    Ok(done(&document))
}

async fn read(view: &View, destination: &str, start: Start) -> Result<Leaf, Failure> {
    let look = (view.archive.0)(destination, start)?;
    let leaf = wait_until(look, LOOKS_MAX).await.map_err(|Gone| Unread::Away)?;
    Ok(leaf.ok_or(Unread::Busy)?.ok_or(Unread::Away)?)
}

/// `since` of a query: `<epoch>:<seq>`.
fn since_of(query: Option<&str>) -> Result<Option<Place>, Failure> {
    let Some(text) = parameter(query, "since") else { return Ok(None) };
    let number = |text: &str| {
        let is_number = text.len() <= DIGITS_MAX && text.bytes().all(|it| it.is_ascii_digit());
        text.parse().ok().filter(|_| is_number)
    };
    let text = text.replace("%3A", ":").replace("%3a", ":");
    let place = text.split_once(':').and_then(|(epoch, seq)| Some((number(epoch)?, number(seq)?)));
    let wrong = || bad("since is not <epoch>:<seq>, as next or a message says");
    place.map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_two_numbers_that_every_reader_has_exactly() {
        let check = |query: &str, expected: Result<Option<Place>, ()>| {
            assert_eq!(since_of(Some(query)).map_err(drop), expected, "{query}");
        };
        check("", Ok(None));
        check("limit=5&x=since", Ok(None));
        check("limit=5&since=0:0", Ok(Some((0, 0))));
        check("since=1795545041431%3A7", Ok(Some((1_795_545_041_431, 7))));
        check(
            "since=999999999999999:999999999999999&limit=1",
            Ok(Some((10_u64.pow(15) - 1, 10_u64.pow(15) - 1))),
        );
        for wrong in ["", "1", ":", "1:", ":1", "1:2:3", "+1:2", "1:-2", "1:1000000000000000"] {
            check(&format!("since={wrong}"), Err(()));
        }
    }
}
