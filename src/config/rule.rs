//! `[[rule]]` tables: shape and names; what a rule allows is not known here.

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use crate::config::error::ConfigError;
use crate::config::error::Wrong;
use crate::config::file::Place;
use crate::config::settings::RuleSettings;
use crate::config::source::Origin;
use crate::config::suggest;

const KEYS: [&str; 4] = ["subscribe", "send", "roles", "claims"];

/// Reads the value of `rule`, the array of tables that stands at `key`.
pub(super) fn parse(
    place: Place<'_>,
    key: &Spanned<impl Sized>,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<RuleSettings>, ConfigError> {
    let tables = value.get_ref().as_array().ok_or_else(|| {
        wrong("rule", place.line(key.span().start), "not a list of tables", "write [[rule]]")
    })?;
    let one = |table: &Spanned<DeValue<'_>>| {
        let origin = place.line(table.span().start);
        match table.get_ref().as_table() {
            Some(table) => read(place, origin, table),
            None => Err(wrong("rule", origin, "not a table", "write [[rule]]")),
        }
    };
    tables.iter().map(one).collect()
}

fn read(
    place: Place<'_>,
    origin: Origin,
    table: &DeTable<'_>,
) -> Result<RuleSettings, ConfigError> {
    for key in table.keys() {
        if !KEYS.contains(&key.get_ref().as_ref()) {
            let name = format!("rule.{}", key.get_ref());
            let remedy = match suggest::nearest(key.get_ref(), KEYS.into_iter()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("a rule has {}", KEYS.join(", ")),
            };
            return Err(wrong(&name, place.line(key.span().start), "unknown key", &remedy));
        }
    }
    let texts = |key: &str| match table.get(key) {
        None => Ok(Vec::new()),
        Some(value) => texts_of(value.get_ref()).ok_or_else(|| {
            let origin = place.line(value.span().start);
            wrong(&format!("rule.{key}"), origin, "not a text or a list of texts", "quote it")
        }),
    };
    let rule = RuleSettings {
        subscribe: texts("subscribe")?,
        send: texts("send")?,
        roles: texts("roles")?,
        claims: match table.get("claims") {
            None => Vec::new(),
            Some(value) => claims_of(value.get_ref()).ok_or_else(|| {
                let origin = place.line(value.span().start);
                let remedy = "write claims = { tenant = \"acme\" }";
                wrong("rule.claims", origin, "not a table of texts", remedy)
            })?,
        },
    };
    if rule.subscribe.is_empty() && rule.send.is_empty() {
        let remedy = "give it subscribe or send, with patterns such as \"/topic/news.**\"";
        return Err(wrong("rule", origin, "allows nothing", remedy));
    }
    Ok(rule)
}

fn texts_of(value: &DeValue<'_>) -> Option<Vec<String>> {
    if let Some(text) = value.as_str() {
        return Some(vec![text.to_owned()]);
    }
    let list = value.as_array()?;
    list.iter().map(|it| it.get_ref().as_str().map(str::to_owned)).collect()
}

fn claims_of(value: &DeValue<'_>) -> Option<Vec<(String, String)>> {
    let table = value.as_table()?;
    let pair = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        Some((key.to_string(), value.get_ref().as_str()?.to_owned()))
    };
    table.iter().map(pair).collect()
}

fn wrong(key: &str, origin: Origin, problem: &str, remedy: &str) -> ConfigError {
    ConfigError::from(Wrong {
        subject: key.into(),
        value: None,
        origin: Some(origin),
        problem: problem.into(),
        remedy: remedy.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::config::load::load;
    use crate::config::source::Sources;

    fn rules(text: &str) -> Result<Option<Vec<RuleSettings>>, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary folder");
        file.write_all(text.as_bytes()).expect("room");
        let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
        load(&sources).map(|it| it.settings.rules).map_err(|it| it.to_string())
    }

    #[test]
    fn rules_are_read_in_every_sensible_form() {
        let text = "[[rule]]\nsubscribe = '/topic/**'\n[[rule]]\nsend = ['/topic/a', '/app/**']\n\
            roles = 'admin'\nclaims = { tenant = 'acme', 'a.b' = 'c' }\n";
        let expected = vec![
            RuleSettings {
                subscribe: vec!["/topic/**".into()],
                send: Vec::new(),
                roles: Vec::new(),
                claims: Vec::new(),
            },
            RuleSettings {
                subscribe: Vec::new(),
                send: vec!["/topic/a".into(), "/app/**".into()],
                roles: vec!["admin".into()],
                claims: vec![("a.b".into(), "c".into()), ("tenant".into(), "acme".into())],
            },
        ];
        let mut actual = rules(text).expect("valid").expect("given");
        actual[1].claims.sort();
        assert_eq!(actual, expected);
        assert_eq!(rules("").expect("valid"), None);
        assert_eq!(rules("rule = []").expect("valid"), Some(Vec::new()));
    }

    #[test]
    fn wrong_rules_are_refused_with_their_line() {
        let check = |text: &str, part: &str| {
            let error = rules(text).expect_err("wrong");
            assert!(error.contains(part), "{error}");
        };
        check("rule = 1", "not a list of tables");
        check("[[rule]]\n", "allows nothing");
        check("[[rule]]\nsubscrib = '/a'", "did you mean subscribe?");
        check("\n[[rule]]\nsend = 1", ":3");
        check("[[rule]]\nsend = '/a'\nclaims = 'x'", "not a table of texts");
        check("[[rule]]\nsend = 'topic'", "begins with /");
    }
}
