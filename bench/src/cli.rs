//! The command line: what to run, where to write what came of it, and the exit code.

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use clap::Parser;
use clap::Subcommand;

use crate::compare;
use crate::experiment;
use crate::experiment::Manner;
use crate::plan::Experiment;
use crate::plan::Knobs;
use crate::plan::Scenario;
use crate::plan::built_in;
use crate::plan::parse_axis;
use crate::record::Record;
use crate::report;
use crate::table;
use crate::versus;
use crate::work;

/// What went wrong is the fault of who wrote the command line or a file that it names.
#[derive(Debug)]
pub struct Misuse(String);

impl fmt::Display for Misuse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

impl Misuse {
    fn of(error: &anyhow::Error) -> anyhow::Error {
        Self(format!("{error:#}")).into()
    }
}

/// A load client for WebSocket and STOMP servers that counts what it sent and what arrived.
///
/// Exits with 0 when all was well, 1 when messages were lost, doubled, reordered or damaged, a run
/// failed, or a comparison is beyond its threshold, 2 when the command line or a file that it names
/// is wrong, and 130 when it was interrupted.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where results go, and how they are made.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// Write everything that was found as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a report that any browser shows without a network.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// How it is made.
    #[command(flatten)]
    pub manner: Manner,
}

impl Common {
    /// Tries whether the results can be written where they are wanted: nobody should learn that
    /// after an hour.
    fn check(&self) -> anyhow::Result<()> {
        for path in self.json.iter().chain(&self.html) {
            let is_new = !path.exists();
            let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
            opened.with_context(|| format!("cannot write {}", path.display()))?;
            if is_new {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// A scenario with changes.
#[derive(Args, Clone, Debug, Default)]
pub struct Scene {
    /// Where results go.
    #[command(flatten)]
    pub common: Common,
    /// File with `[[target]]` tables to measure instead.
    #[arg(long, value_name = "FILE")]
    pub targets: Option<PathBuf>,
    /// What is different from the file.
    #[command(flatten)]
    pub knobs: Knobs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Connections that do nothing: memory of each.
    Idle(Scene),
    /// Every connection's messages come back to it: cost and latency.
    Echo(Scene),
    /// One sender, many subscribers: cost of a delivery, or latency at a rate.
    Fanout(Scene),
    /// Subscribers and messages spread over rooms.
    Rooms(Scene),
    /// Private messages: one destination for each client.
    Users(Scene),
    /// A back end publishes through Redis.
    RedisFanout(Scene),
    /// All clients lose their connections and come back at once.
    Storm(Scene),
    /// All clients come at once and ask for the last messages of their rooms: time until the last
    /// has them, and reads of the store.
    ReplayStorm(Scene),
    /// Some subscribers stop reading: what do the others feel?
    Slow(Scene),
    /// The server is told to end while messages flow.
    Drain(Scene),
    /// The same load for a long time: does anything grow?
    Soak(Scene),
    /// What a scenario file says.
    Run {
        /// The file.
        file: PathBuf,
        /// What is different from it.
        #[command(flatten)]
        scene: Box<Scene>,
    },
    /// A scenario at many sizes: cost against size.
    Sweep {
        /// A scenario, or a file.
        scenario: String,
        /// What is varied: NAME=VALUE,VALUE,…; may be repeated, one within the other.
        #[arg(long, required = true, value_name = "NAME=VALUES")]
        over: Vec<String>,
        /// What is different from the file.
        #[command(flatten)]
        scene: Box<Scene>,
    },
    /// Ringway against a tuned tokio-tungstenite, both started by this tool, in rounds that take
    /// turns.
    Versus(versus::Parameters),
    /// A report of what older runs wrote as JSON.
    Report {
        /// What they wrote.
        #[arg(required = true)]
        json: Vec<PathBuf>,
        /// The report; by default beside the first of them.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Ratios of two records.
    Compare(compare::Parameters),
    /// The settings of a scenario, as a file that can be changed.
    Show {
        /// The scenario.
        scenario: Scenario,
    },
    /// One of the processes that make the load: started by this tool, never by hand.
    #[command(hide = true)]
    Generate,
}

/// Does what the command line says; `false` when something is wrong with what was measured.
///
/// # Errors
///
/// The run failed, or a file cannot be read or written.
pub fn run(cli: &Cli) -> anyhow::Result<bool> {
    let built_in_scene = |scenario: Scenario, scene: &Scene| {
        run_scene(built_in(scenario), Path::new("."), scene, &[])
    };
    match &cli.command {
        Command::Idle(scene) => built_in_scene(Scenario::Idle, scene),
        Command::Echo(scene) => built_in_scene(Scenario::Echo, scene),
        Command::Fanout(scene) => built_in_scene(Scenario::Fanout, scene),
        Command::Rooms(scene) => built_in_scene(Scenario::Rooms, scene),
        Command::Users(scene) => built_in_scene(Scenario::Users, scene),
        Command::RedisFanout(scene) => built_in_scene(Scenario::RedisFanout, scene),
        Command::Storm(scene) => built_in_scene(Scenario::Storm, scene),
        Command::ReplayStorm(scene) => built_in_scene(Scenario::ReplayStorm, scene),
        Command::Slow(scene) => built_in_scene(Scenario::Slow, scene),
        Command::Drain(scene) => built_in_scene(Scenario::Drain, scene),
        Command::Soak(scene) => built_in_scene(Scenario::Soak, scene),
        Command::Run { file, scene } => {
            let (text, here) = read(file).map_err(|error| Misuse::of(&error))?;
            run_scene(&text, &here, scene, &[])
        }
        Command::Sweep { scenario, over, scene } => {
            let named = <Scenario as clap::ValueEnum>::from_str(scenario, false);
            let (text, here) = match named {
                Ok(scenario) => (built_in(scenario).to_owned(), PathBuf::from(".")),
                Err(_) => read(Path::new(scenario))
                    .context("neither a scenario nor a file")
                    .map_err(|error| Misuse::of(&error))?,
            };
            run_scene(&text, &here, scene, over)
        }
        Command::Versus(parameters) => {
            parameters.common.check().map_err(|error| Misuse::of(&error))?;
            let record = versus::run(parameters, &std::env::current_exe()?)?;
            finish(&record, &parameters.common)
        }
        Command::Report { json, html } => {
            let records: Vec<Record> =
                json.iter().map(|path| Record::read(path)).collect::<anyhow::Result<_>>()?;
            let html = html.clone().unwrap_or_else(|| json[0].with_extension("html"));
            write_report(&records, &html)?;
            Ok(true)
        }
        Command::Compare(parameters) => {
            let comparison = compare::run(parameters)?;
            print(&comparison.text)?;
            Ok(comparison.is_within)
        }
        Command::Show { scenario } => {
            print(&format!("{}\n", built_in(*scenario).trim_end()))?;
            Ok(true)
        }
        Command::Generate => work::run().map(|()| true),
    }
}

fn run_scene(text: &str, here: &Path, scene: &Scene, over: &[String]) -> anyhow::Result<bool> {
    let program = std::env::current_exe()?;
    let (experiment, manner) =
        prepare(text, here, scene, over).map_err(|error| Misuse::of(&error))?;
    finish(&experiment::run(&experiment, &manner, &program)?, &scene.common)
}

/// Everything that can be wrong before the first run.
fn prepare(
    text: &str,
    here: &Path,
    scene: &Scene,
    over: &[String],
) -> anyhow::Result<(Experiment, Manner)> {
    let mut experiment = Experiment::parse(text, here, &scene.knobs)?;
    if let Some(targets) = &scene.targets {
        let (text, here) = read(targets)?;
        experiment.take_subjects(&text, &here)?;
    }
    let mut manner = scene.common.manner.clone();
    let scenario = experiment.cases.first().map_or_else(String::new, |case| case.name.clone());
    for axis in over {
        let (name, values) = parse_axis(axis)?;
        experiment.vary(&name, &values);
        manner.title.get_or_insert_with(|| format!("{scenario} against {name}"));
    }
    experiment::check(&experiment, &manner)?;
    scene.common.check()?;
    Ok((experiment, manner))
}

/// Tells what was found, in every form that is wanted.
fn finish(record: &Record, common: &Common) -> anyhow::Result<bool> {
    print(&table::record(record))?;
    if let Some(path) = &common.json {
        record.write(path)?;
    }
    if let Some(path) = &common.html {
        write_report(std::slice::from_ref(record), path)?;
    }
    Ok(record.is_clean)
}

fn write_report(records: &[Record], path: &Path) -> anyhow::Result<()> {
    std::fs::write(path, report::page(records)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The text of a file, and its folder.
fn read(file: &Path) -> anyhow::Result<(String, PathBuf)> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let whole = file.canonicalize().with_context(|| format!("{name} has no folder"))?;
    Ok((text, whole.parent().unwrap_or(Path::new("/")).to_owned()))
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
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
