//! A load client for WebSocket and STOMP servers that counts what it sent and what arrived.
//!
//! From the bottom: `clock`, `cpu`, `memory` and `environment` ask the machine; `ws`, `stomp`,
//! `url`, `payload` and `sequence` are pure; `swarm` holds the connections; `scenario` is what is
//! measured and `measure` with what; `launch` starts servers and `versus` compares them; `table`
//! and `cli` face people. Nothing here uses code of a server under test.

use std::sync::LazyLock;
use std::time::Instant;

pub mod cli;
pub mod clock;
pub mod cpu;
pub mod environment;
pub mod launch;
pub mod measure;
pub mod memory;
pub mod payload;
pub mod scenario;
pub mod sequence;
pub mod stomp;
pub mod swarm;
pub mod table;
pub mod url;
pub mod versus;
pub mod ws;

/// When the process began, or something first asked.
pub static STARTED_AT: LazyLock<Instant> = LazyLock::new(clock::now);
