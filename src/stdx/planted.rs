//! Faults that a test plants in the server, to show that the history checker finds them.
//!
//! Builds with debug assertions only: without them [`lacks`] is `false` before the program is made,
//! and [`VARIABLE`] is as unknown as any other, so that a server is not started with it.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

/// What a server can be made to leave undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Duty {
    /// A repeat of an `idempotency-key` makes no second message.
    Deduplication = 1,
    /// What the relay lost on the way is fetched before what follows it is given.
    GapHealing = 2,
}

/// The variable that names the fault: `deduplication` or `gap-healing`.
pub const VARIABLE: Option<&str> =
    if cfg!(debug_assertions) { Some("RINGWAY_PLANTED_FAULT") } else { None };

static NEGLECTED: AtomicU8 = AtomicU8::new(0);

/// Leaves undone from now on what `name` says; `false` if it says nothing that is known, or if
/// this build does all of its duties.
#[must_use]
pub fn plant(name: &str) -> bool {
    let duty = match name {
        "deduplication" => Duty::Deduplication,
        "gap-healing" => Duty::GapHealing,
        _ => return false,
    };
    NEGLECTED.store(duty as u8, Ordering::Relaxed);
    VARIABLE.is_some()
}

/// Whether this duty is to be left undone.
#[must_use]
pub fn lacks(duty: Duty) -> bool {
    cfg!(debug_assertions) && NEGLECTED.load(Ordering::Relaxed) == duty as u8
}
