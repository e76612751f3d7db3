//! One row of the catalogue: what a value may be, how its text is checked, how its bounds are told.

use std::net::SocketAddr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::config::history_url;
use crate::config::redis_url;
use crate::config::settings::MASK;
use crate::config::value::Bytes;
use crate::config::value::Time;
use crate::config::value::Value;
use crate::config::value::parse_bytes;
use crate::config::value::parse_time;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Knob {
    /// `section.name`, as in the file.
    pub key: &'static str,
    /// What the value is, in which unit and within which bounds.
    pub kind: Kind,
    /// The default as one would write it; `auto` or `none` where the kind has them.
    pub default: &'static str,
    /// What it does, in one sentence without its bounds.
    pub help: &'static str,
    /// The flag of its own, if it has one.
    pub flag: Option<&'static str>,
    /// Whether the value is masked, and may be in a file that `RINGWAY_…_FILE` names.
    pub secret: bool,
    /// Whether a running server can take a new value when it re-reads its configuration.
    pub live: bool,
}

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// An IP address and a port.
    Address,
    /// On or off.
    Switch,
    /// One of `names`.
    Choice {
        /// What this version has.
        names: &'static [&'static str],
        /// What the contract has besides, and what is missing for it.
        later: &'static [(&'static str, &'static str)],
    },
    /// A number of things.
    Count {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
        /// Whether `auto` leaves it to the host.
        auto: bool,
    },
    /// A number of bytes.
    Bytes {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
        /// Whether `auto` leaves it to the host.
        auto: bool,
    },
    /// A duration; a plain number is in seconds.
    Time {
        /// The shortest, in milliseconds.
        min_ms: u64,
        /// The longest, in milliseconds.
        max_ms: u64,
    },
    /// A bearer token, or none.
    Token,
    /// Patterns of origins.
    Origins,
    /// A log level or filter directives.
    LogFilter,
    /// Text without control characters, or none.
    Text {
        /// The fewest characters.
        chars_min: usize,
        /// The most.
        chars_max: usize,
    },
    /// Words with commas between them.
    Words {
        /// Those that there are; none means any.
        names: &'static [&'static str],
    },
    /// The path of a file, or none.
    Path,
    /// URLs of Redis servers, or none; their passwords are masked.
    RedisUrls,
    /// A store of the history; its password is masked.
    HistoryUrl,
}

/// What is wrong with a text, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) problem: String,
    pub(super) remedy: String,
}

pub(super) fn problem<T>(
    problem: impl Into<String>,
    remedy: impl Into<String>,
) -> Result<T, Problem> {
    Err(Problem { problem: problem.into(), remedy: remedy.into() })
}

impl Knob {
    /// The environment variable that sets it.
    #[must_use]
    pub fn environment(&self) -> String {
        environment_name(self.key)
    }

    /// Whether a value of it is, or may hold, a secret: then it may stand in a file of its own.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        self.secret || matches!(self.kind, Kind::RedisUrls | Kind::HistoryUrl)
    }

    /// A text that was given for it, as it may be shown.
    pub(super) fn shown(&self, text: &str) -> String {
        match self.kind {
            _ if self.secret => MASK.into(),
            Kind::RedisUrls => format!("{:?}", redis_url::mask(text)),
            Kind::HistoryUrl => format!("{:?}", history_url::mask(text)),
            Kind::Address
            | Kind::Switch
            | Kind::Choice { .. }
            | Kind::Count { .. }
            | Kind::Bytes { .. }
            | Kind::Time { .. }
            | Kind::Token
            | Kind::Origins
            | Kind::LogFilter
            | Kind::Text { .. }
            | Kind::Words { .. }
            | Kind::Path => format!("{text:?}"),
        }
    }

    /// The name of the section: the key up to its first dot.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(section, _)| section)
    }

    /// The key within its section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }
}

