//! The audit: who was turned away, from where, and why; never with which token.
//!
//! Each reason has lines of its own, and of these each address some, so that whoever floods one
//! hides nothing of the others. What was not written is told in one line when its time is over, be
//! the flood over or not.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use crate::broker::session::Session;
use crate::metrics::Rejected;
use crate::metrics::catalogue::Label;
use crate::shard::connection::ConnectionId;
use crate::shard::state::Shard;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

/// Lines of one reason in a period.
const LINES_MAX: u32 = 20;
/// Lines of these that one address may fill.
const ADDRESS_LINES_MAX: u32 = 10;
/// Addresses of one reason that are told apart in a period.
const ADDRESSES_MAX: usize = 256;
/// After this time what was not written is told, and lines are written again.
const PERIOD: Duration = Duration::from_secs(10);

/// What happened. Both are names of the program, so there are only so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// What was done to somebody.
    pub(super) event: &'static str,
    /// Why: spelt as the label of its counter.
    pub(super) reason: &'static str,
}

/// How much of each cause was written lately.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// In the order in which their periods began; at most one for each cause.
    periods: Vec<Period>,
    /// When time was last told.
    ticked_at: Instant,
}

/// What came of one cause, from its first time on.
#[derive(Debug)]
struct Period {
    cause: Cause,
    began_at: Instant,
    lines_count: u32,
    more_count: u64,
    /// Bounded; those beyond are counted in `more_count` alone.
    addresses: HashMap<IpAddr, Tally>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    lines_count: u32,
    more_count: u64,
}

/// What was not written of one cause.
#[derive(Debug, PartialEq)]
struct Summary {
    cause: Cause,
    count: u64,
    over: Duration,
    /// From how many addresses, as far as they were told apart.
    addresses_count: usize,
    /// The one that most of it came from, and how much.
    most: Option<(IpAddr, u64)>,
}

impl Audit {
    /// Whether a line may be written.
    fn admit(&mut self, now: Instant, cause: Cause, address: Option<IpAddr>) -> bool {
        let period = self.period_of(now, cause);
        let is_full = ADDRESSES_MAX <= period.addresses.len();
        let mut unknown = Tally::default();
        let tally = match address.map(|it| it.to_canonical()) {
            Some(address) if is_full => period.addresses.get_mut(&address).unwrap_or(&mut unknown),
            Some(address) => period.addresses.entry(address).or_default(),
            None => &mut unknown,
        };
        if period.lines_count < LINES_MAX && tally.lines_count < ADDRESS_LINES_MAX {
            tally.lines_count += 1;
            period.lines_count += 1;
            return true;
        }
        tally.more_count += 1;
        period.more_count += 1;
        false
    }

    /// What came of a cause lately.
    fn period_of(&mut self, now: Instant, cause: Cause) -> &mut Period {
        let index = self.periods.iter().position(|it| it.cause == cause).unwrap_or_else(|| {
            let (lines_count, more_count, addresses) = (0, 0, HashMap::new());
            self.periods.push(Period { cause, began_at: now, lines_count, more_count, addresses });
            self.periods.len() - 1
        });
        &mut self.periods[index]
    }

    /// Ends the periods that are over, and says what was not written in them.
    fn take_ended(&mut self, now: Instant) -> Vec<Summary> {
        // They are in the order in which they end, but for those of one tick.
        let count = self.periods.partition_point(|it| it.began_at.after(PERIOD) <= now);
        let ended = self.periods.drain(..count);
        ended.filter_map(|it| it.summary(now)).collect()
    }

    /// Ends all, whether they are over or not.
    fn take_all(&mut self, now: Instant) -> Vec<Summary> {
        mem::take(&mut self.periods).into_iter().filter_map(|it| it.summary(now)).collect()
    }
}

impl Period {
    fn summary(self, now: Instant) -> Option<Summary> {
        let of_more = self.addresses.iter().filter(|(_, it)| 0 < it.more_count);
        let (addresses_count, most) = of_more.fold((0, None), |(count, most), (address, it)| {
            // The address decides between equals: hashes have no order.
            let next = (it.more_count, *address);
            (count + 1, Some(most.map_or(next, |most| next.max(most))))
        });
        (0 < self.more_count).then(|| Summary {
            cause: self.cause,
            count: self.more_count,
            over: now.since(self.began_at),
            addresses_count,
            most: most.map(|(count, address)| (address, count)),
        })
    }
}

impl Summary {
    fn write(&self, shard: u8) {
        let Self { cause: Cause { event, reason }, count, over, addresses_count, most } = self;
        let seconds = over.as_secs_f64().ceil();
        let or_more = if ADDRESSES_MAX <= *addresses_count { " or more" } else { "" };
        tracing::warn!(
            target: "ringway::audit",
            event,
            reason,
            shard,
            more = count,
            seconds,
            addresses = addresses_count,
            most_from = most.map(|(address, _)| tracing::field::display(address)),
            most = most.map(|(_, count)| count),
            "{count} more of this reason in the last {seconds} s, from {addresses_count} \
             addresses{or_more}"
        );
    }
}

/// Who was turned away, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Who<'a> {
    pub(super) address: Option<SocketAddr>,
    pub(super) session: Option<&'a str>,
    pub(super) user: Option<&'a str>,
}

impl Cause {
    fn write(self, who: Who<'_>, text: impl fmt::Display) {
        let Self { event, reason } = self;
        let Who { address, session, user } = who;
        let address = address.map(tracing::field::display);
        tracing::warn!(
            target: "ringway::audit",
            event, reason, address, session, user,
            "{text}"
        );
    }
}

