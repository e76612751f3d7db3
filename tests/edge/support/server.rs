//! The server as a process: started on free ports, ended by SIGTERM with exit 0.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;

use super::PATIENCE;
use super::http::ask;

/// Which driver the server is told to use, and must then report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    /// Completions from the kernel's ring.
    IoUring,
    /// Readiness from epoll.
    Epoll,
}

impl Driver {
    /// The driver's name in flags and in health.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// A running server. Dropping it sends SIGTERM and asserts that it exits with 0.
pub(crate) struct Server {
    child: Child,
    output: Receiver<String>,
    seen: Vec<String>,
    driver: Driver,
    /// Where clients connect.
    pub(crate) public: SocketAddr,
    /// Where operators look.
    pub(crate) admin: SocketAddr,
}

impl Server {
    /// Starts a server of two cores with nothing set besides its driver.
    pub(crate) fn start(driver: Driver) -> Self {
        Self::start_with(driver, &[])
    }

    /// Starts a server of two cores, unless told otherwise; each of `settings` is a
    /// `section.key=value`.
    pub(crate) fn start_with(driver: Driver, settings: &[&str]) -> Self {
        Self::start_as(program(), driver, settings)
    }

    /// Starts a server through `command`, whose further arguments may be the server's own.
    pub(crate) fn start_as(mut command: Command, driver: Driver, settings: &[&str]) -> Self {
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        if !settings.iter().any(|it| it.starts_with("server.cores=")) {
            command.args(["--cores", "2"]);
        }
        command.args(["--driver", driver.name()]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server's binary was built before the tests");
        let (sender, output) = mpsc::channel();
        forward(child.stdout.take().expect("piped above"), sender.clone());
        forward(child.stderr.take().expect("piped above"), sender);

        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let (public, admin) = (nowhere, nowhere);
        let mut server = Self { child, output, seen: Vec::new(), driver, public, admin };
        server.public = server.await_address("listening on ws");
        server.admin = server.await_address("admin on http");
        server.assert_driver();
        server
    }

    /// Opens a plain connection to the public listener that gives up reading after [`PATIENCE`].
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.public).expect("the public listener accepts");
        stream.set_nodelay(true).expect("a fresh socket takes options");
        stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket takes options");
        stream
    }

    /// Asserts what both listeners say of liveness, readiness and the whole, as status and word,
    /// and that `ringway healthcheck` goes by the first.
    #[track_caller]
    pub(crate) fn assert_health(&self, expected: [(u16, &str); 3]) {
        for address in [self.public, self.admin] {
            let paths = ["/liveness", "/readiness", ""];
            for (path, (status, word)) in paths.into_iter().zip(expected) {
                let request = format!(
                    "GET /actuator/health{path} HTTP/1.1\r\nHost: localhost\r\n\
                     Connection: close\r\n\r\n"
                );
                let answer = ask(address, &request);
                let body: Value = serde_json::from_str(&answer.body).expect("health is JSON");
                let said = (answer.status, body["status"].as_str().unwrap_or_default());
                assert_eq!(said, (status, word), "{path} on {address}: {body}");
            }
        }
        let url = format!("http://{}/actuator/health/liveness", self.admin);
        let mut check = program();
        let status = check.args(["healthcheck", "--url", &url]).status().expect("it starts");
        assert_eq!(status.success(), expected[0].0 == 200);
    }

    /// Sums the series called `name` whose labels contain `label`; 0 when there is none yet.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let page = ask(self.admin, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(page.status, 200, "{page:?}");
        let of_name = |line: &&str| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            rest.starts_with(['{', ' ']) && rest.contains(label)
        };
        let value = |line: &str| {
            let last = line.rsplit(' ').next().expect("a split has a last part");
            last.parse::<f64>().expect("a sample ends in a number")
        };
        page.body.lines().filter(of_name).map(value).sum()
    }

    /// Waits until the sum of `name` is `expected`.
    #[track_caller]
    pub(crate) fn await_metric(&self, name: &str, label: &str, expected: f64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.metric(name, label);
            if (value - expected).abs() < f64::EPSILON {
                return;
            }
            assert!(Instant::now() < deadline, "{name}{{{label}}} is {value}, not {expected}");
            // A figure on a page announces nothing: looking again is the only way.
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for a line of the server's output that contains `text`, and returns it.
    #[track_caller]
    pub(crate) fn await_line(&mut self, text: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        self.await_next_line(text, PATIENCE)
    }

    /// The same for a line that it has not shown yet, and that may take longer.
    #[track_caller]
    pub(crate) fn await_next_line(&mut self, text: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.output.recv_timeout(left) else {
                panic!("the server never said {text:?}; it said:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Asks the server to end.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id is a positive i32");
        let id = Pid::from_raw(id).expect("a process id is a positive i32");
        rustix::process::kill_process(id, signal).expect("our child is there until we wait");
    }

    /// Ends the server, and returns all that it has said.
    #[track_caller]
    pub(crate) fn end(&mut self) -> &[String] {
        self.end_by(Signal::TERM)
    }

    /// As [`Server::end`], by another signal.
    #[track_caller]
    pub(crate) fn end_by(&mut self, signal: Signal) -> &[String] {
        self.signal(signal);
        self.await_exit();
        self.seen.extend(self.output.iter());
        &self.seen
    }

    /// Waits until the process has ended.
    #[track_caller]
    pub(crate) fn await_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "still running {PATIENCE:?} after the signal");
            // std has no wait with a deadline.
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn await_address(&mut self, announcement: &str) -> SocketAddr {
        let line = self.await_line(announcement);
        let (_, address) = line.split_once("://").expect("an announcement is a URL");
        let address = address.split(['/', ' ']).next().expect("a split has a first part");
        address.parse().unwrap_or_else(|_| panic!("no address and port in {line:?}"))
    }

    fn assert_driver(&self) {
        let health = ask(self.admin, "GET /actuator/health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let body: Value = serde_json::from_str(&health.body).expect("health is JSON");
        assert_eq!(body["details"]["driver"], self.driver.name(), "{health:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            // The test has failed already: end the process whatever it does, and show what it said.
            self.child.kill().expect("our child is there until we wait");
            self.child.wait().expect("our child can be waited for");
            self.seen.extend(self.output.iter());
            eprintln!("the server said:\n{}", self.seen.join("\n"));
            return;
        }
        if self.child.try_wait().expect("our child can be waited for").is_none() {
            self.signal(Signal::TERM);
        }
        let status = self.await_exit();
        assert_eq!(status.code(), Some(0), "the server ended with {status}");
    }
}

/// The server's binary as a command without arguments.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ringway"))
}

/// Passes on every line of `source`, so that the server never waits for a reader.
fn forward(source: impl Read + Send + 'static, sink: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            if sink.send(line).is_err() {
                return;
            }
        }
    });
}
