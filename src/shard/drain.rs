//! Letting sessions go: all of them at the end, some of them to even out a fleet. They are told,
//! then closed little by little, the idlest first and those that wait for a receipt last.

use std::collections::VecDeque;
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

/// Sessions that are let go, in the order in which they are.
#[derive(Debug)]
pub(super) struct Drain {
    plan: VecDeque<Planned>,
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
}

impl Drain {
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
    /// Begins to let all sessions go, and tells those that listen. The owner goes on with
    /// [`Shard::drain_some`], and at last with [`Shard::handle_drain`].
    pub fn begin_drain(&mut self, now: Now) {
        let options = &self.options;
        let active = self.active_everywhere();
        let window = window_of(active, options.connections_max, options.drain.window);
        self.counters.drain.active.set(1);
        let open = self.connections.iter().filter(|(_, it)| it.is_open());
        let mut open: Vec<(Instant, Key)> = open.map(|(key, it)| (it.active_at, key)).collect();
        open.sort_unstable();
        let shard = self.identity.id.0;
        tracing::info!(shard, connections = open.len(), ?window, "draining");
        self.plan(now, open.into_iter().map(|(_, key)| key).collect(), window, true);
        self.settle(now);
    }

    /// Lets `share_ppm` millionths of the open sessions go, chosen by chance, so that they connect
    /// to where there is more room; returns how many. None while others are being let go.
    pub fn begin_rebalance(&mut self, now: Now, share_ppm: u32) -> u64 {
        let is_serving = self.identity.health.phase() == LifePhase::Serving;
        if self.drain.is_some() || !is_serving {
            return 0;
        }
        let mut keys: Vec<Key> =
            self.connections.iter().filter(|(_, it)| it.is_open()).map(|(key, _)| key).collect();
        let count = (keys.len() as u64 * u64::from(share_ppm)).div_ceil(1_000_000);
        let count = usize::try_from(count).unwrap_or(keys.len()).min(keys.len());
        for place in 0..count {
            let left = (keys.len() - place) as u64;
            let other = place + usize::try_from(self.random.below(left)).unwrap_or(0);
            keys.swap(place, other);
        }
        keys.truncate(count);
        let options = &self.options;
        let active = self.active_everywhere();
        let window = window_of(active, options.connections_max, options.drain.window);
        tracing::info!(shard = self.identity.id.0, connections = count, ?window, "rebalancing");
        self.plan(now, keys, window, false);
        self.settle(now);
        count as u64
    }

    fn plan(&mut self, now: Now, keys: Vec<Key>, window: Duration, is_end: bool) {
        let mut drain = Drain {
            planned_count: keys.len(),
            plan: VecDeque::with_capacity(keys.len()),
            passed_count: 0,
            began_at: now.instant,
            window,
            is_end,
        };
        for (place, key) in keys.into_iter().enumerate() {
            let planned =
                Planned { id: ConnectionId(key), reconnect_ms: reconnect_ms(&mut self.random) };
            let until_ms = u64::try_from(drain.close_after(place).as_millis()).unwrap_or(u64::MAX);
            let leaving = if is_end { Leaving::End } else { Leaving::Rebalance };
            self.tell_leaving(now, planned.id, leaving, until_ms + u64::from(planned.reconnect_ms));
            drain.plan.push_back(planned);
        }
        self.drain = Some(drain);
    }

    /// Closes those whose turn has come. `false` once nobody is left, or none but who waits for a
    /// receipt.
    pub fn drain_some(&mut self, now: Now) -> bool {
        let Some(mut drain) = self.drain.take() else {
            return false;
        };
        let due_count = drain.due_count(now.instant);
        // Those that wait for a receipt are looked at again later, not round and round.
        let mut looks_left = drain.plan.len().min(16 + 4 * (due_count - drain.passed_count));
        while drain.passed_count < due_count && 0 < looks_left {
            looks_left -= 1;
            let Some(planned) = drain.plan.pop_front() else { break };
            let connection = self.connections.get(planned.id.0);
            if connection.is_some_and(owes_receipt) {
                drain.plan.push_back(planned);
                continue;
            }
            drain.passed_count += 1;
            let reconnect_ms = planned.reconnect_ms;
            let reason = match drain.is_end {
                true => CloseReason::Draining { reconnect_ms },
                false => CloseReason::Rebalanced { reconnect_ms },
            };
            self.close(now, planned.id, reason);
        }
        // At the end the owner has a last word for the rest; else they are asked again.
        let grace = if drain.is_end { Duration::ZERO } else { GRACE };
        // Those of the plan may have gone by themselves.
        let is_over = drain.window + grace <= now.instant.since(drain.began_at)
            || (drain.is_end && self.active_count == 0);
        if !drain.plan.is_empty() && !is_over {
            self.drain = Some(drain);
        }
        self.settle(now);
        self.drain.is_some()
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
        let drain = Drain {
            plan: VecDeque::new(),
            planned_count: 1_000,
            passed_count: 0,
            began_at: Instant::default(),
            window: Duration::from_secs(10),
            is_end: true,
        };
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
