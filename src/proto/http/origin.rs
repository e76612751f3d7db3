//! Which web pages may open a WebSocket here: patterns in Spring's syntax, and the same origin.

use std::fmt;

/// A list of origins that are allowed.
///
/// `https://chat.example.com` is that origin alone, `*` inside one stands for any characters but
/// `/`, `https://*.example.com:[8080,8081]` and `:[*]` list ports, `*` alone allows all. Case does
/// not count, and the default ports 80 and 443 are the same as none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginPatterns {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Origin { text: String, ports: Ports },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ports {
    /// The port is a part of the text.
    InText,
    Any,
    Listed(Vec<u16>),
}

/// A pattern in the configuration that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    pattern: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "`{}` is not an origin pattern; write scheme://host, with * for any part and \
             :[8080,8081] or :[*] for ports, or * alone",
            self.pattern
        )
    }
}

impl std::error::Error for PatternError {}

impl OriginPatterns {
    /// Parses a list of patterns.
    ///
    /// # Errors
    ///
    /// [`PatternError`] with the first text that is no pattern.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, PatternError> {
        let patterns = texts.into_iter().map(Pattern::parse).collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a page of `origin`, as the `Origin` header says it, is allowed.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        let origin = origin.strip_suffix('/').unwrap_or(origin);
        self.patterns.iter().any(|pattern| pattern.matches(origin))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, PatternError> {
        let text = text.trim();
        if text == "*" {
            return Ok(Self::Any);
        }
        let wrong = || PatternError { pattern: text.to_owned() };
        let (origin, ports) = match text.strip_suffix(']').and_then(|text| text.rsplit_once(":[")) {
            // The bracket closes an IPv6 address, not a list of ports.
            Some((origin, _)) if origin.ends_with("//") => (text, Ports::InText),
            Some((origin, "*")) => (origin, Ports::Any),
            Some((origin, list)) => {
                let ports = list.split(',').map(|port| port.trim().parse());
                (origin, Ports::Listed(ports.collect::<Result<_, _>>().map_err(|_| wrong())?))
            }
            None => (text, Ports::InText),
        };
        let origin = origin.strip_suffix('/').unwrap_or(origin);
        let is_null = origin == "null" && ports == Ports::InText;
        let has_host = origin.split_once("://").is_some_and(|(scheme, host)| {
            !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', ' ', ','])
        });
        if !is_null && !has_host {
            return Err(wrong());
        }
        let text = match ports {
            Ports::InText => without_default_port(origin),
            Ports::Any | Ports::Listed(_) => origin,
        };
        Ok(Self::Origin { text: text.to_ascii_lowercase(), ports })
    }

    fn matches(&self, origin: &str) -> bool {
        let Self::Origin { text, ports } = self else { return true };
        match ports {
            Ports::InText => glob(text.as_bytes(), without_default_port(origin).as_bytes()),
            Ports::Any | Ports::Listed(_) => {
                let Some((scheme, authority)) = origin.split_once("://") else { return false };
                let Some((host, port)) = split_port(authority) else { return false };
                let port = port.or_else(|| default_port(scheme));
                let is_listed = match (ports, port) {
                    (Ports::Listed(listed), Some(port)) => listed.contains(&port),
                    (Ports::Listed(_), None) => false,
                    (Ports::Any | Ports::InText, _) => true,
                };
                let origin_bytes = scheme.len() + "://".len() + host.len();
                let without_port = origin.get(..origin_bytes).unwrap_or(origin);
                is_listed && glob(text.as_bytes(), without_port.as_bytes())
            }
        }
    }
}

/// Whether `origin` is the server's own: `scheme` and `host` as the client addressed it, `host` in
/// the form of the Host header. The default ports of the schemes are understood.
#[must_use]
pub fn same_origin(origin: &str, scheme: &str, host: &str) -> bool {
    let origin = origin.strip_suffix('/').unwrap_or(origin);
    let Some((origin_scheme, origin_authority)) = origin.split_once("://") else { return false };
    let (Some((origin_host, origin_port)), Some((own_host, own_port))) =
        (split_port(origin_authority), split_port(host))
    else {
        return false;
    };
    let own_port = own_port.or_else(|| default_port(scheme));
    let origin_port = origin_port.or_else(|| default_port(origin_scheme));
    !own_host.is_empty()
        && is_secure(origin_scheme).is_some()
        && is_secure(origin_scheme) == is_secure(scheme)
        && origin_host.eq_ignore_ascii_case(own_host)
        && origin_port == own_port
}

/// Whether a scheme means TLS; `None` when it is none of the web's.
fn is_secure(scheme: &str) -> Option<bool> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss") => {
            Some(true)
        }
        _ if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("ws") => {
            Some(false)
        }
        _ => None,
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    is_secure(scheme).map(|is_secure| if is_secure { 443 } else { 80 })
}

/// Host and port of an authority; `None` when what stands for the port is not one.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((_, after)) if after.contains(']') => Some((authority, None)),
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(port.parse().ok()?)))
        }
        Some(_) => None,
        None => Some((authority, None)),
    }
}

