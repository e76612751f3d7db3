//! The kernel: which driver runs, listeners, sockets and clocks over monoio.
//!
//! It moves bytes and must never know frames, sessions or destinations. Read `probe` (which
//! driver), `listener`, `socket` (the marked unsafe room), `poller`, `clock`; for connections that
//! we open `resolver` and `dial`; and `tls`, which has no socket.

pub mod clock;
pub mod dial;
pub mod listener;
pub mod poller;
pub mod probe;
pub mod resolver;
pub mod ring;
pub mod socket;
pub mod tls;
