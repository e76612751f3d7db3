//! What a peer can get wrong in the head of a request.

use std::fmt;

/// Why a head is refused; the connection is answered with [`status`](Self::status) and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The request line is not `METHOD target HTTP/1.1`, or this is not HTTP at all.
    RequestLine,
    /// The request line alone exceeds the limit of the head.
    TargetTooLong,
    /// A version of HTTP that is not spoken here.
    Version,
    /// A header line that is no header: folded, without a colon, or with characters not allowed.
    HeaderLine,
    /// A header value that is not UTF-8.
    HeaderNotUtf8,
    /// The head exceeds the limit.
    HeadTooLarge,
    /// More headers than the limit.
    TooManyHeaders,
    /// HTTP/1.1 without a Host header (RFC 9112 §3.2).
    HostMissing,
    /// More than one Host header (RFC 9112 §3.2).
    HostRepeated,
    /// A Content-Length that is no number, or several that differ (RFC 9112 §6.3).
    ContentLength,
    /// A body on a GET or HEAD.
    Body,
    /// A body in a transfer coding.
    TransferEncoding,
}

impl Error {
    /// The status that answers it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::RequestLine
            | Self::HeaderLine
            | Self::HeaderNotUtf8
            | Self::HostMissing
            | Self::HostRepeated
            | Self::ContentLength => 400,
            Self::Body => 413,
            Self::TargetTooLong => 414,
            Self::HeadTooLarge | Self::TooManyHeaders => 431,
            Self::TransferEncoding => 501,
            Self::Version => 505,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::RequestLine => "The request line must be: METHOD target HTTP/1.1.",
            Self::TargetTooLong => {
                "The request target is too long; shorten it or move data to headers."
            }
            Self::Version => "Only HTTP/1.1 is spoken here; send the request as HTTP/1.1.",
            Self::HeaderLine => "A header line is broken; write each as Name: value on one line.",
            Self::HeaderNotUtf8 => "A header value is not UTF-8; percent-encode or base64 it.",
            Self::HeadTooLarge => {
                "The request head is too large; send fewer or shorter headers and cookies."
            }
            Self::TooManyHeaders => "The request has too many headers; send fewer.",
            Self::HostMissing => "HTTP/1.1 needs a Host header.",
            Self::HostRepeated => "Send exactly one Host header.",
            Self::ContentLength => "Content-Length must be one decimal number.",
            Self::Body => "A request body is not accepted here; send the request without one.",
            Self::TransferEncoding => {
                "Transfer-Encoding is not accepted here; send no request body."
            }
        })
    }
}

impl std::error::Error for Error {}
