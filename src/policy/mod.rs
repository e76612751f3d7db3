//! Who may enter, how much, until when: decisions without sockets, clocks or frames.
//!
//! `auth` judges tokens, `pattern` has the Ant patterns of destinations, `rules` says who may use
//! which.
#![forbid(unsafe_code)]

pub mod auth;
pub mod pattern;
pub mod rules;
