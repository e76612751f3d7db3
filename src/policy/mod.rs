//! Who may enter, how much, until when: decisions without sockets, clocks or frames.
//!
//! So far: `pattern`, the Ant patterns of destinations.
#![forbid(unsafe_code)]

pub mod pattern;
