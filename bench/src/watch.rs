//! What the kernel says of a server from outside: processor time and memory of its processes or its
//! control group, and what sockets take.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Deserialize;
use serde::Serialize;

use crate::cpu;

/// Where control groups are, with version 2 and with version 1.
const GROUPS: &str = "/sys/fs/cgroup";

/// The server that is looked at.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    pid: Option<u32>,
    cgroup: Option<Cgroup>,
}

/// Files of one control group.
#[derive(Clone, Debug)]
struct Cgroup {
    cpu: PathBuf,
    memory: PathBuf,
}

/// Memory in bytes; what is not known is not there.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Proportional set size of the server: what it holds, shared pages divided by those who share.
    pub pss_bytes: Option<u64>,
    /// Resident set size of the server: shared pages counted whole.
    pub rss_bytes: Option<u64>,
    /// What its control group is charged for, the kernel's share included.
    pub cgroup_bytes: Option<u64>,
    /// What its control group is charged for the buffers of sockets.
    pub cgroup_socket_bytes: Option<u64>,
    /// Buffers of all TCP sockets of the machine, those of the generator included.
    pub tcp_bytes: u64,
    /// The kernel's own objects, sockets among them, of the whole machine.
    pub slab_bytes: u64,
}

impl Watch {
    /// A look at process `pid` and its children, and at `cgroup`.
    ///
    /// # Errors
    ///
    /// There is no such process or group.
    pub fn new(pid: Option<u32>, cgroup: Option<&Path>) -> anyhow::Result<Self> {
        let watch = Self { pid, cgroup: cgroup.map(Cgroup::find).transpose()? };
        watch.cpu_ns()?;
        Ok(watch)
    }

    /// Whether there is anything to look at.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.pid.is_none() && self.cgroup.is_none()
    }

    /// The process that is looked at.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Processor time used so far; the control group's where one is named.
    ///
    /// # Errors
    ///
    /// The server has ended.
    pub fn cpu_ns(&self) -> anyhow::Result<Option<u64>> {
        if let Some(cgroup) = &self.cgroup {
            return cgroup.cpu_ns().map(Some);
        }
        let Some(pid) = self.pid else { return Ok(None) };
        let own_ns = cpu::used_ns(pid).context("the server is gone")?;
        let children = cpu::family(pid);
        // A child that has ended meanwhile is counted no more.
        let children_ns: u64 =
            children.iter().skip(1).filter_map(|child| cpu::used_ns(*child).ok()).sum();
        Ok(Some(own_ns + children_ns))
    }

    /// Time that the server waited for a CPU.
    ///
    /// # Errors
    ///
    /// The server has ended.
    pub fn waited_ns(&self) -> anyhow::Result<Option<u64>> {
        self.pid.map(cpu::waited_ns).transpose().context("the server is gone")
    }

    /// Resident memory, read in a way that costs the server nothing.
    #[must_use]
    pub fn rss_bytes(&self) -> Option<u64> {
        let pages = |pid: &u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
            text.split(' ').nth(1)?.parse::<u64>().ok()
        };
        let pages: u64 = cpu::family(self.pid?).iter().filter_map(pages).sum();
        Some(pages * rustix::param::page_size() as u64)
    }

    /// Memory now. The walk through the page tables holds up a large server for a moment.
    ///
    /// # Errors
    ///
    /// The server has ended or is not ours to look at.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let mut memory = Memory {
            tcp_bytes: tcp_bytes(&read("/proc/net/sockstat")?).unwrap_or(0)
                * rustix::param::page_size() as u64,
            slab_bytes: kilobytes(&read("/proc/meminfo")?, "Slab:").unwrap_or(0),
            ..Memory::default()
        };
        if let Some(pid) = self.pid {
            let own = read(&format!("/proc/{pid}/smaps_rollup"))?;
            let mut texts = vec![own];
            for child in cpu::family(pid).iter().skip(1) {
                texts.extend(fs::read_to_string(format!("/proc/{child}/smaps_rollup")).ok());
            }
            let sum = |name| Some(texts.iter().filter_map(|text| kilobytes(text, name)).sum());
            memory.pss_bytes = sum("Pss:");
            memory.rss_bytes = sum("Rss:");
        }
        if let Some(cgroup) = &self.cgroup {
            memory.cgroup_bytes = cgroup.memory_bytes();
            memory.cgroup_socket_bytes = cgroup.socket_bytes();
        }
        Ok(memory)
    }
}

impl Cgroup {
    fn find(path: &Path) -> anyhow::Result<Self> {
        let below = path.strip_prefix(GROUPS).unwrap_or(path);
        let below = below.strip_prefix("/").unwrap_or(below);
        let under = |controller: &str| Path::new(GROUPS).join(controller).join(below);
        for (cpu, memory) in [("", ""), ("cpuacct", "memory"), ("cpu,cpuacct", "memory")] {
            let group = Self { cpu: under(cpu), memory: under(memory) };
            if group.cpu_ns().is_ok() {
                return Ok(group);
            }
        }
        anyhow::bail!("there is no control group {} with a cpu controller", path.display())
    }

    fn cpu_ns(&self) -> anyhow::Result<u64> {
        if let Ok(text) = fs::read_to_string(self.cpu.join("cpuacct.usage")) {
            return Ok(text.trim().parse()?);
        }
        let text = fs::read_to_string(self.cpu.join("cpu.stat"))?;
        let used_us = field(&text, "usage_usec ").context("cpu.stat has no usage_usec")?;
        Ok(used_us * 1000)
    }

    fn memory_bytes(&self) -> Option<u64> {
        let read = |name| fs::read_to_string(self.memory.join(name)).ok();
        read("memory.current").or_else(|| read("memory.usage_in_bytes"))?.trim().parse().ok()
    }

    fn socket_bytes(&self) -> Option<u64> {
        field(&fs::read_to_string(self.memory.join("memory.stat")).ok()?, "sock ")
    }
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Pages in `TCP: inuse 6 orphan 0 tw 2 alloc 6 mem 249`.
fn tcp_bytes(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    line.split_once(" mem ")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "5-7 ---p 0 0:0 0 [rollup]\nRss:    12 kB\nPss:     3 kB\nPss_Anon: 2 kB\n";
        assert_eq!((kilobytes(text, "Pss:"), kilobytes(text, "Rss:")), (Some(3072), Some(12288)));
        assert_eq!(kilobytes("Pss_Anon: 2 kB", "Pss:"), None);
        let text = "sockets: used 29\nTCP: inuse 6 orphan 0 tw 2 alloc 6 mem 249\nUDP: mem 3\n";
        assert_eq!(tcp_bytes(text), Some(249));
        assert_eq!(field("user_usec 1\nusage_usec 7\n", "usage_usec "), Some(7));
    }

    #[test]
    fn a_process_is_seen_until_it_has_ended() {
        let watch = Watch::new(Some(std::process::id()), None).unwrap();
        let memory = watch.memory().unwrap();
        let (pss, rss) = (memory.pss_bytes.unwrap(), memory.rss_bytes.unwrap());
        assert!(0 < pss && pss <= rss && 0 < memory.slab_bytes);
        assert!(0 < watch.rss_bytes().unwrap() && watch.cpu_ns().unwrap().is_some());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(Watch::new(Some(child.id()), None).is_err());
        assert!(Watch::new(None, Some(Path::new("no-such-group"))).is_err());
        assert!(Watch::new(None, None).unwrap().is_blind());
    }
}
