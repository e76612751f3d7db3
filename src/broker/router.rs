//! Where a SEND goes and what a SUBSCRIBE means: the destination grammar and the route table.

use regex::Regex;

use crate::broker::expression;
use crate::broker::identity;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::policy::pattern::Pattern;
use crate::policy::schema::Schema;

/// The destination on which the server speaks for itself.
pub const SERVER_EVENTS: &str = "/topic/server.events";
/// The destination on which a session hears of its refusals.
pub const ERRORS: &str = "/user/queue/errors";
/// The destination on which a session hears of itself: that its token ends soon.
pub const SESSION: &str = "/user/queue/_session";
/// The destination to which a session sends a new token.
pub const TOKEN: &str = "/app/_session/token";

/// The longest channel with a history: a store keeps it in an index.
pub const CHANNEL_BYTES_MAX: usize = 512;

/// One row of the route table, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteOptions {
    /// The `/app` destinations it takes; `{name}` binds a segment or a dot-part, `**` takes the
    /// rest.
    pub pattern: String,
    /// Where the message goes.
    pub to: RouteTo,
    /// Whether it is stored.
    pub history: bool,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTo {
    /// To a destination, with the bound names in braces.
    Destination(String),
    /// To a back end: appended to this stream.
    Stream(String),
}

/// The route table in the order of the configuration: the first match wins.
#[derive(Debug)]
pub struct Router {
    pub(super) routes: Vec<Route>,
    schemas: Vec<Option<Schema>>,
    destination_bytes_max: usize,
}

#[derive(Debug)]
pub(super) struct Route {
    matcher: Regex,
    to: To,
    history: bool,
    /// Matches where it leads, when that is stored.
    pub(super) stored: Option<Regex>,
}

#[derive(Debug)]
enum To {
    Destination(Vec<Piece>),
    Stream(Box<str>),
}

#[derive(Debug)]
enum Piece {
    Text(String),
    /// What the capture of this number bound.
    Bound(usize),
}

/// Where a SEND goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The relay's name for it.
    pub channel: String,
    /// What receivers see.
    pub destination: String,
    /// The channel is a stream that a back end reads.
    pub is_stream: bool,
    /// What is sent there this way is stored.
    pub has_history: bool,
}

/// What a SUBSCRIBE asks for.
#[derive(Clone, Debug)]
pub enum Interest {
    /// Messages on one channel; `shown` is the destination that the subscriber sees, where it is
    /// not the publication's own.
    Exact {
        /// The relay's name for it.
        channel: String,
        /// The destination shown, for `/user` destinations.
        shown: Option<String>,
    },
    /// Messages on every destination that the pattern matches.
    Pattern(Pattern),
}

/// A route of the configuration that cannot work, with the reason and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError(pub String);

impl Router {
    /// Compiles the table.
    ///
    /// # Errors
    ///
    /// The first row that cannot work: the operator's fault, told before serving.
    pub fn new(routes: &[RouteOptions], destination_bytes_max: usize) -> Result<Self, RouteError> {
        let routes = routes.iter().map(Route::compile).collect::<Result<_, _>>()?;
        Ok(Self { routes, schemas: Vec::new(), destination_bytes_max })
    }

    /// The same table with what bodies must be like: in the order of the routes, or none.
    #[must_use]
    pub fn with_schemas(self, schemas: Vec<Option<Schema>>) -> Self {
        Self { schemas, ..self }
    }

    /// Whether a body fits the route that takes `destination`; the refusal says where it does not.
    pub(crate) fn check_body(&self, destination: &str, body: &[u8]) -> Result<(), Refusal> {
        let mut rows = self.routes.iter().zip(&self.schemas);
        let Some((_, Some(schema))) = rows.find(|(it, _)| it.matcher.is_match(destination)) else {
            return Ok(());
        };
        let wrong = |it| Refusal::new(Code::BadPayload, format!("{it}; sent to {destination}"));
        schema.check(body).map_err(wrong)
    }

