//! What ends a TLS connection, in sentences for whoever runs the server.

use std::fmt;

use rustls::CertificateError;

/// Why a TLS connection cannot go on.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// The other side broke the protocol, or the two have nothing in common.
    Protocol(rustls::Error),
    /// Bytes were to be sent before the handshake was done, or after the end.
    NotOpen,
    /// The peer's unfinished records are longer than any that it may send.
    TooLong,
    /// A name that no certificate can be for.
    BadName(String),
}

impl Error {
    /// Whether the peer has not shown a certificate that is believed.
    #[must_use]
    pub fn is_of_certificate(&self) -> bool {
        let Self::Protocol(error) = self else { return false };
        matches!(
            error,
            rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)
        )
    }

    /// Whether the peer speaks something else.
    #[must_use]
    pub fn is_not_tls(&self) -> bool {
        const OTHER: rustls::Error =
            rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        *self == Self::Protocol(OTHER)
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        Self::Protocol(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(_) if self.is_not_tls() => {
                formatter.write_str("the peer does not speak TLS")
            }
            Self::Protocol(error) => protocol(error, formatter),
            Self::NotOpen => formatter.write_str("the TLS session is not open"),
            Self::TooLong => formatter.write_str("the peer's TLS handshake is too long"),
            Self::BadName(name) => write!(formatter, "`{name}` is no name for a certificate"),
        }
    }
}

fn protocol(error: &rustls::Error, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) = error {
        return formatter.write_str(
            "the peer's certificate is signed by no CA that is trusted here; \
             a CA of one's own has to be named",
        );
    }
    if let rustls::Error::AlertReceived(alert) = error {
        return write!(formatter, "the peer refused the TLS session: {alert:?}");
    }
    write!(formatter, "TLS failed: {error}")
}
