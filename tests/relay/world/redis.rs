//! `redis-server` as a process: on a free port, in a folder of its own, ended by its own handle.

use std::fs;
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread;

use tempfile::TempDir;

use super::Certificates;
use super::Reply;
use super::Resp;
use super::await_some;
use super::await_true;

/// The password of the user `default` where a Redis has one.
pub(crate) const ADMIN_PASSWORD: &str = "of-the-admin";

/// Below the ports that a kernel gives to outgoing connections, so that a Redis that is killed
/// finds its port free when it comes back.
const PORTS: std::ops::Range<u16> = 10_240..32_000;

/// A port that nobody listens on now, and that no other test of this process was given.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let span = u32::from(PORTS.end - PORTS.start);
    // Processes that test at the same time begin at different places.
    let begin = process::id().wrapping_mul(7_919) % span;
    loop {
        let step = (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % span;
        let port = PORTS.start + u16::try_from(step).expect("a remainder is below the span");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A running Redis. Dropping it kills it.
pub(crate) struct Redis {
    child: Option<Child>,
    folder: TempDir,
    settings: Vec<String>,
    password: Option<&'static str>,
    /// The address of this host that it listens on.
    pub(crate) host: &'static str,
    /// Where it listens without TLS.
    pub(crate) port: u16,
    /// Where it listens with TLS, if it does.
    pub(crate) tls_port: Option<u16>,
}

impl Redis {
    /// One that anybody may use.
    pub(crate) fn plain() -> Self {
        Self::with(&[])
    }

    /// One with further settings, each a flag or its value.
    pub(crate) fn with(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        Self::start(folder, settings.iter().map(|it| (*it).to_owned()).collect(), None, None)
    }

    /// One with the same settings and on the same port as `other`, at another address.
    pub(crate) fn beside(other: &Self) -> Self {
        let mut redis = Self {
            child: None,
            folder: tempfile::tempdir().expect("there is room for a folder"),
            settings: other.settings.clone(),
            password: other.password,
            host: "127.0.0.2",
            port: other.port,
            tls_port: None,
        };
        assert!(redis.try_start(), "{}", redis.log());
        redis
    }

    /// One with the rules of an ACL file; its user `default` may do all with [`ADMIN_PASSWORD`].
    pub(crate) fn with_acl(rules: &str) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let settings = write_acl(folder.path(), rules);
        Self::start(folder, settings, Some(ADMIN_PASSWORD), None)
    }

    /// As [`Redis::with_acl`], which also listens with TLS under a certificate of `certificates`.
    pub(crate) fn with_acl_and_tls(rules: &str, certificates: &Certificates) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let mut settings = write_acl(folder.path(), rules);
        let files = certificates.write(folder.path());
        let tls_port = free_port();
        settings.extend(["--tls-port".to_owned(), tls_port.to_string()]);
        settings.extend(["--tls-auth-clients".to_owned(), "no".to_owned()]);
        let flags = ["--tls-ca-cert-file", "--tls-cert-file", "--tls-key-file"];
        for (flag, file) in flags.into_iter().zip([files.ca, files.certificate, files.key]) {
            settings.extend([flag.to_owned(), file.display().to_string()]);
        }
        Self::start(folder, settings, Some(ADMIN_PASSWORD), Some(tls_port))
    }

    fn start(
        folder: TempDir,
        settings: Vec<String>,
        password: Option<&'static str>,
        tls_port: Option<u16>,
    ) -> Self {
        let host = "127.0.0.1";
        let mut redis = Self { child: None, folder, settings, password, host, port: 0, tls_port };
        loop {
            redis.port = free_port();
            if redis.try_start() {
                return redis;
            }
            // Somebody else took the port since; another failure would repeat, and its log says it.
            let log = redis.log();
            assert!(log.contains("Address already in use"), "{log}");
        }
    }

    /// Starts the process on its port and waits until it answers; false when it ends instead.
    fn try_start(&mut self) -> bool {
        let log = File::create(self.folder.path().join("log")).expect("the folder takes files");
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", self.host]);
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.arg("--dir").arg(self.folder.path()).args(&self.settings);
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        let child = command.spawn().expect("redis-server is installed: ./test does it");
        let child = self.child.insert(child);
        let has_ended = await_some("the start of redis-server", || {
            let answers = Resp::try_connect(self.host, self.port);
            let answers = answers.and_then(|mut it| it.try_ask(&["PING"]));
            let ended = child.try_wait().expect("our child can be waited for").is_some();
            (ended || answers.is_some_and(|it| !is_loading(&it))).then_some(ended)
        });
        !has_ended
    }

    /// A connection that may do everything.
    #[track_caller]
    pub(crate) fn client(&self) -> Resp {
        let mut client = Resp::connect(self.host, self.port);
        if let Some(password) = self.password {
            client.ask(&["AUTH", password]);
        }
        client
    }

    /// The setting that points a server here.
    pub(crate) fn setting(&self) -> String {
        format!("relay.url=redis://{}:{}", self.host, self.port)
    }

    /// Ends the process as the loss of its host would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("our child is there until we wait");
        child.wait().expect("our child can be waited for");
    }

    /// Starts it again on the same port, and empty.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        assert!(self.try_start(), "{}", self.log());
    }

    /// What it has said since it was started.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("redis-server on {} said:\n{}", self.port, self.log());
        }
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// A primary and the replica that follows it, on one port of two addresses.
pub(crate) struct ReplicaPair {
    /// The one that takes writes, at first.
    pub(crate) primary: Redis,
    /// The one that follows, at first.
    pub(crate) replica: Redis,
}

impl ReplicaPair {
    /// Starts both and waits until the link between them is up.
    pub(crate) fn start() -> Self {
        let primary = Redis::with(&["--repl-diskless-sync-delay", "0"]);
        let replica = Redis::beside(&primary);
        follow(&replica, &primary);
        Self { primary, replica }
    }

    /// Makes the replica a primary.
    pub(crate) fn promote(&self) {
        self.replica.client().ask(&["REPLICAOF", "NO", "ONE"]);
    }

    /// Makes the former primary follow the former replica.
    pub(crate) fn demote(&self) {
        follow(&self.primary, &self.replica);
    }
}

/// Makes `replica` follow `primary`, and waits until it does.
fn follow(replica: &Redis, primary: &Redis) {
    let mut client = replica.client();
    client.ask(&["REPLICAOF", primary.host, &primary.port.to_string()]);
    await_true("the replica's link", || client.info("replication", "master_link_status") == "up");
}

fn is_loading(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(text) if text.starts_with("LOADING"))
}

fn write_acl(folder: &Path, rules: &str) -> Vec<String> {
    let file = folder.join("users.acl");
    let rules = format!("user default on >{ADMIN_PASSWORD} ~* &* +@all\n{rules}\n");
    fs::write(&file, rules).expect("the folder takes files");
    vec!["--aclfile".to_owned(), file.display().to_string()]
}
