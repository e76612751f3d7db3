//! Who is let on, and how fast: parts of `server.*` and `limits.*`.

use crate::config::value::Values;

/// Which proxies are believed, and what everybody may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionSettings {
    /// Addresses and ranges whose word is believed.
    pub trusted_proxies: Vec<String>,
    /// Whether connections begin with the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// Connections of one user; 0 is any number, as everywhere here.
    pub connections_per_user: usize,
    /// Connections of one address.
    pub connections_per_address: usize,
    /// Upgrades of the process.
    pub handshakes_per_second: usize,
    /// Frames of a connection.
    pub frames_per_second: usize,
    /// Bytes of a connection.
    pub bytes_per_second: usize,
    /// Frames of a user on each core.
    pub user_frames_per_second: usize,
    /// Bytes of a user on each core.
    pub user_bytes_per_second: usize,
}

impl AdmissionSettings {
    pub(super) fn build(values: &mut Values) -> Self {
        Self {
            trusted_proxies: values.list("server.trusted_proxies"),
            proxy_protocol: values.choice("server.proxy_protocol", ProxyProtocol::NAMES),
            connections_per_user: values.number("limits.connections_per_user"),
            connections_per_address: values.number("limits.connections_per_address"),
            handshakes_per_second: values.number("limits.handshakes_per_second"),
            frames_per_second: values.number("limits.frames_per_second"),
            bytes_per_second: values.number("limits.bytes_per_second"),
            user_frames_per_second: values.number("limits.user_frames_per_second"),
            user_bytes_per_second: values.number("limits.user_bytes_per_second"),
        }
    }
}

/// `server.proxy_protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// None may.
    Off,
    /// Those of trusted proxies may.
    Optional,
    /// All do.
    Required,
}

impl ProxyProtocol {
    pub(super) const NAMES: &[(&str, Self)] =
        &[("off", Self::Off), ("optional", Self::Optional), ("required", Self::Required)];
}
