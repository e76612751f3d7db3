//! What is to be run: a scenario with every setting known.
//!
//! Read `knobs` (each setting once), then this file (the same settings with their values), then
//! `file` (layers of settings to a plan). Nothing here knows how a run is made.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;
use serde::Serialize;

mod file;
mod knobs;
mod template;

pub use file::Case;
pub use file::Experiment;
pub use file::Subject;
pub use file::built_in;
pub use file::parse_axis;
pub use knobs::Knobs;
pub use template::fill;
pub use template::unescape;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Connections that do nothing: memory of each.
    Idle,
    /// Every connection's messages come back to it.
    Echo,
    /// One sender, all others listen.
    Fanout,
    /// Subscribers and messages spread over rooms.
    Rooms,
    /// Private messages: one destination for each client.
    Users,
    /// Messages that a back end publishes through Redis.
    RedisFanout,
    /// All clients lose their connections and come back at once.
    Storm,
    /// All clients come at once and ask for what was said in their rooms.
    ReplayStorm,
    /// Some subscribers stop reading while the others are measured.
    Slow,
    /// The server is told to end while messages flow.
    Drain,
    /// The same load for a long time: does anything grow?
    Soak,
}

impl Scenario {
    /// Its name in files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Echo => "echo",
            Self::Fanout => "fanout",
            Self::Rooms => "rooms",
            Self::Users => "users",
            Self::RedisFanout => "redis-fanout",
            Self::Storm => "storm",
            Self::ReplayStorm => "replay-storm",
            Self::Slow => "slow",
            Self::Drain => "drain",
            Self::Soak => "soak",
        }
    }
}

/// What the server speaks on top of WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// STOMP 1.2: sessions subscribe with a receipt.
    Stomp,
    /// Texts of the server's own, made of templates.
    Plain,
}

/// Where a client's token goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TokenPlace {
    /// `Authorization` of CONNECT.
    Connect,
    /// `Authorization` of the upgrade.
    Header,
    /// `access_token` in the query of the upgrade.
    Query,
}

/// Where the server is and how to look at it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Place {
    /// Address; empty until a launched server has told it.
    pub url: String,
    /// Its process.
    pub server_pid: Option<u32>,
    /// Its control group.
    pub cgroup: Option<PathBuf>,
    /// Command that starts it.
    pub launch: Option<String>,
    /// Path instead of that of the address.
    pub path: Option<String>,
    /// Seconds that it may take to start.
    pub start_timeout: f64,
    /// Cores that it is told to use.
    pub cores: usize,
    /// CPUs that it may run on.
    pub server_cpus: Vec<usize>,
    /// Its admin listener, where it has one; that of a launched server is found.
    pub admin: Option<String>,
    /// Authority to believe.
    pub ca: Option<PathBuf>,
    /// Believe anybody.
    pub insecure: bool,
}

/// How to speak to it; the knobs of the same names say what they mean.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "described where they are set: in `knobs`")]
pub struct Words {
    pub dialect: Dialect,
    pub subscribe: String,
    pub send: String,
    pub subscribed: String,
    pub greeting: String,
    pub greeted: String,
    pub answer: Vec<String>,
    pub binary: bool,
    pub login: String,
    pub passcode: String,
    pub host: String,
    pub receipts: bool,
    #[serde(default)]
    pub history: u32,
    pub heart_beat: u32,
    pub header: Vec<String>,
    pub token: Option<String>,
    pub token_file: Option<PathBuf>,
    #[serde(default)]
    pub rejected_token_file: Option<PathBuf>,
    pub jwt_secret: Option<String>,
    pub jwt_claims: String,
    pub token_in: TokenPlace,
}

/// What to do to it; the knobs of the same names say what they mean.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "described where they are set: in `knobs`")]
pub struct Load {
    pub connections: usize,
    pub senders: u16,
    pub rooms: usize,
    pub rate: f64,
    pub in_flight: u64,
    pub messages: u64,
    pub payload: usize,
    pub seconds: f64,
    pub warm_up: f64,
    pub slow_share: f64,
    pub slow_buffer: usize,
    pub drain_after: f64,
    pub redis: Option<String>,
    pub redis_channel: String,
    pub redis_envelope: String,
    pub connect_in_flight: usize,
    pub retry_after: f64,
    #[serde(default)]
    pub rejected: usize,
}

