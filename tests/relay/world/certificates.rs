//! An authority of the test's own, and the certificate of a server that it signed.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;

/// PEM texts of an authority and of one server's certificate.
pub(crate) struct Certificates {
    ca: String,
    certificate: String,
    key: String,
}

/// Where they were written.
pub(crate) struct Files {
    /// The authority's certificate.
    pub(crate) ca: PathBuf,
    /// The server's certificate.
    pub(crate) certificate: PathBuf,
    /// The server's key.
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// A fresh authority, and a certificate for `names`.
    pub(crate) fn of(names: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are no bad names");
        // A name of its own: a certificate whose issuer has the same name counts as self-signed.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("the system has randomness");
        let ca = params.self_signed(&key).expect("the key signs").pem();
        let issuer = Issuer::new(params, key);
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names of tests are good");
        let key = KeyPair::generate().expect("the system has randomness");
        let certificate = params.signed_by(&key, &issuer).expect("the authority signs").pem();
        Self { ca, certificate, key: key.serialize_pem() }
    }

    /// Writes all three into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Files {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).expect("the folder takes files");
            path
        };
        Files {
            ca: write("ca.pem", &self.ca),
            certificate: write("server.pem", &self.certificate),
            key: write("server.key", &self.key),
        }
    }
}
