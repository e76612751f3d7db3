//! The public listener's certificate: given to the shards at start, and read again when told.

use crate::config::settings::TlsSettings;
use crate::io::tls;
use crate::server::files;
use crate::shard::secure::Certificates;
use crate::shard::secure::Changer;

/// Whom a new certificate is given to.
pub(super) struct Reload(Changer);

/// The certificate for `count` shards, where the listener speaks TLS.
pub(super) fn share(
    certificate: Option<tls::Server>,
    count: usize,
) -> (Vec<Option<Certificates>>, Option<Reload>) {
    let Some(certificate) = certificate else {
        return ((0..count).map(|_| None).collect(), None);
    };
    let (all, changer) = Certificates::share(&certificate, count);
    (all.into_iter().map(Some).collect(), Some(Reload(changer)))
}

impl Reload {
    /// Reads the files that the settings name now. Connections that are open stay as they are; with
    /// files that cannot serve everything does.
    pub(super) fn run(&self, settings: Option<&TlsSettings>) {
        match files::certificate(settings) {
            Ok(None) => {
                tracing::warn!("tls.cert is gone: the listener speaks TLS until a restart");
            }
            Ok(Some(server)) => {
                self.0.change(&server);
                tracing::info!(
                    certificate = settings.map(|it| tracing::field::display(it.cert.display())),
                    "the certificate was read again; connections that come now are shown it"
                );
            }
            Err((key, why)) => tracing::error!("{key}: {why}; the certificate stays as it was"),
        }
    }
}
