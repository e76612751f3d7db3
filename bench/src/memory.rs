//! Memory of a process as the kernel counts it.

use anyhow::Context as _;
use serde::Serialize;

/// Memory of one process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Proportional set size: what the process holds, shared pages divided by those who share them.
    pub pss_bytes: u64,
    /// Resident set size: what the process holds, shared pages counted whole.
    pub rss_bytes: u64,
}

impl Memory {
    /// Memory of process `pid`, from its `smaps_rollup`.
    ///
    /// # Errors
    ///
    /// The process has ended or is not ours to look at.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {path}: has the process ended?"))?;
        Self::parse(&text).with_context(|| format!("{path} names no Pss and Rss"))
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kilobytes * 1024)
        };
        Some(Self { pss_bytes: field("Pss:")?, rss_bytes: field("Rss:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "5-7 ---p 0 0:0 0 [rollup]\nRss:    12 kB\nPss:     3 kB\nPss_Anon: 2 kB\n";
        let memory = Memory { pss_bytes: 3072, rss_bytes: 12288 };
        assert_eq!(Memory::parse(text), Some(memory));
        assert_eq!(Memory::parse("Pss_Anon: 2 kB"), None);
        assert!(Memory::of(std::process::id()).unwrap().pss_bytes > 0);
    }
}
