//! What came of one run: counts, costs, latencies, and how it went from second to second.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::latency::Summary;
use crate::measure::Usage;
use crate::plan::Plan;
use crate::plan::Scenario;
use crate::sequence::Verdict;
use crate::watch::Memory;

/// Everything that one run found.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Outcome {
    /// Whether nothing went wrong that should not in this scenario.
    pub is_clean: bool,
    /// What went wrong, in words.
    pub faults: Vec<String>,
    /// What a reader of the figures must know.
    pub warnings: Vec<String>,
    /// The figures that tables and comparisons show.
    pub metrics: Vec<Metric>,
    /// Loss, doubles and order in the measured part.
    pub verdict: Verdict,
    /// The same in the part that was not measured.
    pub warm_up_verdict: Verdict,
    /// How many of each thing.
    pub counts: Counts,
    /// Why connections ended, and how many did for each reason.
    pub closings: BTreeMap<String, u64>,
    /// Why attempts of a storm failed.
    pub failures: BTreeMap<String, u64>,
    /// The first refusal, in the server's words.
    pub first_trouble: Option<String>,
    /// Time and processor time of the measured part.
    pub usage: Usage,
    /// The same from the first connect until all clients were ready.
    pub opening: Usage,
    /// From due to delivered: a server that makes the senders late does not hide it (corrected for
    /// coordinated omission). In a closed loop from the write to the delivery.
    pub latency: Option<Summary>,
    /// Closed loop: from the write of a batch to the last of its deliveries.
    pub latency_last: Option<Summary>,
    /// From due to the confirmation of the server, or of Redis.
    pub confirmed: Option<Summary>,
    /// From connect to ready; of a storm, from its beginning.
    pub ready: Option<Summary>,
    /// From the start of measuring to the end of a connection.
    pub closed_after: Option<Summary>,
    /// How late the generator was with its messages.
    pub lag: Option<Summary>,
    /// Before the first connection.
    pub memory_before: Memory,
    /// When all clients were ready.
    pub memory_ready: Memory,
    /// After the last delivery.
    pub memory_after: Memory,
    /// How it went.
    pub series: Vec<Slice>,
    /// Seconds after the start of measuring at which the server was told to end.
    pub told_to_end_at: Option<f64>,
    /// How often the store of the server was read in the measured part.
    #[serde(default)]
    pub store_reads: Option<u64>,
}

/// How many of each thing.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Clients that were ready.
    pub ready: u64,
    /// Messages sent.
    pub sent: u64,
    /// Deliveries, doubles not counted.
    pub deliveries: u64,
    /// Messages that the server, or Redis, confirmed.
    pub receipts: u64,
    /// ERROR frames and what could not be understood.
    pub troubles: u64,
    /// Connections that the server ended.
    pub closings: u64,
    /// Attempts of a storm that failed.
    pub failures: u64,
    /// Clients of a storm that were refused, as they must be.
    #[serde(default)]
    pub refused: u64,
    /// Messages of the history that clients of a storm were given.
    #[serde(default)]
    pub replayed: u64,
    /// Deliveries that closed clients lack from before their end.
    pub lost_at_close: u64,
    /// Clients that stopped reading.
    pub slow: u64,
    /// Those of them that the server closed.
    pub slow_closed: u64,
    /// Subscribers who saw a room's messages in another order than the first one of that room.
    pub other_orders: u64,
    /// STOMP heart-beats that came.
    pub heart_beats: u64,
    /// Times a client heard nothing for twice the heart-beat's interval.
    pub silences: u64,
    /// Pings that came and were answered.
    pub pings: u64,
}

/// One slice of the time that was measured.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Slice {
    /// Its end, in seconds after the start of measuring.
    pub at: f64,
    /// Open connections at its end.
    pub open: u64,
    /// Messages sent in a second.
    pub sent_rate: f64,
    /// Deliveries in a second.
    pub delivery_rate: f64,
    /// Half of its deliveries took at most this, in microseconds.
    pub p50_us: Option<f64>,
    /// 99 % of them.
    pub p99_us: Option<f64>,
    /// All of them.
    pub max_us: Option<f64>,
    /// The server's share of one CPU.
    pub server_cpu: Option<f64>,
    /// The busiest generator process's share of one CPU.
    pub generator_cpu: f64,
    /// Resident memory of the server.
    pub rss_bytes: Option<u64>,
    /// ERROR frames and ended connections until then.
    pub troubles: u64,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Costs and times.
    #[default]
    Lower,
    /// Rates.
    Higher,
    /// Neither: it only tells how the run was.
    Neither,
}

