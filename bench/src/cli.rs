//! The command line: what to run, where to write what came of it, and the exit code.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use serde::Serialize;

use crate::cpu;
use crate::environment::Environment;
use crate::scenario::echo;
use crate::scenario::fanout;
use crate::scenario::hold;
use crate::scenario::idle;
use crate::swarm;
use crate::table;
use crate::versus;

/// A load client for WebSocket and STOMP servers that counts what it sent and what arrived.
///
/// Exits with 0 when all was well, 1 when messages were lost, doubled, reordered or damaged or the
/// run failed, and 2 when the command line is wrong.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
    /// What all runs have.
    #[command(flatten)]
    pub common: Common,
}

/// What all runs have.
#[derive(Args, Debug)]
pub struct Common {
    /// Write parameters, environment and results as JSON.
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// CPU that this generator may run on.
    #[arg(long, global = true, value_name = "CPU")]
    pub pin: Option<usize>,
    /// Never sleep while waiting. A server on the same machine otherwise pays for waking this
    /// generator with almost every send, which clients elsewhere do not cost it.
    #[arg(long, global = true)]
    pub spin: bool,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// One sender, many subscribers: server CPU per delivery, latency, loss, doubles, order.
    Fanout(fanout::Parameters),
    /// Closed loop over plain WebSocket: server CPU per message, rate, latency.
    Echo(echo::Parameters),
    /// Connections that do nothing: server memory per connection.
    Idle(idle::Parameters),
    /// Subscribed STOMP sessions served at a fixed rate: every delivery checked, latency corrected.
    Hold(hold::Parameters),
    /// Ringway against the peer, both started by this tool, in rounds that take turns.
    Versus(versus::Parameters),
}

/// The JSON of a run.
#[derive(Serialize)]
struct Record<'a, P, R> {
    scenario: &'static str,
    environment: &'a Environment,
    parameters: &'a P,
    report: &'a R,
}

/// Runs what the command line says; `false` when something was lost, doubled, reordered or damaged.
///
/// # Errors
///
/// The run failed, or its JSON cannot be written.
pub fn run(cli: &Cli) -> anyhow::Result<bool> {
    let environment = Environment::prepare()?;
    swarm::set_spin(cli.common.spin);
    if let Some(cpu) = cli.common.pin {
        cpu::pin(cpu)?;
    }
    run_scenario(cli, &environment).map_err(|error| match server_pid(&cli.command) {
        // That the server died explains whatever else went wrong.
        Some(pid) if cpu::used_ns(pid).is_err() => {
            error.context(format!("the server, process {pid}, has ended"))
        }
        Some(_) | None => error,
    })
}

fn server_pid(command: &Command) -> Option<u32> {
    match command {
        Command::Fanout(parameters) => parameters.target.server_pid,
        Command::Echo(parameters) => parameters.target.server_pid,
        Command::Idle(parameters) => parameters.target.server_pid,
        Command::Hold(parameters) => parameters.target.server_pid,
        Command::Versus(_) => None,
    }
}

fn run_scenario(cli: &Cli, environment: &Environment) -> anyhow::Result<bool> {
    let finish = Finish { environment, json: cli.common.json.as_ref() };
    match &cli.command {
        Command::Fanout(parameters) => {
            let report = fanout::run(parameters)?;
            finish.with("fanout", parameters, &report, &table::fanout(&report))?;
            Ok(report.verdict.is_clean())
        }
        Command::Echo(parameters) => {
            let report = echo::run(parameters)?;
            finish.with("echo", parameters, &report, &table::echo(&report))?;
            Ok(report.is_clean())
        }
        Command::Idle(parameters) => {
            let report = idle::run(parameters)?;
            finish.with("idle", parameters, &report, &table::idle(&report))?;
            Ok(true)
        }
        Command::Hold(parameters) => {
            let report = hold::run(parameters)?;
            finish.with("hold", parameters, &report, &table::hold(&report))?;
            Ok(report.is_clean())
        }
        Command::Versus(parameters) => {
            let report = versus::run(parameters)?;
            finish.with("versus", parameters, &report, &table::versus(&report))?;
            Ok(report.is_clean)
        }
    }
}

/// Where results go.
struct Finish<'a> {
    environment: &'a Environment,
    json: Option<&'a PathBuf>,
}

impl Finish<'_> {
    fn with<P: Serialize, R: Serialize>(
        &self,
        scenario: &'static str,
        parameters: &P,
        report: &R,
        text: &str,
    ) -> anyhow::Result<()> {
        std::io::stdout().write_all(text.as_bytes())?;
        if let Some(path) = self.json {
            let record = Record { scenario, environment: self.environment, parameters, report };
            let mut json = serde_json::to_string_pretty(&record)?;
            json.push('\n');
            std::fs::write(path, json)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
