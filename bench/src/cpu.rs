//! CPUs and processor time: where a thread may run and what a process has used.

use anyhow::Context as _;
use nix::time::ClockId;
use nix::unistd::Pid;
use rustix::thread::CpuSet;

/// Lets the calling thread, and the processes it starts from now on, run on `cpus` only.
///
/// # Errors
///
/// A CPU does not exist or is not ours.
pub fn pin(cpus: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        anyhow::ensure!(*cpu < CpuSet::MAX_CPU, "CPU {cpu} is beyond the largest that has a name");
        set.set(*cpu);
    }
    rustix::thread::sched_setaffinity(None, &set)
        .with_context(|| format!("cannot run on CPU {cpus:?}: is it online and allowed?"))
}

/// CPUs that the calling thread may run on.
///
/// # Errors
///
/// The kernel does not say.
pub fn allowed() -> anyhow::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Process `pid` and all that it started, as far as they live.
#[must_use]
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut looked_at = 0;
    while let Some(parent) = family.get(looked_at) {
        looked_at += 1;
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for task in tasks.flatten() {
            let children = std::fs::read_to_string(task.path().join("children"));
            let children = children.unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|it| it.parse::<u32>().ok()));
        }
    }
    family
}

/// Processor time that process `pid` has used since it started, in nanoseconds.
///
/// User and system time of all its threads, also of those that have ended: the workers that
/// io_uring starts are among them. A thread that is running just now may lag by one timer tick.
///
/// # Errors
///
/// The process has ended.
pub fn used_ns(pid: u32) -> anyhow::Result<u64> {
    // Process 0 would be ourselves, and the number of a clock has 29 bits for that of a process.
    anyhow::ensure!(0 < pid && pid < 1 << 29, "{pid} is not a process");
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(pid)?))
        .with_context(|| format!("process {pid} has ended"))?;
    let used = clock.now().with_context(|| format!("process {pid} has ended"))?;
    Ok(u64::try_from(used.tv_sec())? * 1_000_000_000 + u64::try_from(used.tv_nsec())?)
}

/// Time that the threads of process `pid` were ready to run and waited for a CPU, in nanoseconds.
///
/// Much of it means that somebody else used the CPU. Threads that have ended are not counted.
///
/// # Errors
///
/// The process has ended.
pub fn waited_ns(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/task");
    let tasks = std::fs::read_dir(&path).with_context(|| format!("process {pid} has ended"))?;
    let mut waited_ns = 0;
    for task in tasks {
        // A thread may end between the two looks.
        let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        waited_ns += text.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(waited_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_holds_children_and_pinning_holds() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let family = family(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family.contains(&child.id()) && family.contains(&std::process::id()));
        let last = *allowed().unwrap().last().unwrap();
        pin(&[last]).unwrap();
        assert_eq!(allowed().unwrap(), [last]);
        assert!(pin(&[CpuSet::MAX_CPU]).is_err());
    }

    #[test]
    fn processor_time_grows_with_work_and_a_dead_process_is_an_error() {
        let before = used_ns(std::process::id()).unwrap();
        let sum = (0..20_000_000_u64).fold(0, |sum: u64, it| std::hint::black_box(sum ^ it));
        std::hint::black_box(sum);
        assert!(before < used_ns(std::process::id()).unwrap());
        assert!(waited_ns(std::process::id()).is_ok());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        for pid in [0, 1 << 29, child.id()] {
            assert!(used_ns(pid).is_err() && waited_ns(pid).is_err(), "{pid}");
        }
    }
}
