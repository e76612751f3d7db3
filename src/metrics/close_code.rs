//! The label of a close code: ours and those of RFC 6455 by themselves, a peer's own together.

use crate::metrics::catalogue::Label;
use crate::metrics::catalogue::label;

label! {
    /// The close codes that are told apart (RFC 6455 §7.4.1 and our own).
    CloseCode {
        /// Normal end.
        Normal = "1000",
        /// The endpoint goes away.
        GoingAway = "1001",
        /// Protocol error.
        Protocol = "1002",
        /// A kind of data that cannot be accepted.
        Unsupported = "1003",
        /// A close frame without a code.
        None = "1005",
        /// No close frame at all.
        Abnormal = "1006",
        /// Data that does not match its type, such as text that is not UTF-8.
        Data = "1007",
        /// Policy.
        Policy = "1008",
        /// Too large a message.
        TooLarge = "1009",
        /// The client misses an extension.
        Extension = "1010",
        /// A fault of the server.
        Internal = "1011",
        /// The server ends or moves the connection.
        Restart = "1012",
        /// The server is full.
        Full = "1013",
        /// The token expired or was revoked.
        Token = "4401",
        /// Too slow: a slow consumer, or no first frame in time.
        Slow = "4500",
        /// Any other code, which only a peer can have chosen.
        PeerOther = "peer_other",
    }
}

impl CloseCode {
    /// The label for `code`; codes that we do not tell apart are [`CloseCode::PeerOther`].
    #[must_use]
    pub fn of(code: u16) -> Self {
        match code {
            1000 => Self::Normal,
            1001 => Self::GoingAway,
            1002 => Self::Protocol,
            1003 => Self::Unsupported,
            1005 => Self::None,
            1006 => Self::Abnormal,
            1007 => Self::Data,
            1008 => Self::Policy,
            1009 => Self::TooLarge,
            1010 => Self::Extension,
            1011 => Self::Internal,
            1012 => Self::Restart,
            1013 => Self::Full,
            4401 => Self::Token,
            4500 => Self::Slow,
            _ => Self::PeerOther,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_code_with_a_label_finds_it() {
        for label in CloseCode::ALL {
            if let Ok(code) = label.text().parse() {
                assert_eq!(CloseCode::of(code), label);
            }
        }
    }

    #[test]
    fn the_codes_of_peers_share_one_label() {
        for code in [0, 999, 1004, 1014, 1015, 2999, 3000, 4000, 4400, 4501, 4999, u16::MAX] {
            assert_eq!(CloseCode::of(code), CloseCode::PeerOther);
        }
    }
}
