//! The JSON of an experiment: everything that a report needs, in a form that stays readable.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use serde::Serialize;

use crate::environment::Environment;
use crate::measure::Spread;
use crate::outcome::Better;
use crate::outcome::Outcome;
use crate::plan::Plan;

/// What the file says it is.
pub const FORMAT: &str = "ringway-bench";
/// The version of the form; it rises when a reader of the old one would be misled.
pub const VERSION: u32 = 1;

/// One experiment.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// What it is about, in a line.
    pub title: String,
    /// Machine and command.
    pub environment: Environment,
    /// Who took part; the first is what the others are compared with.
    pub subjects: Vec<Subject>,
    /// Ways of loading them.
    pub cases: Vec<Case>,
    /// Every run, in the order they were made.
    pub runs: Vec<Run>,
    /// Runs that failed, and why not all were made.
    #[serde(default)]
    pub failures: Vec<String>,
    /// The rounds of each case, subject and figure together.
    pub rows: Vec<Row>,
    /// Whether all runs were made and nothing went wrong in any.
    pub is_clean: bool,
}

/// Who took part.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// How it was started, or where it was.
    pub server: String,
    /// What it says of its version.
    pub version: Option<String>,
    /// The driver that its health names.
    pub driver: Option<String>,
}

/// A way of loading.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What is varied, and the values here; the first is what figures are plotted against.
    pub axes: Vec<(String, f64)>,
}

/// One case of one subject in one round.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Run {
    /// Index of the case.
    pub case: usize,
    /// Index of the subject.
    pub subject: usize,
    /// From 1.
    pub round: usize,
    /// Every setting, secrets taken out.
    pub plan: Plan,
    /// What came of it.
    pub outcome: Outcome,
}

/// One figure of one case and subject over all rounds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Row {
    /// Index of the case.
    pub case: usize,
    /// Index of the subject.
    pub subject: usize,
    /// What it is.
    pub metric: String,
    /// What it counts.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// The figure over the rounds.
    pub spread: Spread,
    /// Against the first subject, round by round.
    pub ratio: Option<Spread>,
    /// Against the first case of the same subject, round by round.
    pub case_ratio: Option<Spread>,
}

impl Record {
    /// Puts the rounds together.
    pub fn work_out_rows(&mut self) {
        let mut rows = Vec::new();
        let scenario = self.runs.first().map(|it| it.plan.scenario);
        // The cost of an echo against that of a fan-out would be a ratio without a meaning.
        let are_alike = self.runs.iter().all(|it| Some(it.plan.scenario) == scenario);
        for case in 0..self.cases.len() {
            for subject in 0..self.subjects.len() {
                let first = self.runs.iter().find(|it| it.case == case && it.subject == subject);
                let Some(first) = first else { continue };
                for metric in &first.outcome.metrics {
                    let ours = self.values(case, subject, &metric.name);
                    let Some(spread) = Spread::of_rounds(&ours) else { continue };
                    let against = |is_other: bool, case: usize, subject: usize| {
                        let theirs = self.values(case, subject, &metric.name);
                        is_other.then(|| Spread::of_ratios(&ours, &theirs)).flatten()
                    };
                    rows.push(Row {
                        case,
                        subject,
                        metric: metric.name.clone(),
                        unit: metric.unit.clone(),
                        better: metric.better,
                        spread,
                        ratio: against(subject != 0, case, 0),
                        case_ratio: against(case != 0 && are_alike, 0, subject),
                    });
                }
            }
        }
        self.rows = rows;
        let are_clean = self.runs.iter().all(|it| it.outcome.is_clean);
        self.is_clean = are_clean && self.failures.is_empty();
    }

    /// Round and value of a figure.
    fn values(&self, case: usize, subject: usize, metric: &str) -> Vec<(usize, f64)> {
        let runs = self.runs.iter().filter(|it| it.case == case && it.subject == subject);
        runs.filter_map(|run| {
            let metric = run.outcome.metrics.iter().find(|it| it.name == metric)?;
            Some((run.round, metric.value))
        })
        .collect()
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// The file is not there, not a record, or of a version that is not known.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        /// What is looked at before the rest is believed.
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let head: Head = serde_json::from_str(&text)
            .with_context(|| format!("{name} is not a record of ringway-bench"))?;
        anyhow::ensure!(head.format == FORMAT, "{name} is a record of {}", head.format);
        anyhow::ensure!(
            head.version == VERSION,
            "{name} is of version {}, this program reads version {VERSION}",
            head.version
        );
        serde_json::from_str(&text).with_context(|| format!("{name} is damaged"))
    }

