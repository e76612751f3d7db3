//! The kernel: which driver runs, listeners, sockets and clocks over monoio.
//!
//! It moves bytes and must never know frames, sessions or destinations. Read `probe` (which
//! driver),
//! `listener`, `socket` (the marked unsafe room), then `clock`.

pub mod clock;
pub mod listener;
pub mod probe;
pub mod socket;
