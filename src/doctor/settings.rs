//! The table of what is set outside of the server: each setting once, with its reasons.

/// One setting of a host or a container.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The key of a sysctl, or the name of a limit.
    pub name: &'static str,
    /// What kind of setting.
    pub kind: Kind,
    /// What the files of `tuning/` set.
    pub value: &'static str,
    /// Whether a Fargate task can set it.
    pub fargate: Fargate,
    /// What of it the server cannot do without.
    pub need: Need,
    /// Why one sets it, in a sentence.
    pub why: &'static str,
    /// What was seen of its effect, or that nothing was looked at.
    pub seen: &'static str,
    /// What it is where nobody set it; to go back to.
    pub default: &'static str,
}

/// What kind of setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A key below `/proc/sys`.
    Sysctl,
    /// A key below `/proc/sys` that older kernels do not have.
    NewSysctl,
    /// A resource limit, as `ulimit` and `limits.conf` name it.
    Limit,
}

/// Whether a task on Fargate can set it: a key that cannot be set there keeps the task from
/// starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fargate {
    /// By `systemControls`, or `ulimits`.
    Yes,
    /// It belongs to the host, or is not there in a container's network.
    No,
}

/// For what a host is judged.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Connections of the process.
    pub connections: u64,
    /// `server.backlog`
    pub backlog: u64,
    /// Shards.
    pub cores: u64,
    /// `io.ring_entries`
    pub ring_entries: u64,
}

/// What the server needs of a setting.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// Nothing: the value helps, and the server does without.
    Nothing,
    /// The number, the last one where there are several, is at least this.
    AtLeast(fn(Wanted) -> u64),
}

/// Descriptors for all that is not a client's connection.
const DESCRIPTORS_RESERVED: u64 = 1_000;

/// All settings, those of every environment first.
#[rustfmt::skip]
pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "nofile", kind: Kind::Limit, value: "1048576", fargate: Fargate::Yes,
        need: Need::AtLeast(|it| it.connections + DESCRIPTORS_RESERVED),
        why: "Each connection is a descriptor, 1,000 are for the rest. The soft limit is raised to \
              the hard one at start.",
        seen: "Hard limit 256, 1,024, 4,096, 20,000: `auto` took 128, 512, 3,096, 19,000 \
               connections.",
        default: "1024 soft, 524288 hard (systemd); 65535 (Fargate)",
    },
    Setting {
        name: "memlock", kind: Kind::Limit, value: "67108864", fargate: Fargate::No,
        // 1 MiB and 128 KiB more per core at 1024 entries.
        need: Need::AtLeast(|it| (1 << 20) + it.cores * it.ring_entries.max(1024) * 128),
        why: "Kernels charge the rings of io_uring to it, unless the process has `CAP_IPC_LOCK`. \
              Fargate allows no io_uring.",
        seen: "1,024 entries: 1 shard took 285 KiB, 2 shards 349 KiB; with 16 KiB less, epoll.",
        default: "8 MiB (systemd), 64 KiB (older)",
    },
    Setting {
        name: "net.core.somaxconn", kind: Kind::Sysctl, value: "65535", fargate: Fargate::Yes,
        need: Need::AtLeast(|it| it.backlog),
        why: "The kernel cuts each shard's backlog to it, silently.",
        seen: "With 64 the listeners' backlog was 64, with 4,096 it was 4,096 (`ss -ltn`).",
        default: "4096",
    },
    Setting {
        name: "net.ipv4.tcp_max_syn_backlog", kind: Kind::Sysctl, value: "65535",
        fargate: Fargate::Yes, need: Need::Nothing,
        why: "Handshakes of TCP that are under way when all clients come back at once; beyond it \
              SYN cookies are sent.",
        seen: "Not looked at: loopback answers at once, so nothing stays under way.",
        default: "by memory, 128 to 4096",
    },
    Setting {
        name: "net.ipv4.ip_local_port_range", kind: Kind::Sysctl, value: "10240 65535",
        fargate: Fargate::Yes, need: Need::Nothing,
        why: "For what connects out: a proxy beside the server, a load client. It begins above the \
              server's own ports, so that none is taken before it starts.",
        seen: "`ringway-bench` takes one source address per 5,000 connections and needs no more.",
        default: "32768 60999",
    },
    Setting {
        name: "net.ipv4.tcp_fin_timeout", kind: Kind::Sysctl, value: "15",
        fargate: Fargate::Yes, need: Need::Nothing,
        why: "A drain closes every connection from our side; those whose peers are gone are let go \
              sooner.",
        seen: "A peer that kept its side open: the kernel kept ours for 14 s instead of 59 \
               s.",
        default: "60",
    },
    Setting {
        name: "net.ipv4.tcp_rmem", kind: Kind::Sysctl, value: "4096 16384 1048576",
        fargate: Fargate::Yes, need: Need::Nothing,
        why: "Bounds what the kernel keeps for a peer's unread bytes: messages are small, and \
              publishers without credit are not read.",
        seen: "A publisher that is not read: 128 KB waited with the kernel's own values, \
               302 KB with these, so only the bound of 1 MiB speaks for them.",
        default: "4096 131072 6291456",
    },
    Setting {
        name: "net.ipv4.tcp_wmem", kind: Kind::Sysctl, value: "4096 16384 1048576",
        fargate: Fargate::Yes, need: Need::Nothing,
        why: "Bounds what the kernel keeps for a slow peer besides our outbox.",
        seen: "12 MB for a peer that does not read: the kernel kept 3.6 MB of them by \
               itself, 0.9 MB so.",
        default: "4096 16384 4194304",
    },
    Setting {
        name: "net.ipv4.tcp_notsent_lowat", kind: Kind::Sysctl, value: "16384",
        fargate: Fargate::Yes, need: Need::Nothing,
        why: "Bytes of a slow peer wait in our outbox, where they are counted and dated, not in \
              the kernel.",
        seen: "12 MB for a peer that does not read: the kernel kept 3.6 MB of them by \
               itself, 16 KiB so, and our outbox had the rest.",
        default: "4294967295",
    },
    Setting {
        name: "net.ipv4.tcp_slow_start_after_idle", kind: Kind::Sysctl, value: "0",
        fargate: Fargate::Yes, need: Need::Nothing,
        why: "A connection that was silent sends its next burst at the speed it had.",
        seen: "After 3 s of silence the window of 16 segments had fallen to 10; with 0 it \
               stayed at 17 (`reno`; `bbr` does not look at it).",
        default: "1",
    },
    Setting {
        name: "fs.file-max", kind: Kind::Sysctl, value: "4194304", fargate: Fargate::No,
        need: Need::AtLeast(|it| it.connections + DESCRIPTORS_RESERVED),
        why: "Descriptors of the whole host.",
        seen: "Not looked at: it holds for the whole machine, on which others worked.",
        default: "by memory; without bound under systemd",
    },
    Setting {
        name: "fs.nr_open", kind: Kind::Sysctl, value: "2097152", fargate: Fargate::No,
        need: Need::AtLeast(|it| it.connections + DESCRIPTORS_RESERVED),
        why: "What `nofile` may be raised to.",
        seen: "A hard limit of one more was refused.",
        default: "1048576",
    },
    Setting {
        name: "net.core.netdev_max_backlog", kind: Kind::Sysctl, value: "65536",
        fargate: Fargate::No, need: Need::Nothing,
        why: "Packets that wait for a core that is busy with a fan-out.",
        seen: "Not looked at: it holds for the whole machine, and needs a network card.",
        default: "1000",
    },
    Setting {
        name: "net.ipv4.tcp_max_orphans", kind: Kind::Sysctl, value: "262144",
        fargate: Fargate::No, need: Need::AtLeast(|it| it.connections),
        why: "A drain leaves up to as many closing sockets as there were connections; the kernel \
              resets what is beyond.",
        seen: "Not looked at: it holds for the whole machine, on which others worked.",
        default: "by memory",
    },
    Setting {
        name: "net.ipv4.tcp_max_tw_buckets", kind: Kind::Sysctl, value: "2000000",
        fargate: Fargate::No, need: Need::Nothing,
        why: "Connections that we closed stay in TIME_WAIT for a minute.",
        seen: "1,000 closes from our side left 1,000 sockets in TIME-WAIT; with 100 \
               allowed, none: the kernel forgot them early.",
        default: "by memory, up to 262144",
    },
    Setting {
        name: "kernel.io_uring_disabled", kind: Kind::NewSysctl, value: "0",
        fargate: Fargate::No, need: Need::Nothing,
        why: "Allows io_uring to all; since Linux 6.6. A seccomp profile may refuse it still.",
        seen: "Locked memory refused in its place: `auto` took epoll and said why.",
        default: "0",
    },
];

