//! The host against the table: reads limits and `/proc/sys`, tries io_uring, sets nothing.

use std::fs;

use rustix::process::Resource;
use rustix::process::geteuid;
use rustix::process::getrlimit;

use crate::config;
use crate::config::Host;
use crate::config::settings::Driver;
use crate::config::settings::Settings;
use crate::doctor::report::Line;
use crate::doctor::report::Report;
use crate::doctor::report::Status;
use crate::doctor::settings::Kind;
use crate::doctor::settings::Need;
use crate::doctor::settings::SETTINGS;
use crate::doctor::settings::Setting;
use crate::doctor::settings::Wanted;
use crate::io::probe;

/// What was found on the host, apart from what to think of it.
pub struct Examined<'a> {
    /// Processors, memory, descriptors.
    pub host: Host,
    /// Bytes that may be locked; `None` when that is not limited for this process.
    pub memlock: Option<u64>,
    /// Why io_uring is not there; `Ok` when it works, `None` when it was not tried.
    pub io_uring: Option<Result<(), String>>,
    /// Reads a key below `/proc/sys`.
    pub read: &'a dyn Fn(&str) -> Option<String>,
}

/// Memory of an idle connection, in the server and the kernel, with some that waits in an outbox.
/// Without the latter, 1.4 KiB and about 4 KiB: perf-reports/2026-11-24-quiet.
const CONNECTION_BYTES: u64 = 8 << 10;
/// Memory of a server without connections.
const SERVER_BYTES: u64 = 64 << 20;

/// Looks at this host, for a server with these settings and so many connections; `None` is as many
/// as the server would allow itself.
#[must_use]
pub fn examine(settings: &Settings, connections: Option<u64>) -> Report {
    let host = Host::measure();
    let resolved = config::resolve(settings, &host);
    let entries = u32::try_from(settings.io.ring_entries).unwrap_or(u32::MAX);
    let io_uring = (settings.io.driver != Driver::Epoll)
        .then(|| probe::try_io_uring(entries, resolved.cores).map_err(|it| it.to_string()));
    let memlock = if geteuid().is_root() { None } else { getrlimit(Resource::Memlock).current };
    let read = |key: &str| fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).ok();
    judge(settings, connections, &Examined { host, memlock, io_uring, read: &read })
}

/// What to think of what was found.
#[must_use]
pub fn judge(settings: &Settings, connections: Option<u64>, found: &Examined<'_>) -> Report {
    let resolved = config::resolve(settings, &found.host);
    let wanted = Wanted {
        connections: connections.unwrap_or(resolved.connections as u64),
        backlog: settings.server.backlog as u64,
        cores: resolved.cores as u64,
        ring_entries: settings.io.ring_entries as u64,
    };
    let mut lines = vec![processors(found, resolved.cores), memory(found, wanted)];
    lines.extend(found.io_uring.as_ref().map(|it| io_uring(it, settings.io.driver)));
    lines.push(allowed(settings, wanted));
    for setting in SETTINGS {
        lines.push(match (setting.kind, setting.name) {
            (Kind::Limit, "nofile") => limit(setting, Some(found.host.nofile), wanted),
            (Kind::Limit, _) if found.io_uring.is_none() => continue,
            (Kind::Limit, _) => limit(setting, found.memlock, wanted),
            (Kind::Sysctl, _) => sysctl(setting, (found.read)(setting.name), wanted),
            (Kind::NewSysctl, _) => match (found.read)(setting.name) {
                Some(text) => sysctl(setting, Some(text), wanted),
                None => continue,
            },
        });
    }
    Report { connections: wanted.connections, lines }
}

fn processors(found: &Examined<'_>, cores: usize) -> Line {
    let Host { cpus, cpu_quota_milli, .. } = found.host;
    let quota = match cpu_quota_milli {
        Some(milli) => format!(", a quota of {}.{:03}", milli / 1000, milli % 1000),
        None => String::new(),
    };
    let value = format!("{cpus} processors{quota}: {cores} shards");
    line("processors", Status::Ok, value, None, "")
}

