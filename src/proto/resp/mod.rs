//! RESP2 and RESP3, the client's side: what a Redis server says, and commands to send.
//!
//! It knows neither sockets nor what a reply answers. A subscriber connection is a stream of
//! messages, so those are found by [`scan`] without building anything; all else is a [`Value`] that
//! borrows from the receive buffer. Streamed strings and aggregates (`$?`, `*?`) are of RESP3 too,
//! but no server sends them: they are errors.
//!
//! Read `token` (one element), then `measure` (where a reply ends), then `scan` and `parse`; `skip`
//! passes over a message that is too large, `command` and `slot` are about what is sent. Headings
//! in comments are those of "Redis serialization protocol specification".

mod command;
mod error;
mod measure;
mod parse;
mod scan;
mod script;
mod skip;
mod slot;
mod token;
mod value;

pub use command::push_command;
pub use error::Error;
pub use parse::parse;
pub use scan::Scanned;
pub use scan::scan;
pub use script::script_hash;
pub use skip::Skip;
pub use slot::SLOTS_COUNT;
pub use slot::slot_of;
pub use slot::tag_of;
pub use value::Value;

/// Nesting that no [`Limits`] can allow more of, so that `parse` has a bound on its stack.
pub const DEPTH_MAX: usize = 32;

/// What one reply may ask of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one bulk string, bulk error or verbatim string. A message over it is passed over
    /// ([`Scanned::Oversize`]); any other reply is an error.
    pub bulk_bytes_max: usize,
    /// Elements of one reply over all levels, counted when they are announced; an entry of a map
    /// counts twice. A retry of an incomplete reply costs at most one look at each.
    pub items_max: usize,
    /// Levels of nesting, at most [`DEPTH_MAX`]; 1 allows arrays of plain values.
    pub depth_max: usize,
}
