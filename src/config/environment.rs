//! The environment: `RINGWAY_<SECTION>_<KEY>`, and the names of the deployment around us.

use std::path::PathBuf;

use crate::config::catalogue::KNOBS;
use crate::config::catalogue::LATER;
use crate::config::error::ConfigError;
use crate::config::error::Wrong;
use crate::config::history_url::HistoryUrl;
use crate::config::knob::Knob;
use crate::config::knob::environment_name;
use crate::config::load::Given;
use crate::config::load::not_yet;
use crate::config::redis_url;
use crate::config::redis_url::RedisUrl;
use crate::config::source::Origin;
use crate::config::source::Sources;
use crate::config::suggest;
use crate::stdx::planted;

/// Names the configuration file; the command line reads it.
const FILE_VARIABLE: &str = "RINGWAY_CONFIG";

/// Collects the values that the environment gives, as text.
pub(super) fn parse(sources: &Sources) -> Result<Vec<Given>, ConfigError> {
    let mut given: Vec<Given> = Vec::new();
    for (name, value) in &sources.environment {
        let is_of_others = name == FILE_VARIABLE || Some(name.as_str()) == planted::VARIABLE;
        if !name.starts_with("RINGWAY_") || is_of_others || is_service_link(name, value) {
            continue;
        }
        let next = if let Some(knob) = KNOBS.iter().find(|it| it.environment() == *name) {
            let origin = Origin::Environment(name.clone());
            Given { key: knob.key.into(), value: value.clone(), origin }
        } else if let Some(knob) = KNOBS.iter().find(|it| it.has_secret() && is_file_of(it, name)) {
            read_secret(sources, knob, name, value)?
        } else {
            return Err(unknown_variable(name));
        };
        if let Some(other) = given.iter().find(|it| it.key == next.key) {
            return Err(ConfigError::from(Wrong {
                subject: next.key,
                value: None,
                origin: Some(next.origin),
                problem: format!("also set by {}", other.origin),
                remedy: "set only one of the two".into(),
            }));
        }
        given.push(next);
    }
    if !given.iter().any(|it| it.key == "relay.url") {
        given.extend(redis(sources)?);
    }
    if !given.iter().any(|it| it.key == "history.url") {
        given.extend(database(sources)?);
    }
    if !given.iter().any(|it| it.key == "auth.jwt.secret") {
        given.extend(jwt_secret(sources));
    }
    // The order of the environment is an accident, and must not choose which error is shown.
    given.sort_by(|left, right| left.key.cmp(&right.key));
    Ok(given)
}

/// The secret that the deployment names, where our own variables name none.
fn jwt_secret(sources: &Sources) -> Option<Given> {
    const NAME: &str = "JWT_SECRET";
    let set = sources.environment.iter().find(|(it, value)| it == NAME && !value.is_empty());
    set.map(|(_, value)| Given {
        key: "auth.jwt.secret".into(),
        value: value.clone(),
        origin: Origin::Environment(NAME.into()),
    })
}

/// What the platform tells of itself, for settings that nobody gave.
pub(super) fn platform(sources: &Sources) -> Option<Given> {
    const NAME: &str = "ECS_CONTAINER_METADATA_URI_V4";
    let (_, url) = sources.environment.iter().find(|(name, _)| name == NAME)?;
    // The last part of the path is the task's id and, behind a dash, the container's number.
    let task = url.rsplit('/').next()?.split('-').next()?;
    let is_id = 8 <= task.len() && task.bytes().all(|it| it.is_ascii_hexdigit());
    is_id.then(|| Given {
        key: "metrics.task".into(),
        value: task.into(),
        origin: Origin::Environment(NAME.into()),
    })
}

/// The Redis that the deployment names, where our own variables name none.
fn redis(sources: &Sources) -> Result<Option<Given>, ConfigError> {
    let set = |name: &str| {
        let found = sources.environment.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str()).filter(|it| !it.is_empty())
    };
    let given = |name: &str, value: String| {
        let origin = Origin::Environment(name.into());
        Ok(Some(Given { key: "relay.url".into(), value, origin }))
    };
    if let Some(url) = set("REDIS_URL") {
        return given("REDIS_URL", url.to_owned());
    }
    let Some(host) = set("REDIS_HOST") else { return Ok(None) };
    let wrong = |name: &str, value: &str, problem: String, remedy: &str| {
        Err(ConfigError::from(Wrong {
            subject: name.into(),
            value: Some(format!("{:?}", redis_url::mask(value))),
            origin: Some(Origin::Environment(name.into())),
            problem,
            remedy: remedy.into(),
        }))
    };
    let port = set("REDIS_PORT").filter(|it| !is_service_link("REDIS_PORT", it));
    let mut url = match RedisUrl::of_host(host) {
        Ok(url) => url,
        Err(problem) => {
            let remedy = "give a host or host:port, or set REDIS_URL";
            return wrong("REDIS_HOST", host, problem, remedy);
        }
    };
    let Some(port) = port else { return given("REDIS_HOST", url.to_string()) };
    let Some(number) = port.parse::<u16>().ok().filter(|it| *it != 0) else {
        return wrong("REDIS_PORT", port, "not a port".into(), "give a number from 1 to 65535");
    };
    let has_port = redis_url::split_host(host).is_ok_and(|(_, port)| port.is_some());
    if has_port && url.port != number {
        let problem = format!("REDIS_HOST names port {} already", url.port);
        return wrong("REDIS_PORT", port, problem, "unset it, or leave the port out of REDIS_HOST");
    }
    url.port = number;
    given("REDIS_HOST", url.to_string())
}

