//! What must be true of the history's settings together.

use crate::config::error::ConfigError;
use crate::config::history_url::HistoryUrl;
use crate::config::load::Loaded;
use crate::config::load::load;
use crate::config::settings::HistorySettings;
use crate::config::source::Origin;
use crate::config::source::Sources;

impl Loaded {
    /// Where the history was given a store, if anybody gave it one.
    fn history_origin(&self) -> Option<&Origin> {
        let entry = self.entries.iter().find(|it| it.knob.key == "history.url")?;
        Some(&entry.origin).filter(|it| **it != Origin::Default)
    }

    /// Whether the store is one that the deployment names for whoever needs it.
    fn has_store_of_deployment(&self) -> bool {
        let names = ["DATABASE_URL", "DB_HOST"];
        matches!(self.history_origin(), Some(Origin::Environment(it)) if names.contains(&&**it))
    }

    /// Finds a store that would have no use.
    pub(super) fn history_contradictions(&self) -> Result<(), ConfigError> {
        let history = &self.settings.history;
        if history.tls_ca.is_some() && !history.tls {
            let remedy = "set history.tls on, or remove it";
            return Err(self.wrong("history.tls_ca", "history.tls is off", remedy));
        }
        let is_given = self.history_origin().is_some() && !self.has_store_of_deployment();
        if is_given && !self.settings.keeps_history() {
            return Err(self.wrong(
                "history.url",
                "the six fields of relay.envelope = article have no room for a place in a history",
                "remove it, or choose relay.envelope full",
            ));
        }
        Ok(())
    }