    /// Decides where a SEND to `destination` goes, by a session that may send there.
    ///
    /// # Errors
    ///
    /// Where it may not go: no route, not allowed, malformed.
    pub fn resolve_send(&self, destination: &str) -> Result<Delivery, Refusal> {
        self.check(destination)?;
        if destination.starts_with("/app/") {
            return self.resolve_route(destination);
        }
        if is_broker_destination(destination) {
            return literal(destination);
        }
        if let Some(rest) = destination.strip_prefix("/user/") {
            return to_user(destination, rest);
        }
        Err(no_prefix(destination))
    }

    /// Decides what a SUBSCRIBE to `destination` by the user `user` (encoded) asks for.
    ///
    /// # Errors
    ///
    /// Where nothing may be subscribed: not allowed, malformed, no such prefix.
    pub fn resolve_subscribe(&self, destination: &str, user: &str) -> Result<Interest, Refusal> {
        self.check(destination)?;
        check_space(destination)?;
        if let Some(rest) = destination.strip_prefix("/user/") {
            return resolve_user_queue(destination, rest, user);
        }
        if destination.starts_with("/app/") {
            return self.resolve_answer(destination, user);
        }
        if !is_broker_destination(destination) {
            return Err(no_prefix(destination));
        }
        if is_session_queue(destination) {
            return Err(Refusal::new(Code::Forbidden, SESSION_QUEUE));
        }
        if Pattern::is_pattern(destination) {
            let pattern = Pattern::parse(destination)
                .map_err(|error| Refusal::new(Code::BadPattern, error.to_string()))?;
            return Ok(Interest::Pattern(pattern));
        }
        Ok(Interest::Exact { channel: destination.to_owned(), shown: None })
    }

    fn resolve_route(&self, destination: &str) -> Result<Delivery, Refusal> {
        for route in &self.routes {
            let Some(captures) = route.matcher.captures(destination) else {
                continue;
            };
            let bound = |index: usize| captures.get(index).map_or("", |it| it.as_str());
            let pieces = match &route.to {
                To::Destination(pieces) => pieces,
                To::Stream(stream) => {
                    let channel = stream.clone().into_string();
                    let destination = destination.to_owned();
                    let (is_stream, has_history) = (true, false);
                    return Ok(Delivery { channel, destination, is_stream, has_history });
                }
            };
            let to: String = pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.as_str(),
                    Piece::Bound(index) => bound(*index),
                })
                .collect();
            self.check(&to)?;
            let delivery = match to.strip_prefix("/user/") {
                Some(rest) => to_user(&to, rest)?,
                None => literal(&to)?,
            };
            if route.history && CHANNEL_BYTES_MAX < delivery.channel.len() {
                let text = format!("over the {CHANNEL_BYTES_MAX} bytes of a stored destination");
                return Err(Refusal::new(Code::BadDestination, text));
            }
            return Ok(Delivery { has_history: route.history, ..delivery });
        }
        Err(Refusal::new(Code::NoRoute, format!("no route takes {destination}")))
    }

    /// Whether `destination` is one at all.
    pub(crate) fn check(&self, destination: &str) -> Result<(), Refusal> {
        if self.destination_bytes_max < destination.len() {
            return Err(Refusal::new(
                Code::BadDestination,
                format!(
                    "the destination has {} bytes, limits.destination_bytes is {}",
                    destination.len(),
                    self.destination_bytes_max
                ),
            ));
        }
        if destination.chars().any(char::is_control) {
            return Err(Refusal::new(
                Code::BadDestination,
                "the destination holds a control character; percent-encode it",
            ));
        }
        Ok(())
    }
}

