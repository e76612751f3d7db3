//! The infrastructure calls things as the program does: settings, metrics, labels, ports, paths and
//! limits. A rename that forgets a dashboard, an alarm or a task definition fails here.
#![expect(clippy::unwrap_used, reason = "a test that cannot read the tree should stop")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use regex::Regex;
use ringway::config::catalogue;
use ringway::config::catalogue::KNOBS;
use ringway::metrics::CloseCode;
use ringway::metrics::HistoryFailure;
use ringway::metrics::Replayed;
use ringway::metrics::catalogue::ConnectionError;
use ringway::metrics::catalogue::Driver;
use ringway::metrics::catalogue::Handshake;
use ringway::metrics::catalogue::Kind;
use ringway::metrics::catalogue::Label;
use ringway::metrics::catalogue::Refusal;
use ringway::metrics::catalogue::Rejected;
use ringway::metrics::catalogue::SERIES;
use ringway::metrics::catalogue::Series;
use ringway::metrics::catalogue::TlsHandshake;
use ringway::metrics::emf;
use ringway::metrics::health::Probe;
use ringway::metrics::relay::RelayDropped;
use serde_json::Value;

/// Where names of the program stand that no compiler sees.
const PLACES: &[&str] = &["Dockerfile", "infrastructure", "docs/runbook.md", "tuning"];

/// Names of the deployment around us that the program understands besides its own.
const OF_DEPLOYMENTS: &[&str] = &[
    "DATABASE_URL",
    "DB_HOST",
    "DB_NAME",
    "DB_PASSWORD",
    "DB_USERNAME",
    "JWT_SECRET",
    "REDIS_HOST",
    "REDIS_URL",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Path and text of every file of [`PLACES`].
fn files() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut todo: Vec<PathBuf> = PLACES.iter().map(|it| root().join(it)).collect();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            let inside = fs::read_dir(&path).unwrap().map(|it| it.unwrap().path());
            // What Terraform keeps beside its files begins with a dot.
            todo.extend(
                inside.filter(|it| !it.file_name().unwrap().as_encoded_bytes().starts_with(b".")),
            );
        } else {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    assert!(40 <= found.len(), "only {} files: this is not the tree", found.len());
    found
}

/// The first group of each match of `pattern` in any file, with where it stands.
fn names(pattern: &str) -> BTreeMap<String, PathBuf> {
    let pattern = Regex::new(pattern).unwrap();
    let mut found = BTreeMap::new();
    for (path, text) in files() {
        for it in pattern.captures_iter(&text) {
            found.insert(it[1].to_owned(), path.clone());
        }
    }
    found
}

/// Settings that the infrastructure wants and that this version does not have.
fn later() -> BTreeSet<String> {
    let document: Value = serde_json::from_str(&read("infrastructure/later.json")).unwrap();
    let keys = document["settings"].as_array().unwrap().iter();
    keys.map(|it| it.as_str().unwrap().to_owned()).collect()
}

