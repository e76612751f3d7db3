//! Where a server is: `ws://host:port/path`.

use std::net::SocketAddr;
use std::net::ToSocketAddrs as _;
use std::str::FromStr;

use anyhow::Context as _;

/// A WebSocket address, resolved once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
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
}

impl FromStr for Url {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(!text.starts_with("wss://"), "TLS is not supported yet: use ws://");
        let rest = text.strip_prefix("ws://").context("a URL begins with ws://")?;
        let (host, path) = match rest.find('/') {
            Some(index) => (&rest[..index], &rest[index..]),
            None => (rest, "/"),
        };
        let bare = host.rsplit_once(']').map_or(host, |(_, after)| after);
        let with_port = if bare.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let address = with_port
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve {with_port}"))?
            .next()
            .with_context(|| format!("{with_port} has no address"))?;
        Ok(Self { address, host: host.to_owned(), path: path.to_owned() })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ws://{}{}", self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, address: &str, path: &str) {
        let url: Url = text.parse().unwrap();
        assert_eq!((url.address.to_string().as_str(), url.path.as_str()), (address, path));
    }

    #[test]
    fn ports_and_paths_have_defaults() {
        check("ws://127.0.0.1:81/ws?a=b", "127.0.0.1:81", "/ws?a=b");
        check("ws://127.0.0.1", "127.0.0.1:80", "/");
        check("ws://[::1]/ws", "[::1]:80", "/ws");
        check("ws://[::1]:82", "[::1]:82", "/");
    }

    #[test]
    fn other_schemes_are_refused() {
        assert!("wss://127.0.0.1".parse::<Url>().is_err());
        assert!("http://127.0.0.1".parse::<Url>().is_err());
    }
}
