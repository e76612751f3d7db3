//! Servers that this tool starts: where they listen, whether they live, and how they end.

use std::fs::File;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Pid;
use rustix::process::Signal;

use crate::clock;
use crate::cpu;
use crate::interrupt;
use crate::plan::Place;
use crate::plan::fill;
use crate::url::Url;

/// A server that was asked to end is killed after this time.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a starting or ending server is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A server that runs until this is dropped.
pub struct Server {
    /// What it is called in messages.
    name: String,
    /// Where it listens.
    pub url: Url,
    /// How it was started.
    pub command: String,
    /// Its admin listener, where it has told of one.
    admin: Option<SocketAddr>,
    child: Child,
    /// What it prints: a file, so that it never waits for a reader.
    log: PathBuf,
}

impl Server {
    /// Starts the command of `place` on its CPUs. Without an address in `place` it is ready when it
    /// has printed `listening on …`, with one when somebody accepts there. `program` is this one.
    ///
    /// # Errors
    ///
    /// It cannot be started, ended at once, or was not ready in time.
    pub fn start(name: &str, place: &Place, here: &Path, program: &Path) -> anyhow::Result<Self> {
        let template = place.launch.as_deref().context("no command starts this server")?;
        let port = free_port()?.to_string();
        let bin = program.parent().unwrap_or(Path::new(".")).to_string_lossy().into_owned();
        let (here, cores) = (here.to_string_lossy(), place.cores.to_string());
        let values = [("here", &*here), ("bin", &*bin), ("port", &*port), ("cores", &*cores)];
        let text = fill(template, &values);
        let mut words = text.split_whitespace();
        let mut command = Command::new(words.next().context("the command is empty")?);
        command.args(words);
        // What it starts ends with it.
        command.process_group(0);
        let number = clock::to_shared_ns(clock::now());
        let log = format!("ringway-bench-{}-{number}.log", std::process::id());
        let log = std::env::temp_dir().join(log);
        let output = File::create(&log).with_context(|| format!("cannot write {log:?}"))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = spawn_on(&place.server_cpus, &mut command)
            .with_context(|| format!("cannot start {text}"))?;
        let url =
            if place.url.is_empty() { None } else { Some(fill(&place.url, &values).parse()?) };
        let nowhere: Url = "ws://127.0.0.1:1/".parse()?;
        let mut server = Self {
            name: name.to_owned(),
            url: url.clone().unwrap_or(nowhere),
            command: text,
            admin: None,
            child,
            log,
        };
        server.await_ready(url.is_some(), Duration::from_secs_f64(place.start_timeout))?;
        Ok(server)
    }

    fn await_ready(&mut self, is_known: bool, timeout: Duration) -> anyhow::Result<()> {
        let deadline = clock::now() + timeout;
        loop {
            interrupt::check()?;
            self.ensure_alive()?;
            let (url, admin) = find_addresses(&self.output())?;
            if is_known && TcpStream::connect_timeout(&self.url.address, LOOK_EVERY).is_ok() {
                return Ok(());
            }
            if let Some(url) = url.filter(|_| !is_known) {
                self.url = url;
                self.admin = admin;
                // A banner is one write, but who knows of how many lines.
                if self.admin.is_none() {
                    std::thread::sleep(LOOK_EVERY);
                    self.admin = find_addresses(&self.output())?.1;
                }
                return Ok(());
            }
            anyhow::ensure!(
                clock::now() < deadline,
                "{} was not ready within {timeout:?}:\n{}",
                self.name,
                self.output()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its admin listener, where it has told of one.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Makes a clear error of a server that has ended.
    ///
    /// # Errors
    ///
    /// It has; with what it printed last.
    pub fn ensure_alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let output = self.output();
            let start = output.lines().count().saturating_sub(20);
            let last: Vec<_> = output.lines().skip(start).collect();
            anyhow::bail!("{} ended by itself with {status}:\n{}", self.name, last.join("\n"));
        }
        Ok(())
    }

    /// The `details` of its health: version and driver, where it has an admin listener that knows
    /// them.
    #[must_use]
    pub fn version_and_driver(&self) -> (Option<String>, Option<String>) {
        let health = || -> anyhow::Result<serde_json::Value> {
            let admin = self.admin.context("no admin listener")?;
            Ok(serde_json::from_str(&http_get(admin, "/actuator/health")?)?)
        };
        let Ok(health) = health() else { return (None, None) };
        let detail = |name: &str| health["details"][name].as_str().map(str::to_owned);
        (detail("version"), detail("driver"))
    }

    /// Asks it to end and waits until it has; kills it when it takes too long.
    ///
    /// # Errors
    ///
    /// It cannot be asked.
    pub fn stop(mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = clock::now() + STOP_TIMEOUT;
        while clock::now() < deadline && !interrupt::is_wanted() {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        if interrupt::is_wanted() {
            return Ok(());
        }
        eprintln!("  {} did not end within {STOP_TIMEOUT:?} of SIGTERM and was killed", self.name);
        Ok(())
    }

    fn output(&self) -> String {
        std::fs::read(&self.log)
            .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended: then there is nothing to kill, and its status has been read.
        let group = Pid::from_child(&self.child);
        rustix::process::kill_process_group(group, Signal::KILL).unwrap_or_default();
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.log));
    }
}

