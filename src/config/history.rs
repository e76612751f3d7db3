//! What must be true of the history's settings together.

use crate::config::error::ConfigError;
use crate::config::history_url::HistoryUrl;
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
        let is_memory = self.settings.history.url == HistoryUrl::Memory;
        let is_given = !is_memory && !self.has_store_of_deployment();
        if is_given && self.settings.relay.is_redis() {
            return Err(self.wrong(
                "history.url",
                "this version stores nothing beside a relay through Redis",
                "remove it, or choose relay.mode embedded",
            ));
        }
        Ok(())
    }

    /// That messages are not stored although somebody asks for it.
    pub(super) fn history_warning(&self) -> Option<String> {
        if !self.settings.relay.is_redis() {
            return None;
        }
        let meaning = "beside a relay through Redis messages are delivered, not stored";
        if self.has_store_of_deployment() {
            return Some(format!("DATABASE_URL or DB_HOST is set, but ignored; {meaning}"));
        }
        let routes = self.settings.routes.iter().zip(&self.route_origins);
        let mut asking = routes.filter(|(it, origin)| it.history && **origin != Origin::Default);
        let (route, origin) = asking.next()?;
        Some(format!("route {} ({origin}) asks for history; {meaning}", route.pattern))
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
    fn beside_redis_a_store_has_no_use() {
        let redis = ("REDIS_HOST", "r");
        check(&[redis], &[], Ok("memory"));
        check(&[redis], &[("history.url", "memory")], Ok("memory"));
        check(&[redis], &[("history.url", "sqlite://a")], Err("beside a relay through Redis"));
        check(
            &[redis, ("DB_HOST", "db")],
            &[],
            Ok("mysql://db/ringway; DATABASE_URL or DB_HOST is set, but ignored; beside a relay \
                through Redis messages are delivered, not stored"),
        );
    }
}
