//! The settings as the rest of the server sees them: plain values of std types, all checked.
//!
//! `None` in a field that the catalogue calls `auto` means "depends on the host": see
//! [`resolve`](crate::config::resolve).

mod admission;
mod auth;
mod history;
mod limits;
mod relay;
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::load;
use crate::config::source::Sources;
use crate::config::value::Values;
use crate::policy::schema::Schema;

pub use admission::AdmissionSettings;
pub use admission::ProxyProtocol;
pub use auth::AuthMode;
pub use auth::AuthSettings;
pub use auth::JwtSettings;
pub use auth::RuleSettings;
pub use history::HistorySettings;
pub use history::OnFailure;
pub use limits::LimitSettings;
pub use relay::Envelope;
pub use relay::RelayMode;
pub use relay::RelaySettings;
pub use tls::TlsSettings;

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `server.*`
    pub server: ServerSettings,
    /// `admin.*`
    pub admin: AdminSettings,
    /// `io.*`
    pub io: IoSettings,
    /// `tls.*`; `None` where clients connect without TLS.
    pub tls: Option<TlsSettings>,
    /// `relay.*`
    pub relay: RelaySettings,
    /// `history.*`
    pub history: HistorySettings,
    /// `auth.*`
    pub auth: AuthSettings,
    /// `limits.*`
    pub limits: LimitSettings,
    /// Of `server.*` and `limits.*`: who is let on, and how fast.
    pub admission: AdmissionSettings,
    /// `stomp.*`
    pub stomp: StompSettings,
    /// `drain.*`
    pub drain: DrainSettings,
    /// `metrics.*`
    pub metrics: MetricsSettings,
    /// `log.*`
    pub log: LogSettings,
    /// `[[route]]`, in the order of the file: the first match wins.
    pub routes: Vec<RouteSettings>,
    /// `[[rule]]`; `None` means those of the contract.
    pub rules: Option<Vec<RuleSettings>>,
}

impl Default for Settings {
    /// The defaults of the catalogue.
    fn default() -> Self {
        let loaded = load::load(&Sources::default());
        loaded.expect("a test holds the defaults within their bounds").settings
    }
}

/// `server.*`: the public listener, the cores, and the times that a connection is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// How many shards; `None` is from the host.
    pub cores: Option<usize>,
    /// Whether each shard stays on its core.
    pub pin: Pin,
    /// Whether `/echo` answers.
    pub echo: bool,
    /// Connections that wait to be accepted, per shard.
    pub backlog: usize,
    /// A peer without traffic for so long is pinged.
    pub ping_interval: Duration,
    /// How long a pinged peer has for its pong.
    pub pong_timeout: Duration,
    /// How long the whole HTTP head may take.
    pub handshake_timeout: Duration,
    /// How long CONNECT may take after the upgrade.
    pub first_frame_timeout: Duration,
    /// How long a peer has to answer our close frame.
    pub close_timeout: Duration,
    /// How old a connection may be; zero means that it may be of any age.
    pub max_connection_age: Duration,
}

/// `admin.*`: the listener for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where operators connect.
    pub listen: SocketAddr,
    /// The bearer token; always present when `listen` is not a loopback address.
    pub token: Option<Secret>,
}

/// `io.*`: the kernel interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoSettings {
    /// Which driver.
    pub driver: Driver,
    /// Submission queue entries of each shard's ring.
    pub ring_entries: usize,
}

/// `stomp.*`: the protocol's choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StompSettings {
    /// The shortest heart-beat interval that is granted.
    pub heart_beat_min: Duration,
    /// The longest heart-beat interval that is granted.
    pub heart_beat_max: Duration,
    /// What a refused frame costs.
    pub refusal: Refusal,
}

/// `drain.*`: how the process lets its connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// Over how long the closes of a full server are spread.
    pub window: Duration,
    /// By when the process has ended.
    pub deadline: Duration,
}

/// `metrics.*`: who may read them, and what CloudWatch is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Whether lines in the embedded metric format are written.
    pub emf: bool,
    /// Their dimension.
    pub service: String,
    /// The task that they are from; `None` is the host's name.
    pub task: Option<String>,
    /// The bearer token of a scrape.
    pub token: Option<Secret>,
}

