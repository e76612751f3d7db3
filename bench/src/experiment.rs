//! Everything that one command runs: subjects take turns in each case, and cases in each round.

use std::path::Path;

use clap::Args;

use crate::conduct::Stage;
use crate::conduct::conduct;
use crate::cpu;
use crate::environment::Environment;
use crate::interrupt;
use crate::launch::Server;
use crate::live::Live;
use crate::outcome::Outcome;
use crate::plan::Case;
use crate::plan::Experiment;
use crate::plan::Plan;
use crate::plan::Subject;
use crate::record;
use crate::record::Record;
use crate::record::Run;

/// How an experiment is made.
#[derive(Args, Clone, Debug, Default)]
pub struct Manner {
    /// How often everything is measured; what is compared takes turns.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub rounds: usize,
    /// Measure only the subjects whose names hold one of these.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    /// What the report is headed with.
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// Go on with the others when one run fails.
    #[arg(long)]
    pub keep_going: bool,
    /// Say nothing while it runs.
    #[arg(long)]
    pub quiet: bool,
}

/// Whom `manner` wants to be measured, after a look at every plan: what is wrong with one is told
/// before the first run, not in the middle of the night.
///
/// # Errors
///
/// A setting is wrong, or nobody is left.
pub fn check<'a>(experiment: &'a Experiment, manner: &Manner) -> anyhow::Result<Vec<&'a Subject>> {
    anyhow::ensure!(0 < manner.rounds, "at least one round is needed");
    let wanted = |it: &&Subject| {
        manner.only.is_empty() || manner.only.iter().any(|name| it.name.contains(name.as_str()))
    };
    let subjects: Vec<&Subject> = experiment.subjects.iter().filter(wanted).collect();
    anyhow::ensure!(!subjects.is_empty(), "no subject is called {}", manner.only.join(" or "));
    for case in &experiment.cases {
        for subject in subjects.iter().filter(|it| experiment.is_wanted(case, it)) {
            experiment.plan(case, subject)?;
        }
    }
    Ok(subjects)
}

/// Runs all of `experiment`; `program` is this program, which is started as a generator. What was
/// measured before a run failed, or before somebody asked for the end, is kept.
///
/// # Errors
///
/// A setting is wrong, or no run came to its end.
pub fn run(experiment: &Experiment, manner: &Manner, program: &Path) -> anyhow::Result<Record> {
    let subjects = check(experiment, manner)?;
    interrupt::listen()?;
    let mut record = Record {
        format: record::FORMAT.to_owned(),
        version: record::VERSION,
        title: manner.title.clone().unwrap_or_else(|| experiment.title()),
        environment: Environment::look_around()?,
        subjects: subjects.iter().map(|it| unseen(it)).collect(),
        cases: experiment.cases.iter().map(told).collect(),
        runs: Vec::new(),
        failures: Vec::new(),
        rows: Vec::new(),
        is_clean: false,
    };
    let mut live = Live::new(manner.quiet);
    'rounds: for round in 1..=manner.rounds {
        for (case_index, case) in experiment.cases.iter().enumerate() {
            for (subject_index, subject) in subjects.iter().enumerate() {
                if !experiment.is_wanted(case, subject) {
                    continue;
                }
                let plan = experiment.plan(case, subject)?;
                let label = format!("{} of {}, round {round}", case.name, subject.name);
                if interrupt::is_wanted() {
                    record.failures.push(format!("{label}: interrupted"));
                    break 'rounds;
                }
                live.begin(&label);
                let mut stage = Stage { program, live: &mut live };
                let told = &mut record.subjects[subject_index];
                match run_one(plan, subject, told, &experiment.here, &mut stage) {
                    Ok((plan, outcome)) => {
                        say(&mut live, &outcome);
                        let plan = Run::without_secrets(&plan);
                        let (case, subject) = (case_index, subject_index);
                        record.runs.push(Run { case, subject, round, plan, outcome });
                    }
                    // Whatever it failed of: the generators hear Ctrl-C as well.
                    Err(_) if interrupt::is_wanted() => {
                        record.failures.push(format!("{label}: interrupted"));
                        break 'rounds;
                    }
                    Err(error) if !manner.keep_going && record.runs.is_empty() => {
                        return Err(error.context(label));
                    }
                    Err(error) => {
                        live.say(&format!("FAILED: {error:#}"));
                        record.failures.push(format!("{label}: {error:#}"));
                        if !manner.keep_going {
                            break 'rounds;
                        }
                    }
                }
            }
        }
    }
    live.close();
    if record.runs.is_empty() {
        anyhow::bail!("no run came to its end: {}", record.failures.join("; "));
    }
    record.work_out_rows();
    Ok(record)
}

fn unseen(subject: &Subject) -> record::Subject {
    record::Subject { name: subject.name.clone(), ..record::Subject::default() }
}

fn told(case: &Case) -> record::Case {
    record::Case { name: case.name.clone(), axes: case.axes.clone() }
}

/// Runs `plan` once, against a server that is started for it where one is to be.
fn run_one(
    mut plan: Plan,
    subject: &Subject,
    told: &mut record::Subject,
    here: &Path,
    stage: &mut Stage<'_>,
) -> anyhow::Result<(Plan, Outcome)> {
    if !plan.generator.client_cpus.is_empty() {
        // This process, too, keeps away from the server's CPUs.
        cpu::pin(&plan.generator.client_cpus)?;
    }
    if plan.place.launch.is_none() {
        told.server.clone_from(&plan.place.url);
        let outcome = conduct(&plan, stage)?;
        return Ok((plan, outcome));
    }
    stage.live.phase("starting the server");
    let mut server = Server::start(&subject.name, &plan.place, here, stage.program)?;
    plan.place.url = server.url.to_string();
    plan.place.admin = server.admin().map(|it| it.to_string());
    plan.place.server_pid = Some(server.pid());
    told.server.clone_from(&server.command);
    (told.version, told.driver) = server.version_and_driver();
    let outcome = conduct(&plan, stage);
    // What it printed last may explain what went wrong.
    let ended = server.ensure_alive();
    let stopped = server.stop();
    let outcome = match (outcome, ended) {
        (Err(error), Err(ended)) => return Err(error.context(format!("{ended:#}"))),
        (outcome, _) => outcome?,
    };
    stopped?;
    Ok((plan, outcome))
}

fn say(live: &mut Live, outcome: &Outcome) {
    for warning in &outcome.warnings {
        live.say(&format!("warning: {warning}"));
    }
    let first: Vec<String> = outcome
        .metrics
        .iter()
        .take(4)
        .map(|it| format!("{} {:.0} {}", it.name, it.value, it.unit))
        .collect();
    let faults = outcome.faults.join(", ");
    let verdict = if outcome.is_clean { String::new() } else { format!("; NOT CLEAN: {faults}") };
    live.say(&format!("{}{verdict}", first.join(", ")));
}
