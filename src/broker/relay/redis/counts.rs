//! What the machine counts and what it has to say, for the shard's metrics and log.

use std::time::Duration;

use crate::proto::envelope::Unverified;

/// Why a message from Redis is not delivered; each is a label of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Not an envelope, or one with a field that cannot be shown to clients.
    Malformed,
    /// The envelope names another destination or user than its channel.
    Mismatch,
    /// Larger than an envelope may be.
    Oversize,
    /// A key is set and the message has no signature.
    Unsigned,
    /// A key is set and the signature is not of this key.
    BadSignature,
    /// Signed too long ago, or too far in the future.
    Stale,
    /// A control message that is none, or, without a key, any.
    Control,
}

impl Dropped {
    /// All, in the order of [`Dropped::index`].
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::Mismatch,
        Self::Oversize,
        Self::Unsigned,
        Self::BadSignature,
        Self::Stale,
        Self::Control,
    ];

    /// The value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Mismatch => "mismatch",
            Self::Oversize => "oversize",
            Self::Unsigned => "unsigned",
            Self::BadSignature => "bad-signature",
            Self::Stale => "stale",
            Self::Control => "control",
        }
    }

    /// Its place in [`Counts::dropped`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl From<Unverified> for Dropped {
    fn from(why: Unverified) -> Self {
        match why {
            Unverified::Unsigned => Self::Unsigned,
            Unverified::Forged => Self::BadSignature,
            Unverified::Stale => Self::Stale,
        }
    }
}

/// Numbers that only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages and stream entries that were given to the relay to publish.
    pub published: u64,
    /// Those of them that Redis has taken.
    pub answered: u64,
    /// Those of them that were refused, for whatever reason.
    pub refused: u64,
    /// Those that a cluster sent elsewhere, and that were sent there.
    pub redirected: u64,
    /// Messages from Redis, all.
    pub received: u64,
    /// Messages from Redis that became publications.
    pub delivered: u64,
    /// Messages from Redis that nobody here wants any more, or that a cluster gave out twice.
    pub unwanted: u64,
    /// Messages from Redis that were dropped, by [`Dropped::index`].
    pub dropped: [u64; Dropped::ALL.len()],
    /// Messages on channels with a history that had no place there.
    pub unplaced: u64,
    /// Messages with a place that came before.
    pub repeated: u64,
    /// Messages that were not heard, and were read instead.
    pub healed: u64,
    /// Messages that were stored because nobody else had.
    pub copied: u64,
    /// Messages that were taken while the store was away.
    pub deferred: u64,
    /// Control messages that were accepted.
    pub controls: u64,
    /// Connections that were lost or could not be made.
    pub lost: u64,
    /// Times that the relay came up again.
    pub reconnects: u64,
    /// How long it was not up, in all but the first connect.
    pub gap: Duration,
    /// Channels and patterns subscribed to again after a loss.
    pub resubscribed: u64,
    /// Commands that change subscriptions.
    pub interest_commands: u64,
    /// Commands of every kind.
    pub commands: u64,
}

impl Counts {
    pub(super) fn drop(&mut self, why: Dropped) {
        self.dropped[why.index()] += 1;
    }

    /// All that were dropped.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }
}

/// How loud a [`Note`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Somebody should look.
    Warn,
}

/// A sentence for the log; the shard writes it, with a limit on how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How loud.
    pub level: Level,
    /// What happened, and what to do where something can be done.
    pub text: String,
}

/// Notes that nobody has taken; further ones are left out.
pub(super) const NOTES_MAX: usize = 64;

/// Redis's or a peer's text, fit to be shown: one short line without control characters.
pub(super) fn cleaned(text: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 200;
    let text = String::from_utf8_lossy(text);
    text.chars().take(CHARACTERS_MAX).map(|it| if it.is_control() { ' ' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        let mut counts = Counts::default();
        for (index, why) in Dropped::ALL.into_iter().enumerate() {
            assert_eq!(why.index(), index);
            counts.drop(why);
        }
        assert_eq!(counts.dropped, [1; Dropped::ALL.len()]);
        assert_eq!(counts.dropped_total(), Dropped::ALL.len() as u64);
    }

    #[test]
    fn what_redis_says_is_shown_on_one_short_line() {
        assert_eq!(cleaned(b"NOPERM no\r\n\x1b[31m"), "NOPERM no   [31m");
        assert_eq!(cleaned(&[b'x'; 900]).len(), 200);
        assert_eq!(cleaned(b"\xFF"), "\u{FFFD}");
    }
}
