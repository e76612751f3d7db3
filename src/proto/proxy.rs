//! The PROXY protocol, versions 1 and 2: what a load balancer puts before a connection's own bytes
//! to say whose it is. Section numbers are those of its specification by HAProxy.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

/// The longest line of version 1, its CR LF included (§2.1).
const LINE_BYTES_MAX: usize = 107;
/// How a line of version 1 begins.
const LINE_PREFIX: &[u8] = b"PROXY ";
/// How a header of version 2 begins (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before its addresses.
const FIXED_BYTES: usize = 16;
/// Most bytes behind them: addresses and what a balancer may add to them.
const ADDED_BYTES_MAX: usize = 2048;

/// What stands at the beginning of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// It may become a header: more bytes are needed.
    Incomplete,
    /// No header.
    Absent,
    /// A header.
    Header {
        /// Its length; the connection's own bytes are behind it.
        bytes: usize,
        /// Whose the connection is; `None` when it is the balancer's own, or it does not say.
        source: Option<SocketAddr>,
    },
}

/// A header that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error;

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a broken header of the PROXY protocol")
    }
}

impl std::error::Error for Error {}

/// Looks at the first bytes of a connection. Never panics, and never asks for more than the longest
/// header.
///
/// # Errors
///
/// When it begins as a header does and goes on as none may.
pub fn decode(bytes: &[u8]) -> Result<Beginning, Error> {
    if begins(bytes, SIGNATURE) {
        let is_whole = SIGNATURE.len() <= bytes.len();
        return if is_whole { binary(bytes) } else { Ok(Beginning::Incomplete) };
    }
    if begins(bytes, LINE_PREFIX) {
        let is_whole = LINE_PREFIX.len() <= bytes.len();
        return if is_whole { line(bytes) } else { Ok(Beginning::Incomplete) };
    }
    Ok(Beginning::Absent)
}

/// Whether `bytes` and `start` agree as far as both go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(one, other)| one == other)
}

/// Version 1: one line of ASCII.
fn line(bytes: &[u8]) -> Result<Beginning, Error> {
    let seen = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = seen.windows(2).position(|it| it == b"\r\n") else {
        return if seen.len() < LINE_BYTES_MAX { Ok(Beginning::Incomplete) } else { Err(Error) };
    };
    let text = bytes.get(LINE_PREFIX.len()..end).ok_or(Error)?;
    let text = std::str::from_utf8(text).map_err(|_| Error)?;
    let header = |source| Ok(Beginning::Header { bytes: end + 2, source });
    let mut words = text.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return header(None);
    }
    let mut word = || words.next().ok_or(Error);
    let (source, target, port, target_port) = (word()?, word()?, word()?, word()?);
    let is_right = match family {
        Some("TCP4") => source.parse::<Ipv4Addr>().is_ok() && target.parse::<Ipv4Addr>().is_ok(),
        Some("TCP6") => source.parse::<Ipv6Addr>().is_ok() && target.parse::<Ipv6Addr>().is_ok(),
        Some(_) | None => false,
    };
    let address: IpAddr = source.parse().map_err(|_| Error)?;
    if !is_right || words.next().is_some() || port_of(target_port).is_none() {
        return Err(Error);
    }
    header(Some(SocketAddr::new(address, port_of(port).ok_or(Error)?)))
}

/// A port without signs or leading zeros (§2.1).
fn port_of(text: &str) -> Option<u16> {
    let is_plain = text == "0" || text.starts_with(|it: char| ('1'..='9').contains(&it));
    text.parse().ok().filter(|_| is_plain)
}

/// Version 2: a signature, a command, a family, a length, then addresses.
fn binary(bytes: &[u8]) -> Result<Beginning, Error> {
    let Some(fixed) = bytes.get(SIGNATURE.len()..FIXED_BYTES) else {
        return Ok(Beginning::Incomplete);
    };
    let &[command, family, high, low] = fixed else { return Err(Error) };
    let added_bytes = usize::from(u16::from_be_bytes([high, low]));
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Error),
    };
    if ADDED_BYTES_MAX < added_bytes {
        return Err(Error);
    }
    let end = FIXED_BYTES + added_bytes;
    let Some(added) = bytes.get(FIXED_BYTES..end) else {
        return Ok(Beginning::Incomplete);
    };
    let source = match family {
        _ if is_local => None,
        // TCP over IPv4 and over IPv6; from a receiver's view the rest says nothing.
        0x11 => Some(of_ipv4(added).ok_or(Error)?),
        0x21 => Some(of_ipv6(added).ok_or(Error)?),
        _ => None,
    };
    Ok(Beginning::Header { bytes: end, source })
}