/// The keys that `settings.tf` gives values.
fn wanted() -> BTreeSet<String> {
    let pattern = Regex::new(r#""([a-z]+(?:\.[a-z_]+)+)"\s*="#).unwrap();
    let text = read("infrastructure/settings.tf");
    pattern.captures_iter(&text).map(|it| it[1].to_owned()).collect()
}

fn variable(key: &str) -> String {
    format!("RINGWAY_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The task definition's only essential container.
fn container() -> Value {
    let text = read("infrastructure/ecs-task-definition.json");
    let task: Value = serde_json::from_str(&text).unwrap();
    task["containerDefinitions"][0].clone()
}

#[test]
fn what_was_missing_has_not_arrived() {
    for key in later() {
        assert!(
            catalogue::find(&key).is_none(),
            "`{key}` has arrived: strike it from infrastructure/later.json, and write the task \
             definition anew (./test --write-task-definition)"
        );
        assert!(wanted().contains(&key), "nothing wants `{key}`: strike it from later.json");
    }
}

#[test]
fn each_setting_is_one_of_the_program() {
    let (wanted, later) = (wanted(), later());
    assert!(10 <= wanted.len(), "{wanted:?}");
    for key in wanted {
        let known = catalogue::find(&key).is_some() || later.contains(&key);
        assert!(known, "infrastructure/settings.tf sets `{key}`, which nobody reads");
    }
}

/// The fields of Terraform's variables that are objects, such as `relay.node_type`.
fn fields() -> BTreeSet<String> {
    let variable = Regex::new(r#"(?s)\nvariable "(\w+)" \{\n(.*?)\n\}"#).unwrap();
    let field = Regex::new(r"(?m)^    (\w+) += (?:optional|string|list|number)").unwrap();
    let text = read("infrastructure/variables.tf");
    let mut found = BTreeSet::new();
    for variable in variable.captures_iter(&text) {
        let fields = field.captures_iter(&variable[2]);
        found.extend(fields.map(|it| format!("{}.{}", &variable[1], &it[1])));
    }
    assert!(20 <= found.len(), "{found:?}");
    found
}

#[test]
fn each_setting_that_is_named_exists() {
    let sections = KNOBS.iter().map(|it| it.key.split('.').next().unwrap());
    let sections: Vec<&str> = sections.collect::<BTreeSet<_>>().into_iter().collect();
    let pattern = format!(r#"[`"]((?:{})\.[a-z_]+(?:\.[a-z_]+)*)\b"#, sections.join("|"));
    let (later, fields) = (later(), fields());
    let found = names(&pattern);
    assert!(30 <= found.len(), "{found:?}");
    for (key, path) in found {
        let is_known = catalogue::find(&key).is_some() || later.contains(&key);
        let is_other = fields.contains(&key) || key == "limits.conf";
        assert!(is_known || is_other, "{}: nobody reads `{key}`", path.display());
    }
}

#[test]
fn each_variable_is_one_of_the_program() {
    let mut known: BTreeSet<String> = KNOBS.iter().map(|it| it.environment()).collect();
    let secrets = KNOBS.iter().filter(|it| it.secret);
    known.extend(secrets.map(|it| format!("{}_FILE", it.environment())));
    known.extend(later().iter().map(|it| variable(it)));
    known.insert("RINGWAY_CONFIG".to_owned());
    let found = names(r"\b(RINGWAY_[A-Z0-9_]*[A-Z0-9])\b");
    assert!(5 <= found.len(), "{found:?}");
    for (name, path) in found {
        assert!(known.contains(&name), "{}: no setting has {name}", path.display());
    }
}

#[test]
fn the_task_is_given_what_the_program_understands() {
    let container = container();
    let given = ["environment", "secrets"].map(|it| container[it].as_array().unwrap().clone());
    let given = given.concat();
    let names: BTreeSet<&str> = given.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(names.contains("RINGWAY_SERVER_LISTEN") && names.contains("REDIS_URL"), "{names:?}");
    for name in names {
        let known = KNOBS.iter().any(|it| it.environment() == name);
        assert!(known || OF_DEPLOYMENTS.contains(&name), "the program would not start with {name}");
    }
}

#[test]
fn each_series_is_one_that_is_exported() {
    let mut known: BTreeSet<String> = SERIES.iter().map(|it| it.name.to_owned()).collect();
    for it in SERIES.iter().filter(|it| it.kind == Kind::Histogram) {
        known.extend(["_bucket", "_sum", "_count"].map(|part| format!("{}{part}", it.name)));
    }
    let found = names(r"\b(websocket_[a-z_]*[a-z])\b");
    assert!(20 <= found.len(), "{found:?}");
    for (name, path) in found {
        assert!(known.contains(&name), "{}: no series has {name}", path.display());
    }
}

#[test]
fn each_series_has_a_panel() {
    let board = read("infrastructure/grafana/dashboards/ringway.json");
    for it in SERIES {
        assert!(board.contains(it.name), "the dashboard does not show {}", it.name);
    }
}

#[test]
fn each_metric_of_cloudwatch_is_one_that_is_sent() {
    let known: BTreeSet<&str> = emf::METRICS.iter().map(|it| it.name).collect();
    let found = names(r"\b(websocket\.[a-z]+(?:\.[a-z]+)*)\b");
    assert!(10 <= found.len(), "{found:?}");
    for (name, path) in found {
        assert!(known.contains(name.as_str()), "{}: nothing is called {name}", path.display());
    }
    let dashboard = read("infrastructure/dashboard.tf");
    for name in known {
        assert!(dashboard.contains(&format!("\"{name}\"")), "the dashboard does not show {name}");
    }
    let settings = read("infrastructure/settings.tf");
    assert!(settings.contains(&format!("metrics_namespace = \"{}\"", emf::NAMESPACE)));
    // Their period is the alarms' and the dashboard's.
    let period = emf::PERIOD.as_secs();
    let periods = Regex::new(r"\bperiod\s*= (\d+)").unwrap();
    for place in ["infrastructure/alarms.tf", "infrastructure/dashboard.tf"] {
        let text = read(place);
        let found: BTreeSet<_> = periods.captures_iter(&text).map(|it| it[1].to_owned()).collect();
        assert_eq!(found, BTreeSet::from([period.to_string()]), "{place}");
    }
}

/// The texts that a label can have; none where it is a number.
fn values(series: &Series) -> Option<Vec<&'static str>> {
    fn texts<L: Label>() -> Vec<&'static str> {
        L::all().iter().map(|it| it.text()).collect()
    }
    Some(match series.name {
        "websocket_handshakes_total" => texts::<Handshake>(),
        "websocket_tls_handshakes_total" => texts::<TlsHandshake>(),
        "websocket_rejected_total" => texts::<Rejected>(),
        "websocket_connection_errors_total" => texts::<ConnectionError>(),
        "websocket_closed_total" => texts::<CloseCode>(),
        "websocket_refusals_total" => texts::<Refusal>(),
        "websocket_io_driver_info" => texts::<Driver>(),
        "websocket_relay_dropped_total" => texts::<RelayDropped>(),
        "websocket_history_failures_total" => texts::<HistoryFailure>(),
        "websocket_history_replays_total" => texts::<Replayed>(),
        _ => return None,
    })
}

#[test]
fn each_label_is_one_that_the_series_has() {
    let selector = Regex::new(r#"(websocket_[a-z_]*[a-z])\{([^}]*)\}"#).unwrap();
    let matcher = Regex::new(r#"(\w+)\s*=~?\s*\\?"([^"\\]*)"#).unwrap();
    let mut checked = 0;
    for (path, text) in files() {
        for found in selector.captures_iter(&text) {
            let parts = ["_bucket", "_sum", "_count"];
            let base = parts.iter().fold(&found[1], |name, part| name.trim_end_matches(part));
            let series = SERIES.iter().find(|it| it.name == base).unwrap();
            for it in matcher.captures_iter(&found[2]) {
                if ["job", "instance", "le"].contains(&&it[1]) {
                    continue;
                }
                let place = path.display();
                assert_eq!(series.label, Some(&it[1]), "{place}: {base} has no such label");
                let Some(values) = values(series) else { continue };
                for value in it[2].split('|') {
                    assert!(values.contains(&value), "{place}: {base} is never {value}");
                    checked += 1;
                }
            }
        }
    }
    assert!(5 <= checked, "only {checked} labels");
}

#[test]
fn ports_are_those_of_the_program() {
    let port = |key: &str| {
        let default = catalogue::find(key).unwrap().default;
        default.rsplit(':').next().unwrap().parse::<u64>().unwrap()
    };
    let (public, admin) = (port("server.listen"), port("admin.listen"));
    assert_eq!(container()["portMappings"][0]["containerPort"], public);
    let dockerfile = read("Dockerfile");
    assert!(dockerfile.contains(&format!("EXPOSE {public}\n")));
    assert!(dockerfile.contains(&format!("RINGWAY_SERVER_LISTEN=0.0.0.0:{public}\n")));
    let settings = read("infrastructure/settings.tf");
    assert!(settings.contains(&format!(r#"port = var.balancer == "nlb" ? 8443 : {public}"#)));
    let scraped = read("infrastructure/prometheus/prometheus.yml");
    assert!(scraped.contains(&format!("targets: [edge-1:{admin}, edge-2:{admin}]")));
}

#[test]
fn paths_are_those_that_are_answered() {
    let found = names(r"(/actuator/[a-z/]*[a-z])");
    assert!(2 <= found.len(), "{found:?}");
    for (asked, path) in found {
        let known = Probe::of_path(&asked).is_some() || asked == "/actuator/prometheus";
        assert!(known, "{}: nothing answers {asked}", path.display());
    }
    let balancer = read("infrastructure/balancer.tf");
    let health = Regex::new(r#"health_path = "(.*)""#).unwrap().captures(&balancer).unwrap();
    assert_eq!(Probe::of_path(&health[1]), Some(Probe::Readiness));
}

#[test]
fn times_and_limits_are_those_of_the_program() {
    let seconds = |key: &str| catalogue::find(key)?.default.strip_suffix('s')?.parse::<u64>().ok();
    let variables = read("infrastructure/variables.tf");
    let heart_beat = seconds("stomp.heart_beat_max").unwrap();
    assert!(
        variables.contains(&format!("2 * {heart_beat} < var.idle_timeout")),
        "the load balancer must wait for more than two heart-beats of {heart_beat} s"
    );
    // What `limits.connections = auto` ends at.
    let help = catalogue::find("limits.connections").unwrap().help;
    let most = Regex::new(r"min\((\d+), nofile").unwrap().captures(help).unwrap()[1].to_owned();
    let default = |name: &str| {
        let pattern = format!(r#"variable "{name}" \{{[^}}]*default\s*=\s*(\S+)"#);
        Regex::new(&pattern).unwrap().captures(&variables).unwrap()[1].to_owned()
    };
    assert_eq!(default("connections_max"), most);
    // Both kinds of alarms are at 80 % of it.
    let nearly = most.parse::<u64>().unwrap() / 5 * 4;
    let alerts = read("infrastructure/prometheus/alerts.yml");
    let alert = format!(r#"(websocket_connections_active{{job="ringway"}}) > {nearly}"#);
    assert!(alerts.lines().any(|it| it.ends_with(&alert)), "{alert}");
    assert!(read("infrastructure/alarms.tf").contains("threshold = 0.8 * var.connections_max\n"));
    for (key, field) in [("drain.window", "window"), ("drain.deadline", "deadline")] {
        let pattern = format!(r"{field}\s*=\s*optional\(number, (\d+)\)");
        let ours = Regex::new(&pattern).unwrap().captures(&variables).unwrap()[1].to_owned();
        if let Some(theirs) = seconds(key) {
            assert_eq!(ours, theirs.to_string(), "{key}");
        } else {
            assert!(later().contains(key), "{key} has no default in seconds");
        }
    }
}
