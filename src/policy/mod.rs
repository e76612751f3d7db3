//! Who may enter, how much, until when: decisions without sockets, clocks or frames.
//!
//! `auth` judges tokens, `pattern` has the Ant patterns of destinations, `rules` says who may use
//! which, `schema` what bodies must be like.
#![forbid(unsafe_code)]

pub mod auth;
pub mod pattern;
pub mod rules;
pub mod schema;
