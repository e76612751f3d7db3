//! The token that the request of an upgrade may carry.

use crate::proto::http::Request;

/// How a sub-protocol entry that carries a token begins.
const ENTRY_PREFIX: &str = "bearer.";

/// Where a token may stand; each place is asked for by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// `Authorization: Bearer`.
    pub has_authorization: bool,
    /// The cookie of this name.
    pub cookie: Option<String>,
    /// The query parameter of this name: it is seen by every proxy that logs addresses.
    pub query: Option<String>,
    /// An entry `bearer.<token>` of `Sec-WebSocket-Protocol`, for browsers, which can set no other
    /// header.
    pub has_subprotocol: bool,
}

/// The token in the first place that has one, in the order of [`Sources`]. No copy of it is kept
/// and it is never percent-decoded: tokens hold letters, digits, `-`, `_` and dots.
#[must_use]
pub fn token<'a>(request: &Request<'a>, sources: &Sources) -> Option<&'a str> {
    let bearer = |value: &'a str| {
        let (scheme, token) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
    };
    let authorization = || request.header("authorization").and_then(bearer);
    let cookie = |name: &String| {
        let all = request.headers("cookie").flat_map(|it| it.split(';'));
        named(all.map(str::trim), name)
    };
    let query = |name: &String| named(request.query()?.split('&'), name);
    let entry = || {
        let all = request.headers("sec-websocket-protocol").flat_map(|it| it.split(','));
        all.map(str::trim).find_map(|it| it.strip_prefix(ENTRY_PREFIX))
    };
    let found = sources.has_authorization.then(authorization).flatten();
    let found = found.or_else(|| sources.cookie.as_ref().and_then(cookie));
    let found = found.or_else(|| sources.query.as_ref().and_then(query));
    let found = found.or_else(|| sources.has_subprotocol.then(entry).flatten());
    found.filter(|it| !it.is_empty())
}

/// The value of the first `name=value` among `pairs`.
fn named<'a>(mut pairs: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    pairs.find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use crate::proto::http::Limits;
    use crate::proto::http::decode;

    use super::*;

    const HEAD: &str = "GET /ws?x=1&access_token=Q HTTP/1.1\r\nHost: here\r\n\
        Authorization: bearer A\r\nCookie: a=b; session=C; token2=x\r\nCookie: late=L\r\n\
        Sec-WebSocket-Protocol: v12.stomp, bearer.E\r\n\r\n";

    #[track_caller]
    fn check(head: &str, sources: &Sources, expected: Option<&str>) {
        let request = decode(head.as_bytes(), &Limits::default()).unwrap().unwrap();
        assert_eq!(token(&request, sources), expected, "{sources:?}");
    }

    #[test]
    fn a_token_is_taken_from_the_places_that_were_asked_for_only() {
        let none = Sources::default();
        check(HEAD, &none, None);
        check(HEAD, &Sources { has_authorization: true, ..none.clone() }, Some("A"));
        check(HEAD, &Sources { cookie: Some("session".into()), ..none.clone() }, Some("C"));
        check(HEAD, &Sources { cookie: Some("late".into()), ..none.clone() }, Some("L"));
        check(HEAD, &Sources { cookie: Some("token".into()), ..none.clone() }, None);
        check(HEAD, &Sources { query: Some("access_token".into()), ..none.clone() }, Some("Q"));
        check(HEAD, &Sources { query: Some("token".into()), ..none.clone() }, None);
        check(HEAD, &Sources { has_subprotocol: true, ..none.clone() }, Some("E"));
        let all = Sources {
            has_authorization: true,
            cookie: Some("session".into()),
            query: Some("access_token".into()),
            has_subprotocol: true,
        };
        check(HEAD, &all, Some("A"));
        check(&HEAD.replace("bearer A", "Basic A"), &all, Some("C"));
        check("GET /ws HTTP/1.1\r\nHost: here\r\n\r\n", &all, None);
    }
}