fn of_ipv4(added: &[u8]) -> Option<SocketAddr> {
    let (address, rest) = added.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    rest.split_first_chunk::<2>()?;
    Some(SocketAddr::new(Ipv4Addr::from(*address).into(), u16::from_be_bytes(*port)))
}

fn of_ipv6(added: &[u8]) -> Option<SocketAddr> {
    let (address, rest) = added.split_first_chunk::<16>()?;
    let (_, rest) = rest.split_first_chunk::<16>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    rest.split_first_chunk::<2>()?;
    Some(SocketAddr::new(Ipv6Addr::from(*address).into(), u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Option<&str>, Error>) {
        let behind = [bytes, b"GET / HTTP/1.1\r\n"].concat();
        let expected = expected.map(|source| Beginning::Header {
            bytes: bytes.len(),
            source: source.map(|it| it.parse().unwrap()),
        });
        assert_eq!(decode(&behind), expected, "{bytes:?}");
        if expected.is_ok() {
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut]), Ok(Beginning::Incomplete), "{cut} of {bytes:?}");
            }
        }
    }

    fn v2(command: u8, family: u8, added: &[u8]) -> Vec<u8> {
        let length = u16::try_from(added.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, added].concat()
    }

    #[test]
    fn a_line_of_version_1_names_the_client() {
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n", Ok(Some("192.0.2.1:56324")));
        check(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", Ok(Some("[2001:db8::1]:1")));
        check(b"PROXY UNKNOWN\r\n", Ok(None));
        check(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", Ok(None));
        for wrong in [
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 01 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 65536 2\r\n",
            "PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY \r\n",
        ] {
            check(wrong.as_bytes(), Err(Error));
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        assert_eq!(long.len(), LINE_BYTES_MAX);
        check(long.as_bytes(), Ok(None));
        check(format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)).as_bytes(), Err(Error));
    }

    #[test]
    fn a_header_of_version_2_names_the_client() {
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0xDC, 0x04, 1, 0xBB];
        check(&v2(0x21, 0x11, &four), Ok(Some("192.0.2.1:56324")));
        check(
            &v2(0x21, 0x11, &[&four[..], b"\x03\x00\x04abcd"].concat()),
            Ok(Some("192.0.2.1:56324")),
        );
        let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0, 7, 0, 8]].concat();
        check(&v2(0x21, 0x21, &six), Ok(Some("[2001:db8::1]:7")));
        check(&v2(0x20, 0x00, b""), Ok(None));
        check(&v2(0x20, 0x11, &four), Ok(None));
        check(&v2(0x21, 0x31, &[0; 216]), Ok(None));
        check(&v2(0x21, 0x00, b""), Ok(None));
        check(&v2(0x21, 0x00, &[0; ADDED_BYTES_MAX]), Ok(None));
        check(&v2(0x21, 0x00, &[0; ADDED_BYTES_MAX + 1]), Err(Error));
        check(&v2(0x21, 0x11, &four[..11]), Err(Error));
        check(&v2(0x22, 0x11, &four), Err(Error));
        check(&v2(0x11, 0x11, &four), Err(Error));
    }

    #[test]
    fn what_begins_otherwise_is_no_header() {
        assert_eq!(decode(b""), Ok(Beginning::Incomplete));
        for other in ["GET / HTTP/1.1\r\n", "POST", "PROXX", "\r\n\r\nGET", "\x16\x03\x01"] {
            assert_eq!(decode(other.as_bytes()), Ok(Beginning::Absent), "{other}");
        }
        assert_eq!(decode(b"P"), Ok(Beginning::Incomplete));
        assert_eq!(decode(b"PO"), Ok(Beginning::Absent));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            start in prop::sample::select(vec![&b""[..], LINE_PREFIX, SIGNATURE]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, &rest].concat();
            if let Ok(Beginning::Header { bytes: length, .. }) = decode(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