/// A child inherits the CPUs of its parent; so the parent visits them for a moment.
fn spawn_on(cpus: &[usize], command: &mut Command) -> anyhow::Result<Child> {
    if cpus.is_empty() {
        return Ok(command.spawn()?);
    }
    let own = cpu::allowed()?;
    cpu::pin(cpus)?;
    let spawned = command.spawn();
    cpu::pin(&own)?;
    Ok(spawned?)
}

/// A port that is free now, of those below the ones that the kernel gives away by itself: another
/// program that asks for any port does not get it before a slow server does.
fn free_port() -> anyhow::Result<u16> {
    const PORTS: u64 = 12_000;
    let start = clock::to_shared_ns(clock::now()) / 1000 + u64::from(std::process::id());
    (0..PORTS)
        .filter_map(|step| u16::try_from(20_000 + (start + step) % PORTS).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no port is free")
}

/// Finds the addresses in what a server prints: `listening on ws://HOST:PORT/PATH`, or `wss://…`,
/// or `HOST:PORT`; and `admin on http://HOST:PORT`.
fn find_addresses(output: &str) -> anyhow::Result<(Option<Url>, Option<SocketAddr>)> {
    let mut url = None;
    let mut admin = None;
    // A line without its end may lack half of the port.
    for line in output.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        if let Some(text) = word_after(line, "listening on ")
            && url.is_none()
        {
            let has_scheme = text.contains("://");
            url = Some(if has_scheme { text.parse()? } else { format!("ws://{text}/").parse()? });
        }
        if let Some(text) = word_after(line, "admin on http://") {
            let text = text.trim_end_matches('/');
            admin = Some(text.parse().with_context(|| format!("{text} is not an address"))?);
        }
    }
    Ok((url, admin))
}

fn word_after<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(before)?;
    rest.split_whitespace().next()
}

/// The body that a GET is answered with.
///
/// # Errors
///
/// Nobody answers, or not with 200.
pub fn http_get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let timeout = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) =
        answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let status = head.lines().next().unwrap_or_default();
    anyhow::ensure!(status.contains(" 200"), "{path} answered {status}");
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(output: &str, expected: (Option<&str>, Option<&str>)) {
        let (url, admin) = find_addresses(output).unwrap();
        let (url, admin) = (url.map(|it| it.to_string()), admin.map(|it| it.to_string()));
        assert_eq!((url.as_deref(), admin.as_deref()), expected);
    }

    #[test]
    fn addresses_are_found_in_banners_and_half_lines_are_not_read() {
        check("listening on 127.0.0.1:80", (None, None));
        check("listening on 127.0.0.1:8080\n", (Some("ws://127.0.0.1:8080/"), None));
        check("listening on wss://127.0.0.1:1/\n", (Some("wss://127.0.0.1:1/"), None));
        check(
            "hi\n  listening on ws://127.0.0.1:8080/ws (2 shards)\nadmin on http://127.0.0.1:9\n",
            (Some("ws://127.0.0.1:8080/ws"), Some("127.0.0.1:9")),
        );
    }

    fn start(launch: &str, url: &str) -> anyhow::Result<Server> {
        let place = Place {
            launch: Some(launch.to_owned()),
            url: url.to_owned(),
            start_timeout: 0.5,
            ..Place::default()
        };
        Server::start("it", &place, Path::new("/somewhere"), Path::new("/nowhere/bench"))
    }

    #[test]
    fn a_free_port_is_none_that_the_kernel_gives_to_others() {
        let port = free_port().unwrap();
        assert!((20_000..32_000).contains(&port), "{port}");
        drop(TcpListener::bind(("127.0.0.1", port)).unwrap());
    }

    #[test]
    fn a_server_that_is_not_ready_is_reported_with_its_words() {
        let error = start("ls {here}/nothing", "").err().unwrap().to_string();
        assert!(error.contains("/somewhere/nothing") && error.contains("exit status"), "{error}");
        let error = start("sleep 60", "ws://127.0.0.1:{port}/").err().unwrap().to_string();
        assert!(error.contains("was not ready within 500ms"), "{error}");
    }
}
