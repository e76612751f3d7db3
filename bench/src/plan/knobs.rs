//! Every setting once: a key of a scenario file, and a flag of the same name.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use serde::Serialize;

use crate::plan::Dialect;
use crate::plan::TokenPlace;

const SERVER: &str = "Server";
const WORDS: &str = "Words";
const LOAD: &str = "Load";
const GENERATOR: &str = "Generator";

/// What a file, a `[[target]]`, a `[[case]]` or the command line says; what it leaves out comes
/// from the layer below, at last from the scenario's own file in `bench/scenarios`.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Knobs {
    /// Address of the server: ws://HOST:PORT/PATH or wss://….
    #[arg(long, value_name = "URL", help_heading = SERVER)]
    pub url: Option<String>,
    /// Process of the server, for its CPU and memory; its children count too.
    #[arg(long, value_name = "PID", help_heading = SERVER)]
    pub server_pid: Option<u32>,
    /// Control group of the server, instead of or beside its process: below /sys/fs/cgroup, or a
    /// whole path.
    #[arg(long, value_name = "PATH", help_heading = SERVER)]
    pub cgroup: Option<PathBuf>,
    /// Command that starts the server, for each round anew. {here} is the folder of the file,
    /// {bin} that of this program, {port} a free port, {cores} the setting `cores`.
    #[arg(long, value_name = "COMMAND", help_heading = SERVER)]
    pub launch: Option<String>,
    /// Path to connect to instead of that in the server's address.
    #[arg(long, value_name = "PATH", help_heading = SERVER)]
    pub path: Option<String>,
    /// Seconds that a server may take to start.
    #[arg(long, value_name = "SECONDS", help_heading = SERVER)]
    pub start_timeout: Option<f64>,
    /// Cores that a started server is told to use, as {cores}.
    #[arg(long, value_name = "COUNT", help_heading = SERVER)]
    pub cores: Option<usize>,
    /// CPUs that a started server may run on.
    #[arg(long, value_name = "CPU", value_delimiter = ',', help_heading = SERVER)]
    pub server_cpus: Option<Vec<usize>>,
    /// Admin listener of the server, HOST:PORT, for what its store was asked; that of a started one
    /// is found.
    #[arg(long, value_name = "ADDRESS", help_heading = SERVER)]
    pub admin: Option<String>,
    /// Certificate authority (PEM) that is believed, instead of the system's.
    #[arg(long, value_name = "FILE", help_heading = SERVER)]
    pub ca: Option<PathBuf>,
    /// Believe any certificate.
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = SERVER)]
    pub insecure: Option<bool>,

    /// What the server speaks.
    #[arg(long, value_enum, help_heading = WORDS)]
    pub dialect: Option<Dialect>,
    /// What a client subscribes to; plain: the text that says so. {room} counts from 1, {room0}
    /// from 0; the letter n in braces is the client's number.
    #[arg(long, value_name = "TEMPLATE", help_heading = WORDS)]
    pub subscribe: Option<String>,
    /// Where a client sends to; plain: the whole text, with {body} and its size {bytes}.
    #[arg(long, value_name = "TEMPLATE", help_heading = WORDS)]
    pub send: Option<String>,
    /// Plain: the text that a subscription is confirmed with, or part of it; empty for none.
    #[arg(long, value_name = "TEXT", help_heading = WORDS)]
    pub subscribed: Option<String>,
    /// Plain: what a client says first.
    #[arg(long, value_name = "TEMPLATE", help_heading = WORDS)]
    pub greeting: Option<String>,
    /// Plain: part of the text that answers the greeting.
    #[arg(long, value_name = "TEXT", help_heading = WORDS)]
    pub greeted: Option<String>,
    /// Plain: QUESTION=ANSWER for texts of the server that want an answer; \r and \n are escapes.
    #[arg(long, value_name = "Q=A", help_heading = WORDS)]
    pub answer: Option<Vec<String>>,
    /// Plain: speak in binary messages.
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = WORDS)]
    pub binary: Option<bool>,
    /// STOMP: `login` of CONNECT.
    #[arg(long, value_name = "TEMPLATE", help_heading = WORDS)]
    pub login: Option<String>,
    /// STOMP: `passcode` of CONNECT.
    #[arg(long, value_name = "TEMPLATE", help_heading = WORDS)]
    pub passcode: Option<String>,
    /// STOMP: `host` of CONNECT, the virtual host; empty is the name in the URL.
    #[arg(long, value_name = "NAME", help_heading = WORDS)]
    pub host: Option<String>,
    /// STOMP: whether every SEND asks for a receipt.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
          help_heading = WORDS)]
    pub receipts: Option<bool>,
    /// STOMP: how many of the last messages of its room each SUBSCRIBE asks for; 0 is none.
    #[arg(long, value_name = "COUNT", help_heading = WORDS)]
    pub history: Option<u32>,
    /// STOMP heart-beats offered and wanted, in milliseconds; 0 is none.
    #[arg(long, value_name = "MS", help_heading = WORDS)]
    pub heart_beat: Option<u32>,
    /// A further header of the upgrade, `Name: value`; may be repeated.
    #[arg(long, value_name = "HEADER", help_heading = WORDS)]
    pub header: Option<Vec<String>>,
    /// The token of all clients, or with the letter n in braces a template of each one's.
    #[arg(long, value_name = "TEMPLATE", help_heading = WORDS)]
    pub token: Option<String>,
    /// File with a token for each client, one on a line; they go round.
    #[arg(long, value_name = "FILE", help_heading = WORDS)]
    pub token_file: Option<PathBuf>,
    /// Storm: file with tokens that the server must refuse, for the clients of `rejected`.
    #[arg(long, value_name = "FILE", help_heading = WORDS)]
    pub rejected_token_file: Option<PathBuf>,
    /// Secret to sign a JWT (HS256) for each client with.
    #[arg(long, value_name = "SECRET", help_heading = WORDS)]
    pub jwt_secret: Option<String>,
    /// Claims of those tokens; {exp} is two hours from now.
    #[arg(long, value_name = "TEMPLATE", help_heading = WORDS)]
    pub jwt_claims: Option<String>,
    /// Where the token goes.
    #[arg(long, value_enum, help_heading = WORDS)]
    pub token_in: Option<TokenPlace>,

    /// Connections: subscribers, echoing or idle ones.
    #[arg(long, short = 'n', alias = "subscribers", value_name = "COUNT", help_heading = LOAD)]
    pub connections: Option<usize>,
    /// Clients that send.
    #[arg(long, value_name = "COUNT", help_heading = LOAD)]
    pub senders: Option<u16>,
    /// Destinations that subscribers and messages are spread over; 0 is one for each connection.
    #[arg(long, value_name = "COUNT", help_heading = LOAD)]
    pub rooms: Option<usize>,
    /// Messages in a second at fixed times, of all senders together; 0 is a closed loop.
    #[arg(long, value_name = "PER_SECOND", help_heading = LOAD)]
    pub rate: Option<f64>,
    /// Closed loop: messages that leave in one write; the next follow when all have arrived.
    #[arg(long, value_name = "COUNT", help_heading = LOAD)]
    pub in_flight: Option<u64>,
    /// Closed loop: messages to measure; 0 goes by `seconds`.
    #[arg(long, value_name = "COUNT", help_heading = LOAD)]
    pub messages: Option<u64>,
    /// Size of a payload.
    #[arg(long, value_name = "BYTES", help_heading = LOAD)]
    pub payload: Option<usize>,
    /// Seconds to measure.
    #[arg(long, value_name = "SECONDS", help_heading = LOAD)]
    pub seconds: Option<f64>,
    /// Seconds before that, which are not measured.
    #[arg(long, value_name = "SECONDS", help_heading = LOAD)]
    pub warm_up: Option<f64>,
    /// Share of the subscribers that stop reading when measuring begins, 0 to 1.
    #[arg(long, value_name = "SHARE", help_heading = LOAD)]
    pub slow_share: Option<f64>,
    /// Receive buffer of those who stop reading, so that the server soon feels it.
    #[arg(long, value_name = "BYTES", help_heading = LOAD)]
    pub slow_buffer: Option<usize>,
    /// Seconds of measuring after which the server gets SIGTERM; 0 is never.
    #[arg(long, value_name = "SECONDS", help_heading = LOAD)]
    pub drain_after: Option<f64>,
    /// Publish through this Redis, redis://HOST:PORT, instead of through the server.
    #[arg(long, value_name = "URL", help_heading = LOAD)]
    pub redis: Option<String>,
    /// Channel to publish to in Redis.
    #[arg(long, value_name = "TEMPLATE", help_heading = LOAD)]
    pub redis_channel: Option<String>,
    /// What is published: {body}, {room}, {now_ms}.
    #[arg(long, value_name = "TEMPLATE", help_heading = LOAD)]
    pub redis_envelope: Option<String>,
    /// Connections of one generator process that may be between connect and ready; 0 is all.
    #[arg(long, value_name = "COUNT", help_heading = LOAD)]
    pub connect_in_flight: Option<usize>,
    /// Storm: seconds after which a refused client tries again; 0 is never.
    #[arg(long, value_name = "SECONDS", help_heading = LOAD)]
    pub retry_after: Option<f64>,
    /// Storm: further clients that come at the same time with tokens that must be refused.
    #[arg(long, value_name = "COUNT", help_heading = LOAD)]
    pub rejected: Option<usize>,

    /// Processes that make the load.
    #[arg(long, value_name = "COUNT", help_heading = GENERATOR)]
    pub processes: Option<usize>,
    /// CPUs of those processes, one after the other.
    #[arg(long, value_name = "CPU", value_delimiter = ',', help_heading = GENERATOR)]
    pub client_cpus: Option<Vec<usize>>,
    /// Never sleep while waiting. A server on the same machine otherwise pays for waking the
    /// generator with almost every send, which clients elsewhere do not cost it.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
          help_heading = GENERATOR)]
    pub spin: Option<bool>,
    /// Local addresses to connect from; by default the loopback ones from 127.0.0.2 when the
    /// server is on loopback.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', help_heading = GENERATOR)]
    pub source: Option<Vec<std::net::Ipv4Addr>>,
    /// Seconds after which opening, one batch or a storm has failed.
    #[arg(long, value_name = "SECONDS", help_heading = GENERATOR)]
    pub timeout: Option<f64>,
    /// Seconds without a delivery after which the rest counts as lost.
    #[arg(long, value_name = "SECONDS", help_heading = GENERATOR)]
    pub settle: Option<f64>,
}
