//! What was revoked: single tokens by their `jti`, and all tokens that a user had until then.

use std::collections::HashMap;

use crate::policy::auth::claims::Claims;

/// Most revocations that are kept; over it, those that end first go first.
pub const REVOCATIONS_COUNT_MAX: usize = 100_000;

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What is revoked.
    pub whom: Whom,
    /// Until when it must be remembered: no token that it concerns is valid after that.
    pub until_ms: u64,
}

/// What a revocation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The token of this `jti`.
    Token(Box<str>),
    /// Every token of the user that was issued at or before an instant, or does not say when.
    User {
        /// The user's id, as the claim has it.
        id: Box<str>,
        /// The instant.
        issued_until_ms: u64,
    },
}

/// All revocations that are remembered.
///
/// Invariant: `tokens` and `users` together are at most [`REVOCATIONS_COUNT_MAX`].
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    tokens: HashMap<Box<str>, u64>,
    users: HashMap<Box<str>, UserEntry>,
    generation: u64,
}

#[derive(Clone, Copy, Debug)]
struct UserEntry {
    issued_until_ms: u64,
    until_ms: u64,
}

impl Revocations {
    /// Rises with everything that is revoked.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many are remembered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tokens.len() + self.users.len()
    }

    /// Takes one more; `false` when it says nothing new. Saying it again does no harm.
    pub fn revoke(&mut self, now_ms: u64, revocation: &Revocation) -> bool {
        if revocation.until_ms <= now_ms {
            return false;
        }
        if REVOCATIONS_COUNT_MAX <= self.count() {
            self.forget(now_ms);
        }
        let is_new = match &revocation.whom {
            Whom::Token(jti) => {
                let until_ms = self.tokens.entry(jti.clone()).or_insert(0);
                let is_new = *until_ms == 0;
                *until_ms = revocation.until_ms.max(*until_ms);
                is_new
            }
            Whom::User { id, issued_until_ms } => {
                let nothing = UserEntry { issued_until_ms: 0, until_ms: 0 };
                let entry = self.users.entry(id.clone()).or_insert(nothing);
                let is_new = entry.until_ms == 0 || entry.issued_until_ms < *issued_until_ms;
                entry.issued_until_ms = (*issued_until_ms).max(entry.issued_until_ms);
                entry.until_ms = revocation.until_ms.max(entry.until_ms);
                is_new
            }
        };
        self.generation += u64::from(is_new);
        assert!(self.count() <= REVOCATIONS_COUNT_MAX);
        is_new
    }

    /// Whether a token with these claims is revoked.
    #[must_use]
    pub fn concerns(&self, claims: &Claims) -> bool {
        let is_token = claims.jti.as_ref().is_some_and(|it| self.tokens.contains_key(it));
        is_token
            || self.users.get(&claims.user).is_some_and(|entry| {
                claims.issued_at_ms.is_none_or(|it| it <= entry.issued_until_ms)
            })
    }

    /// Lets go what is past, and where that does not make room, a tenth of those that end first.
    fn forget(&mut self, now_ms: u64) {
        self.remove_until(now_ms, usize::MAX);
        if self.count() < REVOCATIONS_COUNT_MAX {
            return;
        }
        let users = self.users.values().map(|it| it.until_ms);
        let mut ends: Vec<u64> = self.tokens.values().copied().chain(users).collect();
        let many = REVOCATIONS_COUNT_MAX / 10;
        let (_, tenth, _) = ends.select_nth_unstable(many);
        let tenth = *tenth;
        self.remove_until(tenth, many);
    }

    /// Removes at most `count_max` that end at `until_ms` or before.
    fn remove_until(&mut self, until_ms: u64, count_max: usize) {
        let mut left = count_max;
        let mut stays = |end_ms: u64| {
            let goes = end_ms <= until_ms && 0 < left;
            left -= usize::from(goes);
            !goes
        };
        self.tokens.retain(|_, end_ms| stays(*end_ms));
        self.users.retain(|_, it| stays(it.until_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(user: &str, jti: Option<&str>, issued_at_ms: Option<u64>) -> Claims {
        Claims {
            user: user.into(),
            roles: Box::default(),
            kept: Box::default(),
            expires_at_ms: 10_000,
            issued_at_ms,
            jti: jti.map(Box::from),
        }
    }

    fn token(jti: &str, until_ms: u64) -> Revocation {
        Revocation { whom: Whom::Token(jti.into()), until_ms }
    }

    fn user(id: &str, issued_until_ms: u64) -> Revocation {
        Revocation { whom: Whom::User { id: id.into(), issued_until_ms }, until_ms: 9_000 }
    }

    #[test]
    fn a_token_is_revoked_by_its_name_or_by_its_user_and_age() {
        let mut revoked = Revocations::default();
        assert!(revoked.revoke(1, &token("t1", 9_000)) && revoked.revoke(1, &user("bob", 500)));
        let concerned = |it| revoked.concerns(&it);
        assert!(concerned(claims("amy", Some("t1"), Some(1))));
        assert!(!concerned(claims("amy", Some("t2"), Some(1))));
        assert!(!concerned(claims("amy", None, None)));
        assert!(concerned(claims("bob", None, Some(500))));
        assert!(!concerned(claims("bob", None, Some(501))));
        assert!(concerned(claims("bob", None, None)));
    }

    #[test]
    fn the_generation_rises_with_news_only() {
        let mut revoked = Revocations::default();
        assert!(revoked.revoke(1, &token("t1", 9_000)) && !revoked.revoke(1, &token("t1", 9_000)));
        assert!(!revoked.revoke(9_000, &token("t2", 9_000)));
        assert!(revoked.revoke(1, &user("bob", 500)) && !revoked.revoke(1, &user("bob", 400)));
        assert!(revoked.revoke(1, &user("bob", 600)));
        assert_eq!((revoked.generation(), revoked.count()), (3, 2));
    }

    #[test]
    fn there_is_always_room_for_one_more() {
        let mut revoked = Revocations::default();
        for it in 0..=REVOCATIONS_COUNT_MAX as u64 {
            revoked.revoke(1, &token(&it.to_string(), 1_000 + it));
        }
        assert!(revoked.count() <= REVOCATIONS_COUNT_MAX);
        // Of those that end first some have gone, and the others are there.
        assert!(!revoked.concerns(&claims("amy", Some("0"), None)));
        assert_eq!(revoked.count(), REVOCATIONS_COUNT_MAX - REVOCATIONS_COUNT_MAX / 10 + 1);
        assert!(revoked.concerns(&claims("amy", Some("100000"), None)));
    }
}
