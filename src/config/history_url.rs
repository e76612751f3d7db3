//! `history.url`: where the history is stored, with its password out of sight.

use std::fmt;
use std::path::PathBuf;

use crate::config::redis_url::escape;
use crate::config::redis_url::split_host;
use crate::config::redis_url::unescape;
use crate::config::redis_url::write_place;
use crate::config::settings::MASK;
use crate::config::settings::Secret;

/// Where the history is stored.
#[derive(Clone, PartialEq, Eq)]
pub enum HistoryUrl {
    /// In the process, and gone with it.
    Memory,
    /// In a SQLite file.
    Sqlite(PathBuf),
    /// In a database of MySQL or MariaDB.
    Mysql {
        /// The user, unescaped.
        user: Option<String>,
        /// The password, unescaped.
        password: Option<Secret>,
        /// A name or an address, an IPv6 one without its brackets.
        host: String,
        /// The port.
        port: u16,
        /// The database.
        database: String,
    },
}

const PORT: u16 = 3306;

impl HistoryUrl {
    /// Parses `memory`, `sqlite://path` or `mysql://[user[:password]@]host[:port]/database`; the
    /// error says what is wrong without showing any of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "memory" {
            return Ok(Self::Memory);
        }
        let (scheme, rest) = text.split_once("://").ok_or("neither memory nor a URL")?;
        match scheme {
            "sqlite" if rest.is_empty() => Err("names no file".into()),
            "sqlite" => Ok(Self::Sqlite(rest.into())),
            "mysql" | "mariadb" => Self::mysql(rest),
            _ => Err("its scheme is neither sqlite nor mysql".into()),
        }
    }

    fn mysql(rest: &str) -> Result<Self, String> {
        if rest.contains(['?', '#']) {
            return Err("holds a ? or #: no options are served there".into());
        }
        let (userinfo, place) = match rest.rsplit_once('@') {
            Some((userinfo, place)) => (userinfo, place),
            None => ("", rest),
        };
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let is_name = |it: u8| it.is_ascii_alphanumeric() || b"-_$".contains(&it);
        if database.is_empty() || !database.bytes().all(is_name) {
            return Err("names no database behind the host".into());
        }
        let (host, port) = split_host(authority)?;
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let given = |it: String| (!it.is_empty()).then_some(it);
        Ok(Self::Mysql {
            user: given(unescape(user)?),
            password: given(unescape(password)?).map(Secret::new),
            host,
            port: port.unwrap_or(PORT),
            database: database.to_owned(),
        })
    }

    /// The URL of a database that the deployment names in parts.
    pub(super) fn of_parts(host: &str, user: &str, password: &str, database: &str) -> String {
        let mut userinfo = String::new();
        // Writing to a String cannot fail.
        escape(user, &mut userinfo).expect("a String takes all");
        userinfo.push(':');
        escape(password, &mut userinfo).expect("a String takes all");
        format!("mysql://{userinfo}@{host}/{database}")
    }

    /// Whether what is shown of it leaves something out.
    pub(super) fn has_password(&self) -> bool {
        matches!(self, Self::Mysql { password: Some(_), .. })
    }

    /// What RECEIPTs call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "sqlite",
            Self::Mysql { .. } => "mysql",
        }
    }
}

impl fmt::Display for HistoryUrl {
    /// The URL with its password masked; without one it parses as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Mysql { user, password, host, port, database } => {
                f.write_str("mysql://")?;
                write_place(f, user.as_deref(), password.is_some(), host)?;
                if *port != PORT {
                    write!(f, ":{port}")?;
                }
                write!(f, "/{database}")
            }
        }
    }
}

impl fmt::Debug for HistoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `text`, which may be no URL at all, without whatever could be a password in it.
pub(super) fn mask(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme @ ("mysql" | "mariadb"), _)), Some((_, place))) => {
            format!("{scheme}://{MASK}@{place}")
        }
        (_, Some(_)) => MASK.to_owned(),
        (_, None) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let parsed = HistoryUrl::parse(text).map(|it| it.to_string());
        match expected {
            Ok(expected) => assert_eq!(parsed.as_deref(), Ok(expected), "{text}"),
            Err(part) => assert!(parsed.is_err_and(|it| it.contains(part)), "{text}"),
        }
    }

    #[test]
    fn a_store_is_memory_a_file_or_a_database() {
        check("memory", Ok("memory"));
        check("sqlite:///var/lib/a.db", Ok("sqlite:///var/lib/a.db"));
        check("sqlite://a.db", Ok("sqlite://a.db"));
        check("mysql://a/b", Ok("mysql://a/b"));
        check("mariadb://u:p%40@a:3307/b_1", Ok("mysql://u:********@a:3307/b_1"));
        check("mysql://u@[::1]:3306/b", Ok("mysql://u@[::1]/b"));
        check("mysql://a", Err("names no database"));
        check("mysql://a/", Err("names no database"));
        check("mysql://a/b/c", Err("names no database"));
        check("mysql://a/b?ssl=1", Err("holds a ?"));
        check("mysql:///b", Err("names no host"));
        check("sqlite://", Err("names no file"));
        check("postgres://a/b", Err("its scheme"));
        check("disk", Err("neither memory"));
    }

    #[test]
    fn parts_make_a_url_whatever_the_password_holds() {
        let text = HistoryUrl::of_parts("a:3307", "u", "p@/:%", "b");
        let HistoryUrl::Mysql { password, port, .. } = HistoryUrl::parse(&text).unwrap() else {
            panic!("{text}");
        };
        assert_eq!((password.unwrap().reveal(), port), ("p@/:%", 3307));
        assert!(HistoryUrl::parse(&HistoryUrl::of_parts("a", "", "", "b")).is_ok());
    }

    #[test]
    fn nothing_shows_a_password() {
        for text in ["mysql://u:secret@a/b?", "mysql://secret@a", "secret@b", "x://:secret@a/b"] {
            assert!(!mask(text).contains("secret"), "{text}");
        }
        assert_eq!(mask("sqlite://a"), "sqlite://a");
        assert!(!format!("{:?}", HistoryUrl::parse("mysql://u:secret@a/b")).contains("secret"));
    }
}
