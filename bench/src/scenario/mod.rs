//! What is measured: each file is one kind of load, its parameters and its report.
//!
//! A scenario opens its connections, warms up, reads the clocks, does its work, reads the clocks
//! again and reports. It must never know how the server was started. Read `fanout` first.

use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::clock;
use crate::swarm::Dialect;
use crate::swarm::Opening;
use crate::swarm::Swarm;
use crate::url::Url;

pub mod echo;
pub mod fanout;
pub mod hold;
pub mod idle;

/// After the last delivery the server may still have to finish what it was doing.
pub const REST: Duration = Duration::from_millis(20);

/// Where the server is and how to reach it.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Target {
    /// The server, such as ws://127.0.0.1:8080/ws.
    #[arg(long)]
    #[serde(serialize_with = "as_text")]
    pub url: Url,
    /// Process of the server, for its CPU and memory.
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Local addresses to connect from; by default the loopback ones from 127.0.0.2 when the server
    /// is on loopback.
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    pub source: Vec<Ipv4Addr>,
    /// Seconds after which a phase (opening, one batch, a drain) has failed.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub timeout: u64,
}

impl Target {
    /// The time that a phase may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// How to open connections to it.
    #[must_use]
    pub fn opening(&self, dialect: Dialect, heart_beat_ms: u32) -> Opening<'_> {
        Opening {
            url: &self.url,
            dialect,
            heart_beat_ms,
            sources: &self.source,
            timeout: self.timeout(),
        }
    }
}

fn as_text<S: serde::Serializer>(url: &Url, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(url)
}

/// A number that no other run of the last hours had, to tell its messages from theirs.
#[must_use]
pub fn run_number() -> u32 {
    let mixed = clock::unix_seconds().wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ u64::from(std::process::id()).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let [a, b, c, d, ..] = mixed.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Stops a scenario in which connections may not end.
///
/// # Errors
///
/// One has ended.
pub fn ensure_all_open(swarm: &Swarm) -> anyhow::Result<()> {
    if let Some(closing) = swarm.closings().first() {
        let count = swarm.closings().len();
        anyhow::bail!(
            "{count} connections ended, the first (number {}): {}",
            closing.index,
            closing.why
        );
    }
    Ok(())
}
