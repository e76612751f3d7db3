//! The commands a client may send.

use crate::proto::stomp::Error;

/// The longest command (`UNSUBSCRIBE`) with the CR of its line end.
pub(super) const COMMAND_LINE_BYTES_MAX: usize = 12;

const _: () = assert!(COMMAND_LINE_BYTES_MAX == "UNSUBSCRIBE\r".len());

/// A client's command (STOMP 1.2, "Client Frames").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Opens the session.
    Connect,
    /// Opens the session, as CONNECT does.
    Stomp,
    /// Says something to a destination.
    Send,
    /// Asks for what is said to a destination.
    Subscribe,
    /// Ends a subscription.
    Unsubscribe,
    /// Opens a transaction.
    Begin,
    /// Does what a transaction collected.
    Commit,
    /// Forgets what a transaction collected.
    Abort,
    /// Acknowledges a message.
    Ack,
    /// Refuses a message.
    Nack,
    /// Ends the session.
    Disconnect,
}

impl Command {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Stomp => "STOMP",
            Self::Send => "SEND",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Abort => "ABORT",
            Self::Ack => "ACK",
            Self::Nack => "NACK",
            Self::Disconnect => "DISCONNECT",
        }
    }

    /// Parses the first line of a frame, without its line end; case counts.
    ///
    /// # Errors
    ///
    /// [`Error::ServerCommand`] for the four words of servers, else [`Error::UnknownCommand`].
    pub(super) fn parse(line: &[u8]) -> Result<Self, Error> {
        Ok(match line {
            b"CONNECT" => Self::Connect,
            b"STOMP" => Self::Stomp,
            b"SEND" => Self::Send,
            b"SUBSCRIBE" => Self::Subscribe,
            b"UNSUBSCRIBE" => Self::Unsubscribe,
            b"BEGIN" => Self::Begin,
            b"COMMIT" => Self::Commit,
            b"ABORT" => Self::Abort,
            b"ACK" => Self::Ack,
            b"NACK" => Self::Nack,
            b"DISCONNECT" => Self::Disconnect,
            b"CONNECTED" | b"MESSAGE" | b"RECEIPT" | b"ERROR" => return Err(Error::ServerCommand),
            _ => return Err(Error::UnknownCommand),
        })
    }

    /// Whether the frame may have a body (STOMP 1.2, "Body").
    pub(super) fn may_have_body(self) -> bool {
        self == Self::Send
    }

    /// Whether the frame opens the session; such frames are never escaped.
    pub(super) fn is_connect(self) -> bool {
        matches!(self, Self::Connect | Self::Stomp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_parses_to_itself() {
        for word in
            "CONNECT STOMP SEND SUBSCRIBE UNSUBSCRIBE BEGIN COMMIT ABORT ACK NACK DISCONNECT"
                .split(' ')
        {
            assert_eq!(Command::parse(word.as_bytes()).map(Command::as_str), Ok(word));
        }
    }

    #[test]
    fn case_counts_and_servers_words_are_refused() {
        for word in ["", "FOO", "send", "SEND ", " SEND", "Connect"] {
            assert_eq!(Command::parse(word.as_bytes()), Err(Error::UnknownCommand), "{word}");
        }
        for word in ["CONNECTED", "MESSAGE", "RECEIPT", "ERROR"] {
            assert_eq!(Command::parse(word.as_bytes()), Err(Error::ServerCommand), "{word}");
        }
    }
}
