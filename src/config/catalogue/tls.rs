//! The rows of the public listener's TLS.

use crate::config::catalogue::live;
use crate::config::knob::Kind;
use crate::config::knob::Knob;

/// `tls.*`
pub(super) const TLS: &[Knob] = &[
    live(
        "tls.cert",
        Kind::Path,
        "none",
        "PEM file with the certificate of the public listener, and with what leads from it to its \
         authority; with it clients connect to `wss://`. Read again on SIGHUP.",
    ),
    live(
        "tls.key",
        Kind::Path,
        "none",
        "PEM file with the key of `tls.cert`. Read again on SIGHUP.",
    ),
    live(
        "tls.client_ca",
        Kind::Path,
        "none",
        "PEM file with the authorities of clients; with it only clients that show a certificate \
         are served. Read again on SIGHUP.",
    ),
];
