//! What came of a run: the parts of all processes together, and whether all was well.

use std::collections::BTreeMap;

use crate::latency::Latencies;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::plan::Scenario;
use crate::sequence::Verdict;
use crate::wire::Finished;
use crate::wire::Opened;
use crate::wire::Part;

/// A generator that was later than this with its messages, in microseconds, is told of.
const LAG_US_MAX: f64 = 1000.0;

/// A crowd costs the store at most so many reads of each room.
const READS_MAX: u64 = 5;

fn has_storm(plan: &Plan) -> bool {
    matches!(plan.scenario, Scenario::Storm | Scenario::ReplayStorm)
}

/// Adds how the opening went.
pub fn add_opened(outcome: &mut Outcome, opened: &[Opened]) {
    let mut ready = Latencies::default();
    for opened in opened {
        ready.add(&opened.ready);
        outcome.counts.ready += opened.ready_count;
    }
    outcome.ready = ready.summary();
}

/// For each sender the messages below which all its own were sent.
#[must_use]
pub fn limits(plan: &Plan, finished: &[Finished]) -> Vec<u64> {
    let mut limits = vec![u64::MAX; usize::from(plan.load.senders)];
    for (sender, limit) in finished.iter().flat_map(|it| &it.limits) {
        if let Some(place) = limits.get_mut(usize::from(*sender)) {
            *place = (*place).min(*limit);
        }
    }
    limits
}

/// Puts the parts together and judges them.
pub fn judge(outcome: &mut Outcome, plan: &Plan, parts: Vec<Part>) {
    add_parts(outcome, plan, parts);
    outcome.faults = faults(outcome, plan);
    outcome.is_clean = outcome.faults.is_empty();
    outcome.warnings = outcome.usage.warnings();
    if let Some(lag) = &outcome.lag
        && LAG_US_MAX < lag.p99_us
    {
        let late_ms = lag.p99_us / 1000.0;
        outcome.warnings.push(format!(
            "the generator was late with its messages (p99 {late_ms:.1} ms): latencies hold that"
        ));
    }
}

fn add_parts(outcome: &mut Outcome, plan: &Plan, parts: Vec<Part>) {
    let mut sums: [Latencies; 5] = std::array::from_fn(|_| Latencies::default());
    let mut storm = Vec::new();
    let mut orders: BTreeMap<u64, u64> = BTreeMap::new();
    for part in parts {
        outcome.verdict.add(part.verdict);
        outcome.warm_up_verdict.add(part.warm_up_verdict);
        for (sum, buckets) in sums.iter_mut().zip([
            &part.latency,
            &part.latency_last,
            &part.confirmed,
            &part.closed_after,
            &part.lag,
        ]) {
            sum.add(buckets);
        }
        let counts = &mut outcome.counts;
        counts.sent += part.sent_count;
        counts.deliveries += part.deliveries_count;
        counts.receipts += part.receipts_count;
        counts.troubles += part.troubles_count;
        counts.lost_at_close += part.lost_at_close_count;
        counts.slow += part.slow_count;
        counts.slow_closed += part.slow_closed_count;
        counts.other_orders += part.other_orders_count;
        counts.heart_beats += part.heart_beats_count;
        counts.silences += part.silences_count;
        counts.pings += part.pings_count;
        for (room, order) in part.orders {
            let first = *orders.entry(room).or_insert(order);
            counts.other_orders += u64::from(first != order);
        }
        for (why, count) in part.closings {
            counts.closings += count;
            *outcome.closings.entry(why).or_default() += count;
        }
        for (why, count) in &part.storm.failures {
            counts.failures += count;
            *outcome.failures.entry(why.clone()).or_default() += count;
        }
        counts.refused += part.storm.refused_count;
        counts.replayed += part.storm.replayed_count;
        if outcome.first_trouble.is_none() {
            outcome.first_trouble = part.first_trouble;
        }
        storm.push(part.storm);
    }
    let [latency, latency_last, confirmed, closed_after, lag] = sums.map(|it| it.summary());
    outcome.latency = latency;
    outcome.latency_last = latency_last;
    outcome.confirmed = confirmed;
    outcome.closed_after = closed_after;
    outcome.lag = lag;
    if has_storm(plan) {
        outcome.counts.ready = 0;
        add_opened(outcome, &storm);
    }
}

