//! Why a connection ends: one row per reason, with its close code and its label.

use std::borrow::Cow;

use crate::proto::stomp;
use crate::proto::ws;

/// Why we close a session. Adding a variant means answering every question below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client sent DISCONNECT.
    Disconnected,
    /// The peer closed the WebSocket; we answer with its own code.
    PeerClosed(Option<u16>),
    /// The server is draining; the client is to wait so long before it connects again.
    Draining {
        /// In milliseconds.
        reconnect_ms: u32,
    },
    /// The server ends before its drain has come to this one.
    Deadline {
        /// As for a drain: those that are left go all at once.
        reconnect_ms: u32,
    },
    /// The connection is as old as it may be.
    Aged {
        /// As for a drain.
        reconnect_ms: u32,
    },
    /// The client is to connect to where there is more room.
    Rebalanced {
        /// As for a drain.
        reconnect_ms: u32,
    },
    /// The peer broke RFC 6455.
    Frame(ws::Error),
    /// The peer broke STOMP's grammar.
    Stomp(stomp::Error),
    /// The peer broke STOMP's rules: a frame before CONNECT, a second CONNECT, no common version.
    Protocol,
    /// The peer collected refusals past its limit.
    RefusalLimit,
    /// A refusal where refusals are configured to close.
    Refused,
    /// The token expired or was revoked.
    TokenStale,
    /// The token was never to be believed.
    TokenRefused,
    /// An operator has ended the sessions of its user.
    Expelled,
    /// Its user, or its address, has as many connections as it may have.
    Crowded,
    /// The server is nearly full, and the tokens of its address were refused lately.
    Full,
    /// The outbox reached its limit in bytes or time before the peer read it.
    SlowConsumer,
    /// All outboxes together reached their limit and this one was the fullest.
    OutboxTotal,
    /// No CONNECT in time after the upgrade.
    NoFirstFrame,
    /// The client's heart-beats stopped.
    HeartBeatLost,
    /// No pong, nor anything else, after our ping.
    PongLost,
    /// An invariant of this connection broke.
    Internal,
}

impl CloseReason {
    /// The code in the close frame (RFC 6455 §7.4.1 and the contract's own 4500).
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Disconnected => 1000,
            Self::PeerClosed(code) => code.unwrap_or(1000),
            Self::Deadline { .. } => 1001,
            Self::Draining { .. } | Self::Aged { .. } | Self::Rebalanced { .. } => 1012,
            Self::Frame(error) => error.close_code(),
            Self::Stomp(_) | Self::Protocol | Self::HeartBeatLost | Self::PongLost => 1002,
            Self::RefusalLimit
            | Self::Refused
            | Self::TokenRefused
            | Self::Expelled
            | Self::Crowded => 1008,
            Self::TokenStale => 4401,
            Self::Full => 1013,
            Self::SlowConsumer | Self::OutboxTotal | Self::NoFirstFrame => 4500,
            Self::Internal => 1011,
        }
    }

    /// What the close frame and the log say.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::PeerClosed(_) => "closed by the peer",
            Self::Draining { .. } => "the server is going away",
            Self::Deadline { .. } => "the server is gone",
            Self::Aged { .. } => "this connection is as old as it may be",
            Self::Rebalanced { .. } => "other servers have more room",
            Self::Frame(_) => "WebSocket protocol error",
            Self::Stomp(_) | Self::Protocol => "STOMP protocol error",
            Self::RefusalLimit => "too many refused frames",
            Self::Refused => "refused",
            Self::TokenStale => "the token expired or was revoked, bring a new one",
            Self::TokenRefused => "the token is not accepted",
            Self::Expelled => "disconnected by an operator",
            Self::Crowded => "too many connections",
            Self::Full => "the server is full, try again later",
            Self::SlowConsumer => "slow consumer",
            Self::OutboxTotal => "slow consumer: the server's outbox memory is full",
            Self::NoFirstFrame => "no CONNECT in time",
            Self::HeartBeatLost => "heart-beats stopped",
            Self::PongLost => "no pong",
            Self::Internal => "internal error",
        }
    }

    /// What the close frame says: the text, and where there is one the hint when to connect again.
    #[must_use]
    pub fn said(self) -> Cow<'static, str> {
        match self.reconnect_ms() {
            None => Cow::Borrowed(self.text()),
            Some(millis) => Cow::Owned(format!("{}; reconnect in {millis} ms", self.text())),
        }
    }

    /// How long the client is to wait before it connects again, where it is let go.
    #[must_use]
    pub fn reconnect_ms(self) -> Option<u32> {
        match self {
            Self::Draining { reconnect_ms }
            | Self::Deadline { reconnect_ms }
            | Self::Aged { reconnect_ms }
            | Self::Rebalanced { reconnect_ms } => Some(reconnect_ms),
            Self::Disconnected
            | Self::PeerClosed(_)
            | Self::Expelled
            | Self::Frame(_)
            | Self::Stomp(_)
            | Self::Protocol
            | Self::RefusalLimit
            | Self::Refused
            | Self::TokenStale
            | Self::TokenRefused
            | Self::Crowded
            | Self::Full
            | Self::SlowConsumer
            | Self::OutboxTotal
            | Self::NoFirstFrame
            | Self::HeartBeatLost
            | Self::PongLost
            | Self::Internal => None,
        }
    }

    /// Whether what waits in the outbox is dropped so that the close frame can leave first.
    #[must_use]
    pub fn drops_outbox(self) -> bool {
        matches!(self, Self::SlowConsumer | Self::OutboxTotal)
    }

    /// Whether this close is part of a normal life: not logged as a fault, not counted as an error.
    #[must_use]
    pub fn is_normal(self) -> bool {
        let is_ended = matches!(self, Self::Disconnected | Self::PeerClosed(_) | Self::Expelled);
        is_ended || self.reconnect_ms().is_some()
    }
}
