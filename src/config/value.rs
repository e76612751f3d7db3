//! The value of a knob: from text, to text, and out to its typed field.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::history_url::HistoryUrl;
use crate::config::redis_url::RedisUrl;

/// A checked value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// From the host.
    Auto,
    /// Not set.
    None,
    /// On or off.
    Switch(bool),
    /// How many.
    Count(u64),
    /// How large.
    Bytes(u64),
    /// How long.
    Time(Duration),
    /// An address and a port.
    Address(SocketAddr),
    /// One of a few names.
    Choice(&'static str),
    /// Any text.
    Text(String),
    /// Several texts.
    List(Vec<String>),
    /// Redis servers; shown with their passwords masked.
    RedisUrls(Vec<RedisUrl>),
    /// A store of the history; shown with its password masked.
    HistoryUrl(HistoryUrl),
}

impl Value {
    /// Whether something of it is left out where it is shown.
    pub(super) fn is_masked(&self) -> bool {
        matches!(self, Self::RedisUrls(urls) if urls.iter().any(RedisUrl::has_password))
            || matches!(self, Self::HistoryUrl(url) if url.has_password())
    }
}

impl fmt::Display for Value {
    /// The value as TOML; with [`Value::None`] there is none to write.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("\"auto\""),
            Self::None => f.write_str("none"),
            Self::Switch(on) => write!(f, "{on}"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Bytes(bytes) => write!(f, "\"{}\"", Bytes(*bytes)),
            Self::Time(time) => write!(f, "\"{}\"", Time(*time)),
            Self::Address(address) => write!(f, "\"{address}\""),
            Self::Choice(name) => write!(f, "\"{name}\""),
            Self::Text(text) => write!(f, "{}", toml::Value::from(text.as_str())),
            Self::List(texts) => write!(f, "{}", toml::Value::from(texts.clone())),
            Self::RedisUrls(urls) => {
                let texts: Vec<_> = urls.iter().map(ToString::to_string).collect();
                write!(f, "\"{}\"", texts.join(","))
            }
            Self::HistoryUrl(url) => write!(f, "{}", toml::Value::from(url.to_string())),
        }
    }
}

/// Bytes with the largest unit that divides them.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit =
            BYTE_UNITS.iter().find(|(_, bytes)| self.0 != 0 && self.0.is_multiple_of(*bytes));
        match unit {
            Some((name, bytes)) => write!(f, "{}{name}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

// Largest first, because the first that fits is shown.
const BYTE_UNITS: &[(&str, u64)] =
    &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A time in hours or seconds, or in milliseconds where it is not whole.
pub(super) struct Time(pub(super) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if self.0.subsec_millis() == 0 && seconds != 0 && seconds.is_multiple_of(3600) {
            write!(f, "{}h", seconds / 3600)
        } else if self.0.subsec_millis() == 0 {
            write!(f, "{seconds}s")
        } else {
            write!(f, "{}ms", self.0.as_millis())
        }
    }
}

/// Parses a size: `64KiB`, `1 MiB`, or plain bytes. `None` when it is no size or passes 2^64.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let units = BYTE_UNITS.iter().copied().chain([("B", 1), ("", 1)]);
    parse_with_unit(text, units)
}

/// Parses a duration: `500ms`, `10s`, `2m`, `1h`, or plain seconds. `None` when it is none.
pub(super) fn parse_time(text: &str) -> Option<Duration> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("", 1_000)];
    parse_with_unit(text, units).map(Duration::from_millis)
}

