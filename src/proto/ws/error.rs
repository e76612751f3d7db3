//! What a peer can get wrong in RFC 6455, and the close code that answers it.

use std::fmt;

/// A broken rule of RFC 6455; the connection ends after it with [`close_code`](Self::close_code).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A reserved bit is set and no extension was agreed on (§5.2).
    ReservedBits,
    /// The opcode has no meaning (§5.2).
    ReservedOpcode,
    /// A client's frame without a mask (§5.1).
    NotMasked,
    /// A control frame without the fin bit (§5.5).
    ControlFragmented,
    /// A control frame of more than 125 bytes (§5.5).
    ControlTooLong,
    /// The length is written in more bytes than it needs (§5.2).
    LengthNotMinimal,
    /// The highest bit of a 64-bit length is set (§5.2).
    LengthOverflow,
    /// A continuation although no message is open (§5.4).
    ContinuationWithoutStart,
    /// A new message begins although one is still open (§5.4).
    MessageNotFinished,
    /// One frame announces more bytes than the limit.
    FrameTooBig,
    /// The frames of one message announce more bytes than the limit.
    MessageTooBig,
    /// A text message is not UTF-8 (§8.1).
    TextNotUtf8,
    /// A close payload of exactly one byte (§5.5.1).
    ClosePayload,
    /// A close code that must not be on the wire (§7.4).
    CloseCode,
    /// A close reason that is not UTF-8 (§5.5.1).
    CloseReasonNotUtf8,
}

impl Error {
    /// The code for the close frame (RFC 6455 §7.4.1).
    #[must_use]
    pub fn close_code(self) -> u16 {
        match self {
            Self::TextNotUtf8 | Self::CloseReasonNotUtf8 => 1007,
            Self::FrameTooBig | Self::MessageTooBig => 1009,
            Self::ReservedBits
            | Self::ReservedOpcode
            | Self::NotMasked
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::LengthOverflow
            | Self::ContinuationWithoutStart
            | Self::MessageNotFinished
            | Self::ClosePayload
            | Self::CloseCode => 1002,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::ReservedBits => "A reserved bit is set; no extension was negotiated.",
            Self::ReservedOpcode => "The opcode is reserved.",
            Self::NotMasked => "A client must mask its frames.",
            Self::ControlFragmented => "A control frame must not be fragmented.",
            Self::ControlTooLong => "A control frame holds at most 125 bytes.",
            Self::LengthNotMinimal => "The length is not in its shortest form.",
            Self::LengthOverflow => "The length must be below 2^63.",
            Self::ContinuationWithoutStart => "A continuation came without a message to continue.",
            Self::MessageNotFinished => "A new message began inside a fragmented one.",
            Self::FrameTooBig => "The frame is larger than this server accepts.",
            Self::MessageTooBig => "The message is larger than this server accepts.",
            Self::TextNotUtf8 => "A text message must be UTF-8.",
            Self::ClosePayload => "A close payload is empty or begins with a two-byte code.",
            Self::CloseCode => "The close code must not be used on the wire.",
            Self::CloseReasonNotUtf8 => "The close reason must be UTF-8.",
        })
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn sizes_are_1009_encoding_is_1007_and_the_rest_is_1002() {
        assert_eq!(Error::FrameTooBig.close_code(), 1009);
        assert_eq!(Error::MessageTooBig.close_code(), 1009);
        assert_eq!(Error::TextNotUtf8.close_code(), 1007);
        assert_eq!(Error::CloseReasonNotUtf8.close_code(), 1007);
        assert_eq!(Error::NotMasked.close_code(), 1002);
    }
}
