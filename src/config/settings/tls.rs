//! `tls.*`: the public listener's certificate.

use std::path::PathBuf;

use crate::config::value::Values;

/// `tls.*`: what the public listener shows, and what it wants to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The file with the certificate and its chain.
    pub cert: PathBuf,
    /// The file with the key.
    pub key: PathBuf,
    /// The file with the authorities of clients; when set, clients need a certificate.
    pub client_ca: Option<PathBuf>,
}

impl TlsSettings {
    /// `None` where a certificate or its key is not named; that only one is, is found elsewhere.
    pub(super) fn build(values: &mut Values) -> Option<Self> {
        let mut path = |key| values.text_or_none(key).map(PathBuf::from);
        let (cert, key, client_ca) = (path("tls.cert"), path("tls.key"), path("tls.client_ca"));
        Some(Self { cert: cert?, key: key?, client_ca })
    }
}