    /// Writes the record.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Run {
    /// The plan without what must not be told.
    #[must_use]
    pub fn without_secrets(plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        let hidden = |text: &mut Option<String>| {
            if let Some(text) = text {
                "hidden".clone_into(text);
            }
        };
        hidden(&mut plan.words.token);
        hidden(&mut plan.words.jwt_secret);
        if !plan.words.passcode.is_empty() {
            "hidden".clone_into(&mut plan.words.passcode);
        }
        if let Some(redis) = &mut plan.load.redis
            && let Some((_, host)) = redis.rsplit_once('@')
        {
            *redis = format!("redis://:hidden@{host}");
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Metric;
    use crate::plan::Experiment;
    use crate::plan::Knobs;

    fn plan(settings: &str) -> Plan {
        let text = format!("scenario = 'echo'\nurl = 'ws://a:1/'\n{settings}");
        let experiment = Experiment::parse(&text, Path::new("."), &Knobs::default()).unwrap();
        experiment.plan(&experiment.cases[0], &experiment.subjects[0]).unwrap()
    }

    fn run(round: usize, case: usize, subject: usize, value: f64) -> Run {
        let metric = Metric { name: "cost".to_owned(), value, ..Metric::default() };
        let outcome = Outcome { metrics: vec![metric], is_clean: true, ..Outcome::default() };
        Run { case, subject, round, plan: plan(""), outcome }
    }

    fn record(runs: Vec<Run>) -> Record {
        let subject = |name: &str| Subject { name: name.to_owned(), ..Subject::default() };
        let mut record = Record {
            format: FORMAT.to_owned(),
            version: VERSION,
            title: "test".to_owned(),
            environment: Environment::look_around().unwrap(),
            subjects: vec![subject("a"), subject("b")],
            cases: vec![Case::default(), Case::default()],
            runs,
            failures: Vec::new(),
            rows: Vec::new(),
            is_clean: false,
        };
        record.work_out_rows();
        record
    }

    #[test]
    fn rows_hold_medians_and_ratios_of_the_same_round() {
        let record = record(vec![
            run(1, 0, 0, 8.0),
            run(1, 0, 1, 4.0),
            run(2, 0, 0, 6.0),
            run(2, 0, 1, 6.0),
            run(3, 0, 0, 10.0),
            run(3, 0, 1, 5.0),
            run(1, 1, 0, 16.0),
        ]);
        assert!(record.is_clean);
        let [a, b, slow] = &record.rows[..] else { panic!("{:?}", record.rows) };
        assert_eq!((a.spread, a.ratio), (Spread { median: 8.0, min: 6.0, max: 10.0 }, None));
        assert_eq!(b.ratio, Some(Spread { median: 0.5, min: 0.5, max: 1.0 }));
        assert_eq!(slow.case_ratio, Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let mut record = record(vec![run(1, 0, 0, 8.0)]);
        record.write(&path).unwrap();
        let read = Record::read(&path).unwrap();
        assert_eq!(read.rows, record.rows);
        record.version = VERSION + 1;
        record.write(&path).unwrap();
        assert!(Record::read(&path).unwrap_err().to_string().contains("version 2"));
        std::fs::write(&path, "{}").unwrap();
        assert!(Record::read(&path).is_err());
    }

    #[test]
    fn secrets_do_not_reach_the_record() {
        let plan = plan("token = 'secret'\npasscode = 'secret'\nredis = 'redis://:secret@h:1'");
        let text = serde_json::to_string(&Run::without_secrets(&plan)).unwrap();
        assert!(!text.contains("secret@") && !text.contains("\"secret\""), "{text}");
        assert!(text.contains("redis://:hidden@h:1"));
    }
}
