//! Ringway: a thread-per-core STOMP over WebSocket edge server.
//!
//! Bytes are understood in [`proto`], decided on in [`broker`], moved by [`io`], and only [`shard`]
//! knows all three. `ARCHITECTURE.md` has the map and the invariants; read a folder's front door
//! before its files.

pub mod admin;
pub mod broker;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod fleet;
pub mod history;
pub mod io;
pub mod metrics;
pub mod policy;
pub mod proto;
pub mod server;
pub mod shard;
pub mod stdx;