/// One figure that tables and comparisons show.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Metric {
    /// What it is, as in tables.
    pub name: String,
    /// What it counts.
    pub unit: String,
    /// The figure.
    pub value: f64,
    /// Which way is better.
    pub better: Better,
}

impl Outcome {
    /// Works out the figures that tables show; `plan` says what was done.
    pub fn work_out(&mut self, plan: &Plan) {
        let mut metrics = Metrics::default();
        match plan.scenario {
            Scenario::Idle => self.add_idle(&mut metrics),
            Scenario::Storm | Scenario::ReplayStorm => self.add_storm(&mut metrics),
            Scenario::Echo => self.add_traffic(plan, "message", &mut metrics),
            Scenario::Fanout
            | Scenario::Rooms
            | Scenario::Users
            | Scenario::RedisFanout
            | Scenario::Slow
            | Scenario::Soak => self.add_traffic(plan, "delivery", &mut metrics),
            Scenario::Drain => {
                self.add_traffic(plan, "delivery", &mut metrics);
                self.add_drain(&mut metrics);
            }
        }
        if plan.scenario == Scenario::Soak {
            metrics.add("server RSS growth", "KB/h", self.growth_per_hour(), Better::Neither);
        }
        self.metrics = metrics.0;
    }

    fn add_idle(&self, metrics: &mut Metrics) {
        let (before, after) = (&self.memory_before, &self.memory_after);
        let each = |bytes: Option<f64>| bytes.map(|it| it / (self.counts.ready.max(1) as f64));
        let growth = |after: Option<u64>, before: Option<u64>| Some(after? as f64 - before? as f64);
        let unit = "bytes/connection";
        let pss = growth(after.pss_bytes, before.pss_bytes);
        metrics.add("server PSS", unit, each(pss), Better::Lower);
        let rss = growth(after.rss_bytes, before.rss_bytes);
        metrics.add("server RSS", unit, each(rss), Better::Lower);
        let group = growth(after.cgroup_bytes, before.cgroup_bytes);
        metrics.add("control group", unit, each(group), Better::Lower);
        let group = growth(after.cgroup_socket_bytes, before.cgroup_socket_bytes);
        metrics.add("control group, sockets", unit, each(group), Better::Lower);
        let slab = growth(Some(after.slab_bytes), Some(before.slab_bytes));
        metrics.add("kernel objects, both ends", unit, each(slab), Better::Lower);
        let tcp = growth(Some(after.tcp_bytes), Some(before.tcp_bytes));
        metrics.add("socket buffers, both ends", unit, each(tcp), Better::Neither);
        let opening = self.opening.server_ns_each(self.counts.ready);
        metrics.add("server CPU to open", "µs/connection", micro(opening), Better::Lower);
        let share = self.usage.server_cpu_share.map(|it| 100.0 * it);
        metrics.add("server CPU while idle", "% of a CPU", share, Better::Lower);
    }

    fn add_storm(&self, metrics: &mut Metrics) {
        let ready_count = self.counts.ready;
        let cpu = micro(self.usage.server_ns_each(ready_count));
        metrics.add("server CPU", "µs/connection", cpu, Better::Lower);
        let Some(ready) = &self.ready else { return };
        metrics.add("until the last is ready", "ms", Some(ready.max_us / 1000.0), Better::Lower);
        metrics.add("p50 until ready", "ms", Some(ready.p50_us / 1000.0), Better::Lower);
        metrics.add("p99 until ready", "ms", Some(ready.p99_us / 1000.0), Better::Lower);
        metrics.add("failed attempts", "", Some(self.counts.failures as f64), Better::Lower);
        let replayed = (self.counts.replayed != 0).then_some(self.counts.replayed as f64);
        metrics.add("messages replayed", "", replayed, Better::Neither);
        let reads = self.store_reads.map(|it| it as f64);
        metrics.add("reads of the store", "", reads, Better::Lower);
        let refused = (self.counts.refused != 0).then_some(self.counts.refused as f64);
        metrics.add("refused, as they must be", "", refused, Better::Neither);
    }

