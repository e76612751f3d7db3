//! Records as text for a terminal.

use std::fmt::Write as _;

use comfy_table::CellAlignment;
use comfy_table::Table;
use comfy_table::presets;

use crate::measure::Spread;
use crate::outcome::Better;
use crate::record::Record;
use crate::record::Row;

/// The whole record: the figures, then what went wrong and what a reader must know.
#[must_use]
pub fn record(record: &Record) -> String {
    let mut text = format!("{}\n", rows(record, &record.rows));
    let mut told: Vec<String> = Vec::new();
    told.extend(record.failures.iter().map(|it| format!("NOT WHOLE: {it}")));
    for run in &record.runs {
        let case = &record.cases[run.case].name;
        let subject = &record.subjects[run.subject].name;
        let place = format!("{case}, {subject}, round {}", run.round);
        let outcome = &run.outcome;
        for fault in &outcome.faults {
            told.push(format!("NOT CLEAN: {place}: {fault}"));
        }
        if let (false, Some(trouble)) = (outcome.is_clean, &outcome.first_trouble) {
            told.push(format!("  the first trouble: {trouble}"));
        }
        let reasons = outcome.closings.iter().chain(&outcome.failures);
        told.extend(reasons.map(|(why, count)| format!("  {place}: {count} × {why}")));
        for warning in &outcome.warnings {
            told.push(format!("warning: {place}: {warning}"));
        }
    }
    if record.rows.iter().any(|row| row.better == Better::Neither) {
        text.push_str("· tells how the run was; neither less nor more of it is better\n");
    }
    for line in told {
        text.push_str(&line);
        text.push('\n');
    }
    if record.is_clean {
        text.push_str("clean: nothing was lost, doubled, reordered or damaged\n");
    }
    text
}

fn rows(record: &Record, rows: &[Row]) -> Table {
    let has = |of: fn(&Row) -> Option<Spread>| rows.iter().any(|row| of(row).is_some());
    let (has_ratio, has_case_ratio) = (has(|row| row.ratio), has(|row| row.case_ratio));
    let has_rounds = rows.iter().any(|row| row.spread.min < row.spread.max);
    let has_subjects = 1 < record.subjects.len();
    let has_cases = 1 < record.cases.len();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut head = Vec::new();
    head.extend(has_cases.then(|| "case".to_owned()));
    head.push("figure".to_owned());
    head.extend(has_subjects.then(|| "subject".to_owned()));
    head.push(if has_rounds { "median" } else { "value" }.to_owned());
    head.extend(has_rounds.then(|| "min … max".to_owned()));
    head.push("unit".to_owned());
    head.extend(has_ratio.then(|| format!("× {}", record.subjects[0].name)));
    head.extend(has_case_ratio.then(|| format!("× {}", record.cases[0].name)));
    let right: Vec<usize> = (0..head.len()).filter(|it| is_number(&head[*it])).collect();
    table.set_header(head);
    let mut sorted: Vec<&Row> = rows.iter().collect();
    // What is compared stands together.
    let place = |row: &Row| {
        rows.iter().position(|it| it.case == row.case && it.metric == row.metric).unwrap_or(0)
    };
    sorted.sort_by_key(|row| (row.case, place(row), row.subject));
    for row in sorted {
        let mut cells = Vec::new();
        cells.extend(has_cases.then(|| record.cases[row.case].name.clone()));
        let mark = if row.better == Better::Neither { " ·" } else { "" };
        cells.push(format!("{}{mark}", row.metric));
        cells.extend(has_subjects.then(|| record.subjects[row.subject].name.clone()));
        cells.push(number(row.spread.median));
        let Spread { min, max, .. } = row.spread;
        cells.extend(has_rounds.then(|| format!("{} … {}", number(min), number(max))));
        cells.push(row.unit.clone());
        cells.extend(has_ratio.then(|| ratio(row.ratio)));
        cells.extend(has_case_ratio.then(|| ratio(row.case_ratio)));
        table.add_row(cells);
    }
    for index in right {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn is_number(head: &str) -> bool {
    matches!(head, "median" | "value" | "min … max") || head.starts_with('×')
}

fn ratio(ratio: Option<Spread>) -> String {
    let Some(Spread { median, min, max }) = ratio else { return String::new() };
    if min < max { format!("{median:.3} ({min:.3} … {max:.3})") } else { format!("{median:.3}") }
}

/// A figure with as many digits as it deserves.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    let digits = if size < 10.0 && value.fract() != 0.0 {
        2
    } else if size < 100.0 && value.fract() != 0.0 {
        1
    } else {
        0
    };
    let plain = format!("{value:.digits$}");
    let (whole, rest) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut grouped = String::new();
    let whole_digits = whole.trim_start_matches('-');
    for (index, digit) in whole_digits.chars().enumerate() {
        if index != 0 && (whole_digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    let mut text = format!("{sign}{grouped}");
    if !rest.is_empty() {
        write!(text, ".{rest}").expect("a string takes all that is written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_they_deserve() {
        for (value, expected) in [
            (0.0, "0"),
            (0.123, "0.12"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1234.0, "1,234"),
            (-1_234_567.0, "-1,234,567"),
            (7.0, "7"),
        ] {
            assert_eq!(number(value), expected);
        }
    }
}
