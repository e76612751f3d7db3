//! Which channels have a history.

use crate::broker::router::Router;

impl Router {
    /// Whether a route with a history leads to this channel.
    #[must_use]
    pub fn is_stored(&self, channel: &str) -> bool {
        // A user's channel stands in routes by its destination.
        let written;
        let destination = match channel.strip_prefix("user.") {
            Some(rest) => {
                written = format!("/user/{rest}");
                &written
            }
            None => channel,
        };
        self.routes.iter().any(|it| it.stored.as_ref().is_some_and(|it| it.is_match(destination)))
    }
}
