//! The history: what was said is stored, in the order of its places, and read again in pages.
//!
//! It knows publications and databases; it must never know shards, sessions or the configuration.
//! One thread has the store ([`Worker`]); each shard reaches it over bounded queues ([`Port`]) and
//! never waits for it. Read `store` (what a store is), `schema`, then `memory`, `sqlite`, `mysql`
//! and `rooms`, then `port`, `outside`, `worker`, `reading` and `housekeeping`.
#![forbid(unsafe_code)]

mod address;
mod cache;
mod housekeeping;
mod memory;
mod mysql;
mod mysql_rows;
mod outside;
mod port;
mod reading;
mod rooms;
mod row;
pub mod schema;
mod sqlite;
mod store;
mod worker;

/// The script by which back ends give places.
pub use crate::broker::relay::redis::PLACE as PLACE_SCRIPT;
pub use address::Address;
pub use address::Tls;
pub use memory::Memory;
pub use mysql::Mysql;
pub use outside::Answer;
pub use outside::Reader;
pub use port::Port;
pub use port::Read;
pub use port::Said;
pub use sqlite::Sqlite;
pub use store::Error;
pub use store::Forgotten;
pub use store::Opened;
pub use store::Page;
pub use store::Query;
pub use store::Retention;
pub use store::Store;
pub use worker::Surroundings;
pub use worker::Worker;
