//! Ranges of addresses, as `10.0.0.0/8` names them.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv6Addr;

/// One range. Addresses of IPv4 and their forms inside IPv6 are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// IPv4 is kept where IPv6 maps it.
    network: u128,
    bits_count: u32,
}

impl Cidr {
    /// Parses an address with or without a length, such as `10.0.0.0/8`, `::1` or `fc00::/7`.
    /// `None` when it is neither, or has bits behind its length.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => all,
            Some(text) => text.parse::<u32>().ok().filter(|it| *it <= all)?,
        };
        let bits_count = length + 128 - all;
        let network = number_of(address);
        (network & !mask(bits_count) == 0).then_some(Self { network, bits_count })
    }

    /// Whether `address` is in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        number_of(address) & mask(self.bits_count) == self.network
    }

    /// Whether `address` is in any of the ranges.
    #[must_use]
    pub fn any_contains(ranges: &[Self], address: IpAddr) -> bool {
        ranges.iter().any(|it| it.contains(address))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.network);
        match address.to_ipv4_mapped() {
            Some(address) if 96 <= self.bits_count => {
                write!(out, "{address}/{}", self.bits_count - 96)
            }
            Some(_) | None => write!(out, "{address}/{}", self.bits_count),
        }
    }
}

fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first `bits_count` bits of 128.
fn mask(bits_count: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits_count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(range: &str, inside: &[&str], outside: &[&str]) {
        let cidr = Cidr::parse(range).unwrap();
        for address in inside {
            assert!(cidr.contains(address.parse().unwrap()), "{address} is in {range}");
        }
        for address in outside {
            assert!(!cidr.contains(address.parse().unwrap()), "{address} is not in {range}");
        }
    }

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        check("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], &["11.0.0.0"]);
        check("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "::1"]);
        check("0.0.0.0/0", &["1.2.3.4"], &["::1", "2001:db8::1"]);
        check("::/0", &["1.2.3.4", "::1"], &[]);
        check("fc00::/7", &["fdff::1"], &["fe00::1", "10.0.0.1"]);
        check("127.0.0.0/8", &["127.0.0.1"], &["128.0.0.1"]);
        for wrong in ["", "10.0.0.0/33", "10.0.0.1/8", "::1/129", "10.0.0.0/", "a", "10.0.0.0/-1"] {
            assert_eq!(Cidr::parse(wrong), None, "{wrong}");
        }
        for text in ["10.0.0.0/8", "fc00::/7", "::/0", "0.0.0.0/0"] {
            assert_eq!(Cidr::parse(text).unwrap().to_string(), text);
        }
    }
}
