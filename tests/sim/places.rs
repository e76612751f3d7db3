//! Where simulated clients send to and what they subscribe to; who hears what is written out here,
//! so that the server's own matching has something to be wrong against.

/// Where a SEND goes.
pub(crate) struct Target {
    /// The destination of the SEND.
    pub(crate) send: &'static str,
    /// The destination that receivers are shown.
    pub(crate) shown: &'static str,
    /// For a user's queue, whose: an index of [`USERS`].
    pub(crate) user: Option<usize>,
}

/// What a SUBSCRIBE asks for.
pub(crate) struct Wish {
    pub(crate) destination: &'static str,
    /// The [`TARGETS`] that it hears.
    pub(crate) hears: &'static [usize],
    pub(crate) is_pattern: bool,
}

/// Names in CONNECT and, as they enter channels and headers, encoded.
pub(crate) const USERS: &[(&str, &str)] = &[("ann", "ann"), ("bob", "bob"), ("a/b", "a%2Fb")];

pub(crate) const PRIVATE: &str = "/user/queue/private";
pub(crate) const ERRORS: &str = "/user/queue/errors";

const fn topic(name: &'static str) -> Target {
    Target { send: name, shown: name, user: None }
}

const fn private(send: &'static str, user: usize) -> Target {
    Target { send, shown: PRIVATE, user: Some(user) }
}

pub(crate) const TARGETS: &[Target] = &[
    topic("/topic/a"),
    topic("/topic/b.1"),
    topic("/topic/b.2"),
    topic("/topic/c/d"),
    topic("/queue/q"),
    Target { send: "/app/room.1", shown: "/topic/room.1", user: None },
    private("/app/private.ann", 0),
    private("/app/private.bob", 1),
    private("/app/private.a%2fb", 2),
];

const fn exact(destination: &'static str, hears: &'static [usize]) -> Wish {
    Wish { destination, hears, is_pattern: false }
}

const fn pattern(destination: &'static str, hears: &'static [usize]) -> Wish {
    Wish { destination, hears, is_pattern: true }
}

pub(crate) const WISHES: &[Wish] = &[
    exact("/topic/a", &[0]),
    exact("/topic/b.1", &[1]),
    exact("/topic/b.2", &[2]),
    exact("/topic/c/d", &[3]),
    exact("/queue/q", &[4]),
    exact("/topic/room.1", &[5]),
    exact("/topic/nobody", &[]),
    exact(PRIVATE, &[]),
    exact(ERRORS, &[]),
    pattern("/topic/*", &[0, 1, 2, 5]),
    pattern("/topic/b.?", &[1, 2]),
    pattern("/topic/**", &[0, 1, 2, 3, 5]),
    pattern("/queue/{name:[a-z]+}", &[4]),
];

/// Whether a subscription of `wish` by `user` hears what is sent to `target`.
pub(crate) fn hears(wish: usize, user: Option<usize>, target: usize) -> bool {
    let wish = &WISHES[wish];
    match TARGETS[target].user {
        Some(owner) => wish.destination == PRIVATE && user == Some(owner),
        None => wish.hears.contains(&target),
    }
}

/// Destinations of SENDs that are refused.
pub(crate) const REFUSED_SENDS: &[&str] =
    &["/app/nothing", "/nowhere", "/topic/server.events", "/user/bob/queue/private", "/topic/*"];

/// Destinations of SUBSCRIBEs that are refused.
pub(crate) const REFUSED_SUBSCRIBES: &[&str] =
    &["/app/room.1", "/nowhere", "/user/bob/queue/private", "/topic/{", "/user/queue/*"];
