//! Scenario files: layers of settings, who is measured, and in which cases.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::Map;
use serde_json::Value;

use crate::plan::Knobs;
use crate::plan::Plan;
use crate::plan::Scenario;

/// What every scenario begins with.
const COMMON: &str = include_str!("../../scenarios/common.toml");

/// The scenario's own file.
#[must_use]
pub fn built_in(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Idle => include_str!("../../scenarios/idle.toml"),
        Scenario::Echo => include_str!("../../scenarios/echo.toml"),
        Scenario::Fanout => include_str!("../../scenarios/fanout.toml"),
        Scenario::Rooms => include_str!("../../scenarios/rooms.toml"),
        Scenario::Users => include_str!("../../scenarios/users.toml"),
        Scenario::RedisFanout => include_str!("../../scenarios/redis-fanout.toml"),
        Scenario::Storm => include_str!("../../scenarios/storm.toml"),
        Scenario::ReplayStorm => include_str!("../../scenarios/replay-storm.toml"),
        Scenario::Slow => include_str!("../../scenarios/slow.toml"),
        Scenario::Drain => include_str!("../../scenarios/drain.toml"),
        Scenario::Soak => include_str!("../../scenarios/soak.toml"),
    }
}

/// Settings by name; those that say nothing are not there.
type Settings = Map<String, Value>;

/// A server that takes part.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name in the tables.
    pub name: String,
    /// What is particular to it.
    settings: Settings,
    /// What is particular to it in one scenario.
    scenarios: Settings,
    /// Scenarios that it has no part in.
    skip: Vec<Scenario>,
}

/// One way of loading it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name in the tables.
    pub name: String,
    /// What is varied, and the values in this case; the first is what figures are plotted against.
    pub axes: Vec<(String, f64)>,
    scenario: Scenario,
    settings: Settings,
}

/// Everything that one command runs.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Who, at least one.
    pub subjects: Vec<Subject>,
    /// How, at least one.
    pub cases: Vec<Case>,
    /// Folder of the file; `{here}` in commands.
    pub here: PathBuf,
    flags: Settings,
}

impl Experiment {
    /// Reads the file `text` that lies in `here`; `flags` count more than anything it says.
    ///
    /// # Errors
    ///
    /// It is not TOML, has a setting that does not exist, or names no scenario.
    pub fn parse(text: &str, here: &Path, flags: &Knobs) -> anyhow::Result<Self> {
        let mut table = as_settings(text)?;
        let scenario = table.remove("scenario");
        let targets = rows(&mut table, "target")?;
        let cases = rows(&mut table, "case")?;
        check_names(&table)?;
        let default = scenario.map(scenario_of).transpose()?;
        let scenario = |row: &mut Settings| {
            let own = row.remove("scenario").map(scenario_of).transpose()?;
            own.or(default).context("the file names no scenario")
        };
        let mut experiment = Self {
            subjects: Vec::new(),
            cases: Vec::new(),
            here: here.to_owned(),
            flags: settings_of(flags)?,
        };
        for row in targets {
            experiment.subjects.push(Subject::from_row(row)?);
        }
        if experiment.subjects.is_empty() {
            let name = "server".to_owned();
            let (settings, scenarios) = (Settings::new(), Settings::new());
            let skip = Vec::new();
            experiment.subjects.push(Subject { name, settings, scenarios, skip });
        }
        for mut row in cases {
            let scenario = scenario(&mut row)?;
            let name = take_name(&mut row)?.unwrap_or_else(|| scenario.name().to_owned());
            check_names(&row)?;
            let settings = layered([&table, &row]);
            experiment.cases.push(Case { name, axes: Vec::new(), scenario, settings });
        }
        if experiment.cases.is_empty() {
            let scenario = scenario(&mut Settings::new())?;
            let name = scenario.name().to_owned();
            experiment.cases.push(Case { name, axes: Vec::new(), scenario, settings: table });
        }
        Ok(experiment)
    }

    /// Takes the subjects of another file instead of its own.
    ///
    /// # Errors
    ///
    /// The file is not TOML or has a setting that does not exist.
    pub fn take_subjects(&mut self, text: &str, here: &Path) -> anyhow::Result<()> {
        let rows = rows(&mut as_settings(text)?, "target")?;
        anyhow::ensure!(!rows.is_empty(), "the file names no [[target]]");
        self.subjects = rows.into_iter().map(Subject::from_row).collect::<anyhow::Result<_>>()?;
        self.here = here.to_owned();
        Ok(())
    }

    /// Makes a case of each value of the setting `name` out of each case.
    pub fn vary(&mut self, name: &str, values: &[f64]) {
        let mut varied = Vec::new();
        for case in &self.cases {
            for value in values {
                let mut next = case.clone();
                next.name.push_str(&format!(" {name}={value}"));
                next.axes.push((name.to_owned(), *value));
                varied.push(next);
            }
        }
        self.cases = varied;
    }

