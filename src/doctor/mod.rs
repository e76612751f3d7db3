//! What a host must allow: a table of settings, and whether this host has them.
//!
//! For: `ringway doctor`, which reads and never sets, and the files of `tuning/`, which are made of
//! the same table and held to it by a test.
//!
//! Must never know: shards, sessions, sockets. It looks at the host as the server would find it.
//!
//! Read in this order: [`settings`] (the table), [`files`] (the table as files), [`mod@examine`]
//! (the host against the table), [`report`] (what is said of it).
#![forbid(unsafe_code)]

pub mod examine;
pub mod files;
pub mod report;
pub mod settings;

pub use examine::Examined;
pub use examine::examine;
pub use report::Report;