fn memory(found: &Examined<'_>, wanted: Wanted) -> Line {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let needed = SERVER_BYTES + wanted.connections * CONNECTION_BYTES;
    let Some(bytes) = found.host.memory_bytes else {
        return line("memory", Status::Unknown, "not known".into(), Some(mib(needed)), "");
    };
    let (status, fix) = if needed <= bytes {
        (Status::Ok, "")
    } else {
        (Status::Low, "give the container or the host more memory, or allow fewer connections")
    };
    line("memory", status, mib(bytes), Some(mib(needed)), fix)
}

fn io_uring(tried: &Result<(), String>, driver: Driver) -> Line {
    match tried {
        Ok(()) => line("io_uring", Status::Ok, "works".into(), None, ""),
        Err(why) => {
            // With `auto`, epoll takes its place.
            let status = if driver == Driver::IoUring { Status::Low } else { Status::Advice };
            let fix = "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp \
                       profile, or set io.driver = \"epoll\"";
            line("io_uring", status, why.clone(), Some("works".into()), fix)
        }
    }
}

/// Whether the server's own limit allows so many.
fn allowed(settings: &Settings, wanted: Wanted) -> Line {
    let name = "limits.connections";
    let needed = Some(wanted.connections.to_string());
    match settings.limits.connections.map(|it| it as u64) {
        // `auto` goes no further than this, however much the host allows.
        None if 20_000 < wanted.connections => {
            let fix = format!("set limits.connections = {}", wanted.connections);
            line(name, Status::Low, "auto, at most 20000".into(), needed, &fix)
        }
        Some(own) if own < wanted.connections => {
            let fix = format!("set limits.connections = {}", wanted.connections);
            line(name, Status::Low, own.to_string(), needed, &fix)
        }
        Some(own) => line(name, Status::Ok, own.to_string(), needed, ""),
        None => line(name, Status::Ok, "auto".into(), needed, ""),
    }
}

fn limit(setting: &Setting, value: Option<u64>, wanted: Wanted) -> Line {
    let Need::AtLeast(need) = setting.need else {
        unreachable!("limits are in the table because they are needed")
    };
    let needed = need(wanted);
    let shown = value.map_or("unlimited".to_owned(), |it| it.to_string());
    if value.is_none_or(|it| needed <= it) {
        return line(setting.name, Status::Ok, shown, Some(needed.to_string()), "");
    }
    let [unit, flag] = match setting.name {
        "nofile" => ["LimitNOFILE", "-n"],
        _ => ["LimitMEMLOCK", "-l"],
    };
    let plain = if flag == "-l" { needed.div_ceil(1024) } else { needed };
    let fix = format!(
        "{unit}={needed} in the unit, the task's ulimits ({}), or ulimit {flag} {plain}",
        setting.name
    );
    line(setting.name, Status::Low, shown, Some(needed.to_string()), &fix)
}

