//! The table of all settings: adding one is a row here and a field of
//! [`Settings`](crate::config::Settings).

mod admission;
mod auth;
mod history;
mod relay;
mod text;
mod tls;

use crate::config::knob::Kind;
use crate::config::knob::Knob;

use admission::LIMITS;
use admission::PROXIES;
use auth::AUTH;
use history::HISTORY;
use relay::RELAY;
use tls::TLS;

pub use text::help_text;
pub use text::markdown_table;

/// All settings, by section, in the order in which people are shown them.
pub static KNOBS: &[Knob] = &ALL;

static ALL: [Knob;
    PROXIES.len()
        + HEAD.len()
        + TLS.len()
        + RELAY.len()
        + HISTORY.len()
        + AUTH.len()
        + LIMITS.len()
        + TAIL.len()] = joined(&[PROXIES, HEAD, TLS, RELAY, HISTORY, AUTH, LIMITS, TAIL]);

/// What stands before the sections that have files of their own.
const HEAD: &[Knob] = &[
    Knob {
        flag: Some("--listen"),
        ..knob("server.listen", Kind::Address, "127.0.0.1:8080", "Where clients connect.")
    },
    Knob {
        flag: Some("--cores"),
        ..knob(
            "server.cores",
            count_or_auto(1, 64),
            "auto",
            "Shards, each with a thread of its own; `auto` is what CPU affinity and the cgroup's \
             CPU quota allow, rounded up.",
        )
    },
    knob(
        "server.pin",
        choice(&["auto", "on", "off"]),
        "auto",
        "Keep each shard on one core; `auto` does so unless a CPU quota is set.",
    ),
    Knob {
        flag: Some("--echo"),
        ..knob("server.echo", Kind::Switch, "false", "Answer `GET /echo`, for conformance suites.")
    },
    knob(
        "server.backlog",
        count(1, 65_535),
        "4096",
        "Connections per shard that wait to be accepted; at most `net.core.somaxconn` has effect.",
    ),
    knob(
        "server.ping_interval",
        time(100, HOUR),
        "60s",
        "Ping a peer that has been silent for so long.",
    ),
    knob(
        "server.pong_timeout",
        time(100, HOUR),
        "30s",
        "Close a peer that does not answer a ping within it.",
    ),
    knob(
        "server.handshake_timeout",
        time(100, HOUR),
        "10s",
        "Time for the whole head of a request, from the connection's first moment.",
    ),
    knob(
        "server.first_frame_timeout",
        time(100, HOUR),
        "60s",
        "Time for CONNECT, from the upgrade.",
    ),
    knob(
        "server.close_timeout",
        time(100, HOUR),
        "5s",
        "Time for a peer to answer our close frame.",
    ),
    live(
        "server.max_connection_age",
        time(0, 30 * 24 * HOUR),
        "0s",
        "Age at which a connection is closed with 1012, up to a tenth earlier by chance, so that \
         clients spread over all servers again; 0 is never. Holds for connections that come then.",
    ),
    Knob {
        flag: Some("--admin-listen"),
        ..knob(
            "admin.listen",
            Kind::Address,
            "127.0.0.1:9090",
            "Where operators connect: metrics and health.",
        )
    },
    Knob {
        secret: true,
        live: true,
        ..knob(
            "admin.token",
            Kind::Token,
            "none",
            "Bearer token of the admin listener; needed where it is not on a loopback address.",
        )
    },
    Knob {
        flag: Some("--driver"),
        ..knob(
            "io.driver",
            choice(&["auto", "io_uring", "epoll"]),
            "auto",
            "Kernel interface; `auto` is io_uring where it works, else epoll.",
        )
    },
    knob(
        "io.ring_entries",
        count(64, 32_768),
        "1024",
        "Submission queue entries of each shard's ring.",
    ),
];