/// `log.*`: what is written to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines: a level, or directives such as `info,ringway::io=debug`.
    pub level: String,
}

/// `[[route]]`: what becomes of a SEND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSettings {
    /// The destinations it is for (`match`), such as `/app/room.{room}`.
    pub pattern: String,
    /// Where the message goes.
    pub to: RouteTarget,
    /// Whether the message is to be stored.
    pub history: bool,
    /// What the body must be like, read from the file that `schema` names.
    pub schema: Option<RouteSchema>,
}

/// `schema`: a JSON Schema, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSchema {
    /// Where it stands.
    pub file: PathBuf,
    /// What it says.
    pub schema: Schema,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// `to`: a destination, such as `/topic/room.{room}`; its variables are bound by the pattern.
    Destination(String),
    /// `forward`: a Redis stream, such as `ringway:inbound:orders`.
    Stream(String),
}

/// `server.pin`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Unless a CPU quota is set.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Pin {
    pub(super) const NAMES: &[(&str, Self)] =
        &[("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)];
}

/// `io.driver`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring where it works, else epoll.
    Auto,
    /// io_uring, or no start.
    IoUring,
    /// epoll.
    Epoll,
}

impl Driver {
    pub(super) const NAMES: &[(&str, Self)] =
        &[("auto", Self::Auto), ("io_uring", Self::IoUring), ("epoll", Self::Epoll)];
}

/// `stomp.refusal`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An ERROR frame, after which the connection stays open.
    ErrorOpen,
    /// An ERROR frame, then close, as STOMP 1.2 says.
    ErrorClose,
}

impl Refusal {
    pub(super) const NAMES: &[(&str, Self)] =
        &[("error-open", Self::ErrorOpen), ("error-close", Self::ErrorClose)];
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    pub(super) const NAMES: &[(&str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// A value that is never shown, not even by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that compares it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// What is shown in place of a secret.
pub(super) const MASK: &str = "********";

impl Settings {
    /// Takes every value out of `values`; whoever calls finds it empty afterwards.
    pub(super) fn build(
        values: &mut Values,
        routes: Vec<RouteSettings>,
        rules: Option<Vec<RuleSettings>>,
    ) -> Self {
        Self {
            server: ServerSettings {
                listen: values.address("server.listen"),
                cores: values.number_or_auto("server.cores"),
                pin: values.choice("server.pin", Pin::NAMES),
                echo: values.switch("server.echo"),
                backlog: values.number("server.backlog"),
                ping_interval: values.time("server.ping_interval"),
                pong_timeout: values.time("server.pong_timeout"),
                handshake_timeout: values.time("server.handshake_timeout"),
                first_frame_timeout: values.time("server.first_frame_timeout"),
                close_timeout: values.time("server.close_timeout"),
                max_connection_age: values.time("server.max_connection_age"),
            },
            admin: AdminSettings {
                listen: values.address("admin.listen"),
                token: values.text_or_none("admin.token").map(Secret::new),
            },
            io: IoSettings {
                driver: values.choice("io.driver", Driver::NAMES),
                ring_entries: values.number("io.ring_entries"),
            },
            tls: TlsSettings::build(values),
            relay: RelaySettings::build(values),
            history: HistorySettings::build(values),
            auth: AuthSettings::build(values),
            limits: LimitSettings::build(values),
            admission: AdmissionSettings::build(values),
            stomp: StompSettings {
                heart_beat_min: values.time("stomp.heart_beat_min"),
                heart_beat_max: values.time("stomp.heart_beat_max"),
                refusal: values.choice("stomp.refusal", Refusal::NAMES),
            },
            drain: DrainSettings {
                window: values.time("drain.window"),
                deadline: values.time("drain.deadline"),
            },
            metrics: MetricsSettings {
                emf: values.switch("metrics.emf"),
                service: values.text("metrics.service"),
                task: values.text_or_none("metrics.task"),
                token: values.text_or_none("metrics.token").map(Secret::new),
            },
            log: LogSettings {
                format: values.choice("log.format", LogFormat::NAMES),
                level: values.text("log.level"),
            },
            routes,
            rules,
        }
    }
}
