//! Where a server is: `ws://host:port/path`, or `wss` for TLS.

use std::net::SocketAddr;
use std::net::ToSocketAddrs as _;
use std::str::FromStr;

use anyhow::Context as _;

/// A WebSocket address, resolved once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether the connection is TLS.
    pub is_tls: bool,
    /// Where to connect to.
    pub address: SocketAddr,
    /// What the `Host` header says.
    pub host: String,
    /// The path with its query, beginning with `/`.
    pub path: String,
}

impl Url {
    /// The same server, another path.
    #[must_use]
    pub fn with_path(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    /// The host without its port, as a certificate names it.
    #[must_use]
    pub fn name(&self) -> &str {
        let bare = match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) | None => &self.host,
        };
        bare.trim_start_matches('[').trim_end_matches(']')
    }
}

impl FromStr for Url {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (is_tls, rest) = match (text.strip_prefix("ws://"), text.strip_prefix("wss://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => anyhow::bail!("{text}: a URL begins with ws:// or wss://"),
        };
        let (host, path) = match rest.find('/') {
            Some(index) => (&rest[..index], &rest[index..]),
            None => (rest, "/"),
        };
        let bare = host.rsplit_once(']').map_or(host, |(_, after)| after);
        let port = if is_tls { 443 } else { 80 };
        let with_port = if bare.contains(':') { host.to_owned() } else { format!("{host}:{port}") };
        let address = with_port
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve {with_port}"))?
            .next()
            .with_context(|| format!("{with_port} has no address"))?;
        Ok(Self { is_tls, address, host: host.to_owned(), path: path.to_owned() })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        write!(formatter, "{scheme}://{}{}", self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, address: &str, path: &str, name: &str) {
        let url: Url = text.parse().unwrap();
        let got = (url.address.to_string(), url.path.as_str(), url.name());
        assert_eq!((got.0.as_str(), got.1, got.2), (address, path, name));
        assert!(text.starts_with(url.to_string().trim_end_matches('/')));
    }

    #[test]
    fn ports_and_paths_have_defaults() {
        check("ws://127.0.0.1:81/ws?a=b", "127.0.0.1:81", "/ws?a=b", "127.0.0.1");
        check("ws://127.0.0.1", "127.0.0.1:80", "/", "127.0.0.1");
        check("wss://127.0.0.1", "127.0.0.1:443", "/", "127.0.0.1");
        check("ws://[::1]/ws", "[::1]:80", "/ws", "::1");
        check("ws://[::1]:82", "[::1]:82", "/", "::1");
    }

    #[test]
    fn other_schemes_are_refused() {
        assert!("http://127.0.0.1".parse::<Url>().is_err());
        assert!("127.0.0.1:80".parse::<Url>().is_err());
    }
}
