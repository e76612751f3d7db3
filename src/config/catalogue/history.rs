//! `history.*`: the rows of the history.

use crate::config::catalogue::KIB;
use crate::config::catalogue::bytes;
use crate::config::catalogue::knob;
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
];