impl Setting {
    /// Whether it is a sysctl.
    #[must_use]
    pub fn is_sysctl(&self) -> bool {
        matches!(self.kind, Kind::Sysctl | Kind::NewSysctl)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_texts_are_sentences() {
        let names: BTreeSet<_> = SETTINGS.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), SETTINGS.len());
        for it in SETTINGS {
            assert!(it.why.ends_with('.') && !it.why.contains('|'), "{}", it.name);
            assert!(!it.seen.is_empty() && !it.default.is_empty(), "{}", it.name);
        }
    }

    #[test]
    fn a_task_sets_only_what_its_own_network_has() {
        // Absent, read-only or not of the container's own network: a task that sets one of them
        // does not start.
        let refused = [
            "fs.",
            "vm.",
            "kernel.",
            "net.core.netdev",
            "net.core.rmem",
            "net.core.wmem",
            "net.core.busy",
            "net.core.default_qdisc",
            "net.ipv4.tcp_mem",
            "net.ipv4.tcp_max_orphans",
            "net.ipv4.tcp_migrate_req",
        ];
        for it in SETTINGS.iter().filter(|it| it.fargate == Fargate::Yes && it.is_sysctl()) {
            assert!(it.name.starts_with("net."), "{}", it.name);
            assert!(it.kind == Kind::Sysctl, "{} is not on every kernel", it.name);
            assert!(!refused.iter().any(|start| it.name.starts_with(start)), "{}", it.name);
        }
    }

    #[test]
    fn what_the_files_set_is_enough_for_a_full_host() {
        let wanted = Wanted { connections: 250_000, backlog: 4096, cores: 64, ring_entries: 4096 };
        for it in SETTINGS {
            if let Need::AtLeast(need) = it.need {
                let value: u64 = it.value.parse().expect("a number where one is needed");
                assert!(need(wanted) <= value, "{}", it.name);
            }
        }
    }
}
