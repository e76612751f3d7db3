//! What is wrong with the configuration, in one line.

use std::fmt;

use crate::config::source::Origin;

/// A start error: the operator has to change something (exit code 2).
///
/// Its text is one line: `key = value (origin): problem; remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(Box<Wrong>); // boxed, because a result is moved often and wrong once

/// What an error says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The key, or what else is wrong, such as a file.
    pub(super) subject: String,
    /// The value as given; `None` when there is none or it must not be shown.
    pub(super) value: Option<String>,
    /// Where it came from.
    pub(super) origin: Option<Origin>,
    /// What is wrong with it.
    pub(super) problem: String,
    /// What to do about it.
    pub(super) remedy: String,
}

impl From<Wrong> for ConfigError {
    fn from(wrong: Wrong) -> Self {
        Self(Box::new(wrong))
    }
}

impl ConfigError {
    /// Something is wrong that is no single setting.
    #[must_use]
    pub fn of(subject: &str, problem: &str, remedy: &str) -> Self {
        let [subject, problem, remedy] = [subject, problem, remedy].map(str::to_owned);
        Self::from(Wrong { subject, value: None, origin: None, problem, remedy })
    }

    /// The same error, which also shows the text that was given.
    pub(super) fn with_value(mut self, text: &str) -> Self {
        self.0.value = Some(format!("{text:?}"));
        self
    }
}

/// Longer values are cut: the line is for people.
const SHOWN_CHARS_MAX: usize = 80;

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wrong { subject, value, origin, problem, remedy } = &*self.0;
        write!(f, "{}", OneLine(subject))?;
        if let Some(value) = value {
            write!(f, " = {}", OneLine(value))?;
        }
        if let Some(origin) = origin {
            write!(f, " ({})", OneLine(&origin.to_string()))?;
        }
        write!(f, ": {problem}; {remedy}")
    }
}

impl std::error::Error for ConfigError {}

/// Text from outside, cut and with its control characters escaped.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars().take(SHOWN_CHARS_MAX) {
            if char.is_control() {
                write!(f, "{}", char.escape_default())?;
            } else {
                write!(f, "{char}")?;
            }
        }
        if self.0.chars().nth(SHOWN_CHARS_MAX).is_some() {
            f.write_str("…")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_key_value_origin_problem_and_remedy() {
        let error = ConfigError::from(Wrong {
            subject: "server.cores".into(),
            value: Some("0\n1".into()),
            origin: Some(Origin::Flag("--cores".into())),
            problem: "not a number".into(),
            remedy: "give 1 to 64".into(),
        });
        let expected = "server.cores = 0\\n1 (flag --cores): not a number; give 1 to 64";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn long_values_are_cut() {
        let error = ConfigError::from(Wrong {
            subject: "auth.origins".into(),
            value: Some("x".repeat(81)),
            origin: None,
            problem: "p".into(),
            remedy: "r".into(),
        });
        assert_eq!(error.to_string(), format!("auth.origins = {}…: p; r", "x".repeat(80)));
    }
}
