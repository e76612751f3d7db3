//! What a server can get wrong in RESP.

use std::fmt;

/// A broken rule of the protocol, or a reply over the limits; the stream cannot be resynchronised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The first byte of an element is no type of RESP2 or RESP3.
    UnknownType,
    /// A length or count is empty, negative (but for the -1 of a null), signed, streamed, or has
    /// more than 19 digits.
    Length,
    /// A CR without LF, or an LF without CR.
    LineEnd,
    /// A simple string, simple error, number or boolean of more than 64 KiB.
    LineTooLong,
    /// A bulk is not followed by CR LF.
    BulkEnd,
    /// A bulk of more bytes than the limit.
    BulkTooLong,
    /// More elements than the limit.
    TooManyItems,
    /// More levels than the limit.
    TooDeep,
    /// An integer that is no decimal number of 64 bits.
    Integer,
    /// A double that is no number.
    Double,
    /// A boolean that is neither `t` nor `f`.
    Boolean,
    /// A big number that is not an optional sign and digits.
    BigNumber,
    /// A null with something in it.
    Null,
    /// A verbatim string without its three letters and colon.
    Verbatim,
    /// A part of a message that is not a bulk string, behind one that was too large.
    Message,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::UnknownType => "An element of the reply has no known type.",
            Self::Length => "A length or count in the reply is not a number.",
            Self::LineEnd => "A line of the reply does not end in CR LF.",
            Self::LineTooLong => "A line of the reply is too long.",
            Self::BulkEnd => "A bulk string of the reply does not end where it said.",
            Self::BulkTooLong => "A bulk string of the reply is larger than the limit.",
            Self::TooManyItems => "The reply has more elements than the limit.",
            Self::TooDeep => "The reply is nested deeper than the limit.",
            Self::Integer => "An integer of the reply is not a number of 64 bits.",
            Self::Double => "A double of the reply is not a number.",
            Self::Boolean => "A boolean of the reply is neither t nor f.",
            Self::BigNumber => "A big number of the reply is not a number.",
            Self::Null => "A null of the reply is not empty.",
            Self::Verbatim => "A verbatim string of the reply names no format.",
            Self::Message => "A part of a message is not a bulk string.",
        })
    }
}

impl std::error::Error for Error {}
