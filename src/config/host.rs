//! What this host allows: processors, memory, descriptors. Reads, never sets.

use std::fs;
use std::num::NonZero;

use rustix::process::Resource;
use rustix::process::getrlimit;
use rustix::thread::sched_getaffinity;

/// The measured inputs of [`resolve`](crate::config::resolve()).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Processors that this process may run on.
    pub cpus: usize,
    /// The cgroup's CPU quota in thousandths of a processor, if it has one.
    pub cpu_quota_milli: Option<u64>,
    /// The smaller of the cgroup's memory limit and the physical memory, where one is known.
    pub memory_bytes: Option<u64>,
    /// Descriptors that this process may have once its soft limit is raised to the hard one.
    pub nofile: u64,
}

impl Host {
    /// Measures this host. What cannot be read counts as not limited.
    #[must_use]
    pub fn measure() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        // The set of rustix ends at 1024 processors; beyond, std knows at least how many there are.
        let other = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let cpus = sched_getaffinity(None).map_or_else(|_| other(), |it| it.count() as usize);
        let nofile = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        Self {
            cpus: cpus.max(1),
            cpu_quota_milli: cpu_quota_milli(&read),
            memory_bytes: memory_bytes(&read),
            nofile,
        }
    }
}

/// Reads a file as text, or `None` where there is no such file.
type ReadFile<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The smallest CPU quota of our cgroup and those around it, in thousandths of a processor.
fn cpu_quota_milli(read: ReadFile<'_>) -> Option<u64> {
    let per_mille = |quota: &str, period: &str| {
        let [quota, period] = [quota, period].map(|it| it.trim().parse::<u64>().ok());
        quota?.checked_mul(1000)?.checked_div(period?)
    };
    let unified = folders(read, None).filter_map(|folder| {
        let text = read(&format!("{folder}/cpu.max"))?;
        let (quota, period) = text.split_once(' ')?;
        per_mille(quota, period)
    });
    let legacy = folders(read, Some("cpu")).filter_map(|folder| {
        // -1 is no quota; it is no unsigned number either.
        per_mille(
            &read(&format!("{folder}/cpu.cfs_quota_us"))?,
            &read(&format!("{folder}/cpu.cfs_period_us"))?,
        )
    });
    unified.chain(legacy).min()
}

/// The smallest memory limit of our cgroup and those around it, and of the machine itself.
fn memory_bytes(read: ReadFile<'_>) -> Option<u64> {
    let limit = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let unified = folders(read, None).filter_map(|it| limit(&format!("{it}/memory.max")));
    let legacy = folders(read, Some("memory"))
        .filter_map(|it| limit(&format!("{it}/memory.limit_in_bytes")));
    unified.chain(legacy).chain(physical_bytes(read)).min()
}

/// `MemTotal` of `/proc/meminfo`, which counts in KiB.
fn physical_bytes(read: ReadFile<'_>) -> Option<u64> {
    let text = read("/proc/meminfo")?;
    let line = text.lines().find_map(|it| it.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The folders of our cgroup, from its own to the root: a limit on any of them binds us.
///
/// `controller` is that of a version 1 hierarchy, or `None` for the version 2 one. In a container
/// the path may be the host's and not exist here; then the root of the mount is our own group.
fn folders(read: ReadFile<'_>, controller: Option<&str>) -> impl Iterator<Item = String> {
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    // Each line is `number:controllers:path`; version 2 has number 0 and no controllers.
    let path = groups.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_ours = match controller {
            None => number == "0" && controllers.is_empty(),
            Some(name) => controllers.split(',').any(|it| it == name),
        };
        is_ours.then(|| path.trim_end_matches('/').to_owned())
    });
    let mount = match controller {
        None => "/sys/fs/cgroup".to_owned(),
        Some(name) => format!("/sys/fs/cgroup/{name}"),
    };
    let first = path.unwrap_or_default();
    let above = |path: &String| path.rfind('/').and_then(|at| path.get(..at)).map(str::to_owned);
    std::iter::successors(Some(first), above).map(move |path| format!("{mount}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], quota: Option<u64>, memory: Option<u64>) {
        let read = |path: &str| {
            files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
        };
        assert_eq!(cpu_quota_milli(&read), quota);
        assert_eq!(memory_bytes(&read), memory);
    }

    #[test]
    fn without_cgroups_there_is_no_quota_and_memory_is_physical() {
        check(&[], None, None);
        check(
            &[("/proc/meminfo", "MemTotal:        2048 kB\nMemFree: 1 kB\n")],
            None,
            Some(2 << 20),
        );
    }

    #[test]
    fn version_2_is_limited_by_the_smallest_on_the_way_up() {
        check(
            &[
                ("/proc/self/cgroup", "0::/a/b\n"),
                ("/proc/meminfo", "MemTotal: 1048576 kB\n"),
                ("/sys/fs/cgroup/a/b/cpu.max", "250000 100000\n"),
                ("/sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
                ("/sys/fs/cgroup/cpu.max", "max 100000\n"),
                ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("/sys/fs/cgroup/a/memory.max", "536870912\n"),
            ],
            Some(1500),
            Some(512 << 20),
        );
    }

    #[test]
    fn in_a_namespace_the_mount_is_our_own_group() {
        check(
            &[
                ("/proc/self/cgroup", "0::/\n"),
                ("/sys/fs/cgroup/cpu.max", "50000 100000\n"),
                ("/sys/fs/cgroup/memory.max", "1073741824\n"),
            ],
            Some(500),
            Some(1 << 30),
        );
    }

    #[test]
    fn version_1_has_a_folder_per_controller() {
        check(
            &[
                ("/proc/self/cgroup", "4:memory:/docker/x\n2:cpu,cpuacct:/docker/x\n0::/\n"),
                ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n"),
                ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
                ("/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "1048576\n"),
                ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
            Some(2000),
            Some(1 << 20),
        );
        check(
            &[
                ("/proc/self/cgroup", "2:cpu:/\n"),
                ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
                ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ],
            None,
            None,
        );
    }

    #[test]
    fn nonsense_is_no_limit() {
        check(
            &[
                ("/proc/self/cgroup", "what\n0::\n"),
                ("/sys/fs/cgroup/cpu.max", "100000 0\n"),
                ("/sys/fs/cgroup/memory.max", "-5\n"),
                ("/proc/meminfo", "MemTotal: many kB\n"),
            ],
            None,
            None,
        );
    }

    #[test]
    fn this_host_has_at_least_a_processor_and_some_descriptors() {
        let host = Host::measure();
        assert!(1 <= host.cpus);
        assert!(1 <= host.nofile);
        assert!(host.memory_bytes.is_some_and(|it| 1 << 20 < it));
    }
}
