//! The series and the metrics as tables for people: those of `docs/operations.md`.

use std::fmt::Write;

use crate::metrics::catalogue::Kind;
use crate::metrics::catalogue::SERIES;
use crate::metrics::emf::METRICS;

const INFALLIBLE: &str = "a string takes any text";

/// The series of the page for Prometheus as a Markdown table.
#[must_use]
pub fn series_table() -> String {
    let mut table = String::from("| series | kind | label | what |\n|---|---|---|---|\n");
    for it in SERIES {
        let kind = match it.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let label = it.label.map(|it| format!("`{it}`")).unwrap_or_default();
        writeln!(table, "| `{}` | {kind} | {label} | {} |", it.name, it.help).expect(INFALLIBLE);
    }
    table
}

/// The metrics of a line for CloudWatch as a Markdown table.
#[must_use]
pub fn emf_table() -> String {
    let mut table = String::from("| metric | unit |\n|---|---|\n");
    for it in METRICS {
        writeln!(table, "| `{}` | {} |", it.name, it.unit).expect(INFALLIBLE);
    }
    table
}