    fn add_traffic(&self, plan: &Plan, thing: &str, metrics: &mut Metrics) {
        let count = self.counts.deliveries;
        let unit = format!("ns/{thing}");
        let better = if plan.scenario == Scenario::Drain { Better::Neither } else { Better::Lower };
        metrics.add("server CPU", &unit, self.usage.server_ns_each(count), better);
        metrics.add("generator CPU", &unit, self.usage.generator_ns_each(count), Better::Neither);
        let rate = count as f64 / self.usage.seconds.max(1e-9);
        let better = if plan.is_closed() { Better::Higher } else { Better::Neither };
        metrics.add("rate", "/s", Some(rate), better);
        if let Some(latency) = &self.latency {
            let Summary { p50_us, p99_us, p999_us, max_us, .. } = latency;
            metrics.add("p50", "µs", Some(*p50_us), Better::Lower);
            metrics.add("p99", "µs", Some(*p99_us), Better::Lower);
            metrics.add("p99.9", "µs", Some(*p999_us), Better::Lower);
            metrics.add("max", "µs", Some(*max_us), Better::Neither);
        }
        if let Some(last) = &self.latency_last {
            metrics.add("p50 of the last", "µs", Some(last.p50_us), Better::Lower);
            metrics.add("p99 of the last", "µs", Some(last.p99_us), Better::Lower);
        }
        if let Some(confirmed) = &self.confirmed {
            metrics.add("p99 until confirmed", "µs", Some(confirmed.p99_us), Better::Lower);
        }
        let pss = self.memory_after.pss_bytes.map(|it| it as f64 / 1e6);
        metrics.add("server PSS", "MB", pss, Better::Neither);
    }

    fn add_drain(&self, metrics: &mut Metrics) {
        let (Some(closed), Some(told_at)) = (&self.closed_after, self.told_to_end_at) else {
            return;
        };
        let after = |at_us: f64| Some((at_us / 1e6 - told_at).max(0.0) * 1000.0);
        metrics.add("first closed after", "ms", after(closed.min_us), Better::Neither);
        metrics.add("half closed after", "ms", after(closed.p50_us), Better::Neither);
        metrics.add("all closed after", "ms", after(closed.max_us), Better::Lower);
        let lost = Some(self.counts.lost_at_close as f64);
        metrics.add("lost at the close", "deliveries", lost, Better::Lower);
    }

    /// How fast the server's memory grew over the second half, by least squares.
    fn growth_per_hour(&self) -> Option<f64> {
        let second = &self.series[self.series.len() / 2..];
        let points: Vec<(f64, f64)> = second
            .iter()
            .filter_map(|it| Some((it.at / 3600.0, it.rss_bytes? as f64 / 1024.0)))
            .collect();
        slope(&points)
    }
}

/// Figures on their way into a table; those that are not known stay away.
#[derive(Default)]
struct Metrics(Vec<Metric>);

impl Metrics {
    fn add(&mut self, name: &str, unit: &str, value: Option<f64>, better: Better) {
        if let Some(value) = value.filter(|it| it.is_finite()) {
            let (name, unit) = (name.to_owned(), unit.to_owned());
            self.0.push(Metric { name, unit, value, better });
        }
    }
}

fn micro(nanoseconds: Option<f64>) -> Option<f64> {
    nanoseconds.map(|it| it / 1000.0)
}

/// The slope of the line that fits `points` best; `None` for fewer than three.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 3 {
        return None;
    }
    let count = points.len() as f64;
    let mean_x = points.iter().map(|it| it.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|it| it.1).sum::<f64>() / count;
    let over: f64 = points.iter().map(|it| (it.0 - mean_x) * (it.1 - mean_y)).sum();
    let under: f64 = points.iter().map(|it| (it.0 - mean_x).powi(2)).sum();
    (under != 0.0).then_some(over / under)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_fits_and_needs_three_points() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), Some(2.0));
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0)]), None);
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }
}