/// What went wrong that should not in this scenario.
fn faults(outcome: &Outcome, plan: &Plan) -> Vec<String> {
    let mut faults = Vec::new();
    let mut told = |count: u64, what: &str| {
        if count != 0 {
            faults.push(format!("{count} {what}"));
        }
    };
    let ends = plan.scenario == Scenario::Drain;
    for (verdict, when) in [(&outcome.verdict, ""), (&outcome.warm_up_verdict, " while warming up")]
    {
        let Verdict { lost_count, doubled_count, reordered_count, damaged_count, .. } = *verdict;
        told(lost_count, &format!("lost{when}"));
        told(doubled_count, &format!("doubled{when}"));
        told(reordered_count, &format!("reordered{when}"));
        told(damaged_count, &format!("damaged{when}"));
    }
    let counts = &outcome.counts;
    // Whose messages are lost sees another order; that is one fault, not two.
    if outcome.verdict.is_clean() {
        told(counts.other_orders, "subscribers saw another order than others of their room");
    }
    told(counts.troubles, "ERROR frames, or messages that could not be understood");
    told(counts.silences, "silences of more than two heart-beats");
    told(counts.failures, "failed attempts to connect");
    let clients = plan.load.connections as u64;
    if has_storm(plan) {
        told(clients.saturating_sub(counts.ready), "clients were not ready in the end");
        let rejected = plan.load.rejected as u64;
        told(rejected.saturating_sub(counts.refused), "rejected tokens were not refused");
    }
    if plan.scenario == Scenario::ReplayStorm {
        let expected = clients * u64::from(plan.words.history);
        told(expected.saturating_sub(counts.replayed), "messages of the history were not given");
        told(counts.replayed.saturating_sub(expected), "messages more than the history has");
        let reads = outcome.store_reads.unwrap_or(0);
        let most = READS_MAX * plan.rooms_count() as u64;
        told(reads.saturating_sub(most), &format!("reads of the store more than {most}"));
    }
    if !ends {
        told(counts.closings - counts.slow_closed.min(counts.closings), "connections closed");
        if plan.words.receipts || plan.load.redis.is_some() {
            told(counts.sent.saturating_sub(counts.receipts), "messages not confirmed");
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Experiment;
    use crate::plan::Knobs;
    use std::path::Path;

    fn plan(scenario: &str) -> Plan {
        let text =
            format!("scenario = '{scenario}'\nurl = 'ws://a:1/'\nserver-pid = 1\nreceipts = true");
        let experiment = Experiment::parse(&text, Path::new("."), &Knobs::default()).unwrap();
        experiment.plan(&experiment.cases[0], &experiment.subjects[0]).unwrap()
    }

    #[track_caller]
    fn check(scenario: &str, change: impl FnOnce(&mut Part), expected: &[&str]) {
        let mut part = Part { sent_count: 3, receipts_count: 3, ..Part::default() };
        change(&mut part);
        let mut outcome = Outcome::default();
        judge(&mut outcome, &plan(scenario), vec![Part::default(), part]);
        assert_eq!(outcome.faults, expected);
        assert_eq!(outcome.is_clean, expected.is_empty());
    }

    #[test]
    fn each_fault_is_named() {
        check("rooms", |_| {}, &[]);
        check("rooms", |part| part.verdict.lost_count = 2, &["2 lost"]);
        check(
            "rooms",
            |part| part.warm_up_verdict.doubled_count = 1,
            &["1 doubled while warming up"],
        );
        check("rooms", |part| part.receipts_count = 1, &["2 messages not confirmed"]);
        let closed = |part: &mut Part| part.closings = BTreeMap::from([("gone".to_owned(), 4)]);
        check("rooms", closed, &["4 connections closed"]);
        check("drain", closed, &[]);
        let slow_closed = |part: &mut Part| {
            closed(part);
            part.slow_closed_count = 4;
        };
        check("slow", slow_closed, &[]);
    }

    #[test]
    fn processes_that_saw_different_orders_are_told() {
        let part = |order| Part { orders: BTreeMap::from([(7, order)]), ..Part::default() };
        let mut outcome = Outcome::default();
        judge(&mut outcome, &plan("fanout"), vec![part(1), part(2)]);
        assert_eq!(outcome.counts.other_orders, 1);
        assert!(!outcome.is_clean);
    }
}
