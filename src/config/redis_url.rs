//! `redis://` URLs: what Redis servers are called, with their passwords out of sight.

use std::fmt;
use std::net::Ipv6Addr;

use crate::config::settings::MASK;
use crate::config::settings::Secret;

/// One Redis server.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// `rediss`: over TLS.
    pub is_tls: bool,
    /// The user, unescaped.
    pub user: Option<String>,
    /// The password, unescaped.
    pub password: Option<Secret>,
    /// A name or an address, an IPv6 one without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

const PORT: u16 = 6379;
const HOST_BYTES_MAX: usize = 253;

impl RedisUrl {
    /// A server without TLS and credentials, from `host` or `host:port`.
    pub(super) fn of_host(text: &str) -> Result<Self, String> {
        let (host, port) = split_host(text)?;
        Ok(Self { is_tls: false, user: None, password: None, host, port: port.unwrap_or(PORT) })
    }

    /// Parses `redis[s]://[user[:password]@]host[:port][/0]`; the error says what is wrong without
    /// showing any of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("not a URL")?;
        let is_tls = match scheme {
            "redis" => false,
            "rediss" => true,
            "unix" | "redis+unix" | "redis+socket" => {
                return Err("Unix sockets are not served".into());
            }
            _ => return Err("its scheme is neither redis nor rediss".into()),
        };
        if rest.contains(['?', '#']) {
            return Err("holds a ? or #: options are settings of their own".into());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(path, "" | "0") {
            return Err(
                "names a database other than 0: Pub/Sub has none, and streams are kept in 0".into(),
            );
        }
        let (userinfo, place) = match authority.rsplit_once('@') {
            Some((userinfo, place)) => (Some(userinfo), place),
            None => (None, authority),
        };
        let (user, password) = match userinfo.map(|it| it.split_once(':').unwrap_or((it, ""))) {
            Some((user, password)) => (unescape(user)?, unescape(password)?),
            None => (String::new(), String::new()),
        };
        let given = |it: String| (!it.is_empty()).then_some(it);
        Ok(Self {
            is_tls,
            user: given(user),
            password: given(password).map(Secret::new),
            ..Self::of_host(place)?
        })
    }

    /// Whether what is shown of it leaves something out.
    pub(super) fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

impl fmt::Display for RedisUrl {
    /// The URL with its password masked; without one it parses as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_tls, user, password, host, port } = self;
        f.write_str(if *is_tls { "rediss://" } else { "redis://" })?;
        write_place(f, user.as_deref(), password.is_some(), host)?;
        if *port == PORT { Ok(()) } else { write!(f, ":{port}") }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes what stands before the port: the user, a mask for the password, and the host.
pub(super) fn write_place(
    f: &mut fmt::Formatter<'_>,
    user: Option<&str>,
    has_password: bool,
    host: &str,
) -> fmt::Result {
    if let Some(user) = user {
        escape(user, f)?;
    }
    if has_password {
        write!(f, ":{MASK}")?;
    }
    if user.is_some() || has_password {
        f.write_str("@")?;
    }
    if host.contains(':') { write!(f, "[{host}]") } else { f.write_str(host) }
}

/// Takes `host`, `host:port`, `[::1]` or `[::1]:port` apart.
pub(super) fn split_host(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("an IPv6 address without its bracket")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err("no IPv6 address between the brackets".into());
        }
        match port.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if port.is_empty() => (host, None),
            None => return Err("something other than a port behind the bracket".into()),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let is_name = |it: u8| it.is_ascii_alphanumeric() || b"-._:".contains(&it);
    if host.is_empty() || HOST_BYTES_MAX < host.len() || !host.bytes().all(is_name) {
        return Err("names no host".into());
    }
    let number = |it: &str| it.parse::<u16>().ok().filter(|it| *it != 0);
    let port = port.map(|it| number(it).ok_or("its port is no number from 1 to 65535"));
    Ok((host.to_owned(), port.transpose()?))
}

/// Decodes `%XX`; control characters are refused, however they are written.
pub(super) fn unescape(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|it| char::from(it).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("its user or password holds a % that is no escape: write %25".into());
        };
        bytes.push(u8::try_from(high * 16 + low).expect("two digits of 16 are a byte"));
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text),
        Ok(_) | Err(_) => Err("its user or password is no plain text".into()),
    }
}

