//! What operators are shown of a session.

use crate::broker::identity;
use crate::broker::session::Session;

impl Session {
    /// The user as it named itself, or the session's id.
    #[must_use]
    pub fn user(&self) -> String {
        identity::decode(&self.user).unwrap_or_else(|| self.user.to_string())
    }

    /// The user, where it is known.
    #[must_use]
    pub fn named_user(&self) -> Option<String> {
        self.is_named.then(|| self.user())
    }

    /// How many subscriptions it has.
    #[must_use]
    pub fn subscriptions_count(&self) -> usize {
        self.subscriptions.len()
    }
}
