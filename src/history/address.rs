//! Where a database server is, and how it is reached.

use std::fmt;
use std::path::PathBuf;

/// Where the server is, and who we are.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The database, which must be there.
    pub database: String,
    /// TLS, where it is wanted: then nothing is said without it.
    pub tls: Option<Tls>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.port, self.database)
    }
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file with the authorities; none means the public ones.
    pub ca: Option<PathBuf>,
}
