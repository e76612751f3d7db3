//! `[[route]]` tables: shape and names; how a route matches is not known here.

use std::fs;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use crate::config::error::ConfigError;
use crate::config::error::Wrong;
use crate::config::file::Place;
use crate::config::settings::RouteSchema;
use crate::config::settings::RouteSettings;
use crate::config::settings::RouteTarget;
use crate::config::source::Origin;
use crate::config::suggest;
use crate::policy::schema::Schema;

const KEYS: [&str; 5] = ["match", "to", "history", "forward", "schema"];
const ROUTES_COUNT_MAX: usize = 1024;
const TEMPLATE_BYTES_MAX: usize = 512;
/// All keys of ours begin so; channels of messages begin with `ws:`.
const STREAM_PREFIX: &str = "ringway:";
const STREAM_BYTES_MAX: usize = 512;
/// First parts, behind the prefix, of keys and channels with another use.
const STREAMS_TAKEN: [&str; 5] = ["control", "history", "idempotency", "revoked", "seq"];

/// The routes when the configuration names none: room chat and private messages.
pub(super) fn defaults() -> Vec<RouteSettings> {
    vec![
        RouteSettings {
            pattern: "/app/room.{room}".into(),
            to: RouteTarget::Destination("/topic/room.{room}".into()),
            history: true,
            schema: None,
        },
        RouteSettings {
            pattern: "/app/private.{user}".into(),
            to: RouteTarget::Destination("/user/{user}/queue/private".into()),
            history: false,
            schema: None,
        },
    ]
}