impl Shard {
    /// Writes down that somebody was turned away, unless that was written often enough.
    pub(super) fn audit(&mut self, now: Now, cause: Cause, who: Who<'_>, text: impl fmt::Display) {
        if self.audit.admit(now.instant, cause, who.address.map(|it| it.ip())) {
            cause.write(who, text);
        }
    }

    /// The same of what a session has done.
    pub(super) fn audit_session(
        &mut self,
        now: Now,
        id: ConnectionId,
        cause: Cause,
        session: &Session,
        text: impl fmt::Display,
    ) {
        let address = self.connections.get(id.0).map(|it| it.peer);
        if self.audit.admit(now.instant, cause, address.map(|it| it.ip())) {
            // A session without a user was refused one just now, if any.
            let refused = || self.verifier.as_ref()?.refused_user().map(str::to_owned);
            let user = session.named_user().or_else(refused);
            let session = Some(session.id());
            cause.write(Who { address, session, user: user.as_deref() }, text);
        }
    }

    /// Counts and writes down that a limit or a policy turned somebody away.
    pub(super) fn reject(
        &mut self,
        now: Now,
        reason: Rejected,
        who: Who<'_>,
        text: impl fmt::Display,
    ) {
        self.counters.rejected.of(reason).add(1);
        self.audit(now, Cause { event: "turned-away", reason: reason.text() }, who, text);
    }

    /// Counts one who is turned away unread, in a flood: it is summed up with the others.
    pub(super) fn count_rejected_unread(&mut self, reason: Rejected) {
        self.counters.rejected.of(reason).add(1);
        let cause = Cause { event: "turned-away", reason: reason.text() };
        self.audit.period_of(self.audit.ticked_at, cause).more_count += 1;
    }

    /// Tells what was not written in the periods that are over.
    pub(super) fn tick_audit(&mut self, now: Instant) {
        self.audit.ticked_at = now;
        let shard = self.identity.id.0;
        self.audit.take_ended(now).iter().for_each(|it| it.write(shard));
    }

    /// The end has come: tells all that was not written.
    pub fn handle_end(&mut self, now: Now) {
        let shard = self.identity.id.0;
        self.audit.take_all(now.instant).iter().for_each(|it| it.write(shard));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ONE: Cause = Cause { event: "refused", reason: "rate" };
    const OTHER: Cause = Cause { event: "refused", reason: "forbidden" };

    fn address(number: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from_bits(number).into())
    }

    fn at(seconds: u64) -> Instant {
        Instant::default().after(Duration::from_secs(seconds))
    }

    fn written(audit: &mut Audit, cause: Cause, from: impl Iterator<Item = u32>) -> usize {
        from.filter(|it| audit.admit(at(0), cause, address(*it))).count()
    }

    #[test]
    fn a_flood_of_one_reason_hides_no_other_and_one_address_no_other() {
        let mut audit = Audit::default();
        assert_eq!(written(&mut audit, ONE, (0..1000).map(|_| 7)), 10);
        assert_eq!(written(&mut audit, ONE, 100..1000), 10);
        assert_eq!(written(&mut audit, ONE, 1000..1001), 0);
        assert_eq!(written(&mut audit, OTHER, (0..1000).map(|_| 7)), 10);
        assert!(audit.admit(at(0), OTHER, None), "who has no address has a line");
    }

    #[test]
    fn what_was_not_written_is_told_once_when_its_period_ends_and_lines_come_again() {
        let mut audit = Audit::default();
        written(&mut audit, ONE, (0..13).map(|_| 7));
        assert!(audit.admit(at(1), OTHER, address(7)));
        written(&mut audit, ONE, (0..12).map(|_| 8));
        assert_eq!(audit.take_ended(at(9)), []);
        let expected = Summary {
            cause: ONE,
            count: 5,
            over: Duration::from_secs(10),
            addresses_count: 2,
            most: Some((Ipv4Addr::from_bits(7).into(), 3)),
        };
        assert_eq!(audit.take_ended(at(10)), [expected]);
        assert_eq!(audit.take_ended(at(11)), [], "all of it was written");
        assert_eq!(audit.take_ended(at(1000)), []);
        assert!(audit.periods.is_empty());
        assert_eq!(written(&mut audit, ONE, (0..1000).map(|_| 7)), 10);
        assert_eq!(audit.take_all(at(1))[0].count, 990, "the end does not wait");
    }

    #[test]
    fn addresses_are_told_apart_up_to_a_limit_and_all_are_counted() {
        let mut audit = Audit::default();
        let count = u32::try_from(ADDRESSES_MAX).unwrap() * 4;
        assert_eq!(written(&mut audit, ONE, 0..count), 20);
        assert_eq!(audit.periods[0].addresses.len(), ADDRESSES_MAX);
        let summary = audit.take_ended(at(10)).remove(0);
        assert_eq!(summary.count, u64::from(count) - 20);
        assert_eq!(summary.addresses_count, ADDRESSES_MAX - 20);
    }

    #[test]
    fn an_address_of_ipv4_is_the_same_within_ipv6() {
        let mut audit = Audit::default();
        let mapped = |it: &str| Some(it.parse().unwrap());
        for _ in 0..ADDRESS_LINES_MAX {
            assert!(audit.admit(at(0), ONE, mapped("::ffff:10.0.0.1")));
        }
        assert!(!audit.admit(at(0), ONE, mapped("10.0.0.1")));
    }
}
