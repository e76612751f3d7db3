//! Who is compared: Ringway with each driver, and the peer.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use serde::Serialize;

use crate::swarm::Dialect;
use crate::versus::Driver;
use crate::versus::Parameters;

/// The name of the peer in the rows.
pub const PEER: &str = "peer";

/// Somebody who can be started and measured.
pub struct Subject {
    /// Its name in the rows.
    pub name: String,
    program: PathBuf,
    arguments: Vec<String>,
    /// The driver that must run; the peer has none.
    pub driver: Option<&'static str>,
    /// What it speaks where messages are given to many.
    pub dialect: Dialect,
}

/// Who was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// Its name in the rows.
    pub name: String,
    /// What it says of its version.
    pub version: String,
    /// How it was started.
    pub command: String,
}

/// Everybody that `parameters` name, the peer last.
///
/// # Errors
///
/// A program is not there.
pub fn subjects(parameters: &Parameters) -> anyhow::Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    let drivers: &[&str] = match parameters.driver {
        Driver::IoUring => &["io_uring"],
        Driver::Epoll => &["epoll"],
        Driver::Both => &["io_uring", "epoll"],
    };
    if let Some(server) = &parameters.server {
        for driver in drivers {
            let fixed =
                "--listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --cores 1 --echo --log-level warn";
            let mut arguments: Vec<String> = fixed.split(' ').map(str::to_owned).collect();
            arguments.extend(["--driver".to_owned(), (*driver).to_owned()]);
            arguments.extend(parameters.server_argument.iter().cloned());
            subjects.push(Subject {
                name: format!("ringway {driver}"),
                program: absolute(server)?,
                arguments,
                driver: Some(driver),
                dialect: Dialect::Stomp,
            });
        }
    }
    let peer = match &parameters.peer {
        Some(peer) => peer.clone(),
        None => std::env::current_exe()?.with_file_name("peer-broadcast"),
    };
    subjects.push(Subject {
        name: PEER.to_owned(),
        program: absolute(&peer)?,
        arguments: vec![
            "--listen".to_owned(),
            "127.0.0.1:0".to_owned(),
            "--buffer-bytes".to_owned(),
            parameters.peer_buffer_bytes.to_string(),
        ],
        driver: None,
        dialect: Dialect::Plain,
    });
    Ok(subjects)
}

fn absolute(program: &Path) -> anyhow::Result<PathBuf> {
    program.canonicalize().with_context(|| format!("{} is not there: build it", program.display()))
}

impl Subject {
    /// How to start it.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }

    /// Who it is, for the report.
    #[must_use]
    pub fn record(&self) -> Record {
        let version = Command::new(&self.program).arg("--version").output();
        let version = version.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        );
        let command = format!("{} {}", self.program.display(), self.arguments.join(" "));
        Record { name: self.name.clone(), version, command }
    }
}
