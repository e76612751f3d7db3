//! A name that moves: a hosts file of the test's own, which only the servers see that it starts.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use tempfile::NamedTempFile;

use super::Redis;
use crate::support::program;

/// What the servers call their Redis.
const HOST: &str = "redis.test";

/// Ways to a mount namespace: as root, else as root of a user namespace of one's own.
const WAYS: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];

/// Mounts the file `$0` as `/etc/hosts`, and becomes the program that follows.
const MOUNT: &str = r#"mount --bind "$0" /etc/hosts && exec "$@""#;

/// One name, as the system's resolver answers it to the servers that are started with it.
pub(crate) struct Name {
    hosts: NamedTempFile,
    way: &'static [&'static str],
}

impl Name {
    /// A name that leads to `redis`.
    ///
    /// # Panics
    ///
    /// Where no process can be given a hosts file of its own.
    pub(crate) fn of(redis: &Redis) -> Self {
        let hosts = NamedTempFile::new().expect("there is room for a file");
        let mut name = Self { hosts, way: WAYS[0] };
        name.lead_to(redis);
        let works = |way: &&&'static [&'static str]| {
            let mut getent = command(way, name.hosts.path(), "getent");
            getent.args(["hosts", HOST]).stderr(Stdio::inherit());
            let found = getent.output().expect("unshare is part of util-linux").stdout;
            String::from_utf8_lossy(&found).starts_with(redis.host)
        };
        name.way = WAYS.iter().find(works).copied().expect(
            "a mount namespace with a hosts file of its own, which this host gives neither to \
             root nor in a user namespace (kernel.unprivileged_userns_clone, \
             kernel.apparmor_restrict_unprivileged_userns; CAP_SYS_ADMIN in a container)",
        );
        name
    }

    /// From now on it leads there. Who is connected stays so.
    pub(crate) fn lead_to(&self, redis: &Redis) {
        // Of one length and in one write: who reads meanwhile sees either. Another file in this
        // one's place would not be the one that is mounted.
        let line = format!("{:<15} {HOST}\n", redis.host);
        let file: &File = self.hosts.as_file();
        file.write_all_at(line.as_bytes(), 0).expect("there is room for a line");
    }

    /// The server's binary, as one who is told of this name.
    pub(crate) fn program(&self) -> Command {
        command(self.way, self.hosts.path(), program().get_program())
    }

    /// The setting that points such a server here.
    pub(crate) fn setting(&self, port: u16) -> String {
        format!("relay.url=redis://{HOST}:{port}")
    }
}

/// `program` where `hosts` is the hosts file; it is the process that is started.
fn command(way: &[&str], hosts: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command.args(way).args(["--", "sh", "-c", MOUNT]).arg(hosts).arg(program);
    command
}