/// Who does it; the knobs of the same names say what they mean.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "described where they are set: in `knobs`")]
pub struct Generator {
    pub processes: usize,
    pub client_cpus: Vec<usize>,
    pub spin: bool,
    pub source: Vec<Ipv4Addr>,
    pub timeout: f64,
    pub settle: f64,
}

/// One run with every setting known.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Plan {
    /// What is measured.
    pub scenario: Scenario,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// In which words.
    #[serde(flatten)]
    pub words: Words,
    /// With what load.
    #[serde(flatten)]
    pub load: Load,
    /// By whom.
    #[serde(flatten)]
    pub generator: Generator,
}

impl Plan {
    /// Refuses what cannot be run.
    ///
    /// # Errors
    ///
    /// A setting is out of its bounds, or two contradict each other.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { place, load, generator, .. } = self;
        let has_server = !place.url.is_empty() || place.launch.is_some();
        anyhow::ensure!(has_server, "no server is named: --url, or --launch to start one");
        let is_web_socket =
            place.url.is_empty() || ["ws://", "wss://"].iter().any(|it| place.url.starts_with(it));
        anyhow::ensure!(is_web_socket, "{}: a URL begins with ws:// or wss://", place.url);
        let is_ours = place.server_pid.is_some() || place.launch.is_some();
        anyhow::ensure!(
            self.scenario != Scenario::Drain || is_ours,
            "drain needs --server-pid or --launch: somebody must get the SIGTERM"
        );
        anyhow::ensure!(0 < load.connections, "at least one connection is needed");
        anyhow::ensure!(0 < load.senders, "at least one sender is needed");
        anyhow::ensure!(0 < load.in_flight, "at least one message must be in flight");
        anyhow::ensure!(0 < generator.processes && generator.processes <= 64, "processes: 1 to 64");
        for (name, value) in [
            ("rate", load.rate),
            ("seconds", load.seconds),
            ("warm-up", load.warm_up),
            ("drain-after", load.drain_after),
            ("retry-after", load.retry_after),
            ("timeout", generator.timeout),
            ("settle", generator.settle),
            ("start-timeout", place.start_timeout),
        ] {
            anyhow::ensure!((0.0..=1e9).contains(&value), "{name}: 0 or more, not {value}");
        }
        anyhow::ensure!((0.0..1.0).contains(&load.slow_share), "slow-share: 0 to below 1");
        if self.is_closed() && self.scenario != Scenario::Echo {
            anyhow::ensure!(
                generator.processes == 1,
                "a closed loop waits for all subscribers: one process, or a --rate"
            );
            anyhow::ensure!(
                load.slow_share == 0.0 && load.drain_after == 0.0,
                "a closed loop waits for all subscribers: slow and drain need a --rate"
            );
        }
        anyhow::ensure!(
            self.scenario != Scenario::ReplayStorm
                || (self.words.dialect == Dialect::Stomp && self.words.receipts),
            "replay-storm speaks STOMP with receipts: what was not stored cannot be asked for"
        );
        let has_tokens = self.words.rejected_token_file.is_some();
        anyhow::ensure!(
            (load.rejected != 0) == has_tokens && (!has_tokens || self.scenario == Scenario::Storm),
            "rejected and rejected-token-file go together, and with storm only"
        );
        Ok(())
    }

    /// Whether messages wait for those before them.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let sends = match self.scenario {
            Scenario::Idle | Scenario::Storm | Scenario::ReplayStorm => false,
            Scenario::Echo
            | Scenario::Fanout
            | Scenario::Rooms
            | Scenario::Users
            | Scenario::RedisFanout
            | Scenario::Slow
            | Scenario::Drain
            | Scenario::Soak => true,
        };
        sends && self.load.rate == 0.0
    }

    /// Destinations there are.
    #[must_use]
    pub fn rooms_count(&self) -> usize {
        if self.load.rooms == 0 { self.load.connections } else { self.load.rooms }
    }

    /// The time that opening, one batch or a storm may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.generator.timeout)
    }

    /// How often figures of the course are taken.
    #[must_use]
    pub fn tick(&self) -> Duration {
        Duration::from_secs_f64((self.load.seconds / 60.0).clamp(0.1, 5.0))
    }
}
