//! The command line: what can be asked of the program, and the commands that need no server.

use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;

use crate::cli::fleet::DisconnectArgs;
use crate::cli::fleet::RevokeArgs;
use crate::cli::health::healthcheck;
use crate::cli::health::reachable;
use crate::cli::token::TokenArgs;
use crate::config;
use crate::config::ConfigError;
use crate::config::Flag;
use crate::config::Host;
use crate::config::Loaded;
use crate::config::Origin;
use crate::config::Sources;
use crate::config::catalogue;
use crate::doctor;
use crate::doctor::files::File;
use crate::history;

mod fleet;
mod health;
pub(crate) mod migrate;
mod token;

/// A failure at run time.
pub const EXIT_FAILURE: u8 = 1;
/// A wrong configuration, or a start that the host does not allow.
pub const EXIT_START: u8 = 2;

/// Ringway: a thread-per-core STOMP over WebSocket edge server.
///
/// Without a command it serves, with no configuration at all on 127.0.0.1 only. Each setting may
/// stand in the file, in the environment and on the command line; the later of the three wins.
/// Exit codes: 0 clean, 1 failure at run time, 2 wrong configuration or start error.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, after_long_help = catalogue::help_text())]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: SettingFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT (also without a command)
    #[command(after_long_help = catalogue::help_text())]
    Serve,
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make a token to try things with, signed with a key of the configuration (development only)
    Token(TokenArgs),
    /// Make tokens worthless on every task of the fleet, and end their sessions
    Revoke(RevokeArgs),
    /// End the sessions of a user on every task of the fleet
    Disconnect(DisconnectArgs),
    /// Say what this host allows and what is too low: exit 0, or 1; sets nothing
    Doctor {
        /// For so many connections, instead of as many as the server would allow itself here
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        connections: Option<u64>,
        /// Say it as JSON
        #[arg(long)]
        json: bool,
        /// Print what a host or a task is to be given instead, as a file for it
        #[arg(long, value_name = "FILE", value_parser = file_names(), conflicts_with = "json")]
        print: Option<String>,
    },
    /// Bring the tables of the history up to date, or print how; may be run again
    Migrate {
        /// Print the statements instead of running them
        #[arg(long)]
        print: bool,
    },
    /// Print the Lua script by which a back end gives its messages a place in a history in Redis
    Script,
    /// Exit 0 when the server of this configuration answers that it is alive
    Healthcheck {
        /// Ask this instead of the admin listener, such as http://127.0.0.1:8080
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check what `serve` would be given here: exit 0, or 2 and one line that says what is wrong
    Check {
        /// The file to check, instead of that of --config
        file: Option<PathBuf>,
    },
    /// Print the effective configuration and where each value came from; secrets are masked
    Print,
    /// Print all settings as a Markdown table
    Table,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
struct SettingFlags {
    /// Read this TOML file first
    #[arg(long, global = true, value_name = "FILE", env = "RINGWAY_CONFIG")]
    config: Option<PathBuf>,
    /// Give any setting a value; repeatable
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where clients connect [server.listen]
    #[arg(long, global = true, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Where operators connect [admin.listen]
    #[arg(long, global = true, value_name = "IP:PORT")]
    admin_listen: Option<String>,
    /// How many shards [server.cores]
    #[arg(long, global = true, value_name = "N|auto")]
    cores: Option<String>,
    /// Kernel interface: auto, io_uring, epoll [io.driver]
    #[arg(long, global = true, value_name = "NAME")]
    driver: Option<String>,
    /// Relay between cores and tasks: auto, embedded, pubsub, sharded [relay.mode]
    #[arg(long, global = true, value_name = "NAME")]
    relay: Option<String>,
    /// Where messages are stored: memory, sqlite://FILE, mysql://… [history.url]
    #[arg(long, global = true, value_name = "URL")]
    history: Option<String>,
    /// Answer GET /echo [server.echo]
    #[arg(
        long,
        global = true,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    echo: Option<String>,
    /// Log lines: text, json [log.format]
    #[arg(long, global = true, value_name = "NAME")]
    log_format: Option<String>,
    /// What is logged: a level or directives [log.level]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl SettingFlags {
    /// The flags that were given, with the keys they set.
    fn given(&self) -> Vec<Flag> {
        let own = [
            ("--listen", &self.listen),
            ("--admin-listen", &self.admin_listen),
            ("--cores", &self.cores),
            ("--driver", &self.driver),
            ("--relay", &self.relay),
            ("--history", &self.history),
            ("--echo", &self.echo),
            ("--log-format", &self.log_format),
            ("--log-level", &self.log_level),
        ];
        let own = own.into_iter().filter_map(|(flag, value)| {
            let knob = catalogue::KNOBS.iter().find(|it| it.flag == Some(flag));
            let key = knob.expect("a test holds the flags and the catalogue together").key;
            value.clone().map(|value| Flag { flag: flag.into(), key: key.into(), value })
        });
        // Without a `=` it is a key with an empty value, and its knob says what is wrong with that.
        let any = self.set.iter().map(|it| {
            let (key, value) = it.split_once('=').unwrap_or((it, ""));
            Flag { flag: "--set".into(), key: key.trim().into(), value: value.trim().into() }
        });
        own.chain(any).collect()
    }
}

/// Reads the command line of this process and does what it says; `read` reads the files that a
/// configuration names, and `serve` serves with them.
///
/// A command line that is wrong ends the process with exit code 2 and a usage text.
#[must_use]
pub fn run<F>(
    read: impl FnOnce(&Loaded) -> Result<F, ConfigError>,
    serve: impl FnOnce(Loaded, F) -> ExitCode,
) -> ExitCode {
    dispatch(Cli::parse(), read, serve)
}

/// Does what `cli` says; `serve` serves, with a configuration that is valid and files that can.
#[must_use]
pub fn dispatch<F>(
    cli: Cli,
    read: impl FnOnce(&Loaded) -> Result<F, ConfigError>,
    serve: impl FnOnce(Loaded, F) -> ExitCode,
) -> ExitCode {
    let Cli { command, settings } = cli;
    let flags = settings.given();
    let load = |file| config::load(&Sources::of_process(file, flags));
    match command.unwrap_or(Command::Serve) {
        Command::Serve => match with_files(load(settings.config), read) {
            Ok((loaded, files)) => serve(loaded, files),
            Err(error) => start_error(&error),
        },
        Command::Config(ConfigCommand::Check { file }) => {
            match with_files(load(file.or(settings.config)), read) {
                Ok((loaded, _)) => check(&loaded),
                Err(error) => start_error(&error),
            }
        }
        Command::Config(ConfigCommand::Print) => match load(settings.config) {
            Ok(loaded) => {
                warn(&loaded);
                let resolved = config::resolve(&loaded.settings, &Host::measure());
                say(&config::print(&loaded, &resolved))
            }
            Err(error) => start_error(&error),
        },
        Command::Doctor { print: Some(name), .. } => {
            let file = File::ALL.iter().find(|(it, _)| *it == name);
            say(&file.expect("the names are those that are parsed").1.text())
        }
        Command::Doctor { connections, json, print: None } => match load(settings.config) {
            Ok(loaded) => {
                let report = doctor::examine(&loaded.settings, connections);
                let said = say(&if json { report.json() } else { report.to_string() });
                if report.is_ok() { said } else { ExitCode::from(EXIT_FAILURE) }
            }
            Err(error) => start_error(&error),
        },
        Command::Config(ConfigCommand::Table) => say(&catalogue::markdown_table()),
        Command::Token(args) => with(load(settings.config), |it| token::run(it, &args)),
        Command::Revoke(args) => with(load(settings.config), |it| fleet::revoke(it, &args)),
        Command::Disconnect(args) => with(load(settings.config), |it| fleet::disconnect(it, &args)),
        Command::Migrate { print } => {
            with(load(settings.config), |it| migrate::run(&it.settings, print))
        }
        Command::Script => say(history::PLACE_SCRIPT),
        Command::Healthcheck { url: Some(url) } => healthcheck(&url),
        Command::Healthcheck { url: None } => with(load(settings.config), |it| {
            healthcheck(&format!("http://{}", reachable(it.settings.admin.listen)))
        }),
    }
}

/// What `doctor --print` takes.
fn file_names() -> PossibleValuesParser {
    PossibleValuesParser::new(File::ALL.iter().map(|(name, _)| *name))
}

fn with(loaded: Result<Loaded, ConfigError>, act: impl FnOnce(&Loaded) -> ExitCode) -> ExitCode {
    match loaded {
        Ok(loaded) => act(&loaded),
        Err(error) => start_error(&error),
    }
}

/// With the files that the configuration names.
fn with_files<F>(
    loaded: Result<Loaded, ConfigError>,
    read: impl FnOnce(&Loaded) -> Result<F, ConfigError>,
) -> Result<(Loaded, F), ConfigError> {
    let loaded = loaded?;
    let files = read(&loaded)?;
    Ok((loaded, files))
}

fn start_error(error: &ConfigError) -> ExitCode {
    eprintln!("ringway: {error}");
    ExitCode::from(EXIT_START)
}

/// Writes `text` to standard output. A reader that has seen enough, such as `head`, is no failure.
fn say(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("ringway: cannot write to standard output: {error}");
            ExitCode::from(EXIT_FAILURE)
        }
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}

fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        eprintln!("ringway: warning: {warning}");
    }
}

fn check(loaded: &Loaded) -> ExitCode {
    warn(loaded);
    let given = loaded.entries.iter().filter(|it| it.origin != Origin::Default).count();
    let routes = loaded.settings.routes.len();
    let subject = loaded.file.as_ref().map_or("no file".into(), |it| it.display().to_string());
    say(&format!("{subject}: valid; settings given: {given}, routes: {routes}\n"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn flags(arguments: &[&str]) -> Vec<Flag> {
        let cli = Cli::try_parse_from([&["ringway"], arguments].concat()).expect("valid");
        cli.settings.given()
    }

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_the_catalogue_is_a_flag_and_names_its_key() {
        let command = Cli::command();
        for knob in catalogue::KNOBS {
            let Some(flag) = knob.flag else { continue };
            let argument = command
                .get_arguments()
                .find(|it| it.get_long() == flag.strip_prefix("--"))
                .unwrap_or_else(|| panic!("{flag} is not a flag"));
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.ends_with(&format!("[{}]", knob.key)), "{flag}: {help}");
            // With `--flag=auto` the value is only passed on: any text will do.
            let given = flags(&[&format!("{flag}=auto")]);
            let expected = Flag { flag: flag.into(), key: knob.key.into(), value: "auto".into() };
            assert_eq!(given, [expected]);
        }
    }

    #[test]
    fn flags_go_before_and_after_the_command() {
        let expected = [
            ("--cores", "server.cores", "2"),
            ("--echo", "server.echo", "true"),
            ("--set", "limits.refusals", "5"),
            ("--set", "log.level", "a=b"),
        ]
        .map(|(flag, key, value)| Flag {
            flag: flag.into(),
            key: key.into(),
            value: value.into(),
        });
        let set = ["--set", "limits.refusals=5", "--set", "log.level = a=b", "--echo"];
        assert_eq!(flags(&[&["serve", "--cores", "2"], &set[..]].concat()), expected);
        assert_eq!(flags(&[&["--cores=2"], &set[..], &["config", "print"]].concat()), expected);
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for wrong in [&["serv"][..], &["--core", "2"], &["config"], &["--cores"], &["serve", "x"]] {
            let error = Cli::try_parse_from([&["ringway"], wrong].concat()).expect_err("wrong");
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn the_long_help_holds_every_setting() {
        let help = Cli::command().render_long_help().to_string();
        for knob in catalogue::KNOBS {
            assert!(help.contains(&format!("{} = ", knob.key)), "{}", knob.key);
        }
    }
}
