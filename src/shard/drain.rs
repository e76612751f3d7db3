//! Letting sessions go: all of them at the end, some of them to even out a fleet. They are told,
//! then closed little by little, the idlest first and those that wait for a receipt last.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use crate::broker::close::CloseReason;
use crate::broker::session::Leaving;
use crate::metrics::health::Phase as LifePhase;
use crate::shard::connection::Connection;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Phase;
use crate::shard::state::Shard;
use crate::stdx::random::Random;
use crate::stdx::slab::Key;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

/// How sessions are let go.
#[derive(Clone, Copy, Debug)]
pub struct DrainOptions {
    /// Over how long the closes of a full server are spread; fewer take their share of it.
    pub window: Duration,
    /// By when the process has ended.
    pub deadline: Duration,
    /// How long a connection may last; zero means for ever.
    pub connection_age_max: Duration,
}

/// Below so many connections the window is [`WINDOW_OF_FEW_MAX`] at the most.
const FEW: usize = 100;
const WINDOW_OF_FEW_MAX: Duration = Duration::from_secs(2);
/// Clients wait at random between these, in milliseconds, before they connect again.
const RECONNECT_MS_MIN: u64 = 250;
const RECONNECT_MS_MAX: u64 = 5_000;
/// How long a session that others do not wait for may still wait for its receipts.
const GRACE: Duration = Duration::from_secs(10);
/// Connections that are looked at in one go: to find them, to tell them, to close them.
const FINDS_MAX: usize = 1_024;
const TELLS_MAX: usize = 128;
const CLOSES_MAX: usize = 128;

/// Sessions that are let go, in the order in which they are.
///
/// Those before `untold_at` have been told.
#[derive(Debug)]
pub(super) struct Drain {
    /// While connections are still being found: the place to look at next.
    next_place: Option<usize>,
    found: Vec<(Instant, Key)>,
    plan: VecDeque<Planned>,
    untold_at: usize,
    planned_count: usize,
    passed_count: usize,
    began_at: Instant,
    window: Duration,
    is_end: bool,
}

#[derive(Clone, Copy, Debug)]
struct Planned {
    id: ConnectionId,
    reconnect_ms: u32,
    place: usize,
    is_told: bool,
}

impl Drain {
    fn new(now: Now, window: Duration, is_end: bool) -> Self {
        Self {
            next_place: Some(0),
            found: Vec::new(),
            plan: VecDeque::new(),
            untold_at: 0,
            planned_count: 0,
            passed_count: 0,
            began_at: now.instant,
            window,
            is_end,
        }
    }

    /// How many are to be gone by now, evenly over the window.
    fn due_count(&self, now: Instant) -> usize {
        let passed = now.since(self.began_at);
        if self.window <= passed {
            return self.planned_count;
        }
        let due = self.planned_count as u128 * passed.as_nanos() / self.window.as_nanos();
        usize::try_from(due).unwrap_or(self.planned_count)
    }