/// Reads the value of `route`, the array of tables that stands at `key`.
pub(super) fn parse(
    place: Place<'_>,
    key: &Spanned<impl Sized>,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<(RouteSettings, Origin)>, ConfigError> {
    let whole = || place.line(key.span().start);
    let tables = value
        .get_ref()
        .as_array()
        .ok_or_else(|| wrong("route", whole(), "not a list of tables", "write [[route]]"))?;
    if ROUTES_COUNT_MAX < tables.len() {
        let problem = format!("{} routes", tables.len());
        let remedy = format!("give at most {ROUTES_COUNT_MAX}");
        return Err(wrong("route", whole(), problem, remedy));
    }
    let mut routes: Vec<(RouteSettings, Origin)> = Vec::new();
    for table in tables.iter() {
        let origin = place.line(table.span().start);
        let Some(table) = table.get_ref().as_table() else {
            return Err(wrong("route", origin, "not a table", "write [[route]]"));
        };
        let route = one(place, origin, table)?;
        if let Some((_, first)) = routes.iter().find(|(it, _)| it.pattern == route.0.pattern) {
            let problem = format!("{first} has the same match, and the first match wins");
            return Err(wrong("route.match", route.1, problem, "remove one of the two"));
        }
        routes.push(route);
    }
    Ok(routes)
}

/// Reads one table, which begins at `origin`.
fn one(
    place: Place<'_>,
    origin: Origin,
    table: &DeTable<'_>,
) -> Result<(RouteSettings, Origin), ConfigError> {
    for key in table.keys() {
        if !KEYS.contains(&key.get_ref().as_ref()) {
            let name = format!("route.{}", key.get_ref());
            let remedy = match suggest::nearest(key.get_ref(), KEYS.into_iter()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("a route has {}", KEYS.join(", ")),
            };
            return Err(wrong(&name, place.line(key.span().start), "unknown key", remedy));
        }
    }
    let text = |key: &str| match table.get(key).map(|it| (it.get_ref().as_str(), it.span())) {
        Some((Some(text), span)) => Ok((text.to_owned(), place.line(span.start))),
        Some((None, span)) => {
            Err(wrong(&format!("route.{key}"), place.line(span.start), "not a text", "quote it"))
        }
        None => Err(wrong(
            &format!("route.{key}"),
            origin.clone(),
            "missing",
            "a route needs a `match`, such as \"/app/room.{room}\", and a `to`, such as \
             \"/topic/room.{room}\", or a `forward`, such as \"ringway:inbound:orders\"",
        )),
    };
    let (pattern, pattern_origin) = text("match")?;
    let history = match table.get("history").map(|it| (it.get_ref().as_bool(), it.span())) {
        None => false,
        Some((Some(history), _)) => history,
        Some((None, span)) => {
            let origin = place.line(span.start);
            return Err(wrong("route.history", origin, "not a switch", "give true or false"));
        }
    };
    let schema = match table.contains_key("schema") {
        true => text("schema").and_then(|(file, origin)| read_schema(file, &origin)).map(Some)?,
        false => None,
    };
    let bound = check("route.match", &pattern, pattern_origin, &["/app/"])?;
    if table.contains_key("forward") {
        let (stream, stream_origin) = text("forward")?;
        if table.contains_key("to") {
            let problem = "a `to` is given too, and a route leads to one place";
            return Err(wrong("route.forward", stream_origin, problem, "remove one of the two"));
        }
        if history {
            let problem = "what is forwarded is the back end's to store";
            let remedy = "remove `history`, or give the route a `to`";
            return Err(wrong("route.history", stream_origin, problem, remedy));
        }
        check_stream(&stream, &stream_origin)?;
        let to = RouteTarget::Stream(stream);
        return Ok((RouteSettings { pattern, to, history, schema }, origin));
    }
    let (to, to_origin) = text("to")?;
    let used = check("route.to", &to, to_origin.clone(), &["/topic/", "/queue/", "/user/"])?;
    if let Some(free) = used.iter().find(|it| !bound.contains(it)) {
        let problem = format!("its `match` does not bind {{{free}}}");
        let error = wrong("route.to", to_origin, problem, "use the variables of `match`");
        return Err(error.with_value(&to));
    }
    let to = RouteTarget::Destination(to);
    Ok((RouteSettings { pattern, to, history, schema }, origin))
}

/// Reads and compiles the schema of a route.
fn read_schema(file: String, origin: &Origin) -> Result<RouteSchema, ConfigError> {
    let file = PathBuf::from(file);
    let read = fs::read_to_string(&file).map_err(|error| format!("cannot read it: {error}"));
    match read.and_then(|text| Schema::parse(&text)) {
        Ok(schema) => Ok(RouteSchema { file, schema }),
        Err(problem) => {
            let remedy = "name a file with a JSON Schema that refers to nothing outside of itself";
            let error = wrong("route.schema", origin.clone(), problem, remedy);
            Err(error.with_value(&file.display().to_string()))
        }
    }
}

/// Checks the name of a stream: a key of ours that nothing else of ours has.
fn check_stream(stream: &str, origin: &Origin) -> Result<(), ConfigError> {
    let wrong = |problem: &str, remedy: &str| {
        Err(wrong("route.forward", origin.clone(), problem, remedy).with_value(stream))
    };
    let Some(name) = stream.strip_prefix(STREAM_PREFIX).filter(|it| !it.is_empty()) else {
        return wrong("not a key of ours", "begin with ringway:, such as ringway:inbound:orders");
    };
    if STREAM_BYTES_MAX < stream.len() || !stream.bytes().all(|it| it.is_ascii_graphic()) {
        let remedy = format!("use at most {STREAM_BYTES_MAX} visible ASCII characters");
        return wrong("too long, or holds other characters", &remedy);
    }
    if stream.contains(['{', '}']) {
        return wrong("a stream has no variables", "write the name out, without braces");
    }
    if STREAMS_TAKEN.iter().any(|it| name.split(':').next() == Some(it)) {
        return wrong(
            "Ringway keeps that key for itself",
            "choose another, such as ringway:inbound:orders",
        );
    }
    Ok(())
}

/// Checks the template's prefix, characters and braces; returns the names of its variables.
fn check(
    key: &str,
    template: &str,
    origin: Origin,
    prefixes: &[&str],
) -> Result<Vec<String>, ConfigError> {
    let wrong = |problem: &str, remedy: String| {
        wrong(key, origin.clone(), problem, remedy).with_value(template)
    };
    if !prefixes.iter().any(|it| template.starts_with(it) && it.len() < template.len()) {
        let remedy = format!("begin with {}", prefixes.join(" or "));
        return Err(wrong("not a destination that it can be", remedy));
    }
    if TEMPLATE_BYTES_MAX < template.len() || template.chars().any(char::is_control) {
        let remedy = format!("use at most {TEMPLATE_BYTES_MAX} bytes and no control characters");
        return Err(wrong("too long, or holds a control character", remedy));
    }
    let mut names: Vec<String> = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let after = rest.split_at(at).1;
        let name = after.strip_prefix('{').and_then(|it| it.split_once('}')).filter(|(it, _)| {
            !it.is_empty() && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
        });
        let Some((name, behind)) = name else {
            let remedy = "write {name} with letters, digits and _ between the braces";
            return Err(wrong("braces that hold no name", remedy.into()));
        };
        if key == "route.match" && names.iter().any(|it| it == name) {
            return Err(wrong("binds a variable twice", "give each its own name".into()));
        }
        names.push(name.to_owned());
        rest = behind;
    }
    Ok(names)
}

fn wrong(
    key: &str,
    origin: Origin,
    problem: impl Into<String>,
    remedy: impl Into<String>,
) -> ConfigError {
    ConfigError::from(Wrong {
        subject: key.into(),
        value: None,
        origin: Some(origin),
        problem: problem.into(),
        remedy: remedy.into(),
    })
}
