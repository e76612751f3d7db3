//! What a peer can get wrong in STOMP.

use std::fmt;

/// A broken rule of STOMP; one ERROR frame with this text goes out, then the session closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A CR in the command or header lines that does not belong to a line end.
    LoneCarriageReturn,
    /// The first line is no command of STOMP; commands are case-sensitive.
    UnknownCommand,
    /// A command that only a server may send.
    ServerCommand,
    /// The frame ended inside its headers.
    NullInHead,
    /// A header line without a colon, or with nothing in front of it.
    IllegalHeader,
    /// A backslash with a letter that the version does not define, or at the end of the line.
    IllegalEscape,
    /// Command or headers are not UTF-8.
    HeadNotUtf8,
    /// Command and headers together exceed the limit.
    HeadTooBig,
    /// More header lines than the limit.
    TooManyHeaders,
    /// The frame, or what its content-length announces, exceeds the limit.
    FrameTooBig,
    /// A content-length below zero.
    NegativeContentLength,
    /// The octet after the body is not NUL.
    NotTerminated,
    /// A body on a frame that may not have one.
    BodyNotAllowed,
    /// The heart-beat header is not two numbers.
    IllegalHeartBeat,
}

impl Error {
    /// What to do about it: the body of the ERROR frame.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::LoneCarriageReturn => {
                "End lines with LF or CR LF; escape a CR in a header as \\r."
            }
            Self::UnknownCommand => {
                "Commands are CONNECT, STOMP, SEND, SUBSCRIBE, UNSUBSCRIBE, BEGIN, COMMIT, ABORT, \
                 ACK, NACK and DISCONNECT, in capitals, alone on the first line."
            }
            Self::ServerCommand => "CONNECTED, MESSAGE, RECEIPT and ERROR are sent by the server.",
            Self::NullInHead => "Put a blank line between the headers and the null octet.",
            Self::IllegalHeader => "Write each header as name:value on a line of its own.",
            Self::IllegalEscape => {
                "Known escapes are \\n, \\c and \\\\ in STOMP 1.1, and also \\r in STOMP 1.2."
            }
            Self::HeadNotUtf8 => "Encode command and headers in UTF-8.",
            Self::HeadTooBig | Self::TooManyHeaders => "Send fewer or shorter headers.",
            Self::FrameTooBig => "Send smaller bodies, or split them over several frames.",
            Self::NegativeContentLength => "content-length is the number of octets in the body.",
            Self::NotTerminated => {
                "content-length must count the octets of the body, no more, no less."
            }
            Self::BodyNotAllowed => "Of the frames a client sends only SEND may have a body.",
            Self::IllegalHeartBeat => {
                "Write heart-beat as two numbers of milliseconds: 10000,10000."
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::LoneCarriageReturn => "A carriage return must be followed by a line feed.",
            Self::UnknownCommand => "Unknown command.",
            Self::ServerCommand => "A client may not send a server's command.",
            Self::NullInHead => "The frame ends inside its headers.",
            Self::IllegalHeader => "Illegal header: a name and a colon are missing.",
            Self::IllegalEscape => "Illegal escape sequence in a header.",
            Self::HeadNotUtf8 => "Command and headers must be UTF-8.",
            Self::HeadTooBig => "The headers are larger than this server accepts.",
            Self::TooManyHeaders => "The frame has more headers than this server accepts.",
            Self::FrameTooBig => "The frame is larger than this server accepts.",
            Self::NegativeContentLength => "content-length must not be negative.",
            Self::NotTerminated => "The frame must be terminated with a null octet.",
            Self::BodyNotAllowed => "The command does not allow a body.",
            Self::IllegalHeartBeat => "Illegal heart-beat header.",
        })
    }
}

impl std::error::Error for Error {}