fn sysctl(setting: &Setting, text: Option<String>, wanted: Wanted) -> Line {
    let Setting { name, value, need, .. } = setting;
    let Some(text) = text else {
        return line(name, Status::Unknown, "cannot be read here".into(), None, "");
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let shown = words.join(" ");
    let set = |value: &str| format!("sysctl -w {name}=\"{value}\"");
    match need {
        Need::AtLeast(need) => {
            let needed = need(wanted);
            // Numbers beyond 64 bits are enough for anything.
            let is_enough = words
                .last()
                .is_some_and(|it| it.parse().map_or(20 <= it.len(), |it: u64| needed <= it));
            let (status, fix) = match is_enough {
                true => (Status::Ok, String::new()),
                false => (Status::Low, set(&needed.to_string())),
            };
            line(name, status, shown, Some(needed.to_string()), &fix)
        }
        Need::Nothing if shown == *value => line(name, Status::Ok, shown, None, ""),
        Need::Nothing => line(name, Status::Advice, shown, Some((*value).into()), &set(value)),
    }
}

fn line(name: &str, status: Status, value: String, needed: Option<String>, fix: &str) -> Line {
    Line { name: name.into(), status, value, needed, fix: fix.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host =
        Host { cpus: 4, cpu_quota_milli: Some(1500), memory_bytes: Some(1 << 30), nofile: 65_535 };

    fn read(key: &str) -> Option<String> {
        let text = match key {
            "net.core.somaxconn" => "1024\n",
            "net.ipv4.ip_local_port_range" => "32768\t60999\n",
            "net.ipv4.tcp_fin_timeout" => "15\n",
            "fs.file-max" => "9223372036854775807\n",
            "fs.nr_open" => "1048576\n",
            _ => return None,
        };
        Some(text.to_owned())
    }

    fn found() -> Examined<'static> {
        let io_uring = Some(Err("io_uring_setup: denied".to_owned()));
        Examined { host: HOST, memlock: Some(65_536), io_uring, read: &read }
    }

    #[track_caller]
    fn check(report: &Report, name: &str, status: Status, words: &[&str]) {
        let line = report.lines.iter().find(|it| it.name == name).expect("it was looked at");
        assert_eq!(line.status, status, "{line:?}");
        for word in words {
            assert!(format!("{line:?}").contains(word), "{line:?} without {word}");
        }
    }

    #[test]
    fn each_thing_is_judged_by_what_so_many_connections_need() {
        let settings = Settings::default();
        let report = judge(&settings, Some(100_000), &found());
        check(&report, "processors", Status::Ok, &["1.500", "2 shards"]);
        check(&report, "memory", Status::Ok, &["1024 MiB", "845 MiB"]);
        check(&report, "io_uring", Status::Advice, &["denied", "seccomp"]);
        check(&report, "limits.connections", Status::Low, &["limits.connections = 100000"]);
        check(&report, "nofile", Status::Low, &["65535", "LimitNOFILE=101000", "ulimit -n 101000"]);
        check(&report, "memlock", Status::Low, &["65536", "1310720", "ulimit -l 1280"]);
        check(&report, "net.core.somaxconn", Status::Low, &["1024", "somaxconn=\\\"4096\\\""]);
        check(&report, "fs.file-max", Status::Ok, &[]);
        check(&report, "fs.nr_open", Status::Ok, &[]);
        check(&report, "net.ipv4.tcp_fin_timeout", Status::Ok, &[]);
        check(&report, "net.ipv4.ip_local_port_range", Status::Advice, &["32768 60999"]);
        check(&report, "net.ipv4.tcp_max_orphans", Status::Unknown, &[]);
        assert!(!report.lines.iter().any(|it| it.name == "kernel.io_uring_disabled"));
        assert!(!report.is_ok());
    }

    #[test]
    fn without_a_number_the_host_is_judged_by_what_it_would_be_given() {
        let report = judge(&Settings::default(), None, &found());
        assert_eq!(report.connections, 20_000);
        check(&report, "nofile", Status::Ok, &["21000"]);
        check(&report, "limits.connections", Status::Ok, &["auto"]);
    }

    #[test]
    fn io_uring_is_needed_just_where_it_is_asked_for() {
        let mut settings = Settings::default();
        settings.io.driver = Driver::IoUring;
        check(&judge(&settings, None, &found()), "io_uring", Status::Low, &[]);
        settings.io.driver = Driver::Epoll;
        let report = judge(&settings, None, &Examined { io_uring: None, ..found() });
        assert!(!report.lines.iter().any(|it| it.name == "memlock" || it.name == "io_uring"));
    }

    #[test]
    fn memory_runs_out_where_connections_are_too_many_for_it() {
        let host = Host { memory_bytes: Some(128 << 20), ..HOST };
        let found = || Examined { host, ..found() };
        check(&judge(&Settings::default(), Some(8192), &found()), "memory", Status::Ok, &[]);
        check(&judge(&Settings::default(), Some(8193), &found()), "memory", Status::Low, &["128"]);
        let unknown = Examined { host: Host { memory_bytes: None, ..HOST }, ..found() };
        check(&judge(&Settings::default(), None, &unknown), "memory", Status::Unknown, &[]);
    }

    #[test]
    fn this_host_can_be_looked_at() {
        let report = examine(&Settings::default(), Some(10));
        check(&report, "nofile", Status::Ok, &["1010"]);
        assert!(report.lines.iter().any(|it| it.name == "io_uring"));
    }
}
