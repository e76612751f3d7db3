//! Where and how a run took place, for whoever reads its figures later; and the limits it needs.

use anyhow::Context as _;
use rustix::process::Resource;
use rustix::process::Rlimit;
use serde::Serialize;

use crate::clock;

/// The machine and the command.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// When the run began, in seconds since 1970.
    pub started_at_unix: u64,
    /// Name, release and build of the kernel.
    pub kernel: String,
    /// Model of the first CPU.
    pub cpu_model: String,
    /// CPUs that are online.
    pub cpus_count: usize,
    /// Open files this process may have, after it asked for as many as it can get.
    pub nofile: u64,
    /// Load of the machine over the last minute when the run began.
    pub load_average: f64,
    /// Version of this tool.
    pub bench_version: &'static str,
    /// The command line.
    pub command: Vec<String>,
}

impl Environment {
    /// Looks around and raises the limit of open files as far as it goes.
    ///
    /// # Errors
    ///
    /// The limit cannot be raised to what it may be.
    pub fn prepare() -> anyhow::Result<Self> {
        let uname = rustix::system::uname();
        let words = [uname.sysname(), uname.release(), uname.version(), uname.machine()];
        let kernel: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Self {
            started_at_unix: clock::unix_seconds(),
            kernel: kernel.join(" "),
            cpu_model: value_of(&cpus, "model name").unwrap_or("unknown").to_owned(),
            cpus_count: cpus.lines().filter(|line| line.starts_with("processor")).count(),
            nofile: raise_nofile()?,
            load_average: load.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0.0),
            bench_version: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
        })
    }
}

fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn raise_nofile() -> anyhow::Result<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised)
        .context("cannot raise the limit of open files")?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_a_kernel_cpus_and_files() {
        let environment = Environment::prepare().unwrap();
        assert!(environment.kernel.starts_with("Linux"));
        assert!(0 < environment.cpus_count);
        assert!(64 < environment.nofile);
        assert_eq!(value_of("a\t: b c\n", "a"), Some("b c"));
    }
}
