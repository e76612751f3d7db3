//! Certificates, keys and what is trusted: read from files, once at start and again when told.

use std::fmt;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::NoServerSessionStorage;
use rustls::server::WebPkiClientVerifier;

/// Tickets after a handshake of TLS 1.3: a client that comes back uses one and gets a new one.
const TICKETS_COUNT: usize = 1;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOf {
    /// The certificate of this side, and what leads from it to its CA.
    Certificate,
    /// The key of that.
    Key,
    /// The CAs that the other side's certificate may be from.
    Authorities,
}

/// Why files cannot serve: the operator's fault, one line that names the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Which of them it is.
    pub of: FileOf,
    /// What is wrong with it.
    pub text: String,
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Where a client's side finds what it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// PEM file of the CAs to trust; without it those that the host trusts.
    pub ca: Option<PathBuf>,
    /// PEM files of our own certificate and key, for servers that ask for one.
    pub certificate_and_key: Option<(PathBuf, PathBuf)>,
}

/// Where the server's side finds what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// PEM file of the certificate and what leads from it to its CA.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// PEM file of the CAs of clients; when set, only clients with a certificate are served.
    pub client_ca: Option<PathBuf>,
}

/// What all sessions of a client share; a clone is the same.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

/// What all sessions of a server share; a clone is the same.
#[derive(Clone)]
pub struct Server(Arc<ServerConfig>);

impl Client {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or does not hold what it should.
    pub fn load(files: &ClientFiles) -> Result<Self, Unusable> {
        let roots = match &files.ca {
            Some(path) => roots_of(path)?,
            None => host_roots()?,
        };
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(FileOf::Certificate, format!("no TLS version: {error}")))?
            .with_root_certificates(roots);
        let config = match &files.certificate_and_key {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => config
                .with_client_auth_cert(
                    certificates_of(certificate, FileOf::Certificate)?,
                    key_of(key)?,
                )
                .map_err(|error| unfit(certificate, key, &error))?,
        };
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}

impl Server {
    /// Reads the files. Tickets of what was loaded before are worth nothing to it: a client whose
    /// CA has gone must not come in by one.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or does not hold what it should.
    pub fn load(files: &ServerFiles) -> Result<Self, Unusable> {
        let provider = provider();
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(FileOf::Certificate, format!("no TLS version: {error}")))?;
        let config = match &files.client_ca {
            None => config.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(roots_of(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| {
                        unusable(FileOf::Authorities, format!("{}: {error}", path.display()))
                    })?;
                config.with_client_cert_verifier(verifier)
            }
        };
        let mut config = config
            .with_single_cert(
                certificates_of(&files.certificate, FileOf::Certificate)?,
                key_of(&files.key)?,
            )
            .map_err(|error| unfit(&files.certificate, &files.key, &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Tickets hold the session: nothing is kept here, and no shard asks another.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new().map_err(|error| {
            unusable(FileOf::Key, format!("no randomness for tickets: {error}"))
        })?;
        config.send_tls13_tickets = TICKETS_COUNT;
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("tls::Client")
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("tls::Server")
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn unusable(of: FileOf, text: String) -> Unusable {
    Unusable { of, text }
}

fn read(path: &Path, of: FileOf) -> Result<Vec<u8>, Unusable> {
    fs::read(path).map_err(|error| unusable(of, format!("cannot read {}: {error}", path.display())))
}

fn certificates_of(path: &Path, of: FileOf) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let pem = read(path, of)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found
        .map_err(|error| unusable(of, format!("{} is no PEM file: {error}", path.display())))?;
    if found.is_empty() {
        let text = "holds no certificate (-----BEGIN CERTIFICATE-----)";
        return Err(unusable(of, format!("{} {text}", path.display())));
    }
    Ok(found)
}

fn key_of(path: &Path) -> Result<PrivateKeyDer<'static>, Unusable> {
    PrivateKeyDer::from_pem_slice(&read(path, FileOf::Key)?).map_err(|_| {
        let text = "holds no private key without a passphrase (-----BEGIN PRIVATE KEY-----)";
        unusable(FileOf::Key, format!("{} {text}", path.display()))
    })
}

fn roots_of(path: &Path) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_of(path, FileOf::Authorities)? {
        roots.add(certificate).map_err(|error| {
            let text = format!("{} holds a certificate of no use: {error}", path.display());
            unusable(FileOf::Authorities, text)
        })?;
    }
    Ok(roots)
}

fn host_roots() -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Some hosts carry old certificates that no client can use; the others serve.
    let (usable_count, _) = roots.add_parsable_certificates(found.certs);
    if usable_count == 0 {
        let text = "the host has no list of CAs (package ca-certificates); name a PEM file of the \
                    CA to trust";
        return Err(unusable(FileOf::Authorities, text.to_owned()));
    }
    Ok(roots)
}

fn unfit(certificate: &Path, key: &Path, error: &rustls::Error) -> Unusable {
    let (certificate, key) = (certificate.display(), key.display());
    if let rustls::Error::InconsistentKeys(_) = error {
        return unusable(FileOf::Key, format!("the key in {key} is not the key of {certificate}"));
    }
    let text = format!("{certificate} with the key in {key} is of no use: {error}");
    unusable(FileOf::Certificate, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tls::testing::Authority;

    #[test]
    fn files_that_cannot_serve_are_named_with_what_is_wrong() {
        let authority = Authority::new();
        let (certificate, key) = authority.issue("one", &["a.test"]);
        let (_, other_key) = authority.issue("two", &["a.test"]);
        let empty = authority.write("empty.pem", "nothing\n");
        let check = |certificate: &Path, key: &Path, client_ca: Option<&Path>, part: &str| {
            let error = Server::load(&ServerFiles {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                client_ca: client_ca.map(Path::to_owned),
            });
            let error = error.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(&authority.path("lost"), &key, None, "cannot read");
        check(&empty, &key, None, "empty.pem holds no certificate");
        check(&certificate, &certificate, None, "one.pem holds no private key");
        check(&certificate, &other_key, None, "two.key is not the key of");
        check(&certificate, &key, Some(&empty), "empty.pem holds no certificate");
        let ca = Some(empty);
        let error = Client::load(&ClientFiles { ca, certificate_and_key: None }).unwrap_err();
        assert!(error.to_string().contains("holds no certificate"), "{error}");
    }
}