    /// When the one at this place of the plan is closed, from the beginning.
    fn close_after(&self, place: usize) -> Duration {
        let nanos = self.window.as_nanos() * (place as u128 + 1) / self.planned_count as u128;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Over how long so many closes are spread on a server that may hold `connections_max`.
fn window_of(active: usize, connections_max: usize, full: Duration) -> Duration {
    let share = active.min(connections_max) as u128;
    let nanos = full.as_nanos() * share / connections_max.max(1) as u128;
    let window = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    if active < FEW { window.min(WINDOW_OF_FEW_MAX) } else { window }
}

/// How long a client waits before it connects again: its own time, so that not all come at once.
pub(super) fn reconnect_ms(random: &mut Random) -> u32 {
    let millis = RECONNECT_MS_MIN + random.below(RECONNECT_MS_MAX - RECONNECT_MS_MIN + 1);
    u32::try_from(millis).unwrap_or(u32::MAX)
}

impl Shard {
    /// Begins to let all sessions go, and to tell those that listen. The owner goes on with
    /// [`Shard::drain_some`], and at last with [`Shard::handle_drain`].
    pub fn begin_drain(&mut self, now: Now) {
        self.counters.drain.active.set(1);
        let window = self.window();
        let shard = self.identity.id.0;
        tracing::info!(shard, connections = self.active_count, ?window, "draining");
        self.drain = Some(Drain::new(now, window, true));
        self.drain_some(now);
    }

    /// Lets `share_ppm` millionths of these sessions go, chosen by chance, so that they connect to
    /// where there is more room; returns how many. None while others are being let go.
    pub(super) fn begin_rebalance(&mut self, now: Now, mut keys: Vec<Key>, share_ppm: u32) -> u64 {
        let is_serving = self.identity.health.phase() == LifePhase::Serving;
        if self.drain.is_some() || !is_serving {
            return 0;
        }
        let count = (keys.len() as u64 * u64::from(share_ppm)).div_ceil(1_000_000);
        let count = usize::try_from(count).unwrap_or(keys.len()).min(keys.len());
        for place in 0..count {
            let left = (keys.len() - place) as u64;
            let other = place + usize::try_from(self.random.below(left)).unwrap_or(0);
            keys.swap(place, other);
        }
        keys.truncate(count);
        let window = self.window();
        tracing::info!(shard = self.identity.id.0, connections = count, ?window, "rebalancing");
        let mut drain = Drain::new(now, window, false);
        self.plan(now, &mut drain, keys);
        self.drain = Some(drain);
        count as u64
    }

    fn window(&self) -> Duration {
        let options = &self.options;
        window_of(self.active_everywhere(), options.connections_max, options.drain.window)
    }

    /// Looks for some of those that are to be let go; the idlest of all leave first.
    fn find_some(&mut self, now: Now, drain: &mut Drain, next: usize) {
        let end = self.connections.places().min(next + FINDS_MAX);
        for place in next..end {
            let key = u32::try_from(place).ok().and_then(|it| self.connections.key_at(it));
            let Some(key) = key else { continue };
            let open = self.connections.get(key).filter(|it| it.is_open());
            drain.found.extend(open.map(|it| (it.active_at, key)));
        }
        drain.next_place = (end < self.connections.places()).then_some(end);
        if drain.next_place.is_none() {
            let mut found = mem::take(&mut drain.found);
            found.sort_unstable();
            self.plan(now, drain, found.into_iter().map(|(_, key)| key).collect());
        }
    }

    fn plan(&mut self, now: Now, drain: &mut Drain, keys: Vec<Key>) {
        drain.began_at = now.instant;
        drain.next_place = None;
        drain.planned_count = keys.len();
        let random = &mut self.random;
        drain.plan.extend(keys.into_iter().enumerate().map(|(place, key)| Planned {
            id: ConnectionId(key),
            reconnect_ms: reconnect_ms(random),
            place,
            is_told: false,
        }));
    }

    /// Tells some of those that are not told yet, the next to leave first.
    fn tell_some(&mut self, now: Now, drain: &mut Drain) {
        for _ in 0..TELLS_MAX {
            let Some(planned) = drain.plan.get_mut(drain.untold_at) else { break };
            drain.untold_at += 1;
            if !mem::replace(&mut planned.is_told, true) {
                let planned = *planned;
                self.tell_planned(now, drain, planned);
            }
        }
    }

    fn tell_planned(&mut self, now: Now, drain: &Drain, planned: Planned) {
        let closed_at = drain.began_at.after(drain.close_after(planned.place));
        let until = closed_at.since(now.instant).as_millis();
        let until_ms = u64::try_from(until).unwrap_or(u64::MAX);
        let leaving = if drain.is_end { Leaving::End } else { Leaving::Rebalance };
        self.tell_leaving(now, planned.id, leaving, until_ms + u64::from(planned.reconnect_ms));
    }

    /// Finds, tells and closes some, whoever's turn has come. `false` once nobody is left, or none
    /// but who waits for a receipt.
    pub fn drain_some(&mut self, now: Now) -> bool {
        let Some(mut drain) = self.drain.take() else {
            return false;
        };
        if let Some(next) = drain.next_place {
            self.find_some(now, &mut drain, next);
        }
        if drain.next_place.is_some() {
            self.drain = Some(drain);
            return true;
        }
        self.tell_some(now, &mut drain);
        let has_closed_all = self.close_some(now, &mut drain);
        // At the end the owner has a last word for the rest; else they are asked again.
        let grace = if drain.is_end { Duration::ZERO } else { GRACE };
        let is_late = has_closed_all && drain.window + grace <= now.instant.since(drain.began_at);
        // Those of the plan may have gone by themselves.
        let is_over = is_late || (drain.is_end && self.active_count == 0);
        if !drain.plan.is_empty() && !is_over {
            self.drain = Some(drain);
        }
        self.settle(now);
        self.drain.is_some()
    }

    /// Closes some of those that are due; `false` when others of them can be closed at once.
    fn close_some(&mut self, now: Now, drain: &mut Drain) -> bool {
        let due_count = drain.due_count(now.instant);
        // Those that wait for a receipt are looked at again later, not round and round.
        let looks_max = 16 + 4 * (due_count - drain.passed_count);
        let mut looks_left = drain.plan.len().min(looks_max).min(FINDS_MAX);
        let mut closes_left = CLOSES_MAX;
        while drain.passed_count < due_count && 0 < looks_left {
            if closes_left == 0 {
                return false;
            }
            looks_left -= 1;
            let Some(mut planned) = drain.plan.pop_front() else { break };
            drain.untold_at = drain.untold_at.saturating_sub(1);
            if !mem::replace(&mut planned.is_told, true) {
                self.tell_planned(now, drain, planned);
            }
            let connection = self.connections.get(planned.id.0);
            if connection.is_some_and(owes_receipt) {
                drain.plan.push_back(planned);
                continue;
            }
            closes_left -= 1;
            drain.passed_count += 1;
            let reconnect_ms = planned.reconnect_ms;
            let reason = match drain.is_end {
                true => CloseReason::Draining { reconnect_ms },
                false => CloseReason::Rebalanced { reconnect_ms },
            };
            self.close(now, planned.id, reason);
        }
        true
    }

    /// A connection over its age leaves, once it has its receipts.
    pub(super) fn leave_aged(&mut self, now: Now, id: ConnectionId) {
        let Some(connection) = self.connections.get(id.0) else { return };
        let Some(leaves_at) = connection.leaves_at else { return };
        if owes_receipt(connection) && now.instant < leaves_at.after(GRACE) {
            return;
        }
        let reconnect_ms = reconnect_ms(&mut self.random);
        self.tell_leaving(now, id, Leaving::Age, u64::from(reconnect_ms));
        self.close(now, id, CloseReason::Aged { reconnect_ms });
    }

    /// When a connection that is opened now has to leave: up to a tenth before its time, so that
    /// those that came together do not go together.
    pub(super) fn leaves_at(&mut self, now: Instant) -> Option<Instant> {
        let age_max = self.options.drain.connection_age_max;
        if age_max.is_zero() {
            return None;
        }
        let millis = u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX);
        let early = Duration::from_millis(self.random.below(millis / 10 + 1));
        Some(now.after(age_max.saturating_sub(early)))
    }

    fn tell_leaving(&mut self, now: Now, id: ConnectionId, leaving: Leaving, reconnect_ms: u64) {
        let mut is_told = false;
        self.with_session(now, id, |session, outputs| {
            is_told = session.handle_leaving(leaving, reconnect_ms, outputs);
        });
        if is_told {
            self.counters.drain.told.add(1);
        }
    }
}

fn owes_receipt(connection: &Connection) -> bool {
    match &connection.phase {
        Phase::Stomp(stomp) => stomp.session.awaits_receipt(),
        Phase::Head(_) | Phase::Echo(_) | Phase::Closing(_) | Phase::Taken => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_in_proportion_and_short_for_few() {
        let check = |active, max, millis| {
            let window = window_of(active, max, Duration::from_secs(75));
            assert_eq!(window, Duration::from_millis(millis), "{active} of {max}");
        };
        check(20_000, 20_000, 75_000);
        check(30_000, 20_000, 75_000);
        check(5_000, 20_000, 18_750);
        check(100, 20_000, 375);
        check(99, 100, 2_000);
        check(100, 100, 75_000);
        check(0, 20_000, 0);
        check(0, 0, 0);
    }

    #[test]
    fn closes_are_even_over_the_window() {
        let now = Now { instant: Instant::default(), unix_ms: 0 };
        let mut drain = Drain::new(now, Duration::from_secs(10), true);
        drain.planned_count = 1_000;
        for millis in [0, 10, 500, 9_990, 10_000, 60_000] {
            let due = drain.due_count(Instant::default().after(Duration::from_millis(millis)));
            assert_eq!(due as u64, (millis / 10).min(1_000), "{millis}");
        }
        assert_eq!(drain.close_after(0), Duration::from_millis(10));
        assert_eq!(drain.close_after(999), Duration::from_secs(10));
    }

    #[test]
    fn each_client_waits_its_own_time() {
        let mut random = Random::new(1);
        let times: Vec<u64> = (0..1_000).map(|_| u64::from(reconnect_ms(&mut random))).collect();
        assert!(times.iter().all(|it| (RECONNECT_MS_MIN..=RECONNECT_MS_MAX).contains(it)));
        let early = times.iter().filter(|it| **it < 2_625).count();
        assert!((400..600).contains(&early), "{early} of 1,000 in the first half");
    }
}
