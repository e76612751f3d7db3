//! The command line: what can be asked of the program, and the commands that need no server.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;

use crate::cli::fleet::DisconnectArgs;
use crate::cli::fleet::RevokeArgs;
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

mod fleet;
mod migrate;
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
        #[arg(long, value_name = "N")]
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

/// Reads the command line of this process and does what it says; `serve` serves.
///
/// A command line that is wrong ends the process with exit code 2 and a usage text.
#[must_use]
pub fn run(serve: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    dispatch(Cli::parse(), serve)
}

/// Does what `cli` says; `serve` serves, with a configuration that is valid.
#[must_use]
pub fn dispatch(cli: Cli, serve: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    let Cli { command, settings } = cli;
    let flags = settings.given();
    let load = |file| config::load(&Sources::of_process(file, flags));
    match command.unwrap_or(Command::Serve) {
        Command::Serve => load(settings.config).map_or_else(|it| start_error(&it), serve),
        Command::Config(ConfigCommand::Check { file }) => match load(file.or(settings.config)) {
            Ok(loaded) => check(&loaded),
            Err(error) => start_error(&error),
        },
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

/// How long a health check may take as a whole.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
const HEALTH_PATH: &str = "/actuator/health/liveness";
/// An answer is far smaller; whatever else listens there must not fill our memory.
const HEALTH_BYTES_MAX: usize = 64 * 1024;

/// The address to connect to for a listener that is bound to `listen`.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Exit code 0 only when `url` answers `UP`, or `DEGRADED`, which no restart would mend; a line on
/// standard error says what it did instead.
fn healthcheck(url: &str) -> ExitCode {
    match ask(url, HEALTH_TIMEOUT) {
        Ok(status) if matches!(status.as_str(), "UP" | "DEGRADED") => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("ringway: {url} answers {status}");
            ExitCode::from(EXIT_FAILURE)
        }
        Err(why) => {
            eprintln!("ringway: {url}: {why}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Asks `url` for its health, for at most `timeout`, and returns the `status` of the answer.
#[expect(clippy::disallowed_methods, reason = "a command of its own: there is no shard's clock")]
fn ask(url: &str, timeout: Duration) -> Result<String, String> {
    let (authority, path) = split_url(url)?;
    let deadline = Instant::now() + timeout;
    let left = || deadline.checked_duration_since(Instant::now()).filter(|it| !it.is_zero());
    let addresses = authority.to_socket_addrs().map_err(|it| format!("no such address: {it}"))?;
    let mut connected = Err("no such address".to_owned());
    for address in addresses {
        let Some(left) = left() else { break };
        connected = TcpStream::connect_timeout(&address, left)
            .map_err(|it| format!("cannot connect to {address}: {it}"));
        if connected.is_ok() {
            break;
        }
    }
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    let answer = exchange(connected?, request.as_bytes(), left).map_err(|it| {
        // A socket's timeout is the one or the other, depending on the system.
        if matches!(it.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            format!("no answer within {timeout:?}")
        } else {
            format!("no answer: {it}")
        }
    })?;
    status(&answer)
}

/// Sends `request` and reads one answer, for as long as `left` gives time.
fn exchange(
    mut stream: TcpStream,
    request: &[u8],
    left: impl Fn() -> Option<Duration>,
) -> io::Result<Vec<u8>> {
    let left = || left().ok_or(io::Error::from(io::ErrorKind::TimedOut));
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        let count = stream.read(&mut piece)?;
        answer.extend_from_slice(piece.get(..count).unwrap_or_default());
        if count == 0 || HEALTH_BYTES_MAX < answer.len() || is_whole(&answer) {
            return Ok(answer);
        }
    }
}

/// The authority with its port, and the path, of an `http://` URL.
fn split_url(url: &str) -> Result<(String, &str), String> {
    let rest = url
        .strip_prefix("http://")
        .ok_or("only http:// is asked; name the admin listener, which speaks it")?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let is_plain = |it: &str| it.bytes().all(|it| it.is_ascii_graphic());
    if authority.is_empty() || !is_plain(authority) || !is_plain(path) || authority.contains('@') {
        return Err("not a URL; give one such as http://127.0.0.1:9090".into());
    }
    // The last `:` of an IPv6 address in brackets is within them, unless a port follows.
    let has_port = authority.rsplit(']').next().is_some_and(|it| it.contains(':'));
    let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    Ok((authority, if path.is_empty() || path == "/" { HEALTH_PATH } else { path }))
}

/// Whether the answer is complete by its `content-length`; without one it ends with the connection.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|it| it <= body.len())
}

/// The health status in an answer, or how the answer is not one of health.
fn status(answer: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(answer);
    let not_health =
        || "the answer is not one of a health endpoint; name the admin listener".to_owned();
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(not_health)?;
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let code = words.nth(1).filter(|_| head.starts_with("HTTP/1.")).ok_or_else(not_health)?;
    let status = serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|it| it.get("status")?.as_str().map(str::to_owned));
    match status {
        Some(status) if code == "200" || status != "UP" => Ok(status.escape_debug().to_string()),
        Some(_) | None if code != "200" => Err(format!("HTTP status {}", code.escape_debug())),
        Some(_) | None => Err(not_health()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

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

    #[test]
    fn an_unspecified_address_is_reached_over_loopback() {
        let check = |listen: &str, expected: &str| {
            let address = reachable(listen.parse().expect("an address"));
            assert_eq!(address.to_string(), expected);
        };
        check("0.0.0.0:9090", "127.0.0.1:9090");
        check("[::]:9090", "[::1]:9090");
        check("10.1.2.3:9090", "10.1.2.3:9090");
    }

    #[test]
    fn urls_have_a_port_and_a_path_in_the_end() {
        let check = |url: &str, expected: Option<(&str, &str)>| {
            let split = split_url(url).ok();
            let split = split.as_ref().map(|(authority, path)| (authority.as_str(), *path));
            assert_eq!(split, expected, "{url}");
        };
        check("http://a:1", Some(("a:1", HEALTH_PATH)));
        check("http://a/", Some(("a:80", HEALTH_PATH)));
        check("http://[::1]", Some(("[::1]:80", HEALTH_PATH)));
        check("http://[::1]:9/x?y", Some(("[::1]:9", "/x?y")));
        for wrong in ["", "a:1", "https://a", "http://", "http:///x", "http://a b", "http://u@a"] {
            check(wrong, None);
        }
    }

    #[test]
    fn only_up_is_healthy() {
        let check = |answer: &str, expected: Result<&str, &()>| {
            let status = status(answer.as_bytes()).map_err(drop);
            assert_eq!(status.as_deref(), expected, "{answer}");
        };
        check("HTTP/1.1 200 OK\r\n\r\n{\"status\":\"UP\"}", Ok("UP"));
        check("HTTP/1.1 200 OK\r\n\r\n{\"status\":\"DOWN\"}", Ok("DOWN"));
        check("HTTP/1.1 503 x\r\n\r\n{\"status\":\"OUT_OF_SERVICE\"}", Ok("OUT_OF_SERVICE"));
        check("HTTP/1.1 503 x\r\n\r\n{\"status\":\"UP\"}", Err(&()));
        check("HTTP/1.1 404 x\r\n\r\nnothing", Err(&()));
        check("HTTP/1.1 200 OK\r\n\r\n{}", Err(&()));
        check("HTTP/1.1 200 OK", Err(&()));
        check("", Err(&()));
        check("SSH-2.0-x\r\n\r\n", Err(&()));
    }

    /// Serves one connection with `answer` and returns what the health check makes of it.
    fn ask_a_server_that_answers(
        answer: &'static str,
        timeout: Duration,
    ) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut request = [0; 1024];
                let count = stream.read(&mut request).expect("a request");
                assert!(
                    request[..count].starts_with(b"GET /actuator/health/liveness HTTP/1.1\r\n")
                );
                stream.write_all(answer.as_bytes()).expect("a reader");
                // Held open until the other side has seen enough or given up.
                stream.read(&mut request).map_or(0, |it| it)
            });
            ask(&url, timeout)
        })
    }

    #[test]
    fn an_answer_ends_with_its_length_although_the_connection_stays() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"UP\"}";
        assert_eq!(ask_a_server_that_answers(answer, HEALTH_TIMEOUT), Ok("UP".into()));
    }

    #[test]
    fn a_server_that_hangs_is_not_waited_for() {
        let answer = ask_a_server_that_answers("HTTP/1.1 200 OK\r\n", Duration::from_millis(50));
        assert_eq!(answer, Err("no answer within 50ms".into()));
    }

    #[test]
    fn nobody_there_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let error = ask(&format!("http://{address}"), HEALTH_TIMEOUT).expect_err("nobody listens");
        assert!(error.starts_with(&format!("cannot connect to {address}: ")), "{error}");
    }
}
