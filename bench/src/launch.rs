//! Servers that this tool starts: where they listen, whether they live, and how they end.

use std::fs::File;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
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
use crate::url::Url;

/// A server must say where it listens within this time.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// A server that was asked to end is killed after this time.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a starting or ending server is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Which CPU the server runs on and which one this process does.
#[derive(Clone, Copy, Debug)]
pub struct Cpus {
    /// For servers.
    pub server: usize,
    /// For the generator.
    pub generator: usize,
}

/// A server that runs until this is dropped.
pub struct Server {
    /// What it is called in messages.
    name: String,
    /// Where it listens.
    pub url: Url,
    /// Its admin listener, where it has one.
    pub admin: Option<SocketAddr>,
    child: Child,
    /// What it prints: a file, so that it never waits for a reader.
    log: PathBuf,
}

impl Server {
    /// Starts `command` on its CPU and waits until it has printed `listening on …`; for
    /// `has_admin` also until it has printed `admin on …`.
    ///
    /// # Errors
    ///
    /// It cannot be started, ended at once, or did not say where it listens.
    pub fn start(
        name: &str,
        mut command: Command,
        cpus: Cpus,
        has_admin: bool,
    ) -> anyhow::Result<Self> {
        let number = clock::elapsed_ns(*crate::STARTED_AT, clock::now());
        let log = format!("ringway-bench-{}-{number}.log", std::process::id());
        let log = std::env::temp_dir().join(log);
        let output = File::create(&log).with_context(|| format!("cannot write {log:?}"))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // A child inherits the CPU of its parent; so the parent visits it for a moment.
        cpu::pin(cpus.server)?;
        let spawned = command.spawn();
        cpu::pin(cpus.generator)?;
        let child = spawned.with_context(|| format!("cannot start {command:?}"))?;
        let url =
            Url { address: ([0, 0, 0, 0], 0).into(), host: String::new(), path: String::new() };
        let mut server = Self { name: name.to_owned(), url, admin: None, child, log };
        let deadline = clock::now() + START_TIMEOUT;
        loop {
            let (url, admin) = find_addresses(&server.output())?;
            if let Some(url) = url
                && (admin.is_some() || !has_admin)
            {
                server.url = url;
                server.admin = admin;
                return Ok(server);
            }
            server.ensure_alive()?;
            anyhow::ensure!(
                clock::now() < deadline,
                "{name} did not print where it listens within {START_TIMEOUT:?}:\n{}",
                server.output()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
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

    /// The `details.driver` of its health, where it has an admin listener.
    ///
    /// # Errors
    ///
    /// The admin listener does not answer with JSON.
    pub fn driver(&self) -> anyhow::Result<Option<String>> {
        let Some(admin) = self.admin else { return Ok(None) };
        let body =
            http_get(admin, "/actuator/health").context("cannot read the server's health")?;
        let health: serde_json::Value = serde_json::from_str(&body)
            .with_context(|| format!("the server's health is not JSON: {body}"))?;
        Ok(health["details"]["driver"].as_str().map(str::to_owned))
    }

    /// Asks it to end and waits until it has; kills it when it takes too long.
    ///
    /// # Errors
    ///
    /// It had ended before.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.ensure_alive()?;
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = clock::now() + STOP_TIMEOUT;
        while clock::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
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
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.log));
    }
}

/// Finds the addresses in what a server prints: `listening on ws://HOST:PORT/PATH` or
/// `listening on HOST:PORT`, and `admin on http://HOST:PORT`.
fn find_addresses(output: &str) -> anyhow::Result<(Option<Url>, Option<SocketAddr>)> {
    let mut url = None;
    let mut admin = None;
    // A line without its end may lack half of the port.
    for line in output.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        if let Some(text) = word_after(line, "listening on ")
            && url.is_none()
        {
            let has_scheme = text.starts_with("ws://");
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

fn http_get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
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
        check(
            "hi\n  listening on ws://127.0.0.1:8080/ws (2 shards)\nadmin on http://127.0.0.1:9\n",
            (Some("ws://127.0.0.1:8080/ws"), Some("127.0.0.1:9")),
        );
    }

    #[test]
    fn a_server_that_ends_at_once_is_reported_with_its_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such luck; exit 3"]);
        let cpu = rustix::thread::sched_getcpu();
        let cpus = Cpus { server: cpu, generator: cpu };
        let error = Server::start("it", command, cpus, false).err().unwrap().to_string();
        assert!(error.contains("no such luck") && error.contains("exit status: 3"), "{error}");
    }
}
