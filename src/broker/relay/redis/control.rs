//! Control messages from other tasks and from operators: believed only with the key's signature,
//! and obeyed once.

use std::collections::VecDeque;

use crate::broker::relay::redis::counts::Dropped;
use crate::broker::relay::redis::options::Options;
use crate::policy::auth::Revocation;
use crate::policy::auth::Whom;
use crate::proto::control;
use crate::stdx::time::Now;

/// Ids that are remembered; more than this many within one window of signatures are an attack with
/// the key, or a mistake.
const IDS_MAX: usize = 1024;

/// What a whole fleet, or one task of it, is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Drain.
    Drain {
        /// The one task that is meant; `None` for all.
        task: Option<Box<str>>,
    },
    /// Close the sessions of a user.
    Disconnect {
        /// Their id.
        user: Box<str>,
    },
    /// Believe no longer in these tokens, and close their sessions.
    Revoke(Vec<Revocation>),
}

impl From<&control::Message<'_>> for Control {
    fn from(message: &control::Message<'_>) -> Self {
        let revoke = |whom, until_ms: Option<u64>| {
            Self::Revoke(vec![Revocation { whom, until_ms: until_ms.unwrap_or(u64::MAX) }])
        };
        match message.control {
            control::Control::Drain { task } => Self::Drain { task: task.map(Box::from) },
            control::Control::Disconnect { user } => Self::Disconnect { user: user.into() },
            control::Control::Revoke { tokens: control::Tokens::Id(jti), until_ms } => {
                revoke(Whom::Token(jti.into()), until_ms)
            }
            control::Control::Revoke { tokens: control::Tokens::User(user), until_ms } => {
                // Those that were issued before it was said: a later one is a new beginning.
                let issued_until_ms = message.timestamp_ms;
                revoke(Whom::User { id: user.into(), issued_until_ms }, until_ms)
            }
        }
    }
}

/// Judges control messages.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Ids that were obeyed, each with the time after which its message is stale anyway.
    seen: VecDeque<(u64, Box<str>)>,
}

impl Gate {
    /// The message in `json`, which is decoded in place; `None` when it was obeyed before.
    ///
    /// # Errors
    ///
    /// Why it is dropped; without a key all are.
    pub(super) fn admit(
        &mut self,
        now: Now,
        json: &mut [u8],
        options: &Options,
    ) -> Result<Option<Control>, Dropped> {
        let key = options.key.as_ref().ok_or(Dropped::Control)?;
        let window_ms = options.hmac_window_ms();
        let message = control::decode(json).map_err(|_| Dropped::Control)?;
        message.verify(key, now.unix_ms, window_ms)?;
        self.seen.retain(|(until_ms, _)| now.unix_ms <= *until_ms);
        if self.seen.iter().any(|(_, id)| **id == *message.id) {
            return Ok(None);
        }
        if IDS_MAX <= self.seen.len() {
            return Err(Dropped::Control);
        }
        let until_ms = message.timestamp_ms.saturating_add(window_ms);
        self.seen.push_back((until_ms, message.id.into()));
        Ok(Some(Control::from(&message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::relay::redis::options::Mode;
    use crate::proto::envelope::Key;
    use crate::stdx::time::Instant;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn message(id: &str, at_ms: u64, key: Option<&[u8]>) -> Vec<u8> {
        let control = control::Control::Drain { task: None };
        let message = control::Message { id, timestamp_ms: at_ms, control, signature: None };
        let mut out = Vec::new();
        message.encode(&mut out, key.map(Key::new).as_ref());
        out
    }

    #[track_caller]
    fn check(gate: &mut Gate, mut json: Vec<u8>, expected: Result<bool, Dropped>) {
        let mut options = Options::new(Mode::PubSub, Vec::new());
        options.key = Some(Key::new(b"secret"));
        let now = Now { instant: Instant::default(), unix_ms: NOW_MS };
        let found = gate.admit(now, &mut json, &options);
        if let Ok(Some(control)) = &found {
            assert_eq!(*control, Control::Drain { task: None });
        }
        assert_eq!(found.map(|it| it.is_some()), expected);
    }

    #[test]
    fn a_control_message_is_proved_and_obeyed_once() {
        let mut gate = Gate::default();
        let key: &[u8] = b"secret";
        check(&mut gate, message("a", NOW_MS, Some(key)), Ok(true));
        check(&mut gate, message("a", NOW_MS, Some(key)), Ok(false));
        check(&mut gate, message("b", NOW_MS - 60_000, Some(key)), Ok(true));
        check(&mut gate, message("c", NOW_MS - 60_001, Some(key)), Err(Dropped::Stale));
        check(&mut gate, message("d", NOW_MS, None), Err(Dropped::Unsigned));
        check(&mut gate, message("e", NOW_MS, Some(b"other")), Err(Dropped::BadSignature));
        check(&mut gate, b"drain!".to_vec(), Err(Dropped::Control));
    }

    #[test]
    fn without_a_key_nobody_is_obeyed() {
        let options = Options::new(Mode::PubSub, Vec::new());
        let mut json = message("a", 0, None);
        let found = Gate::default().admit(Now::default(), &mut json, &options);
        assert_eq!(found, Err(Dropped::Control));
    }
}