/// The environment variable of `key`, which may also be a whole section.
pub(super) fn environment_name(key: &str) -> String {
    format!("RINGWAY_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// A token is sent in a header and must not be guessed.
const TOKEN_CHARS_MIN: usize = 16;
const TOKEN_CHARS_MAX: usize = 1024;
const ORIGINS_COUNT_MAX: usize = 256;
const WORDS_COUNT_MAX: usize = 64;
const PATH_CHARS_MAX: usize = 4096;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Kind {
    /// Checks `text` and turns it into a value.
    pub(super) fn parse(self, text: &str) -> Result<Value, Problem> {
        match self {
            Self::Address => match text.parse::<SocketAddr>() {
                Ok(address) => Ok(Value::Address(address)),
                Err(_) => problem("not an IP address with a port", self.remedy()),
            },
            Self::Switch => match text {
                "true" | "on" | "1" => Ok(Value::Switch(true)),
                "false" | "off" | "0" => Ok(Value::Switch(false)),
                _ => problem("neither true nor false", self.remedy()),
            },
            Self::Choice { names, later } => {
                if let Some(name) = names.iter().find(|it| **it == text) {
                    return Ok(Value::Choice(name));
                }
                match later.iter().find(|(name, _)| *name == text) {
                    Some((_, missing)) => {
                        problem(format!("this version has no {missing} yet"), self.remedy())
                    }
                    None => problem("no such choice", self.remedy()),
                }
            }
            Self::Count { min, max, auto } => {
                let number = text.trim().parse().ok();
                self.within(text, number, (min, max), auto, "not a whole number", Value::Count)
            }
            Self::Bytes { min, max, auto } => {
                self.within(text, parse_bytes(text), (min, max), auto, "not a size", Value::Bytes)
            }
            Self::Time { min_ms, max_ms } => {
                let millis = parse_time(text).map(|it| u64::try_from(it.as_millis()));
                let millis = millis.and_then(Result::ok);
                self.within(text, millis, (min_ms, max_ms), false, "not a duration", |millis| {
                    Value::Time(Duration::from_millis(millis))
                })
            }
            Self::Token => self.token(text),
            Self::Origins => self.origins(text),
            Self::LogFilter => self.log_filter(text),
            Self::Text { chars_min, chars_max } => self.text(text, chars_min, chars_max),
            Self::Words { names } => self.words(text, names),
            Self::Path => self.text(text, 1, PATH_CHARS_MAX),
            Self::RedisUrls => self.redis_urls(text),
            Self::HistoryUrl => self.history_url(text),
        }
    }

    /// What may be written, for people.
    #[must_use]
    pub fn bounds(self) -> String {
        let auto = |auto| if auto { "`auto` or " } else { "" };
        match self {
            Self::Address => "`IP:port`".into(),
            Self::Switch => "`true`, `false`".into(),
            Self::Choice { names, .. } | Self::Words { names: names @ [_, ..] } => {
                names.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
            }
            Self::Count { min, max, auto: or } => format!("{}{min} to {max}", auto(or)),
            Self::Bytes { min, max, auto: or } => {
                format!("{}{} to {}", auto(or), Bytes(min), Bytes(max))
            }
            Self::Time { min_ms, max_ms } => {
                let [min, max] = [min_ms, max_ms].map(Duration::from_millis).map(Time);
                format!("{min} to {max}")
            }
            Self::Token => {
                format!("{TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} visible ASCII characters")
            }
            Self::Origins => format!("up to {ORIGINS_COUNT_MAX} origins; `*` stands for any part"),
            Self::LogFilter => "a level, or directives".into(),
            Self::Text { chars_min, chars_max } => format!("{chars_min} to {chars_max} characters"),
            Self::Words { names: [] } => format!("up to {WORDS_COUNT_MAX} texts"),
            Self::Path => "the path of a file".into(),
            Self::RedisUrls => "`redis://` or `rediss://` URLs, with commas between them".into(),
            Self::HistoryUrl => "`memory`, `sqlite://` or `mysql://`".into(),
        }
    }

    /// What to write instead of something wrong.
    pub(super) fn remedy(self) -> String {
        let plain = self.bounds().replace('`', "");
        match self {
            Self::Address => "give one such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080".into(),
            Self::Bytes { .. } => format!("give {plain}, such as 4096, 64KiB or 1MiB"),
            Self::Time { .. } => format!("give {plain}, such as 10s, 500ms or 2m"),
            Self::Choice { .. } => format!("choose from: {plain}"),
            Self::Origins => "give origins such as https://example.com, https://*.example.com, \
                 http://localhost:*, or * for all"
                .into(),
            Self::LogFilter => format!(
                "give one of {}, or directives such as info,ringway::io=debug",
                LEVELS.join(", ")
            ),
            Self::RedisUrls => "give one such as redis://host:6379 or \
                 rediss://user:password@host:6379, with % in the password written %25, @ %40, / \
                 %2F and , %2C"
                .into(),
            Self::HistoryUrl => "give memory, sqlite:///path/to/a/file or \
                 mysql://user:password@host:3306/database, with % in the password written %25, \
                 @ %40 and / %2F"
                .into(),
            Self::Switch
            | Self::Count { .. }
            | Self::Token
            | Self::Text { .. }
            | Self::Words { .. }
            | Self::Path => {
                format!("give {plain}")
            }
        }
    }

    fn within(
        self,
        text: &str,
        number: Option<u64>,
        (min, max): (u64, u64),
        auto: bool,
        not_a_number: &str,
        make: impl FnOnce(u64) -> Value,
    ) -> Result<Value, Problem> {
        if auto && text == "auto" {
            return Ok(Value::Auto);
        }
        match number {
            None => problem(not_a_number, self.remedy()),
            Some(number) if number < min => problem("below the minimum", self.remedy()),
            Some(number) if max < number => problem("above the maximum", self.remedy()),
            Some(number) => Ok(make(number)),
        }
    }

    fn token(self, text: &str) -> Result<Value, Problem> {
        let chars = text.len();
        if !text.bytes().all(|it| it.is_ascii_graphic()) {
            return problem("holds a character that a header cannot carry", self.remedy());
        }
        if chars < TOKEN_CHARS_MIN {
            return problem(format!("too short with {chars} characters"), self.remedy());
        }
        if TOKEN_CHARS_MAX < chars {
            return problem(format!("too long with {chars} characters"), self.remedy());
        }
        Ok(Value::Text(text.to_owned()))
    }

    fn origins(self, text: &str) -> Result<Value, Problem> {
        let origins: Vec<_> = split_outside_brackets(text)
            .map(str::trim)
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect();
        if ORIGINS_COUNT_MAX < origins.len() {
            return problem(format!("{} origins", origins.len()), self.remedy());
        }
        if let Some(wrong) = origins.iter().find(|it| !is_origin_pattern(it)) {
            return problem(format!("not an origin: {}", wrong.escape_debug()), self.remedy());
        }
        Ok(Value::List(origins))
    }

    fn text(self, text: &str, chars_min: usize, chars_max: usize) -> Result<Value, Problem> {
        let chars = text.chars().count();
        if text.chars().any(char::is_control) {
            return problem("holds a control character", self.remedy());
        }
        if chars < chars_min {
            return problem(format!("too short with {chars} characters"), self.remedy());
        }
        if chars_max < chars {
            return problem(format!("too long with {chars} characters"), self.remedy());
        }
        Ok(Value::Text(text.to_owned()))
    }

    fn words(self, text: &str, names: &[&str]) -> Result<Value, Problem> {
        let words = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        let words: Vec<String> = words.map(str::to_owned).collect();
        if WORDS_COUNT_MAX < words.len() {
            return problem(format!("{} texts", words.len()), self.remedy());
        }
        let is_any = names.is_empty();
        let is_wrong = |it: &&String| !is_any && !names.contains(&it.as_str());
        if let Some(wrong) = words.iter().find(is_wrong) {
            return problem(format!("there is no {}", wrong.escape_debug()), self.remedy());
        }
        Ok(Value::List(words))
    }

    fn log_filter(self, text: &str) -> Result<Value, Problem> {
        // The filter's own parser takes a mistyped level for the name of a module and logs nothing.
        let is_level = |it: &str| LEVELS.contains(&it.trim().to_ascii_lowercase().as_str());
        let mistyped = text.split(',').any(|it| !it.contains(['=', '[', ']']) && !is_level(it));
        if mistyped || EnvFilter::builder().parse(text).is_err() {
            return problem("no log level", self.remedy());
        }
        Ok(Value::Text(text.to_owned()))
    }
}

/// The parts between the commas that do not stand in a list of ports.
fn split_outside_brackets(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    text.split(move |it| {
        depth += i32::from(it == '[') - i32::from(it == ']');
        it == ',' && depth <= 0
    })
}

/// Whether `text` is `*` or `scheme://host[:port]` with stars, in lower case as browsers send it.
fn is_origin_pattern(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text == "*"
        || text == "null"
        || host.is_some_and(|it| {
            !it.is_empty()
                && it.bytes().all(|it| {
                    it.is_ascii_lowercase() || it.is_ascii_digit() || b"-._:*[],".contains(&it)
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, text: &str, expected: Option<&str>) {
        let shown = kind.parse(text).ok().map(|it| it.to_string());
        assert_eq!(shown.as_deref(), expected, "{text}");
    }

    #[test]
    fn bounds_are_inclusive_and_auto_is_a_word() {
        let kind = Kind::Count { min: 2, max: 64, auto: true };
        check(kind, "auto", Some("\"auto\""));
        check(kind, "0", None);
        check(kind, "1", None);
        check(kind, "2", Some("2"));
        check(kind, "64", Some("64"));
        check(kind, "65", None);
        check(kind, "-2", None);
        check(kind, "2.0", None);
        check(Kind::Count { min: 1, max: 2, auto: false }, "auto", None);
        check(Kind::Count { min: 1, max: 2, auto: false }, "0", None);
        check(Kind::Bytes { min: 1024, max: 2048, auto: false }, "1KiB", Some("\"1KiB\""));
        check(Kind::Bytes { min: 1024, max: 2048, auto: false }, "1023", None);
        check(Kind::Time { min_ms: 100, max_ms: 2000 }, "100ms", Some("\"100ms\""));
        check(Kind::Time { min_ms: 100, max_ms: 2000 }, "2", Some("\"2s\""));
        check(Kind::Time { min_ms: 100, max_ms: 2000 }, "2001ms", None);
    }

    #[test]
    fn addresses_need_both_parts() {
        check(Kind::Address, "0.0.0.0:80", Some("\"0.0.0.0:80\""));
        check(Kind::Address, "[::1]:0", Some("\"[::1]:0\""));
        for wrong in ["", "8080", ":8080", "localhost:8080", "127.0.0.1", "127.0.0.1:65536"] {
            check(Kind::Address, wrong, None);
        }
    }

    #[test]
    fn origins_are_whole_origins_or_stars() {
        check(Kind::Origins, "", Some("[]"));
        check(Kind::Origins, "*", Some("[\"*\"]"));
        check(
            Kind::Origins,
            "https://a.example, http://localhost:*",
            Some("[\"https://a.example\", \"http://localhost:*\"]"),
        );
        check(Kind::Origins, "http://[::1]:80", Some("[\"http://[::1]:80\"]"));
        for wrong in ["a.example", "https://", "https://a.example/", "HTTPS://A", "ftp://a"] {
            check(Kind::Origins, wrong, None);
        }
    }

    #[test]
    fn a_mistyped_level_is_not_the_name_of_a_module() {
        for right in ["info", "OFF", "info,ringway::io=debug", "warn,ringway[session]=trace"] {
            check(Kind::LogFilter, right, Some(&format!("\"{right}\"")));
        }
        for wrong in ["", "inof", "info,", "info,ringway::io", "ringway=loud"] {
            check(Kind::LogFilter, wrong, None);
        }
    }

    #[test]
    fn tokens_are_long_and_visible() {
        check(Kind::Token, &"t".repeat(15), None);
        check(Kind::Token, &"t".repeat(16), Some("\"tttttttttttttttt\""));
        check(Kind::Token, &"t".repeat(1025), None);
        check(Kind::Token, "sixteen visible? no", None);
    }
}
