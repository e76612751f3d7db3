//! Reports as text for a terminal.

use std::fmt::Write as _;

use crate::measure::LatencySummary;
use crate::measure::Usage;
use crate::memory::Memory;
use crate::scenario::echo;
use crate::scenario::fanout;
use crate::scenario::hold;
use crate::scenario::idle;
use crate::sequence::Verdict;
use crate::versus;
use crate::versus::Suite;

/// Lines of a name and what was found.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: &str) {
        writeln!(self.0, "{name:<26}{value}").expect("a string takes all that is written");
    }

    fn latency(&mut self, name: &str, latency: &LatencySummary) {
        let LatencySummary { p50_us, p90_us, p99_us, p999_us, max_us, .. } = latency;
        let value = format!(
            "p50 {p50_us:.0} µs, p90 {p90_us:.0}, p99 {p99_us:.0}, p99.9 {p999_us:.0}, \
             max {max_us:.0}"
        );
        self.add(name, &value);
    }

    fn usage(&mut self, usage: &Usage) {
        self.add("time", &format!("{:.2} s", usage.seconds));
        self.add("server", &share(usage.server_cpu_share));
        self.add("generator", &share(Some(usage.generator_cpu_share)));
    }

    fn verdict(&mut self, verdict: &Verdict) {
        let Verdict { expected_count, received_count, .. } = verdict;
        self.add("received", &format!("{received_count} of {expected_count} deliveries"));
        let value = format!(
            "{} lost, {} doubled, {} reordered, {} damaged",
            verdict.lost_count,
            verdict.doubled_count,
            verdict.reordered_count,
            verdict.damaged_count
        );
        self.add(if verdict.is_clean() { "clean" } else { "NOT CLEAN" }, &value);
    }

    fn warnings(&mut self, warnings: &[String]) {
        for warning in warnings {
            self.add("warning", warning);
        }
    }
}

fn share(share: Option<f64>) -> String {
    match share {
        Some(share) => format!("{:.0} % of a CPU", 100.0 * share),
        None => "CPU not known: name it with --server-pid".to_owned(),
    }
}

fn nanoseconds(value: Option<f64>) -> String {
    value.map_or_else(|| "not known".to_owned(), |value| format!("{value:.0} ns"))
}

/// A fan-out.
#[must_use]
pub fn fanout(report: &fanout::Report) -> String {
    let mut lines = Lines::default();
    lines.add("server CPU per delivery", &nanoseconds(report.server_ns_per_delivery));
    lines.add("generator CPU", &nanoseconds(report.generator_ns_per_delivery));
    lines.add("deliveries per second", &format!("{:.0}", report.deliveries_per_second));
    lines.latency("latency of each", &report.latency_each);
    lines.latency("latency of the last", &report.latency_last);
    lines.usage(&report.usage);
    lines.verdict(&report.verdict);
    lines.warnings(&report.warnings);
    lines.0
}

/// An echo.
#[must_use]
pub fn echo(report: &echo::Report) -> String {
    let mut lines = Lines::default();
    lines.add("server CPU per message", &nanoseconds(report.server_ns_per_message));
    lines.add("generator CPU", &nanoseconds(report.generator_ns_per_message));
    lines.add("messages per second", &format!("{:.0}", report.messages_per_second));
    lines.latency("latency", &report.latency);
    lines.usage(&report.usage);
    let (lost, damaged) = (report.lost_count, report.damaged_count);
    let verdict = if report.is_clean() { "clean" } else { "NOT CLEAN" };
    lines.add(verdict, &format!("{lost} lost, {damaged} damaged"));
    lines.warnings(&report.warnings);
    lines.0
}

