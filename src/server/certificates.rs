//! The public listener's certificate: read at start, and again when told.

use crate::config::settings::TlsSettings;
use crate::io::tls;
use crate::server::StartError;
use crate::shard::secure::Certificates;
use crate::shard::secure::Changer;

/// Where the certificate comes from and whom a new one is given to.
pub(super) struct Reload {
    files: tls::ServerFiles,
    changer: Changer,
}

/// Reads the certificate for `count` shards, where the listener speaks TLS.
pub(super) fn load(
    settings: Option<&TlsSettings>,
    count: usize,
) -> Result<(Vec<Option<Certificates>>, Option<Reload>), StartError> {
    let Some(settings) = settings else {
        return Ok(((0..count).map(|_| None).collect(), None));
    };
    let files = tls::ServerFiles {
        certificate: settings.cert.clone(),
        key: settings.key.clone(),
        client_ca: settings.client_ca.clone(),
    };
    let server = tls::Server::load(&files).map_err(|error| StartError(format!("tls: {error}")))?;
    let (all, changer) = Certificates::share(&server, count);
    Ok((all.into_iter().map(Some).collect(), Some(Reload { files, changer })))
}

impl Reload {
    /// Reads the files again. Connections that are open stay as they are; with files that cannot
    /// serve everything does.
    pub(super) fn run(&self) {
        match tls::Server::load(&self.files) {
            Ok(server) => {
                self.changer.change(&server);
                tracing::info!(
                    certificate = %self.files.certificate.display(),
                    "the certificate was read again; connections that come now are shown it"
                );
            }
            Err(error) => tracing::error!("tls: {error}; the certificate stays as it was"),
        }
    }
}