impl Route {
    fn compile(options: &RouteOptions) -> Result<Self, RouteError> {
        let RouteOptions { pattern, to, history } = options;
        let wrong = |why: &str| RouteError(format!("route match = \"{pattern}\": {why}"));
        if !pattern.starts_with("/app/") {
            return Err(wrong("a route takes destinations below /app/"));
        }
        let (expression, names) = expression::expression_of(pattern).map_err(|why| wrong(&why))?;
        let matcher = Regex::new(&expression).map_err(|error| wrong(&error.to_string()))?;
        let to = match to {
            RouteTo::Destination(to) => to,
            RouteTo::Stream(stream) => {
                return Ok(Self {
                    matcher,
                    to: To::Stream(stream.as_str().into()),
                    history: *history,
                    stored: None,
                });
            }
        };
        let is_served = is_broker_destination(to) || to.starts_with("/user/");
        if !is_served {
            return Err(wrong(&format!(
                "to = \"{to}\" must start with /topic/, /queue/ or /user/"
            )));
        }
        let mut pieces = Vec::new();
        let mut rest = to.as_str();
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) =
                after.split_once('}').ok_or_else(|| wrong("to has a { without its }"))?;
            let index = names.iter().position(|it| it == name).ok_or_else(|| {
                wrong(&format!("to uses {{{name}}}, which the match does not bind"))
            })?;
            pieces.push(Piece::Text(text.to_owned()));
            pieces.push(Piece::Bound(index + 1));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        // What a name binds has no slash.
        let text = |it: &Piece| match it {
            Piece::Text(text) => regex::escape(text),
            Piece::Bound(_) => "[^/]+".to_owned(),
        };
        let stored = history.then(|| pieces.iter().map(text).collect::<String>());
        let stored = stored.map(|it| Regex::new(&format!("^{it}$"))).transpose();
        let stored = stored.map_err(|error| wrong(&error.to_string()))?;
        Ok(Self { matcher, to: To::Destination(pieces), history: *history, stored })
    }
}

const SESSION_QUEUE: &str =
    "queues that end in -user<session> belong to one session; subscribe to /user/queue/… instead";

/// Whether anything is served under the destination's prefix.
pub(crate) fn is_served(destination: &str) -> bool {
    is_broker_destination(destination)
        || ["/app/", "/user/"].iter().any(|prefix| destination.starts_with(prefix))
}

fn is_broker_destination(destination: &str) -> bool {
    ["/topic/", "/queue/"]
        .iter()
        .any(|prefix| destination.len() > prefix.len() && destination.starts_with(prefix))
}

/// Whether this is Spring's translated name of one session's queue, `/queue/x-user<session>`.
fn is_session_queue(destination: &str) -> bool {
    let Some(queue) = destination.strip_prefix("/queue/") else {
        return false;
    };
    let last = queue.rsplit('/').next().unwrap_or(queue);
    // Session ids hold digits; `/queue/new-users` names no session.
    last.rsplit_once("-user")
        .is_some_and(|(_, session)| session.contains(|it: char| it.is_ascii_digit()))
}

/// A destination that a message is sent to as it stands, also where a route has led to it.
fn literal(destination: &str) -> Result<Delivery, Refusal> {
    if destination == SERVER_EVENTS {
        let text = format!("only the server sends to {SERVER_EVENTS}");
        return Err(Refusal::new(Code::Forbidden, text));
    }
    if is_session_queue(destination) {
        return Err(Refusal::new(Code::Forbidden, SESSION_QUEUE));
    }
    check_space(destination)?;
    if Pattern::is_pattern(destination) {
        return Err(Refusal::new(
            Code::BadDestination,
            format!("{destination} is a pattern; a message goes to one destination"),
        ));
    }
    let (channel, destination) = (destination.to_owned(), destination.to_owned());
    Ok(Delivery { destination, channel, is_stream: false, has_history: false })
}

/// No header of a MESSAGE holds white space, its destination included: clients in the field cut
/// there.
fn check_space(destination: &str) -> Result<(), Refusal> {
    if destination.contains(char::is_whitespace) {
        let text = "the destination holds white space; percent-encode it as %20";
        return Err(Refusal::new(Code::BadDestination, text));
    }
    Ok(())
}

fn no_prefix(destination: &str) -> Refusal {
    Refusal::new(
        Code::NoRoute,
        format!(
            "nothing is served under {destination}; \
             destinations start with /topic/, /queue/, /user/queue/ or /app/"
        ),
    )
}

