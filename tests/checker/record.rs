//! What a run leaves behind: who said what and how it was answered, what each listener was given,
//! and what the store holds.

use std::fmt;

/// Microseconds since the run began; one clock for all clients.
pub(crate) type Micros = u64;

/// Where a message stands among those of its room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.epoch, self.seq)
    }
}

/// A message: whose, and which of its sender. It is the body, and the `idempotency-key` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    pub(crate) sender: u32,
    pub(crate) number: u32,
}

impl Id {
    /// Reads what [`fmt::Display`] writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (sender, number) = text.split_once('-')?;
        Some(Self { sender: sender.parse().ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.sender, self.number)
    }
}

/// What a RECEIPT says of where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The store has committed it.
    Committed,
    /// Only Redis has it.
    Deferred,
}

/// One RECEIPT of a message; a message that is said again may have several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub(crate) place: Place,
    pub(crate) kept: Kept,
    pub(crate) at: Micros,
}

/// A message and its answers.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) id: Id,
    pub(crate) room: u32,
    /// When it was sent for the first time; none if it never was.
    pub(crate) sent_at: Option<Micros>,
    /// How often it was sent.
    pub(crate) sent_count: u32,
    pub(crate) receipts: Vec<Receipt>,
}

/// What a SUBSCRIBE asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// What is said from now on.
    Live,
    /// Everything that there is, in place of what the listener has: `history`.
    All,
    /// What came behind this place: `since`.
    Since(Place),
}

/// What happens to one listener in one room.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// It subscribes.
    Asked(Micros, Wish),
    /// The RECEIPT of its SUBSCRIBE: `recovered`, and the place of what it was given last.
    Answered(Micros, bool, Option<Place>),
    /// Its SUBSCRIBE was refused, or its connection ended.
    Left(Micros),
    /// A MESSAGE.
    Heard(Micros, Place, Id),
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |at: &Micros| format!("{}.{:03} ms", at / 1_000, at % 1_000);
        match self {
            Self::Asked(at, wish) => write!(out, "{}: subscribes, {wish:?}", ms(at)),
            Self::Answered(at, true, last) => write!(out, "{}: recovered to {last:?}", ms(at)),
            Self::Answered(at, false, last) => write!(out, "{}: unrecovered, {last:?}", ms(at)),
            Self::Left(at) => write!(out, "{}: is cut off", ms(at)),
            Self::Heard(at, place, id) => write!(out, "{}: hears {id} at {place}", ms(at)),
        }
    }
}

/// One listener in one room.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) room: u32,
    pub(crate) events: Vec<Event>,
}

/// One row of the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) room: u32,
    pub(crate) place: Place,
    pub(crate) id: Id,
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) said: Vec<Said>,
    pub(crate) listeners: Vec<Listener>,
    /// In any order.
    pub(crate) rows: Vec<Row>,
    /// Redis has lost some of what it had.
    pub(crate) has_lost_stream: bool,
}