pub(super) fn escape(text: &str, f: &mut impl fmt::Write) -> fmt::Result {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            write!(f, "{}", char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

/// `text`, which may be no URL at all, without whatever could be a password in it.
pub(super) fn mask(text: &str) -> String {
    // The next URL of a list begins where its scheme does: a password may hold a comma.
    let marked = text.replace(",redis", "\0redis");
    marked.split('\0').map(mask_one).collect::<Vec<_>>().join(",")
}

/// Of what stands before an `@` shows the user only; behind a host, a port and a database only.
fn mask_one(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|it| it.is_ascii_alphanumeric()) => {
            (format!("{scheme}://"), rest)
        }
        Some(_) | None => (String::new(), text),
    };
    let (userinfo, place) = match rest.rsplit_once('@') {
        Some((userinfo, place)) => match userinfo.split_once(':') {
            Some((user, _)) => (format!("{user}:{MASK}@"), place),
            None => (format!("{MASK}@"), place),
        },
        None => (String::new(), rest),
    };
    // The colons of an IPv6 address stand before its bracket.
    let bracket = place.find(']').unwrap_or(0);
    let at = place.get(bracket..).and_then(|it| it.find([':', '/', '?', '#', ',']));
    let (host, behind) = place.split_at(at.map_or(place.len(), |at| bracket + at));
    let is_number = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    let (port, path) = behind.split_once('/').unwrap_or((behind, ""));
    let is_plain =
        is_number(path) && (port.is_empty() || port.strip_prefix(':').is_some_and(is_number));
    format!("{scheme}{userinfo}{host}{}", if is_plain { behind } else { MASK })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, Option<&str>, Option<&str>), &str>) {
        let parsed = RedisUrl::parse(text);
        let parsed = parsed.as_ref().map(|it| {
            let password = it.password.as_ref().map(Secret::reveal);
            (it.to_string(), it.user.as_deref(), password)
        });
        let parsed =
            parsed.as_ref().map(|(shown, user, password)| (shown.as_str(), *user, *password));
        match expected {
            Ok(expected) => assert_eq!(parsed, Ok(expected), "{text}"),
            Err(part) => assert!(parsed.is_err_and(|it| it.contains(part)), "{text}"),
        }
    }

    #[test]
    fn urls_have_a_scheme_a_host_and_perhaps_more() {
        check("redis://a", Ok(("redis://a", None, None)));
        check("redis://a:6379/", Ok(("redis://a", None, None)));
        check("rediss://a.b:6380/0", Ok(("rediss://a.b:6380", None, None)));
        check("redis://[::1]:1", Ok(("redis://[::1]:1", None, None)));
        check("redis://u:p@a", Ok(("redis://u:********@a", Some("u"), Some("p"))));
        check("redis://:p%40%2F%25@a", Ok(("redis://:********@a", None, Some("p@/%"))));
        check("redis://u%20v@a", Ok(("redis://u%20v@a", Some("u v"), None)));
        check("redis://u:a@b@c", Ok(("redis://u:********@c", Some("u"), Some("a@b"))));
    }

    #[test]
    fn what_is_wrong_is_said_without_showing_it() {
        check("a:6379", Err("not a URL"));
        check("http://a", Err("neither redis nor rediss"));
        check("unix:///run/redis.sock", Err("Unix sockets"));
        check("redis://", Err("no host"));
        check("redis://a b", Err("no host"));
        check("redis://a:0", Err("port"));
        check("redis://a:65536", Err("port"));
        check("redis://a:", Err("port"));
        check("redis://[::1", Err("bracket"));
        check("redis://[a]:1", Err("no IPv6"));
        check("redis://a/1", Err("database other than 0"));
        check("redis://a?db=1", Err("options"));
        check("redis://:p%4@a", Err("write %25"));
        check("redis://:p%0A@a", Err("no plain text"));
        check("redis://:p%FF@a", Err("no plain text"));
    }

    #[test]
    fn whatever_may_be_a_password_is_masked() {
        let check = |text: &str, expected: &str| {
            assert_eq!(mask(text), expected, "{text}");
        };
        check("redis://a:6379", "redis://a:6379");
        check("redis://a:6379/0,redis://b", "redis://a:6379/0,redis://b");
        check("redis://u:secret@a:1", "redis://u:********@a:1");
        check("redis://secret@a:1", "redis://********@a:1");
        check("redis://u:sec@ret@a:1", "redis://u:********@a:1");
        check("redis://u:se/cret@a", "redis://u:********@a");
        check("redis://u:secret", "redis://u********");
        check(
            "redis://u:1,secret@a,redis://v:secret@b",
            "redis://u:********@a,redis://v:********@b",
        );
        check("redis://u:sec://ret@a", "redis://u:********@a");
        check("u:sec://ret@a", "u:********@a");
        check("redis://u:sec://ret", "redis://u********");
        check("u:secret@a", "u:********@a");
        check("a:6379", "a:6379");
        check("redis://a?password=secret", "redis://a********");
        check("redis://a/secret", "redis://a********");
        check("redis://[::1]:6379", "redis://[::1]:6379");
    }
}
