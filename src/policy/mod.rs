//! Who may enter, how much, until when: decisions without sockets, clocks or frames.
//!
//! `auth` judges tokens, `pattern` has the Ant patterns of destinations.
#![forbid(unsafe_code)]

pub mod auth;
pub mod pattern;
