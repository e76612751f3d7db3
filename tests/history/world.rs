//! The stores, `mariadbd` as a process among them, and servers that use them.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use tempfile::NamedTempFile;
use tempfile::TempDir;

use crate::disk::Disk;
use crate::support::Client;
use crate::support::Driver;
use crate::support::Frame;
use crate::support::PATIENCE;
use crate::support::Server;
use crate::support::program;

/// Where a server stores.
pub(crate) enum Store {
    Memory,
    Sqlite(TempDir),
    MariaDb(Box<MariaDb>),
}

impl Store {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("there is room for a folder"))
    }

    pub(crate) fn mariadb() -> Self {
        Self::MariaDb(Box::new(MariaDb::start()))
    }

    /// What RECEIPTs call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "sqlite",
            Self::MariaDb(_) => "mysql",
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Memory => "memory".to_owned(),
            Self::Sqlite(folder) => format!("sqlite://{}", folder.path().join("a.db").display()),
            Self::MariaDb(mariadb) => mariadb.url(),
        }
    }

    /// A server that stores here, and whose store is there.
    pub(crate) fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    /// The same with more arguments on its command line.
    pub(crate) fn serve_with(&self, arguments: &[&str]) -> Server {
        let mut command = program();
        command.args(arguments);
        let setting = format!("history.url={}", self.url());
        let mut server = Server::start_as(command, Driver::Epoll, &[&setting]);
        server.await_line("the store of the history is there");
        await_homes(&server);
        server
    }
}

/// A configuration in which private messages have a history, too.
pub(crate) fn routes_that_keep_all() -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("there is room for a file");
    let routes = "[[route]]\nmatch = '/app/private.{user}'\nto = '/user/{user}/queue/private'\n\
                  history = true\n\
                  [[route]]\nmatch = '/app/room.{room}'\nto = '/topic/room.{room}'\n\
                  history = true\n";
    file.write_all(routes.as_bytes()).expect("the file takes it");
    file
}

/// Waits until all cores have heard that the store is there, which the log may say earlier: a SEND
/// is refused until the home of its destination has. So many rooms have their homes on all of them.
pub(crate) fn await_homes(server: &Server) {
    const ROOMS: usize = 16;
    let mut client = Client::session(server, "probe");
    await_true("a store that all cores know", || {
        for room in 0..ROOMS {
            client.send(&format!("SEND|destination:/app/room.probe-{room}|receipt:{room}||^@"));
        }
        // All are waited for, also behind the first refusal.
        let taken = (0..ROOMS).filter(|_| client.answer().command == "RECEIPT").count();
        taken == ROOMS
    });
}

/// Ends a server as the loss of its host would.
pub(crate) fn kill(mut server: Server) {
    server.signal(Signal::KILL);
    server.await_exit();
    // Dropping it would ask how it ended.
    std::mem::forget(server);
}

/// Epoch and number of a frame.
#[track_caller]
pub(crate) fn place(frame: &Frame) -> (u64, u64) {
    let number = |name: &str| {
        frame.header(name).parse().unwrap_or_else(|_| panic!("no {name} in {frame:?}"))
    };
    (number("epoch"), number("seq"))
}

/// SUBSCRIBE to `/topic/room.1` with a wish.
#[track_caller]
pub(crate) fn subscribe(client: &mut Client, wish: &str) -> Frame {
    let wish = if wish.is_empty() { String::new() } else { format!("|{wish}") };
    client.granted(&format!("SUBSCRIBE|id:s|destination:/topic/room.1{wish}"), "")
}

/// So many MESSAGEs: their bodies and places.
#[track_caller]
pub(crate) fn messages(client: &mut Client, count: usize) -> Vec<(String, (u64, u64))> {
    let next = |_| {
        let message = client.message();
        (message.text().to_owned(), place(&message))
    };
    (0..count).map(next).collect()
}

/// The bodies of so many.
#[track_caller]
pub(crate) fn bodies(client: &mut Client, count: usize) -> Vec<String> {
    messages(client, count).into_iter().map(|(body, _)| body).collect()
}

/// Waits for what is announced by nothing.
#[track_caller]
pub(crate) fn await_true(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what} never came");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Below the ports that a kernel gives to outgoing connections, so that a database that is killed
/// finds its port free when it comes back.
const PORTS: std::ops::Range<u16> = 10_240..32_000;

fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let span = u32::from(PORTS.end - PORTS.start);
    // Processes that test at the same time begin at different places.
    let begin = (process::id().wrapping_mul(7_919) % span + span / 2) % span;
    loop {
        let step = (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % span;
        let port = PORTS.start + u16::try_from(step).expect("a remainder is below the span");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A running MariaDB with a database `ringway`. Dropping it kills it.
pub(crate) struct MariaDb {
    child: Option<Child>,
    folder: TempDir,
    port: u16,
    /// Where its data is, if not on everybody's disk.
    disk: Option<Disk>,
    /// What it is told besides.
    arguments: Vec<String>,
}

impl MariaDb {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        fs::create_dir(folder.path().join("data")).expect("the folder takes folders");
        // It lets everybody in: the tables of users are not there.
        let arguments = vec!["--skip-grant-tables".to_owned()];
        let mariadb = Self { child: None, folder, port: 0, disk: None, arguments };
        mariadb.set_init("");
        mariadb.started()
    }

    /// One that asks for passwords, and speaks TLS with this certificate and key.
    pub(crate) fn start_guarded(init: &str, certificate: &Path, key: &Path) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        fs::create_dir(folder.path().join("data")).expect("the folder takes folders");
        let tables = fs::read_to_string("/usr/share/mysql/mysql_system_tables.sql");
        let tables = tables.expect("mariadbd is installed with its own tables");
        let mut bootstrap = Command::new("mariadbd");
        bootstrap.args(["--no-defaults", "--bootstrap", "--user=root"]);
        bootstrap.arg(format!("--datadir={}", data(folder.path())));
        let log = folder.path().join("bootstrap");
        let errors = File::create(&log).expect("the folder takes files");
        bootstrap.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(errors);
        let mut bootstrap = bootstrap.spawn().expect("mariadbd is installed");
        let mut input = bootstrap.stdin.take().expect("piped above");
        let script = format!("CREATE DATABASE mysql;\nUSE mysql;\n{tables}");
        input.write_all(script.as_bytes()).expect("it reads its tables");
        drop(input);
        let done = bootstrap.wait().expect("our child can be waited for");
        assert!(done.success(), "{}", fs::read_to_string(log).unwrap_or_default());
        let arguments = [("cert", certificate), ("key", key)];
        let arguments = arguments.map(|(name, path)| format!("--ssl-{name}={}", path.display()));
        let mariadb =
            Self { child: None, folder, port: 0, disk: None, arguments: arguments.into() };
        mariadb.set_init(init);
        mariadb.started()
    }

    /// One on a disk of its own.
    pub(crate) fn start_on(disk: Disk) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let arguments =
            ["--skip-grant-tables", "--innodb-log-file-size=8M", "--innodb-autoextend-increment=1"];
        let arguments = arguments.map(str::to_owned).into();
        let mariadb = Self { child: None, folder, port: 0, disk: Some(disk), arguments };
        mariadb.set_init("");
        mariadb.started()
    }

    /// Frees what of its disk was taken.
    pub(crate) fn make_room(&self) {
        self.disk.as_ref().expect("it was started on one").make_room();
    }

    /// Statements that it runs with each start; each stands on its line.
    pub(crate) fn set_init(&self, init: &str) {
        let script = format!("CREATE DATABASE IF NOT EXISTS ringway;\n{init}");
        fs::write(self.folder.path().join("init.sql"), script).expect("the folder takes files");
    }

    /// The same from now on with one more argument, or without.
    pub(crate) fn set_argument(&mut self, argument: &str, is_given: bool) {
        self.arguments.retain(|it| it != argument);
        self.arguments.extend(is_given.then(|| argument.to_owned()));
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn started(self) -> Self {
        let mut mariadb = self;
        loop {
            mariadb.port = free_port();
            if mariadb.try_start() {
                // One that is killed before its first files have settled does not come back.
                mariadb.signal(Signal::TERM);
                let child = mariadb.child.as_mut().expect("it runs");
                child.wait().expect("our child can be waited for");
                assert!(mariadb.try_start(), "{}", mariadb.log());
                return mariadb;
            }
            // Somebody else took the port since; another failure would repeat.
            let log = mariadb.log();
            assert!(log.contains("Address already in use"), "{log}");
        }
    }

    fn try_start(&mut self) -> bool {
        // One that is told to end before it is ready does not hear it.
        let ready = |log: &str| log.matches("ready for connections").count();
        let was_ready = ready(&self.log());
        let path = self.folder.path();
        let log = File::options().create(true).append(true).open(path.join("log"));
        let log = log.expect("the folder takes files");
        let own = self.disk.as_ref().map(|it| it.program("mariadbd"));
        let mut command = own.unwrap_or_else(|| Command::new("mariadbd"));
        let data = self.disk.as_ref().map_or_else(|| path.join("data"), Disk::path);
        // It makes its own files.
        command.args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1"]);
        command.args(&self.arguments);
        command.args(["--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=32M"]);
        command.arg(format!("--port={}", self.port));
        command.arg(format!("--datadir={}", data.display()));
        command.arg(format!("--socket={}", path.join("socket").display()));
        command.arg(format!("--pid-file={}", path.join("pid").display()));
        command.arg(format!("--init-file={}", path.join("init.sql").display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = self.child.insert(command.spawn().expect("mariadbd is installed"));
        let mut has_ended = false;
        await_true("the start of mariadbd", || {
            has_ended = child.try_wait().expect("our child can be waited for").is_some();
            let log = fs::read_to_string(path.join("log")).unwrap_or_default();
            has_ended || was_ready < ready(&log)
        });
        !has_ended
    }

    pub(crate) fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}/ringway", self.port)
    }

    /// Ends the process as the loss of its host would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("our child is there until we wait");
        child.wait().expect("our child can be waited for");
    }

    /// Starts it again on the same port, with what it had committed.
    pub(crate) fn restart(&mut self) {
        assert!(self.try_start(), "{}", self.log());
    }

    /// Stops the process where it stands, or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().expect("it runs").id();
        let id = rustix::process::Pid::from_raw(i32::try_from(id).expect("a process id"));
        rustix::process::kill_process(id.expect("a process id"), signal).expect("our child");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn data(folder: &Path) -> String {
    folder.join("data").display().to_string()
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("mariadbd on {} said:\n{}", self.port, self.log());
        }
        if self.child.is_some() {
            self.kill();
        }
    }
}
