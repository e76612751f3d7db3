//! Where and how a run took place, for whoever reads its figures later; and the limits it needs.

use std::collections::BTreeMap;

use anyhow::Context as _;
use rustix::process::Resource;
use rustix::process::Rlimit;
use serde::Deserialize;
use serde::Serialize;

use crate::clock;

const SYSCTLS: &[&str] = &[
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// The machine and the command.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Environment {
    /// When the run began, in seconds since 1970.
    pub started_at_unix: u64,
    /// Name, release and build of the kernel.
    pub kernel: String,
    /// Model of the first CPU.
    pub cpu_model: String,
    /// CPUs that are online.
    pub cpus_count: usize,
    /// Memory of the machine, in bytes.
    pub memory_bytes: u64,
    /// Open files this process may have, after it asked for as many as it can get.
    pub nofile: u64,
    /// Settings of the kernel that matter to many connections, by name.
    pub sysctls: BTreeMap<String, String>,
    /// Load of the machine over the last minute when the run began.
    pub load_average: f64,
    /// Version of this tool.
    pub bench_version: String,
    /// The command line.
    pub command: Vec<String>,
}

impl Environment {
    /// Looks around, and raises the limit of open files as far as it goes.
    ///
    /// # Errors
    ///
    /// The limit cannot be raised to what it may be.
    pub fn look_around() -> anyhow::Result<Self> {
        let uname = rustix::system::uname();
        let words = [uname.sysname(), uname.release(), uname.version(), uname.machine()];
        let kernel: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let cpus = read("/proc/cpuinfo");
        let load = read("/proc/loadavg");
        Ok(Self {
            started_at_unix: clock::unix_seconds(),
            kernel: kernel.join(" "),
            cpu_model: value_of(&cpus, "model name").unwrap_or("unknown").to_owned(),
            cpus_count: cpus.lines().filter(|line| line.starts_with("processor")).count(),
            memory_bytes: value_of(&read("/proc/meminfo"), "MemTotal")
                .and_then(|it| it.strip_suffix(" kB")?.parse::<u64>().ok())
                .map_or(0, |kilobytes| kilobytes * 1024),
            nofile: raise_nofile()?,
            sysctls: SYSCTLS.iter().map(|name| ((*name).to_owned(), sysctl(name))).collect(),
            load_average: load.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0.0),
            bench_version: env!("CARGO_PKG_VERSION").to_owned(),
            command: without_secrets(std::env::args()),
        })
    }
}

/// The words of a command line, what follows a flag for a secret taken out.
fn without_secrets(words: impl Iterator<Item = String>) -> Vec<String> {
    const FLAGS: &[&str] = &["--jwt-secret", "--passcode", "--token"];
    let mut is_next_hidden = false;
    let mut told = Vec::new();
    for word in words {
        let (flag, value) = word.split_once('=').map_or((&*word, None), |(a, b)| (a, Some(b)));
        let is_secret = FLAGS.contains(&flag);
        told.push(if std::mem::take(&mut is_next_hidden) {
            "hidden".to_owned()
        } else if is_secret && value.is_some() {
            format!("{flag}=hidden")
        } else if let Some((before, host)) = word.rsplit_once('@')
            && let Some((scheme, _)) = before.split_once("://")
        {
            format!("{scheme}://hidden@{host}")
        } else {
            is_next_hidden = is_secret;
            word
        });
    }
    told
}

fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn sysctl(name: &str) -> String {
    let words = read(&format!("/proc/sys/{}", name.replace('.', "/")));
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Raises the limit of open files as far as it goes, and tells how far that is.
///
/// # Errors
///
/// The limit cannot be raised to what it may be.
pub fn raise_nofile() -> anyhow::Result<u64> {
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
    fn no_secret_of_the_command_line_is_told() {
        let line = "b --token t --jwt-secret=s --rate 5 --redis redis://u:p@h:1 --token-in query";
        let told = without_secrets(line.split(' ').map(str::to_owned)).join(" ");
        let expected = "b --token hidden --jwt-secret=hidden --rate 5 --redis redis://hidden@h:1 \
                        --token-in query";
        assert_eq!(told, expected);
    }

    #[test]
    fn a_machine_has_a_kernel_cpus_and_files() {
        let environment = Environment::look_around().unwrap();
        assert!(environment.kernel.starts_with("Linux"));
        assert!(0 < environment.cpus_count);
        assert!(64 < environment.nofile && 0 < environment.memory_bytes);
        assert!(!environment.sysctls["net.core.somaxconn"].is_empty());
        assert_eq!(value_of("a\t: b c\n", "a"), Some("b c"));
    }
}
