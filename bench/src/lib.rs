//! A load client for WebSocket and STOMP servers that counts what it sent and what arrived.
//!
//! From the bottom: `clock`, `cpu`, `watch` and `environment` ask the machine; `ws`, `stomp`,
//! `url`, `payload`, `sequence`, `latency` and `token` are pure; `plan` is what is to be run and
//! `speech` how a server is spoken to; `swarm` holds the connections; `work` is a process that
//! makes load and `wire` what it says; `conduct` is one run and `outcome` what came of it; `launch`
//! starts servers; `experiment` makes many runs and `record` keeps them; `table`, `report`,
//! `compare`, `versus`, `live` and `cli` face people. `peer` serves the peers.
//! Nothing here uses code of a server under
//! test.

pub mod cli;
pub mod clock;
pub mod compare;
pub mod conduct;
pub mod cpu;
pub mod environment;
pub mod experiment;
pub mod interrupt;
pub mod latency;
pub mod launch;
pub mod live;
pub mod measure;
pub mod outcome;
pub mod payload;
pub mod peer;
pub mod plan;
pub mod record;
pub mod redis;
pub mod report;
pub mod sequence;
pub mod speech;
pub mod stomp;
pub mod swarm;
pub mod table;
pub mod tls;
pub mod token;
pub mod url;
pub mod versus;
pub mod watch;
pub mod wire;
pub mod work;
pub mod ws;