    /// Checks `history.tls_ca`, which is read with each connect.
    pub(super) fn check_history_ca(&self, sources: &Sources) -> Result<(), ConfigError> {
        let history = &self.settings.history;
        let is_tls = history.tls && matches!(history.url, HistoryUrl::Mysql { .. });
        let Some(path) = history.tls_ca.as_deref().filter(|_| is_tls) else { return Ok(()) };
        let remedy = "name a readable PEM file with certificates";
        match (sources.read)(path) {
            Ok(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => Ok(()),
            Ok(_) => Err(self.wrong("history.tls_ca", "holds no certificate", remedy)),
            Err(error) => {
                let problem = format!("cannot read the file: {error}");
                Err(self.wrong("history.tls_ca", &problem, remedy))
            }
        }
    }

    /// The settings of the history as they are now, with secrets read from their files again; none
    /// when something is wrong with any setting.
    #[must_use]
    pub fn read_history_again(&self) -> Option<HistorySettings> {
        match load(&self.sources) {
            Ok(loaded) => Some(loaded.settings.history),
            Err(error) => {
                tracing::warn!("the configuration cannot be read again: {error}");
                None
            }
        }
    }

    /// That messages are not stored although somebody may think so.
    pub(super) fn history_warning(&self) -> Option<String> {
        let settings = &self.settings;
        if !settings.relay.is_redis() || settings.has_store() {
            return None;
        }
        let mut asking = settings.routes.iter().filter(|it| it.history);
        asking.next()?;
        if !settings.keeps_history() {
            let meaning = "with relay.envelope = article messages have no history";
            return Some(format!("routes ask for history; {meaning}"));
        }
        let url = &settings.history.url;
        Some(format!(
            "beside a relay through Redis history.url = {url} is not shared by tasks: the history \
             is the last {} messages in the streams of Redis; name a MySQL to keep all",
            settings.history.stream_messages
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Flag;

    #[track_caller]
    fn check(environment: &[(&str, &str)], flags: &[(&str, &str)], expected: Result<&str, &str>) {
        let flag = |it: &(&str, &str)| {
            let [flag, key, value] = ["--set", it.0, it.1].map(str::to_owned);
            Flag { flag, key, value }
        };
        let sources = Sources {
            environment: environment.iter().map(|it| (it.0.into(), it.1.into())).collect(),
            flags: flags.iter().map(flag).collect(),
            ..Sources::default()
        };
        let shown = load(&sources).map(|it| {
            let history = it.settings.history.url.to_string();
            [vec![history], it.warnings].concat().join("; ")
        });
        match expected {
            Ok(expected) => assert_eq!(shown.as_deref(), Ok(expected)),
            Err(part) => {
                let error = shown.unwrap_err().to_string();
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn the_deployments_database_is_the_store_where_nobody_names_another() {
        let parts =
            [("DB_HOST", "db"), ("DB_USERNAME", "u"), ("DB_PASSWORD", "p"), ("DB_NAME", "n")];
        check(&[], &[], Ok("memory"));
        check(&parts, &[], Ok("mysql://u:********@db/n"));
        check(&parts[..1], &[], Ok("mysql://db/ringway"));
        let url = ("DATABASE_URL", "mysql://v:q@other:3307/m");
        check(&[parts[0], url], &[], Ok("mysql://v:********@other:3307/m"));
        check(&[url, ("RINGWAY_HISTORY_URL", "memory")], &[], Ok("memory"));
        check(&[url], &[("history.url", "sqlite://a.db")], Ok("sqlite://a.db"));
        check(&[("DATABASE_URL", "postgres://a/b")], &[], Err("DATABASE_URL"));
    }

    #[test]
    fn the_password_may_stand_in_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "p@ss\n").unwrap();
        let path = path.display().to_string();
        let environment = [("DB_HOST", "db"), ("DB_PASSWORD_FILE", &*path)];
        let own = |it: &(&str, &str)| (it.0.to_owned(), it.1.to_owned());
        let sources =
            Sources { environment: environment.iter().map(own).collect(), ..Sources::default() };
        let loaded = load(&sources).unwrap();
        let password = |history: &HistorySettings| match &history.url {
            HistoryUrl::Mysql { password, .. } => password.as_ref().unwrap().reveal().to_owned(),
            HistoryUrl::Memory | HistoryUrl::Sqlite(_) => panic!("a database was named"),
        };
        assert_eq!(password(&loaded.settings.history), "p@ss");
        // It changes, and then it is gone.
        std::fs::write(&path, "other").unwrap();
        assert_eq!(password(&loaded.read_history_again().unwrap()), "other");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(loaded.read_history_again(), None);
        check(&environment, &[], Err("DB_PASSWORD_FILE"));
    }

    #[test]
    fn authorities_are_named_for_tls_only_and_are_there() {
        let database = ("history.url", "mysql://a/b");
        let ca = ("history.tls_ca", "/no/such/file");
        check(&[], &[database, ca], Err("history.tls is off"));
        check(&[], &[database, ca, ("history.tls", "on")], Err("cannot read the file"));
        check(&[], &[database, ("history.tls", "on")], Ok("mysql://a/b"));
        let key = tempfile::NamedTempFile::new().unwrap();
        let key = ("history.tls_ca", &*key.path().display().to_string());
        check(&[], &[database, key, ("history.tls", "on")], Err("holds no certificate"));
    }

    #[test]
    fn beside_redis_a_store_is_one_that_tasks_share() {
        let redis = ("REDIS_HOST", "r");
        let streams = |url: &str| {
            format!(
                "{url}; beside a relay through Redis history.url = {url} is not shared by tasks: \
                 the history is the last 256 messages in the streams of Redis; name a MySQL to \
                 keep all"
            )
        };
        check(&[redis], &[], Ok(&streams("memory")));
        check(&[redis], &[("history.url", "sqlite://a")], Ok(&streams("sqlite://a")));
        check(&[redis, ("DB_HOST", "db")], &[], Ok("mysql://db/ringway"));
        let article = ("relay.envelope", "article");
        check(
            &[redis],
            &[article],
            Ok("memory; routes ask for history; with relay.envelope = article messages have no \
                history"),
        );
        let sqlite = ("history.url", "sqlite://a");
        check(&[redis], &[article, sqlite], Err("choose relay.envelope full"));
    }
}
