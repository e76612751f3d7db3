//! Two records against each other: did anything become worse?

use std::path::PathBuf;

use clap::Args;
use comfy_table::Table;
use comfy_table::presets;

use crate::outcome::Better;
use crate::record::Record;
use crate::record::Row;
use crate::table::number;

/// Compares what two runs wrote.
#[derive(Args, Clone, Debug)]
pub struct Parameters {
    /// What was.
    pub old: PathBuf,
    /// What is.
    pub new: PathBuf,
    /// Percent by which a figure may be worse.
    #[arg(long, default_value_t = 10.0, value_name = "PERCENT")]
    pub threshold: f64,
    /// Look only at figures whose names hold one of these.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub figure: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// For people.
    pub text: String,
    /// Nothing is worse by more than the threshold, and the new record is clean.
    pub is_within: bool,
}

/// Reads and compares the two.
///
/// # Errors
///
/// One cannot be read, or they have no figure in common.
pub fn run(parameters: &Parameters) -> anyhow::Result<Comparison> {
    let (old, new) = (Record::read(&parameters.old)?, Record::read(&parameters.new)?);
    compare(&old, &new, parameters)
}

fn compare(old: &Record, new: &Record, parameters: &Parameters) -> anyhow::Result<Comparison> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["case", "subject", "figure", "old", "new", "unit", "new / old", ""]);
    let mut compared_count = 0;
    let mut worse_count = 0;
    for row in &new.rows {
        let is_wanted = parameters.figure.is_empty()
            || parameters.figure.iter().any(|name| row.metric.contains(name.as_str()));
        let Some(before) = counterpart(old, new, row).filter(|_| is_wanted) else { continue };
        let ratio = row.spread.median / before.spread.median;
        if !ratio.is_finite() {
            continue;
        }
        compared_count += 1;
        let limit = 1.0 + parameters.threshold / 100.0;
        // Beyond the threshold, and not only because rounds differ: the spreads do not touch.
        let (is_worse, is_apart) = match row.better {
            Better::Lower => (limit < ratio, before.spread.max < row.spread.min),
            Better::Higher => (ratio < 1.0 / limit, row.spread.max < before.spread.min),
            Better::Neither => (false, false),
        };
        let mark = match (is_worse, is_apart) {
            (true, true) => "WORSE",
            (true, false) => "worse, within the spread of the rounds",
            (false, _) => "",
        };
        worse_count += u64::from(is_worse && is_apart);
        table.add_row([
            new.cases[row.case].name.clone(),
            new.subjects[row.subject].name.clone(),
            row.metric.clone(),
            number(before.spread.median),
            number(row.spread.median),
            row.unit.clone(),
            format!("{ratio:.3}"),
            mark.to_owned(),
        ]);
    }
    anyhow::ensure!(compared_count != 0, "the two records have no figure in common");
    let mut text = format!("{table}\n");
    if old.environment.kernel != new.environment.kernel
        || old.environment.cpu_model != new.environment.cpu_model
    {
        text.push_str("warning: the two were not made on the same kind of machine\n");
    }
    if !new.is_clean {
        text.push_str("NOT CLEAN: in the new record something went wrong\n");
    }
    let threshold = parameters.threshold;
    text.push_str(&format!(
        "{worse_count} of {compared_count} figures are worse by more than {threshold} %\n"
    ));
    Ok(Comparison { text, is_within: worse_count == 0 && new.is_clean })
}

/// The same figure of the same case and subject, by their names.
fn counterpart<'a>(old: &'a Record, new: &Record, row: &Row) -> Option<&'a Row> {
    old.rows.iter().find(|it| {
        it.metric == row.metric
            && it.unit == row.unit
            && old.cases[it.case].name == new.cases[row.case].name
            && old.subjects[it.subject].name == new.subjects[row.subject].name
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::measure::Spread;
    use crate::record;

    fn record(better: Better, median: f64, is_clean: bool) -> Record {
        let spread = Spread { median, min: median - 0.5, max: median + 0.5 };
        let (metric, unit) = ("cost".to_owned(), "ns".to_owned());
        let (ratio, case_ratio) = (None, None);
        let row = Row { case: 0, subject: 0, metric, unit, better, spread, ratio, case_ratio };
        Record {
            format: record::FORMAT.to_owned(),
            version: record::VERSION,
            title: String::new(),
            environment: Environment::default(),
            subjects: vec![record::Subject::default()],
            cases: vec![record::Case::default()],
            runs: Vec::new(),
            failures: Vec::new(),
            rows: vec![row],
            is_clean,
        }
    }

    #[track_caller]
    fn check(better: Better, old: f64, new: f64, is_clean: bool, expected: bool) {
        let parameters = Parameters {
            old: PathBuf::new(),
            new: PathBuf::new(),
            threshold: 10.0,
            figure: Vec::new(),
        };
        let (old, new) = (record(better, old, true), record(better, new, is_clean));
        assert_eq!(compare(&old, &new, &parameters).unwrap().is_within, expected);
    }

    #[test]
    fn worse_is_beyond_the_threshold_and_beyond_the_spread() {
        check(Better::Lower, 100.0, 109.0, true, true);
        check(Better::Lower, 100.0, 111.0, true, false);
        check(Better::Lower, 100.0, 50.0, true, true);
        check(Better::Higher, 100.0, 50.0, true, false);
        check(Better::Higher, 100.0, 150.0, true, true);
        check(Better::Neither, 100.0, 900.0, true, true);
        check(Better::Lower, 4.0, 4.6, true, true);
        check(Better::Lower, 100.0, 100.0, false, false);
    }

    #[test]
    fn records_without_a_common_figure_cannot_be_compared() {
        let old = record(Better::Lower, 1.0, true);
        let mut new = old.clone();
        new.rows[0].metric = "other".to_owned();
        let (from, to) = (PathBuf::new(), PathBuf::new());
        let figure = Vec::new();
        let parameters = Parameters { old: from, new: to, threshold: 10.0, figure };
        assert!(compare(&old, &new, &parameters).is_err());
    }
}
