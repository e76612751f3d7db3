//! Addresses that have brought more tokens which were refused than good ones. In a storm their
//! CONNECTs come behind those of the others, so that bad tokens cost the good ones little.
//!
//! Nobody is refused for it while there is room: many share an address, and a storm of one bad
//! client must not shut out its neighbours.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::stdx::time::Instant;

/// So many more must have been refused than let in: good ones from before the first refusal are not
/// counted, and who tries twice is no flood.
const SPARED_COUNT: u32 = 3;
/// Addresses that are remembered, of each of two halves.
const HALF_MAX: usize = 4096;
/// After one to two of these without a CONNECT an address is forgotten.
const PERIOD: Duration = Duration::from_secs(60);

/// What came from one address.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    refused_count: u32,
    good_count: u32,
}

/// Scores by address, bounded: the older half goes as a whole when the younger one is full or old.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    young: HashMap<IpAddr, Score>,
    old: HashMap<IpAddr, Score>,
    turned_at: Option<Instant>,
}

impl Suspects {
    /// Whether much more was refused than let in of this address lately.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let network = network_of(address);
        let score = self.young.get(&network).or_else(|| self.old.get(&network));
        score.is_some_and(|it| SPARED_COUNT <= it.refused_count.saturating_sub(it.good_count))
    }

    /// Takes what was decided of a token from this address. One that was never refused anything is
    /// not remembered.
    pub(super) fn note(&mut self, now: Instant, address: IpAddr, is_good: bool) {
        if is_good && self.young.is_empty() && self.old.is_empty() {
            return;
        }
        let turned_at = *self.turned_at.get_or_insert(now);
        let age = now.since(turned_at);
        if HALF_MAX <= self.young.len() || PERIOD <= age {
            self.old = mem::take(&mut self.young);
            if 2 * PERIOD <= age {
                self.old.clear();
            }
            self.turned_at = Some(now);
        }
        let network = network_of(address);
        let score = match self.young.get_mut(&network) {
            Some(score) => score,
            None => match self.old.remove(&network) {
                None if is_good => return,
                score => self.young.entry(network).or_insert(score.unwrap_or_default()),
            },
        };
        let count = if is_good { &mut score.good_count } else { &mut score.refused_count };
        *count = count.saturating_add(1);
    }
}

/// An IPv6 site has 64 bits of addresses to choose from; they count as one.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let bits = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(bits).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    /// As often as it is spared, and once more.
    fn refuse(suspects: &mut Suspects, now: Instant, address: IpAddr) {
        for _ in 0..=SPARED_COUNT {
            suspects.note(now, address, false);
        }
    }

    #[test]
    fn an_address_is_suspect_while_much_more_was_refused_than_let_in() {
        let (now, mut suspects) = (Instant::default(), Suspects::default());
        let steps = [
            (true, false),
            (false, false),
            (false, false),
            (false, true),
            (true, false),
            (false, true),
            (false, true),
            (true, true),
            (true, false),
        ];
        for (is_good, expected) in steps {
            suspects.note(now, address(1), is_good);
            assert_eq!(suspects.has(address(1)), expected);
            assert!(!suspects.has(address(2)), "its neighbour is none");
        }
    }

    #[test]
    fn a_site_of_ipv6_counts_as_one_and_an_embedded_ipv4_address_as_itself() {
        let mut suspects = Suspects::default();
        for text in ["2001:db8:1:2:3::4", "::ffff:10.0.0.1"] {
            refuse(&mut suspects, Instant::default(), text.parse().unwrap());
        }
        let has = |text: &str| suspects.has(text.parse().unwrap());
        assert!(has("2001:db8:1:2::") && !has("2001:db8:1:3::"));
        assert!(has("10.0.0.1") && !has("::ffff:10.0.0.2"));
    }

    #[test]
    fn suspects_are_forgotten_after_a_time_and_never_too_many() {
        let (start, mut suspects) = (Instant::default(), Suspects::default());
        refuse(&mut suspects, start, address(1));
        refuse(&mut suspects, start.after(PERIOD), address(2));
        assert!(suspects.has(address(1)) && suspects.has(address(2)));
        refuse(&mut suspects, start.after(2 * PERIOD), address(3));
        assert!(!suspects.has(address(1)) && suspects.has(address(2)));
        refuse(&mut suspects, start.after(4 * PERIOD), address(4));
        assert!(!suspects.has(address(3)) && suspects.has(address(4)));
        for number in 10..20_000 {
            refuse(&mut suspects, start.after(4 * PERIOD), address(number));
            assert!(suspects.young.len() + suspects.old.len() <= 2 * HALF_MAX);
        }
        assert!(suspects.has(address(19_999)) && !suspects.has(address(4)));
    }
}