/// Idle connections.
#[must_use]
pub fn idle(report: &idle::Report) -> String {
    let mut lines = Lines::default();
    lines.add("connections", &report.connections_count.to_string());
    lines.add("PSS per connection", &format!("{:.0} bytes", report.pss_bytes_per_connection));
    lines.add("RSS per connection", &format!("{:.0} bytes", report.rss_bytes_per_connection));
    lines.add("server before", &memory(&report.before));
    lines.add("server after", &memory(&report.after));
    lines.add("server CPU to open one", &nanoseconds(report.opening_server_ns_per_connection));
    lines.add("server while idle", &share(report.usage.server_cpu_share));
    lines.0
}

/// A hold.
#[must_use]
pub fn hold(report: &hold::Report) -> String {
    let mut lines = Lines::default();
    lines.verdict(&report.verdict);
    lines.add("other orders", &report.other_orders_count.to_string());
    lines.add("confirmed", &format!("{} of {} sent", report.receipts_count, report.sent_count));
    lines.add("ERROR frames", &report.errors_count.to_string());
    lines.add("closed by the server", &report.closings_count.to_string());
    if let Some(trouble) = &report.first_trouble {
        lines.add("the first trouble", trouble);
    }
    let beats = format!("{} came, {} were missed", report.heart_beats_count, report.silences_count);
    lines.add("heart-beats", &beats);
    lines.add("pings answered", &report.pings_count.to_string());
    lines.latency("latency, due to delivered", &report.latency);
    lines.latency("lag of the generator", &report.lag);
    lines.add("server CPU per delivery", &nanoseconds(report.server_ns_per_delivery));
    lines.usage(&report.usage);
    for (name, found) in [("before", &report.memory_before), ("after", &report.memory_after)] {
        if let Some(found) = found {
            lines.add(&format!("server {name}"), &memory(found));
        }
    }
    lines.warnings(&report.warnings);
    lines.0
}

fn memory(memory: &Memory) -> String {
    format!("PSS {} KiB, RSS {} KiB", memory.pss_bytes / 1024, memory.rss_bytes / 1024)
}

/// A comparison.
#[must_use]
pub fn versus(report: &versus::Report) -> String {
    let mut text = format!(
        "{:<9}{:<18}{:>9}{:>9}{:>9}  {:<26}{:>7}  {}\n",
        "suite", "subject", "median", "min", "max", "unit", "× peer", "by round"
    );
    for row in &report.rows {
        let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}"));
        let rounds = row
            .round_ratios
            .map_or_else(String::new, |it| format!("{:.3} to {:.3}", it.min, it.max));
        let suite = format!("{:?}", row.suite).to_lowercase();
        let versus::Row { subject, unit, cost, .. } = row;
        let (median, min, max) = (cost.median, cost.min, cost.max);
        let line = format!(
            "{suite:<9}{subject:<18}{median:>9.0}{min:>9.0}{max:>9.0}  \
             {unit:<26}{ratio:>7}  {rounds}"
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(&joined_writes(report));
    let warned = report.measurements.iter().filter(|it| it.warnings().next().is_some());
    match warned.count() {
        0 => {}
        count => text.push_str(&format!(
            "{count} of {} measurements have warnings: see above\n",
            report.measurements.len()
        )),
    }
    text.push_str(if report.is_clean {
        "clean: nothing was lost, doubled, reordered or damaged\n"
    } else {
        "NOT CLEAN: see the verdicts in the JSON\n"
    });
    text
}

/// What four messages in flight cost each, against one: joined writes show here.
fn joined_writes(report: &versus::Report) -> String {
    let median = |suite, subject: &str| {
        let row = report.rows.iter().find(|it| it.suite == suite && it.subject == subject)?;
        Some(row.cost.median)
    };
    let mut text = String::new();
    for row in report.rows.iter().filter(|row| row.suite == Suite::Fanout1) {
        if let Some(four) = median(Suite::Fanout4, &row.subject) {
            let ratio = four / row.cost.median;
            text.push_str(&format!("{}: four in flight cost {ratio:.3} × of one\n", row.subject));
        }
    }
    text
}