/// What stands behind them.
const TAIL: &[Knob] = &[
    knob(
        "limits.connections",
        count_or_auto(1, 1 << 20),
        "auto",
        "Connections of the process; `auto` is min(20000, nofile − 1000).",
    ),
    live(
        "limits.handshakes_pending",
        count(1, 1 << 20),
        "4096",
        "Connections of the process that have not finished their handshake.",
    ),
    live(
        "limits.header_block_bytes",
        bytes(512, 64 * KIB),
        "8KiB",
        "Size of the whole head of a request.",
    ),
    live("limits.http_headers", count(8, 128), "64", "Header lines of a request."),
    live(
        "limits.message_bytes",
        bytes(256, 64 * MIB),
        "64KiB",
        "Size of a WebSocket message, and of a STOMP frame across messages.",
    ),
    live(
        "limits.outbox_bytes",
        bytes_or_auto(4 * KIB, 1024 * MIB),
        "auto",
        "Bytes that wait for one peer before it is closed as a slow consumer; `auto` is \
         max(512KiB, 2 × `limits.message_bytes`).",
    ),
    live(
        "limits.outbox_seconds",
        time(100, HOUR),
        "10s",
        "Close a peer as a slow consumer when a byte has waited for it for so long.",
    ),
    live(
        "limits.outbox_total_bytes",
        bytes_or_auto(MIB, 1 << 40),
        "auto",
        "Bytes that wait for all peers before the fullest are closed; `auto` is 25 % of the \
         memory limit.",
    ),
    live("limits.stomp_headers", count(8, 1024), "64", "Header lines of a STOMP frame."),
    live(
        "limits.stomp_header_bytes",
        bytes(256, 64 * KIB),
        "8KiB",
        "Size of the command and all header lines of a STOMP frame.",
    ),
    live("limits.destination_bytes", bytes(16, 4096), "512", "Size of a destination."),
    live(
        "limits.subscriptions_per_session",
        count(1, 1 << 20),
        "1000",
        "Subscriptions of one session.",
    ),
    live(
        "limits.transactions_per_session",
        count(0, 1024),
        "16",
        "Transactions that one session may have open.",
    ),
    live("limits.transaction_messages", count(1, 100_000), "100", "SENDs in one transaction."),
    live(
        "limits.transaction_bytes",
        bytes(KIB, 1024 * MIB),
        "1MiB",
        "Size of the bodies that wait in one transaction.",
    ),
    live(
        "limits.receipts_pending",
        count(1, 100_000),
        "1000",
        "Receipts that one session may wait for.",
    ),
    live(
        "limits.refusals",
        count(1, 100_000),
        "100",
        "Refusals a session may collect before it is closed; one is forgiven per second.",
    ),
    live(
        "stomp.heart_beat_min",
        time(500, HOUR),
        "1s",
        "The shortest heart-beat interval that a client is granted.",
    ),
    live(
        "stomp.heart_beat_max",
        time(500, HOUR),
        "25s",
        "The longest heart-beat interval that a client is granted.",
    ),
    live(
        "stomp.refusal",
        choice(&["error-open", "error-close"]),
        "error-open",
        "Whether the ERROR for a refused frame leaves the connection open, or closes it as \
         STOMP 1.2 says.",
    ),
    live(
        "drain.window",
        time(0, HOUR),
        "75s",
        "Time from SIGTERM over which a full server spreads the closes of its connections; one \
         that holds less takes its share of it, and below 100 connections 2 s at the most.",
    ),
    live(
        "drain.deadline",
        time(100, HOUR),
        "110s",
        "Time from SIGTERM by which the process has ended, whatever is left.",
    ),
    knob(
        "metrics.emf",
        Kind::Switch,
        "false",
        "Write a line in CloudWatch's embedded metric format to standard output every 60 s.",
    ),
    knob(
        "metrics.service",
        Kind::Text { chars_min: 1, chars_max: 255 },
        "websocket-service",
        "The dimension `Service` of those lines, the same for all tasks.",
    ),
    knob(
        "metrics.task",
        Kind::Text { chars_min: 1, chars_max: 255 },
        "none",
        "The property `TaskId` of those lines; none means the task id that ECS tells, else the \
         host's name.",
    ),
    Knob {
        secret: true,
        live: true,
        ..knob(
            "metrics.token",
            Kind::Token,
            "none",
            "Bearer token for `/metrics` and `/actuator/prometheus`; none means that anybody who \
             reaches the admin listener may read them.",
        )
    },
    Knob {
        flag: Some("--log-format"),
        ..knob("log.format", choice(&["text", "json"]), "text", "How a log line looks.")
    },
    Knob {
        flag: Some("--log-level"),
        ..knob(
            "log.level",
            Kind::LogFilter,
            "info",
            "What is logged: `off`, `error`, `warn`, `info`, `debug`, `trace`, or directives such \
             as `info,ringway::io=debug`.",
        )
    },
];

