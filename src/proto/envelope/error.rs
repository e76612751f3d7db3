//! What a sender can get wrong in an envelope.

use std::fmt;

/// A field of the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the fields of the same names")]
pub enum Field {
    Destination,
    UserId,
    Payload,
    PayloadType,
    Timestamp,
    OriginServerId,
    Id,
    Seq,
    Epoch,
    ContentType,
    SenderId,
    Headers,
    Encoding,
    Signature,
}

impl Field {
    pub(super) const ALL: [Self; 14] = [
        Self::Destination,
        Self::UserId,
        Self::Payload,
        Self::PayloadType,
        Self::Timestamp,
        Self::OriginServerId,
        Self::Id,
        Self::Seq,
        Self::Epoch,
        Self::ContentType,
        Self::SenderId,
        Self::Headers,
        Self::Encoding,
        Self::Signature,
    ];

    /// The field's name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Destination => "destination",
            Self::UserId => "userId",
            Self::Payload => "payload",
            Self::PayloadType => "payloadType",
            Self::Timestamp => "timestamp",
            Self::OriginServerId => "originServerId",
            Self::Id => "id",
            Self::Seq => "seq",
            Self::Epoch => "epoch",
            Self::ContentType => "contentType",
            Self::SenderId => "senderId",
            Self::Headers => "headers",
            Self::Encoding => "encoding",
            Self::Signature => "signature",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == name)
    }
}

/// Why an envelope is dropped; it says nothing about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// More bytes than the decoder takes.
    Oversize,
    /// Not one JSON object in UTF-8, or nested deeper than 64 levels.
    Json,
    /// `destination` or `payload` is missing.
    Missing(Field),
    /// A field of another type, or a number that is negative, broken or beyond 64 bits.
    Type(Field),
    /// A field comes twice: receivers would not agree on which one counts.
    Repeated(Field),
    /// CR, LF or NUL in a field that becomes a part of a head, or white space in an `id`.
    Character(Field),
    /// More headers than any server of ours can send.
    TooManyHeaders,
    /// An `encoding` that is not `base64`.
    Encoding,
    /// A payload that is not the base64 it claims to be.
    Base64,
}

impl Error {
    /// The label of a counter.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Oversize => "oversize",
            Self::Json => "json",
            Self::Missing(_) => "missing",
            Self::Type(_) => "type",
            Self::Repeated(_) => "repeated",
            Self::Character(_) => "character",
            Self::TooManyHeaders => "headers",
            Self::Encoding | Self::Base64 => "encoding",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Oversize => out.write_str("The envelope is larger than the limit."),
            Self::Json => out.write_str("The envelope is not one JSON object in UTF-8."),
            Self::Missing(field) => write!(out, "`{}` is missing.", field.as_str()),
            Self::Type(field) => write!(out, "`{}` has the wrong type.", field.as_str()),
            Self::Repeated(field) => write!(out, "`{}` comes twice.", field.as_str()),
            Self::Character(field) => {
                write!(out, "`{}` holds a character that it must not.", field.as_str())
            }
            Self::TooManyHeaders => out.write_str("The envelope has too many headers."),
            Self::Encoding => out.write_str("`encoding` must be base64 or be left out."),
            Self::Base64 => out.write_str("`payload` is not in base64 as `encoding` says."),
        }
    }
}

impl std::error::Error for Error {}
