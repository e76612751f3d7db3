//! The TOML file: its keys with the lines they stand on.

use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use crate::config::catalogue;
use crate::config::error::ConfigError;
use crate::config::error::Wrong;
use crate::config::load::Given;
use crate::config::load::unknown_key;
use crate::config::route;
use crate::config::rule;
use crate::config::settings::RouteSettings;
use crate::config::settings::RuleSettings;
use crate::config::source::Origin;

/// What a file says.
#[derive(Debug)]
pub(super) struct Contents {
    /// Values of knobs, as text.
    pub(super) given: Vec<Given>,
    /// The routes with the lines they begin on; `None` when the file has no `[[route]]`.
    pub(super) routes: Option<Vec<(RouteSettings, Origin)>>,
    /// The rules; `None` when the file has no `[[rule]]`.
    pub(super) rules: Option<Vec<RuleSettings>>,
}

/// Reads the keys of `text`, which is the file at `path`; checks names and types, not values.
pub(super) fn parse(path: &Path, text: &str) -> Result<Contents, ConfigError> {
    let place = Place { path, text };
    let document = DeTable::parse(text).map_err(|error| {
        ConfigError::from(Wrong {
            subject: "configuration file".into(),
            value: None,
            origin: Some(place.line(error.span().map_or(0, |it| it.start))),
            problem: format!("not TOML: {}", error.message().replace('\n', " ")),
            remedy: "correct that line".into(),
        })
    })?;
    let mut contents = Contents { given: Vec::new(), routes: None, rules: None };
    for (key, value) in document.get_ref() {
        if key.get_ref() == "route" {
            contents.routes = Some(route::parse(place, key, value)?);
        } else if key.get_ref() == "rule" {
            contents.rules = Some(rule::parse(place, key, value)?);
        } else {
            walk(place, key.get_ref(), key, value, &mut contents.given)?;
        }
    }
    Ok(contents)
}

/// The file, for telling lines.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    /// The line of the byte at `offset`.
    pub(super) fn line(self, offset: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(offset);
        Origin::File(self.path.to_owned(), 1 + before.filter(|it| **it == b'\n').count())
    }
}

/// Collects the values under `key`, whose full name is `name`.
fn walk(
    place: Place<'_>,
    name: &str,
    key: &Spanned<impl Sized>,
    value: &Spanned<DeValue<'_>>,
    given: &mut Vec<Given>,
) -> Result<(), ConfigError> {
    let origin = place.line(key.span().start);
    if catalogue::find(name).is_some() {
        let value = text(value.get_ref()).ok_or_else(|| {
            ConfigError::from(Wrong {
                subject: name.into(),
                value: None,
                origin: Some(origin.clone()),
                problem: format!("its value is a {}", value.get_ref().type_str()),
                remedy: "give a number, a text, true or false, or a list of texts".into(),
            })
        })?;
        given.push(Given { key: name.into(), value, origin });
        return Ok(());
    }
    let table = value.get_ref().as_table();
    // `[server]` with all of its lines commented out is normal; any other empty table is a mistake.
    let Some(table) = table.filter(|it| !it.is_empty() || is_section(name)) else {
        return Err(unknown_key(name, text(value.get_ref()), origin));
    };
    // Go inside a misspelt section too: `sever.listen` is easier to set right than `sever`.
    for (key, value) in table {
        walk(place, &format!("{name}.{}", key.get_ref()), key, value, given)?;
    }
    Ok(())
}

fn is_section(name: &str) -> bool {
    catalogue::KNOBS.iter().any(|it| it.section() == name)
}

/// The value as one would write it in the environment; `None` when no knob takes such a value.
fn text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(on) => Some(on.to_string()),
        // A float is passed on, so that the knob says what it wants instead.
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|it| it.to_string())
        }
        DeValue::Array(values) => {
            let texts =
                values.iter().map(|it| it.get_ref().as_str().filter(|it| !it.contains(',')));
            texts.collect::<Option<Vec<_>>>().map(|it| it.join(","))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