    /// The scenarios of all cases, each once: what the experiment is about.
    #[must_use]
    pub fn title(&self) -> String {
        let mut names = Vec::new();
        for case in &self.cases {
            if !names.contains(&case.scenario.name()) {
                names.push(case.scenario.name());
            }
        }
        names.join(", ")
    }

    /// Whether `subject` takes part in `case`.
    #[must_use]
    pub fn is_wanted(&self, case: &Case, subject: &Subject) -> bool {
        !subject.skip.contains(&case.scenario)
    }

    /// The plan of `case` for `subject`.
    ///
    /// # Errors
    ///
    /// A setting has a wrong type or is out of its bounds.
    pub fn plan(&self, case: &Case, subject: &Subject) -> anyhow::Result<Plan> {
        let mut common = as_settings(COMMON)?;
        let plain = as_object(common.remove("plain"));
        let mut own = as_settings(built_in(case.scenario))?;
        for key in ["scenario", "case", "target"] {
            own.remove(key);
        }
        let particular = as_object(subject.scenarios.get(case.scenario.name()).cloned());
        let mut last = self.flags.clone();
        for (name, value) in &case.axes {
            last.insert(name.clone(), number(*value));
        }
        let ours = [&case.settings, &subject.settings, &particular, &last];
        let base = [&common, &own];
        let mut settings = layered(base.into_iter().chain(ours));
        if settings.get("dialect").and_then(Value::as_str) == Some("plain") {
            settings = layered(base.into_iter().chain([&plain]).chain(ours));
        }
        check_names(&settings)?;
        settings.insert("scenario".to_owned(), case.scenario.name().into());
        let plan: Plan = serde_json::from_value(Value::Object(settings))
            .with_context(|| format!("the settings of {} for {}", case.name, subject.name))?;
        plan.check()?;
        Ok(plan)
    }
}

impl Subject {
    fn from_row(mut row: Settings) -> anyhow::Result<Self> {
        let name = take_name(&mut row)?.context("a [[target]] has no name")?;
        let skip = match row.remove("skip") {
            None => Vec::new(),
            Some(Value::Array(names)) => {
                names.into_iter().map(scenario_of).collect::<anyhow::Result<_>>()?
            }
            Some(other) => anyhow::bail!("skip: a list of scenarios is wanted, not {other}"),
        };
        let (scenarios, settings): (Settings, Settings) =
            row.into_iter().partition(|(_, value)| value.is_object());
        check_names(&settings)?;
        for (scenario, settings) in &scenarios {
            scenario_of(scenario.as_str().into())?;
            check_names(&as_object(Some(settings.clone())))?;
        }
        Ok(Self { name, settings, scenarios, skip })
    }
}

/// Reads what a sweep varies: `NAME=VALUE,VALUE,…`.
///
/// # Errors
///
/// It does not look like that, or there is no such setting.
pub fn parse_axis(text: &str) -> anyhow::Result<(String, Vec<f64>)> {
    let (name, values) = text.split_once('=').context("NAME=VALUE,VALUE,… is wanted")?;
    let values = values
        .split(',')
        .map(|value| value.parse().with_context(|| format!("{value} is not a number")))
        .collect::<anyhow::Result<Vec<f64>>>()?;
    let first = values.first().context("no value is named")?;
    check_names(&Settings::from_iter([(name.to_owned(), number(*first))]))?;
    Ok((name.to_owned(), values))
}

/// Whole numbers are written as such: counts are not fractions.
fn number(value: f64) -> Value {
    let text = if value.fract() == 0.0 { format!("{value:.0}") } else { value.to_string() };
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

fn as_settings(text: &str) -> anyhow::Result<Settings> {
    let table: toml::Table = toml::from_str(text).context("the file is not TOML")?;
    Ok(as_object(Some(serde_json::to_value(table)?)))
}

fn as_object(value: Option<Value>) -> Settings {
    match value {
        Some(Value::Object(settings)) => settings,
        Some(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_),
        )
        | None => Settings::new(),
    }
}

fn settings_of(knobs: &Knobs) -> anyhow::Result<Settings> {
    let mut settings = as_object(Some(serde_json::to_value(knobs)?));
    settings.retain(|_, value| !value.is_null());
    Ok(settings)
}

/// Refuses names and types that no knob has.
fn check_names(settings: &Settings) -> anyhow::Result<()> {
    for (name, value) in settings {
        let alone = Settings::from_iter([(name.clone(), value.clone())]);
        serde_json::from_value::<Knobs>(Value::Object(alone))
            .map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    }
    Ok(())
}

fn layered<'a>(layers: impl IntoIterator<Item = &'a Settings>) -> Settings {
    let mut all = Settings::new();
    for layer in layers {
        all.extend(layer.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    all
}

fn rows(table: &mut Settings, name: &str) -> anyhow::Result<Vec<Settings>> {
    match table.remove(name) {
        None => Ok(Vec::new()),
        Some(Value::Array(rows)) => Ok(rows.into_iter().map(|row| as_object(Some(row))).collect()),
        Some(other) => anyhow::bail!("[[{name}]] with two brackets is wanted, not {other}"),
    }
}

fn take_name(row: &mut Settings) -> anyhow::Result<Option<String>> {
    match row.remove("name") {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name)),
        Some(other) => anyhow::bail!("{other} is not a name"),
    }
}