/// `origin` without a port that its scheme has anyway.
fn without_default_port(origin: &str) -> &str {
    let Some((scheme, authority)) = origin.split_once("://") else { return origin };
    let Some((host, Some(port))) = split_port(authority) else { return origin };
    if default_port(scheme) != Some(port) {
        return origin;
    }
    origin.get(..scheme.len() + "://".len() + host.len()).unwrap_or(origin)
}

/// Whether `text` matches `pattern`, in which `*` stands for any run of bytes without `/`.
///
/// After a mismatch only the last star can take more, so the work is bounded by the product of both
/// lengths (and origins are short).
fn glob(mut pattern: &[u8], mut text: &[u8]) -> bool {
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, text) {
            ([], []) => return true,
            ([b'*', after @ ..], _) => {
                retry = Some((after, text));
                pattern = after;
                continue;
            }
            ([wanted, after @ ..], [found, rest @ ..]) if wanted.eq_ignore_ascii_case(found) => {
                (pattern, text) = (after, rest);
                continue;
            }
            _ => {}
        }
        match retry {
            Some((after, [taken, rest @ ..])) if *taken != b'/' => {
                retry = Some((after, rest));
                (pattern, text) = (after, rest);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, allowed: &[&str], refused: &[&str]) {
        let patterns = OriginPatterns::parse([pattern]).unwrap();
        for origin in allowed {
            assert!(patterns.allows(origin), "{pattern} must allow {origin}");
        }
        for origin in refused {
            assert!(!patterns.allows(origin), "{pattern} must refuse {origin}");
        }
    }

    #[test]
    fn a_literal_is_one_origin() {
        check(
            "https://a.example.com",
            &["https://a.example.com", "HTTPS://A.example.com", "https://a.example.com:443"],
            &[
                "http://a.example.com",
                "https://a.example.com:8443",
                "https://b.example.com",
                "https://a.example.com.evil.org",
                "https://aXexample.com",
                "null",
                "",
            ],
        );
        check("http://a:8080/", &["http://a:8080", "http://a:8080/"], &["http://a", "http://a:80"]);
        check("https://a:443", &["https://a", "https://a:443"], &["https://a:444"]);
    }

    #[test]
    fn a_star_is_any_part_of_a_host() {
        check(
            "https://*.example.com",
            &["https://a.example.com", "https://a.b.example.com"],
            &[
                "https://example.com",
                "https://evil.org/.example.com",
                "https://a.example.com.evil.org",
                "https://a.example.com:8080",
                "http://a.example.com",
            ],
        );
        check("https://*", &["https://a", "https://a:8080"], &["http://a", "null"]);
        check("*", &["https://a", "null"], &[]);
        check("http*://a*b*c", &["http://abc", "https://axbxbcc"], &["https://abcd", "ftp://abc"]);
    }

    #[test]
    fn ports_are_listed_or_any() {
        check(
            "https://*.example.com:[8080,8081]",
            &["https://a.example.com:8080", "https://a.example.com:8081"],
            &["https://a.example.com", "https://a.example.com:80", "https://a.example.com:808"],
        );
        check("https://a:[443]", &["https://a", "https://a:443"], &["https://a:80"]);
        check("https://*:[*]", &["https://a", "https://a:1"], &["https://a:b", "http://a"]);
        check("http://[::1]:[8080]", &["http://[::1]:8080"], &["http://[::1]"]);
        check("http://[::1]", &["http://[::1]", "http://[::1]:80"], &["http://[::2]"]);
    }

    #[test]
    fn null_is_allowed_only_by_name() {
        check("null", &["null"], &["https://null"]);
    }

    #[test]
    fn what_is_no_pattern_is_an_error_that_names_it() {
        for text in [
            "",
            "a.example.com",
            "https://",
            "://a",
            "https://a/b",
            "https://a:[x]",
            "https://a:[]",
        ] {
            let error = OriginPatterns::parse(["https://fine", text]).unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{text}");
        }
        assert!(OriginPatterns::parse([]).unwrap().is_empty());
    }

    #[track_caller]
    fn check_same(origin: &str, scheme: &str, host: &str, expected: bool) {
        assert_eq!(same_origin(origin, scheme, host), expected, "{origin} at {scheme}://{host}");
    }

    #[test]
    fn w6_the_same_origin_is_scheme_host_and_port() {
        check_same("https://a", "https", "a", true);
        check_same("https://A", "https", "a:443", true);
        check_same("https://a:443", "wss", "a", true);
        check_same("http://a", "http", "a:80", true);
        check_same("http://a:8080", "http", "a:8080", true);
        check_same("http://[::1]:8080", "http", "[::1]:8080", true);
        check_same("http://a:8080", "http", "a", false);
        check_same("http://a", "https", "a", false);
        check_same("https://b", "https", "a", false);
        check_same("null", "https", "null", false);
        check_same("", "https", "", false);
        check_same("https://", "https", "", false);
        check_same("ftp://a", "ftp", "a", false);
        check_same("http://a:x", "http", "a:x", false);
        check_same("http://a:99999", "http", "a:99999", false);
    }

    #[test]
    fn many_stars_do_not_take_long() {
        let pattern = format!("https://{}b", "*a".repeat(50));
        let origin = format!("https://{}", "a".repeat(5_000));
        check(&pattern, &[], &[&origin]);
    }
}