/// Keys and sections of the contract that this version does not have, and what is missing for them.
pub(super) const LATER: &[(&str, &str)] =
    &[("server.demo", "demo page"), ("state", "state directory")];

const HOUR: u64 = 3_600_000;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

const fn knob(key: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Knob {
    Knob { key, kind, default, help, flag: None, secret: false, live: false }
}

const fn live(key: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Knob {
    Knob { live: true, ..knob(key, kind, default, help) }
}

const fn choice(names: &'static [&'static str]) -> Kind {
    Kind::Choice { names, later: &[] }
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max, auto: false }
}

const fn count_or_auto(min: u64, max: u64) -> Kind {
    Kind::Count { min, max, auto: true }
}

const fn bytes(min: u64, max: u64) -> Kind {
    Kind::Bytes { min, max, auto: false }
}

const fn bytes_or_auto(min: u64, max: u64) -> Kind {
    Kind::Bytes { min, max, auto: true }
}

const fn time(min_ms: u64, max_ms: u64) -> Kind {
    Kind::Time { min_ms, max_ms }
}

/// The sections as one table.
const fn joined<const N: usize>(sections: &[&[Knob]]) -> [Knob; N] {
    let mut all = [sections[0][0]; N];
    let (mut count, mut section) = (0, 0);
    while section < sections.len() {
        let mut row = 0;
        while row < sections[section].len() {
            all[count] = sections[section][row];
            count += 1;
            row += 1;
        }
        section += 1;
    }
    assert!(count == N);
    all
}

/// The row of `key`.
#[must_use]
pub fn find(key: &str) -> Option<&'static Knob> {
    KNOBS.iter().find(|it| it.key == key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_unique_and_so_are_their_variables() {
        let keys: BTreeSet<_> = KNOBS.iter().map(|it| it.key).collect();
        let variables: BTreeSet<_> = KNOBS.iter().map(Knob::environment).collect();
        assert_eq!(keys.len(), KNOBS.len());
        assert_eq!(variables.len(), KNOBS.len());
    }

    #[test]
    fn sections_stay_together() {
        let mut sections: Vec<_> = KNOBS.iter().map(Knob::section).collect();
        sections.dedup();
        let unique: BTreeSet<_> = sections.iter().collect();
        assert_eq!(unique.len(), sections.len());
    }

    #[test]
    fn nothing_exists_that_is_called_later() {
        for (prefix, _) in LATER {
            let exists = |it: &Knob| it.key == *prefix || it.section() == *prefix;
            assert!(!KNOBS.iter().any(exists), "{prefix}");
        }
    }

    #[test]
    fn the_table_has_a_row_per_knob_and_no_broken_cell() {
        let table = markdown_table();
        assert_eq!(table.lines().count(), KNOBS.len() + 2);
        for line in table.lines() {
            assert_eq!(line.matches('|').count(), 5, "{line}");
        }
    }

    #[test]
    fn every_help_is_a_sentence() {
        for it in KNOBS {
            assert!(it.help.ends_with('.') && !it.help.contains('|'), "{}", it.key);
        }
    }
}
