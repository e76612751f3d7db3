//! Which channels have a history.

use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::router::Interest;
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

    /// Whose history answers a SUBSCRIBE to `destination`, which is below `/app/`, by the user
    /// `user` (encoded).
    ///
    /// # Errors
    ///
    /// Where no route answers, or with what is another user's.
    pub(super) fn resolve_answer(
        &self,
        destination: &str,
        user: &str,
    ) -> Result<Interest, Refusal> {
        let delivery = self.resolve_send(destination)?;
        if !delivery.has_history {
            let text = format!("no route answers a SUBSCRIBE to {destination}");
            return Err(Refusal::new(Code::NoRoute, text));
        }
        let of_user = delivery.channel.strip_prefix("user.").and_then(|it| it.split_once('/'));
        if of_user.is_some_and(|(it, _)| it != user) {
            let text = format!("what {destination} leads to is another user's");
            return Err(Refusal::new(Code::Forbidden, text));
        }
        Ok(Interest::Exact { channel: delivery.channel, shown: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::router::RouteOptions;
    use crate::broker::router::RouteTo;

    #[test]
    fn a_subscribe_below_app_is_answered_from_the_history_of_its_route() {
        let row = |pattern: &str, to: &str, history| RouteOptions {
            pattern: pattern.into(),
            to: RouteTo::Destination(to.into()),
            history,
        };
        let rows = [
            row("/app/room.{room}", "/topic/room.{room}", true),
            row("/app/private.{user}", "/user/{user}/queue/private", true),
            row("/app/live.{room}", "/topic/live.{room}", false),
        ];
        let router = Router::new(&rows, 64).unwrap();
        let check = |destination: &str, expected: Result<&str, Code>| {
            let actual = router.resolve_subscribe(destination, "a%2Fb");
            let actual = actual.map(|it| match it {
                Interest::Exact { channel, shown } => (channel, shown),
                Interest::Pattern(_) => panic!("{destination} became a pattern"),
            });
            let expected = expected.map(|it| (it.to_owned(), None));
            assert_eq!(actual.map_err(|it| it.code), expected, "{destination}");
        };
        check("/app/room.1", Ok("/topic/room.1"));
        check("/app/private.a%2fb", Ok("user.a%2Fb/queue/private"));
        check("/app/private.a", Err(Code::Forbidden));
        check("/app/live.1", Err(Code::NoRoute));
        check("/app/other", Err(Code::NoRoute));
        check("/app/room.*", Err(Code::BadDestination));
        check("/app/**", Err(Code::NoRoute));
        assert!(!router.is_stored("/topic/live.1"));
    }
}