fn parse_with_unit(
    text: &str,
    units: impl IntoIterator<Item = (&'static str, u64)>,
) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.into_iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The effective values by key, until [`Settings`](crate::config::Settings) has taken them out.
///
/// Every getter asserts that the catalogue has the key and gives it that kind: they are two halves
/// of one table, and loading the defaults visits every row.
#[derive(Debug, Default)]
pub(super) struct Values(pub(super) BTreeMap<&'static str, Value>);

impl Values {
    fn take<T>(&mut self, key: &str, pick: impl FnOnce(Value) -> Option<T>) -> T {
        let value = self.0.remove(key).expect("the catalogue has each key, and each is read once");
        pick(value).expect("the kind in the catalogue is the kind of the field")
    }

    pub(super) fn address(&mut self, key: &str) -> SocketAddr {
        self.take(key, |it| if let Value::Address(address) = it { Some(address) } else { None })
    }

    pub(super) fn switch(&mut self, key: &str) -> bool {
        self.take(key, |it| if let Value::Switch(on) = it { Some(on) } else { None })
    }

    pub(super) fn number(&mut self, key: &str) -> usize {
        self.number_or_auto(key).expect("the kind in the catalogue does not allow auto")
    }

    pub(super) fn number_or_auto(&mut self, key: &str) -> Option<usize> {
        self.take(key, |it| match it {
            Value::Count(number) | Value::Bytes(number) => {
                // Saturates where a pointer has fewer bits than a limit may have.
                Some(Some(usize::try_from(number).unwrap_or(usize::MAX)))
            }
            Value::Auto => Some(None),
            Value::None
            | Value::Switch(_)
            | Value::Time(_)
            | Value::Address(_)
            | Value::Choice(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::RedisUrls(_)
            | Value::HistoryUrl(_) => None,
        })
    }

    pub(super) fn time(&mut self, key: &str) -> Duration {
        self.take(key, |it| if let Value::Time(time) = it { Some(time) } else { None })
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &str, names: &[(&str, T)]) -> T {
        self.take(key, |it| {
            let Value::Choice(chosen) = it else { return None };
            names.iter().find(|(name, _)| *name == chosen).map(|(_, value)| *value)
        })
    }

    pub(super) fn text(&mut self, key: &str) -> String {
        self.text_or_none(key).expect("the kind in the catalogue does not allow none")
    }

    pub(super) fn text_or_none(&mut self, key: &str) -> Option<String> {
        self.take(key, |it| match it {
            Value::Text(text) => Some(Some(text)),
            Value::None => Some(None),
            Value::Auto
            | Value::Switch(_)
            | Value::Count(_)
            | Value::Bytes(_)
            | Value::Time(_)
            | Value::Address(_)
            | Value::Choice(_)
            | Value::List(_)
            | Value::RedisUrls(_)
            | Value::HistoryUrl(_) => None,
        })
    }

    pub(super) fn history_url(&mut self, key: &str) -> HistoryUrl {
        self.take(key, |it| if let Value::HistoryUrl(url) = it { Some(url) } else { None })
    }

    /// The servers; none where none is named.
    pub(super) fn redis_urls(&mut self, key: &str) -> Vec<RedisUrl> {
        self.take(key, |it| match it {
            Value::RedisUrls(urls) => Some(urls),
            Value::None => Some(Vec::new()),
            Value::Auto
            | Value::Switch(_)
            | Value::Count(_)
            | Value::Bytes(_)
            | Value::Time(_)
            | Value::Address(_)
            | Value::Choice(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::HistoryUrl(_) => None,
        })
    }

    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        self.take(key, |it| if let Value::List(texts) = it { Some(texts) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units_or_none() {
        let check = |text, expected| assert_eq!(parse_bytes(text), expected, "{text}");
        check("0", Some(0));
        check("512", Some(512));
        check("512B", Some(512));
        check("64KiB", Some(65_536));
        check(" 64 KiB ", Some(65_536));
        check("1MiB", Some(1 << 20));
        check("3GiB", Some(3 << 30));
        check("16777215TiB", Some(16_777_215 << 40));
        check("16777216TiB", None);
        for wrong in ["", "KiB", "64kb", "64KB", "1.5MiB", "-1", "64KiBs", "18446744073709551616"] {
            check(wrong, None);
        }
    }

    #[test]
    fn times_have_units_or_are_seconds() {
        let check = |text, millis: Option<u64>| {
            assert_eq!(parse_time(text), millis.map(Duration::from_millis), "{text}");
        };
        check("0", Some(0));
        check("10", Some(10_000));
        check("10s", Some(10_000));
        check("500ms", Some(500));
        check("2m", Some(120_000));
        check("1h", Some(3_600_000));
        for wrong in ["", "s", "10 sec", "1.5s", "-1s", "1m30s", "99999999999999999999s"] {
            check(wrong, None);
        }
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        for bytes in [0, 1, 1_023, 1_024, 65_536, 1 << 20, (1 << 20) + 1, 5 << 30, 1 << 40] {
            assert_eq!(parse_bytes(&Bytes(bytes).to_string()), Some(bytes));
        }
        for millis in [0, 1, 500, 1_000, 1_500, 60_000, 3_600_000, 3_660_000, 7_200_000] {
            let time = Duration::from_millis(millis);
            assert_eq!(parse_time(&Time(time).to_string()), Some(time));
        }
    }
}
