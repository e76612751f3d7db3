//! `history.*`: the rows of the history.

use crate::config::catalogue::HOUR;
use crate::config::catalogue::KIB;
use crate::config::catalogue::bytes;
use crate::config::catalogue::count;
use crate::config::catalogue::knob;
use crate::config::catalogue::time;
use crate::config::knob::Kind;
use crate::config::knob::Knob;

pub(super) const HISTORY: &[Knob] = &[
    Knob {
        flag: Some("--history"),
        ..knob(
            "history.url",
            Kind::HistoryUrl,
            "memory",
            "Where messages of routes with `history` are stored; also `DATABASE_URL`, or \
             `DB_HOST`, `DB_USERNAME`, `DB_PASSWORD` and `DB_NAME`.",
        )
    },
    knob(
        "history.memory_bytes",
        bytes(64 * KIB, 1 << 40),
        "64MiB",
        "Bytes that are kept where `history.url` is `memory`; the oldest go first.",
    ),
    knob("history.tls", Kind::Switch, "false", "Whether a MySQL is reached through TLS only."),
    knob(
        "history.tls_ca",
        Kind::Path,
        "none",
        "PEM file with the authorities that sign the certificate of that MySQL; none means the \
         public ones.",
    ),
    knob(
        "history.retention_age",
        time(0, 10 * 366 * 24 * HOUR),
        "0s",
        "How long a message is kept; 0 keeps it for ever.",
    ),
    knob(
        "history.retention_count",
        count(0, 1_000_000_000),
        "0",
        "How many messages of each destination are kept; 0 keeps all.",
    ),
];
