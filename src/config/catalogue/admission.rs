//! Who is let on, and how fast: rows of `server.*` and `limits.*`.

use crate::config::catalogue::choice;
use crate::config::catalogue::count;
use crate::config::catalogue::knob;
use crate::config::catalogue::live;
use crate::config::knob::Kind;
use crate::config::knob::Knob;

/// Those of `server.*`.
pub(super) const PROXIES: &[Knob] = &[
    knob(
        "server.trusted_proxies",
        Kind::Words { names: &[] },
        "",
        "Addresses and ranges, such as `10.0.0.0/8`, whose `X-Forwarded-For`, `-Proto` and `-Host` \
         are believed, and whose PROXY protocol.",
    ),
    knob(
        "server.proxy_protocol",
        choice(&["off", "optional", "required"]),
        "off",
        "Whether connections begin with the PROXY protocol, version 1 or 2; it is taken from \
         `server.trusted_proxies` only.",
    ),
];

/// Those of `limits.*`.
pub(super) const LIMITS: &[Knob] = &[
    live(
        "limits.connections_per_user",
        count(0, 1 << 20),
        "0",
        "Connections of one user over all cores, and soon after over all tasks that share a Redis; \
         0 means any number.",
    ),
    live(
        "limits.connections_per_address",
        count(0, 1 << 20),
        "0",
        "Connections of one address over all cores; 0 means any number.",
    ),
    live(
        "limits.handshakes_per_second",
        count(0, 1 << 20),
        "0",
        "Upgrades of the process per second, shared out evenly to the cores; 0 means any number.",
    ),
    live(
        "limits.frames_per_second",
        count(0, 1 << 20),
        "0",
        "STOMP frames of one connection per second: who is ahead by a second is not read for a \
         while, by two is refused; 0 means any number.",
    ),
    live(
        "limits.bytes_per_second",
        Kind::Bytes { min: 0, max: 1 << 40, auto: false },
        "0",
        "Bytes of one connection per second: who is ahead by a second is not read for a while, \
         what comes behind two is refused; 0 means any number.",
    ),
    live(
        "limits.user_frames_per_second",
        count(0, 1 << 20),
        "0",
        "STOMP frames of one user per second on each core, over all its connections there, held as \
         `limits.frames_per_second` is; 0 means any number.",
    ),
    live(
        "limits.user_bytes_per_second",
        Kind::Bytes { min: 0, max: 1 << 40, auto: false },
        "0",
        "Bytes of one user per second on each core, over all its connections there, held as \
         `limits.bytes_per_second` is; 0 means any number.",
    ),
];
