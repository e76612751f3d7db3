//! What bodies must be like: a JSON Schema, compiled once, off the shards.

use std::fmt;
use std::sync::Arc;

use jsonschema::PatternOptions;
use jsonschema::Validator;
use serde_json::Value;

/// Most bytes of a schema.
pub const SCHEMA_BYTES_MAX: usize = 256 * 1024;
/// Most characters of what is wrong, as it is told.
const TEXT_CHARACTERS_MAX: usize = 200;

/// A compiled schema; a clone is the same.
#[derive(Clone)]
pub struct Schema {
    text: Arc<str>,
    validator: Arc<Validator>,
}

/// How a body does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It is no JSON.
    NotJson,
    /// Something in it is not as it must be.
    At {
        /// Where, as a JSON Pointer (RFC 6901); empty for the whole.
        path: String,
        /// What is asked for there; what stands there is not repeated.
        what: String,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => out.write_str("the body is not JSON"),
            Self::At { path, what } if path.is_empty() => write!(out, "the body: {what}"),
            Self::At { path, what } => write!(out, "the body at {path}: {what}"),
        }
    }
}

impl Schema {
    /// Compiles a schema of any draft up to 2020-12. What it refers to must stand in it.
    ///
    /// # Errors
    ///
    /// One line that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if SCHEMA_BYTES_MAX < text.len() {
            return Err(format!("more than {SCHEMA_BYTES_MAX} bytes"));
        }
        let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let validator = jsonschema::options()
            // The engine that takes linear time whatever a client sends.
            .with_pattern_options(PatternOptions::regex())
            .build(&schema)
            .map_err(|error| match error.instance_path().as_str() {
                "" => cut(&error.to_string()),
                path => cut(&format!("at {path}: {error}")),
            })?;
        Ok(Self { text: text.into(), validator: Arc::new(validator) })
    }

    /// Whether a body fits.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self, body: &[u8]) -> Result<(), Misfit> {
        // It goes no deeper than 128 levels.
        let body: Value = serde_json::from_slice(body).map_err(|_| Misfit::NotJson)?;
        self.validator.validate(&body).map_err(|error| Misfit::At {
            path: cut(error.instance_path().as_str()),
            what: cut(&error.masked().to_string()),
        })
    }
}

fn cut(text: &str) -> String {
    let clean = |it: char| if it.is_control() { ' ' } else { it };
    text.chars().take(TEXT_CHARACTERS_MAX).map(clean).collect()
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Schema {}

impl fmt::Debug for Schema {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Schema").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = r##"{
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": 5},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}}
        },
        "required": ["text"],
        "additionalProperties": false,
        "$defs": {"tag": {"type": "string", "pattern": "^[a-z]+$"}}
    }"##;

    #[track_caller]
    fn check(body: &str, expected: &str) {
        let said = Schema::parse(CHAT).unwrap().check(body.as_bytes());
        let said = said.err().map(|it| it.to_string()).unwrap_or_default();
        assert!(said == expected || said.starts_with(expected) && !expected.is_empty(), "{said}");
    }

    #[test]
    fn what_does_not_fit_is_told_by_its_place_and_not_repeated() {
        check(r#"{"text":"hello"}"#, "");
        check(r#"{"text":"hello","tags":["a","b"]}"#, "");
        check("{", "the body is not JSON");
        check("", "the body is not JSON");
        check(&"[".repeat(10_000), "the body is not JSON");
        check("[]", "the body: value is not of type \"object\"");
        check("{}", "the body: \"text\" is a required property");
        check(r#"{"text":7}"#, "the body at /text: value is not of type \"string\"");
        check(r#"{"text":"secret"}"#, "the body at /text: value is longer than 5 characters");
        check(r#"{"text":"a","tags":["a","B"]}"#, "the body at /tags/1: value does not match");
        check(&format!(r#"{{"text":"a","{}":1}}"#, "x\\n".repeat(999)), "the body: ");
        let long = format!(r#"{{"text":"a","{}":1}}"#, "x\\n".repeat(999));
        let said = Schema::parse(CHAT).unwrap().check(long.as_bytes()).unwrap_err().to_string();
        assert!(said.chars().count() < 250 && !said.contains('\n'), "{said}");
    }

    #[test]
    fn a_pattern_takes_no_longer_than_its_input() {
        let schema = Schema::parse(r#"{"pattern":"^(a+)+$"}"#).unwrap();
        let body = format!("\"{}!\"", "a".repeat(60_000));
        assert!(schema.check(body.as_bytes()).is_err());
    }

    #[test]
    fn a_schema_that_cannot_work_is_told() {
        for (text, reason) in [
            ("{", "EOF"),
            (r#"{"type":"text"}"#, "/type"),
            (r#"{"pattern":"("}"#, "pattern"),
            (r#"{"pattern":"(?=a)"}"#, "pattern"),
            (r#"{"$ref":"https://example.org/schema.json"}"#, "example.org"),
            (r##"{"$ref":"#/$defs/none"}"##, "none"),
        ] {
            let why = Schema::parse(text).unwrap_err();
            assert!(why.contains(reason), "{text}: {why}");
        }
        assert!(Schema::parse(&" ".repeat(SCHEMA_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn equal_texts_are_equal_schemas() {
        assert_eq!(Schema::parse("{}"), Schema::parse("{}"));
        assert_ne!(Schema::parse("{}"), Schema::parse("true"));
    }
}