/// The database that the deployment names, where our own variables name no store.
fn database(sources: &Sources) -> Result<Option<Given>, ConfigError> {
    let set = |name: &str| {
        let found = sources.environment.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str()).filter(|it| !it.is_empty())
    };
    let given = |name: &str, value: String| {
        let origin = Origin::Environment(name.into());
        Ok(Some(Given { key: "history.url".into(), value, origin }))
    };
    if let Some(url) = set("DATABASE_URL") {
        return given("DATABASE_URL", url.to_owned());
    }
    let Some(host) = set("DB_HOST") else { return Ok(None) };
    let user = set("DB_USERNAME").unwrap_or_default();
    let password = match (set("DB_PASSWORD"), set("DB_PASSWORD_FILE")) {
        (Some(password), _) => password.to_owned(),
        (None, Some(path)) => {
            read_file_of_secret(sources, "history.url", "DB_PASSWORD_FILE", path)?
        }
        (None, None) => String::new(),
    };
    let database = set("DB_NAME").unwrap_or("ringway");
    given("DB_HOST", HistoryUrl::of_parts(host, user, &password, database))
}

/// Kubernetes and linked containers describe a service called `ringway` in variables of this form.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_port = |it: &str| {
        let digits = it.bytes().take_while(u8::is_ascii_digit).count();
        let rest = it.get(digits..).unwrap_or_default();
        digits != 0 && ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.starts_with(protocol))
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.split("_PORT_").skip(1).any(is_port)
        || name.ends_with("_PORT") && value.contains("://")
}

fn is_file_of(knob: &Knob, name: &str) -> bool {
    name.strip_suffix("_FILE").is_some_and(|it| it == knob.environment())
}

fn read_secret(
    sources: &Sources,
    knob: &Knob,
    name: &str,
    path: &str,
) -> Result<Given, ConfigError> {
    let value = read_file_of_secret(sources, knob.key, name, path)?;
    Ok(Given { key: knob.key.into(), value, origin: Origin::SecretFile(name.into(), path.into()) })
}

fn read_file_of_secret(
    sources: &Sources,
    key: &str,
    name: &str,
    path: &str,
) -> Result<String, ConfigError> {
    let path = PathBuf::from(path);
    let text = (sources.read)(&path).map_err(|error| {
        ConfigError::from(Wrong {
            subject: key.into(),
            value: None,
            origin: Some(Origin::SecretFile(name.into(), path.clone())),
            problem: format!("cannot read the file: {error}"),
            remedy: "name a readable file that holds the secret alone".into(),
        })
    })?;
    // Editors and `echo` end a file with a line end, which is never part of a secret.
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn unknown_variable(name: &str) -> ConfigError {
    let later = LATER.iter().find(|(key, _)| {
        let rest = name.strip_prefix(&environment_name(key));
        rest.is_some_and(|it| it.is_empty() || it.starts_with('_'))
    });
    if let Some((_, missing)) = later {
        return not_yet(name, None, Origin::Environment(name.into()), missing);
    }
    let is_file = name
        .strip_suffix("_FILE")
        .and_then(|name| KNOBS.iter().find(|it| it.environment() == name).map(Knob::environment));
    let names: Vec<_> = KNOBS.iter().map(Knob::environment).collect();
    let remedy = match (is_file, suggest::nearest(name, names.iter().map(String::as_str))) {
        (Some(plain), _) => format!("only secrets are read from files; set {plain}"),
        (None, Some(near)) => format!("did you mean {near}?"),
        (None, None) => "unset it, or see `ringway config table` for all settings".into(),
    };
    ConfigError::from(Wrong {
        subject: name.into(),
        value: None,
        origin: Some(Origin::Environment(name.into())),
        problem: "unknown setting".into(),
        remedy,
    })
}