fn scenario_of(value: Value) -> anyhow::Result<Scenario> {
    let text = value.to_string();
    serde_json::from_value(value).with_context(|| format!("{text} is not a scenario"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Dialect;
    use clap::ValueEnum as _;

    fn parse(text: &str, flags: &Knobs) -> anyhow::Result<Experiment> {
        Experiment::parse(text, Path::new("."), flags)
    }

    fn first_plan(experiment: &Experiment) -> anyhow::Result<Plan> {
        experiment.plan(&experiment.cases[0], &experiment.subjects[0])
    }

    #[test]
    fn every_built_in_scenario_is_a_whole_plan() {
        let flags = Knobs {
            url: Some("ws://127.0.0.1:1/".to_owned()),
            server_pid: Some(1),
            ..Knobs::default()
        };
        for scenario in Scenario::value_variants() {
            let experiment = parse(built_in(*scenario), &flags).unwrap();
            for case in &experiment.cases {
                let plan = experiment.plan(case, &experiment.subjects[0]).unwrap();
                assert_eq!(plan.scenario, *scenario);
            }
        }
    }

    #[test]
    fn flags_beat_targets_beat_cases_beat_the_file_and_an_axis_beats_all() {
        let text = "scenario = 'fanout'\nurl = 'ws://a:1/'\nconnections = 1\nrate = 5\n\
                    payload = 31\n\
                    [[target]]\nname = 'x'\npayload = 33\nsend = 's'\n\
                    [target.fanout]\nsend = 't'\n\
                    [[case]]\nname = 'c'\nconnections = 2\npayload = 32\n";
        let flags = Knobs { payload: Some(34), ..Knobs::default() };
        let mut experiment = parse(text, &flags).unwrap();
        let plan = first_plan(&experiment).unwrap();
        assert_eq!((plan.load.connections, plan.load.payload), (2, 34));
        assert_eq!((plan.load.rate, plan.words.send.as_str()), (5.0, "t"));
        experiment.vary("payload", &[64.0, 99.0]);
        assert_eq!(experiment.cases.len(), 2);
        assert_eq!(first_plan(&experiment).unwrap().load.payload, 64);
    }

    #[test]
    fn a_target_may_stay_out_of_a_scenario() {
        let text = "scenario = 'echo'\n[[target]]\nname = 'a'\n[[target]]\nname = 'b'\n\
                    skip = ['echo']\n";
        let experiment = parse(text, &Knobs::default()).unwrap();
        let is_wanted =
            |index: usize| experiment.is_wanted(&experiment.cases[0], &experiment.subjects[index]);
        assert!(is_wanted(0) && !is_wanted(1));
        assert_eq!(experiment.title(), "echo");
        let text = "[[case]]\nscenario = 'storm'\n[[case]]\nscenario = 'echo'\n\
                    [[case]]\nscenario = 'storm'\n";
        assert_eq!(parse(text, &Knobs::default()).unwrap().title(), "storm, echo");
    }

    #[test]
    fn a_plain_server_has_words_of_its_own() {
        let dialect = Some(Dialect::Plain);
        let url = Some("ws://a:1/".to_owned());
        let flags = Knobs { dialect, url, ..Knobs::default() };
        let plan = first_plan(&parse("scenario = 'fanout'", &flags).unwrap()).unwrap();
        assert_eq!(
            (plan.words.subscribe.as_str(), plan.words.send.as_str()),
            ("subscribe", "{body}")
        );
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let flags = Knobs::default();
        let error = parse(text, &flags).and_then(|it| first_plan(&it)).err().unwrap();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }

    #[test]
    fn what_is_not_known_or_not_possible_is_refused() {
        check_error("scenario = 'fanout'", "no server is named");
        check_error("conections = 1", "unknown field `conections`");
        check_error("connections = 1", "names no scenario");
        check_error("scenario = 'fan-out'", "\"fan-out\" is not a scenario");
        check_error("scenario = 'idle'\n[[target]]\nurl = 'ws://a:1/'", "has no name");
        check_error("scenario = 'idle'\n[target]\nname = 'a'", "two brackets");
        check_error("scenario = 'drain'\nurl = 'ws://a:1/'", "SIGTERM");
        check_error("scenario = 'slow'\nurl = 'ws://a:1/'\nrate = 0\nslow-share = 0.5", "--rate");
        check_error("scenario = 'idle'\nurl = 'ws://a:1/'\nconnections = 0", "one connection");
        check_error(
            "scenario = 'idle'\nurl = 'ws://a:1/'\nconnections = 1.5",
            "connections: invalid",
        );
        assert!(parse_axis("connections=100,a").is_err() && parse_axis("conections=1").is_err());
        assert_eq!(parse_axis("rate=1,2.5").unwrap(), ("rate".to_owned(), vec![1.0, 2.5]));
    }
}
