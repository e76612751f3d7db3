//! Whose a request is that came through proxies: `X-Forwarded-For`, `-Proto` and `-Host`, believed
//! from those only who are trusted.

use std::net::IpAddr;
use std::net::SocketAddr;

use crate::proto::http::Request;
use crate::stdx::cidr::Cidr;

/// How many hops are looked at.
const HOPS_COUNT_MAX: usize = 32;

/// What the client sees and who it is, as far as that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// Who.
    pub address: IpAddr,
    /// `http` or `https`, as the client used it.
    pub scheme: &'static str,
    /// The host that the client asked.
    pub host: &'a str,
}

/// Reads a request of `peer`. Headers of a peer that is not in `trusted` are not looked at.
#[must_use]
pub fn of<'a>(
    request: &Request<'a>,
    peer: IpAddr,
    scheme: &'static str,
    trusted: &[Cidr],
) -> Forwarded<'a> {
    let host = request.header("host").unwrap_or("");
    if !Cidr::any_contains(trusted, peer) {
        return Forwarded { address: peer, scheme, host };
    }
    let mut address = peer;
    // Each proxy adds behind the others who asked it: the first from the right who is not ours is
    // as far as anything can be believed.
    let lines: Vec<&str> = request.headers("x-forwarded-for").collect();
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
    for hop in hops.take(HOPS_COUNT_MAX) {
        let Some(hop) = address_of(hop.trim()) else { break };
        address = hop;
        if !Cidr::any_contains(trusted, hop) {
            break;
        }
    }
    let last = |name: &str| {
        let value = request.headers(name).last()?;
        value.rsplit(',').next().map(str::trim).filter(|it| !it.is_empty())
    };
    let scheme = match last("x-forwarded-proto") {
        Some("https" | "wss") => "https",
        Some("http" | "ws") => "http",
        Some(_) | None => scheme,
    };
    Forwarded { address, scheme, host: last("x-forwarded-host").unwrap_or(host) }
}

/// An address as proxies write it: alone, or with a port.
fn address_of(text: &str) -> Option<IpAddr> {
    let alone = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|it| it.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    alone().or_else(with_port).or_else(in_brackets).map(|it| it.to_canonical())
}

#[cfg(test)]
mod tests {
    use crate::proto::http::Limits;
    use crate::proto::http::decode;

    use super::*;

    #[track_caller]
    fn check(peer: &str, lines: &str, expected: (&str, &str, &str)) {
        let trusted = ["10.0.0.0/8", "::1"].map(|it| Cidr::parse(it).unwrap());
        let head = format!("GET /ws HTTP/1.1\r\nHost: here\r\n{lines}\r\n");
        let request = decode(head.as_bytes(), &Limits::default()).unwrap().unwrap();
        let found = of(&request, peer.parse().unwrap(), "http", &trusted);
        let address: IpAddr = expected.0.parse().unwrap();
        assert_eq!(
            (found.address, found.scheme, found.host),
            (address, expected.1, expected.2),
            "{lines}"
        );
    }

    #[test]
    fn the_rightmost_hop_that_is_not_ours_is_the_client() {
        let far = |text: &str| format!("X-Forwarded-For: {text}\r\n");
        check("10.0.0.1", "", ("10.0.0.1", "http", "here"));
        check("10.0.0.1", &far("192.0.2.1"), ("192.0.2.1", "http", "here"));
        check("10.0.0.1", &far("1.1.1.1, 192.0.2.1"), ("192.0.2.1", "http", "here"));
        check("10.0.0.1", &far("192.0.2.1, 10.0.0.2,10.0.0.3"), ("192.0.2.1", "http", "here"));
        check("10.0.0.1", &far("10.0.0.9"), ("10.0.0.9", "http", "here"));
        check("::1", &far("[2001:db8::1]:443"), ("2001:db8::1", "http", "here"));
        check("::1", &far("192.0.2.1:80"), ("192.0.2.1", "http", "here"));
        let two = far("6.6.6.6") + &far("192.0.2.1");
        check("10.0.0.1", &two, ("192.0.2.1", "http", "here"));
        check("10.0.0.1", &far("192.0.2.1, unknown"), ("10.0.0.1", "http", "here"));
        check("10.0.0.1", &far("192.0.2.1, unknown, 10.0.0.2"), ("10.0.0.2", "http", "here"));
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let lines = "X-Forwarded-For: 10.0.0.2\r\nX-Forwarded-Proto: https\r\n\
            X-Forwarded-Host: there\r\n";
        check("192.0.2.9", lines, ("192.0.2.9", "http", "here"));
        check("10.0.0.1", lines, ("10.0.0.2", "https", "there"));
        check("10.0.0.1", "X-Forwarded-Proto: gopher\r\n", ("10.0.0.1", "http", "here"));
    }
}
