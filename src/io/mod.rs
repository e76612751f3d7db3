//! The kernel: which driver runs, listeners, sockets and clocks over monoio.
//!
//! It moves bytes and must never know frames, sessions or destinations. Read `probe` (which
//! driver), `listener`, `socket` (the marked unsafe room), `poller`, then `clock`.

pub mod clock;
pub mod listener;
pub mod poller;
pub mod probe;
pub mod resolver;
pub mod ring;
pub mod socket;
pub mod tls;
