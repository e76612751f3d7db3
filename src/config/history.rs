//! What must be true of the history's settings together.

use crate::config::error::ConfigError;
use crate::config::load::Loaded;
use crate::config::source::Origin;

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
    use crate::config::load::load;
    use crate::config::source::Flag;
    use crate::config::source::Sources;

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