/// `/user/queue/x` of the session's own user: the channel is the user's.
fn resolve_user_queue(destination: &str, rest: &str, user: &str) -> Result<Interest, Refusal> {
    if rest.strip_prefix("queue/").is_none_or(str::is_empty) {
        return Err(Refusal::new(
            Code::Forbidden,
            format!("{destination} is another user's; subscribe to /user/queue/…"),
        ));
    }
    if Pattern::is_pattern(rest) {
        return Err(Refusal::new(
            Code::BadPattern,
            "patterns are served below /topic and /queue, not below /user",
        ));
    }
    Ok(Interest::Exact {
        channel: format!("user.{user}/{rest}"),
        shown: Some(destination.to_owned()),
    })
}

/// `/user/<id>/queue/x`: the channel of that user, whatever form its id was written in.
fn to_user(to: &str, rest: &str) -> Result<Delivery, Refusal> {
    let wrong = || {
        Refusal::new(
            Code::BadDestination,
            format!("{to} names no user's queue; the form is /user/<id>/queue/<name>"),
        )
    };
    let (user, queue) = rest.split_once('/').ok_or_else(wrong)?;
    if queue.strip_prefix("queue/").is_none_or(str::is_empty) {
        return Err(wrong());
    }
    let user = identity::canonical(user).ok_or_else(wrong)?;
    let (channel, destination) = (format!("user.{user}/{queue}"), format!("/user/{queue}"));
    Ok(Delivery { channel, destination, is_stream: false, has_history: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router {
        let row = |pattern: &str, to: &str| RouteOptions {
            pattern: pattern.into(),
            to: RouteTo::Destination(to.into()),
            history: pattern.contains("room"),
        };
        let rows = [
            row("/app/room.{room}", "/topic/room.{room}"),
            row("/app/private.{user}", "/user/{user}/queue/private"),
            row("/app/{kind}/x.{a}.{b}", "/queue/{b}.{kind}.{a}"),
            row("/app/all.**", "/topic/all"),
            row("/app/free/{x}", "/topic/{x}"),
        ];
        Router::new(&rows, 64).unwrap()
    }

    #[track_caller]
    fn check_send(destination: &str, expected: Result<&str, Code>) {
        let actual = router().resolve_send(destination);
        assert_eq!(
            actual.as_ref().map(|it| it.channel.as_str()).map_err(|it| it.code),
            expected,
            "{destination}"
        );
    }

    #[test]
    fn a_send_goes_where_its_route_says() {
        check_send("/app/room.1", Ok("/topic/room.1"));
        check_send("/app/room.a.b", Err(Code::NoRoute));
        check_send("/app/room.", Err(Code::NoRoute));
        check_send("/app/private.bob", Ok("user.bob/queue/private"));
        check_send("/app/private.a%2fb", Ok("user.a%2Fb/queue/private"));
        check_send("/app/private.b%", Err(Code::BadDestination));
        check_send("/app/s.t/x.1.2", Ok("/queue/2.s.t.1"));
        check_send("/app/all.a/b.c", Ok("/topic/all"));
        check_send("/app/nothing", Err(Code::NoRoute));
        check_send("/topic/x", Ok("/topic/x"));
        check_send("/queue/x", Ok("/queue/x"));
    }

    #[test]
    fn what_is_stored_is_said_by_the_route_and_not_by_the_destination() {
        assert!(router().is_stored("/topic/room.1") && !router().is_stored("/topic/room"));
        assert!(!router().is_stored("/topic/room.1/x") && !router().is_stored("user.bob/queue/x"));
        let has_history = |to: &str| router().resolve_send(to).unwrap().has_history;
        assert!(has_history("/app/room.1"));
        assert!(!has_history("/app/private.bob") && !has_history("/topic/room.1"));
        let row = RouteOptions {
            pattern: "/app/{x}".into(),
            to: RouteTo::Destination("/topic/{x}".into()),
            history: true,
        };
        let router = Router::new(&[row], 4096).unwrap();
        let send = |bytes: usize| router.resolve_send(&format!("/app/{}", "x".repeat(bytes)));
        assert!(send(512 - "/topic/".len()).is_ok());
        assert_eq!(send(513 - "/topic/".len()).unwrap_err().code, Code::BadDestination);
    }

    #[test]
    fn a_send_is_refused_where_clients_may_not_send() {
        check_send("/topic/server.events", Err(Code::Forbidden));
        check_send("/user/bob/queue/x", Ok("user.bob/queue/x"));
        check_send("/user/bob/topic/x", Err(Code::BadDestination));
        check_send("/queue/x-user123", Err(Code::Forbidden));
        check_send("/queue/new-users", Ok("/queue/new-users"));
        check_send("/app/all.x y", Ok("/topic/all"));
        check_send("/app/private.joe smith", Ok("user.joe smith/queue/private"));
        check_send("/topic/a b", Err(Code::BadDestination));
        check_send("/app/free/server.events", Err(Code::Forbidden));
        check_send("/topic/*", Err(Code::BadDestination));
        check_send("/app/room.*", Err(Code::BadDestination));
        check_send("/topic/", Err(Code::NoRoute));
        check_send("/topicfoo", Err(Code::NoRoute));
        check_send("", Err(Code::NoRoute));
        check_send("/topic/a\tb", Err(Code::BadDestination));
        check_send(
            &format!("/topic/{}", "x".repeat(57)),
            Ok(&format!("/topic/{}", "x".repeat(57))),
        );
        check_send(&format!("/topic/{}", "x".repeat(58)), Err(Code::BadDestination));
    }

    #[track_caller]
    fn check_subscribe(destination: &str, expected: Result<&str, Code>) {
        let actual = router().resolve_subscribe(destination, "a%2Fb");
        let actual = actual.map(|it| match it {
            Interest::Exact { channel, .. } => channel,
            Interest::Pattern(pattern) => pattern.as_str().to_owned(),
        });
        let actual = actual.as_deref().map_err(|it| it.code);
        assert_eq!(actual, expected, "{destination}");
    }

    #[test]
    fn a_subscription_is_to_a_destination_a_pattern_or_the_own_queues() {
        check_subscribe("/topic/x", Ok("/topic/x"));
        check_subscribe("/topic/**", Ok("/topic/**"));
        check_subscribe("/user/queue/x", Ok("user.a%2Fb/queue/x"));
        check_subscribe("/topic/server.events", Ok("/topic/server.events"));
        check_subscribe("/user/queue/*", Err(Code::BadPattern));
        check_subscribe("/user/bob/queue/x", Err(Code::Forbidden));
        check_subscribe("/user/queue/", Err(Code::Forbidden));
        check_subscribe("/queue/x-user123", Err(Code::Forbidden));
        check_subscribe("/queue/x-user", Ok("/queue/x-user"));
        check_subscribe("/app/x", Err(Code::NoRoute));
        check_subscribe("/foo", Err(Code::NoRoute));
        check_subscribe("/topic/a b", Err(Code::BadDestination));
    }

    #[test]
    fn a_forwarded_send_goes_to_its_stream_as_it_was_sent() {
        let to = RouteTo::Stream("ringway:inbound:orders".into());
        let row = RouteOptions { pattern: "/app/orders.**".into(), to, history: false };
        let router = Router::new(&[row], 64).unwrap();
        let delivery = router.resolve_send("/app/orders.new.eu").unwrap();
        assert!(delivery.is_stream);
        assert_eq!(delivery.channel, "ringway:inbound:orders");
        assert_eq!(delivery.destination, "/app/orders.new.eu");
        assert_eq!(router.resolve_send("/app/other").unwrap_err().code, Code::NoRoute);
    }

    #[test]
    fn a_route_that_cannot_work_is_told() {
        let check = |pattern: &str, to: &str, why: &str| {
            let to = RouteTo::Destination(to.into());
            let row = RouteOptions { pattern: pattern.into(), to, history: false };
            let error = Router::new(&[row], 512).unwrap_err();
            assert!(error.0.contains(why), "{}", error.0);
        };
        check("/topic/x", "/topic/y", "below /app/");
        check("/app/{a", "/topic/y", "has no }");
        check("/app/{a}.{a}", "/topic/y", "bound twice");
        check("/app/{a}", "/topic/{b}", "does not bind");
        check("/app/{a}", "/foo/{a}", "must start with");
        check("/app/{a}", "/topic/{a", "without its }");
    }
}
