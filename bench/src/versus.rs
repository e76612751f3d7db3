//! Ringway and the peer in one run, with the sizes that the goals are stated for.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use clap::ValueEnum;

use crate::cli::Common;
use crate::experiment;
use crate::plan::Experiment;
use crate::plan::Knobs;
use crate::record::Record;

/// A driver of Ringway, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Driver {
    /// Completion of batches.
    IoUring,
    /// Readiness and one call each.
    Epoll,
    /// One after the other in every round.
    Both,
}

/// A scenario with the sizes that the goals are stated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum Suite {
    /// Fan-out to 1,000 with one message in flight.
    Fanout1,
    /// The same with four in flight.
    Fanout4,
    /// Fan-out to 10,000 with one message in flight.
    Wide1,
    /// The same with four in flight.
    Wide4,
    /// Echo on 1,000 connections, closed loop.
    Echo,
    /// Memory of 10,000 idle connections.
    Idle,
    /// 10,000 clients come back at once.
    Storm,
}

impl Suite {
    /// Its case, as a file says it.
    fn case(self, parameters: &Parameters) -> String {
        let Parameters { messages, seconds, subscribers, idle_connections, .. } = parameters;
        let name = self.to_possible_value().map_or(String::new(), |it| it.get_name().to_owned());
        // Deliveries to each subscriber; with four in flight a quarter of the batches.
        let fan_out = |count: usize, in_flight: u64, messages: u64| {
            format!(
                "scenario = 'fanout'\nconnections = {count}\nin-flight = {in_flight}\n\
                 messages = {messages}\nwarm-up = 0.5\n"
            )
        };
        let settings = match self {
            Self::Fanout1 => fan_out(*subscribers, 1, *messages),
            Self::Fanout4 => fan_out(*subscribers, 4, *messages),
            Self::Wide1 => fan_out(10 * subscribers, 1, messages.div_ceil(6)),
            Self::Wide4 => fan_out(10 * subscribers, 4, messages.div_ceil(6)),
            Self::Echo => format!(
                "scenario = 'echo'\nconnections = {subscribers}\nseconds = {seconds}\n\
                 payload = 125\n"
            ),
            Self::Idle => format!("scenario = 'idle'\nconnections = {idle_connections}\n"),
            Self::Storm => format!("scenario = 'storm'\nconnections = {idle_connections}\n"),
        };
        format!("[[case]]\nname = '{name}'\n{settings}\n")
    }
}

/// Starts Ringway and the peer by turns, measures both and compares.
#[derive(Args, Clone, Debug)]
pub struct Parameters {
    /// The ringway binary.
    #[arg(long, value_name = "PATH")]
    pub server: PathBuf,
    /// The peer-tungstenite binary; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    pub peer: Option<PathBuf>,
    /// Drivers of Ringway to measure.
    #[arg(long, value_enum, default_value = "both")]
    pub driver: Driver,
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "fanout1,fanout4,echo,idle")]
    pub suite: Vec<Suite>,
    /// CPU of the servers.
    #[arg(long, default_value_t = 0, value_name = "CPU")]
    pub server_cpu: usize,
    /// CPU of the generator.
    #[arg(long, default_value_t = 1, value_name = "CPU")]
    pub client_cpu: usize,
    /// Subscribers of the fan-out, connections of the echo; `wide` has ten times as many.
    #[arg(long, default_value_t = 1000, value_name = "COUNT")]
    pub subscribers: usize,
    /// Messages of the fan-out that are measured.
    #[arg(long, default_value_t = 600, value_name = "COUNT")]
    pub messages: u64,
    /// Seconds of echo that are measured.
    #[arg(long, default_value_t = 4.0, value_name = "SECONDS")]
    pub seconds: f64,
    /// Connections that are idle, and clients of the storm.
    #[arg(long, default_value_t = 10_000, value_name = "COUNT")]
    pub idle_connections: usize,
    /// Never sleep while waiting.
    #[arg(long)]
    pub spin: bool,
    /// Buffers of the peer in bytes; 131072 is what its library does by default.
    #[arg(long, default_value_t = 4096, value_name = "BYTES")]
    pub peer_buffer_bytes: usize,
    /// A further argument for Ringway; may be repeated.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub server_argument: Vec<String>,
    /// Where results go.
    #[command(flatten)]
    pub common: Common,
}

/// Runs all rounds; `program` is this program.
///
/// # Errors
///
/// A program is not there, or a run failed.
pub fn run(parameters: &Parameters, program: &Path) -> anyhow::Result<Record> {
    let text = text(parameters, program)?;
    let experiment = Experiment::parse(&text, Path::new("."), &Knobs::default())?;
    let mut manner = parameters.common.manner.clone();
    manner.title.get_or_insert_with(|| "Ringway and a tuned tokio-tungstenite".to_owned());
    experiment::run(&experiment, &manner, program)
}

/// The file that says the same.
fn text(parameters: &Parameters, program: &Path) -> anyhow::Result<String> {
    let Parameters { server_cpu, client_cpu, spin, peer_buffer_bytes, .. } = parameters;
    let mut text =
        format!("server-cpus = [{server_cpu}]\nclient-cpus = [{client_cpu}]\nspin = {spin}\n");
    for suite in &parameters.suite {
        text.push_str(&suite.case(parameters));
    }
    let peer = match &parameters.peer {
        Some(peer) => peer.clone(),
        None => program.with_file_name("peer-tungstenite"),
    };
    let peer = absolute(&peer)?;
    text.push_str(&format!(
        "[[target]]\nname = 'tokio-tungstenite'\ndialect = 'plain'\n\
         launch = '{} --buffer-bytes {peer_buffer_bytes}'\n[target.echo]\npath = '/echo'\n",
        peer.display()
    ));
    let server = absolute(&parameters.server)?;
    let drivers: &[&str] = match parameters.driver {
        Driver::IoUring => &["io_uring"],
        Driver::Epoll => &["epoll"],
        Driver::Both => &["io_uring", "epoll"],
    };
    for driver in drivers {
        text.push_str(&format!(
            "[[target]]\nname = 'ringway {driver}'\n\
             launch = '{} --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --cores {{cores}} \
             --echo --log-level warn --driver {driver} {}'\n\
             [target.echo]\npath = '/echo'\n",
            server.display(),
            parameters.server_argument.join(" ")
        ));
    }
    Ok(text)
}

fn absolute(program: &Path) -> anyhow::Result<PathBuf> {
    program.canonicalize().with_context(|| format!("{} is not there: build it", program.display()))
}
