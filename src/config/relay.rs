//! What must be true of the relay's settings together, and of the file that they name.

use crate::config::error::ConfigError;
use crate::config::error::Wrong;
use crate::config::load::Loaded;
use crate::config::settings::Envelope;
use crate::config::settings::RelayMode;
use crate::config::settings::RouteTarget;
use crate::config::source::Origin;
use crate::config::source::Sources;

impl Loaded {
    /// Finds settings of the relay that are valid alone and wrong together.
    pub(super) fn relay_contradictions(&self) -> Result<(), ConfigError> {
        let relay = &self.settings.relay;
        if relay.is_redis() && relay.url.is_empty() {
            return Err(self.wrong(
                "relay.mode",
                "no Redis is named",
                "set relay.url (or REDIS_URL, or REDIS_HOST), or choose embedded",
            ));
        }
        if relay.envelope == Envelope::Article && relay.hmac_key.is_some() {
            return Err(self.wrong(
                "relay.envelope",
                "its six fields have no room for the signature of relay.hmac_key",
                "choose full, or remove relay.hmac_key",
            ));
        }
        if !relay.is_redis() {
            return self.forward_without_redis();
        }
        if relay.outbox_bytes < self.settings.limits.message_bytes {
            return Err(self.wrong(
                "relay.outbox_bytes",
                "below limits.message_bytes, so that one message does not fit",
                "raise it, or lower limits.message_bytes",
            ));
        }
        self.url_contradictions()
    }

    fn url_contradictions(&self) -> Result<(), ConfigError> {
        let relay = &self.settings.relay;
        if relay.url.iter().any(|it| it.is_tls != relay.is_tls()) {
            let remedy = "make all of them redis://, or all rediss://";
            return Err(self.wrong("relay.url", "some servers with TLS, some without", remedy));
        }
        let credentials = |it: usize| relay.url.get(it).map(|it| (&it.user, &it.password));
        if (1..relay.url.len()).any(|it| credentials(it) != credentials(0)) {
            return Err(self.wrong(
                "relay.url",
                "the servers have different users or passwords",
                "give all the same, or use relay.user and relay.password",
            ));
        }
        let is_double = |key: &str, other: &str| {
            let problem = "relay.url has one too";
            Err(self.wrong(
                key,
                problem,
                &format!("remove it, or take the {other} out of relay.url"),
            ))
        };
        if relay.user.is_some() && relay.url.iter().any(|it| it.user.is_some()) {
            return is_double("relay.user", "user");
        }
        if relay.password.is_some() && relay.url.iter().any(|it| it.password.is_some()) {
            return is_double("relay.password", "password");
        }
        if let (Some(_), None) = relay.credentials() {
            let key = if relay.user.is_some() { "relay.user" } else { "relay.url" };
            let remedy = "set relay.password (RINGWAY_RELAY_PASSWORD_FILE), or remove the user";
            return Err(self.wrong(key, "a user without a password", remedy));
        }
        let tls_only = [
            ("relay.tls_ca", relay.tls_ca.is_some()),
            ("relay.tls_server_name", relay.tls_server_name.is_some()),
        ];
        for (key, is_given) in tls_only {
            if is_given && !relay.is_tls() {
                let problem = "relay.url is without TLS";
                return Err(self.wrong(key, problem, "write rediss:// in relay.url, or remove it"));
            }
        }
        Ok(())
    }

    fn forward_without_redis(&self) -> Result<(), ConfigError> {
        for (route, origin) in self.settings.routes.iter().zip(&self.route_origins) {
            if let RouteTarget::Stream(stream) = &route.to {
                return Err(ConfigError::from(Wrong {
                    subject: "route.forward".into(),
                    value: Some(format!("{stream:?}")),
                    origin: Some(origin.clone()),
                    problem: "a stream is kept by Redis, and relay.mode is embedded".into(),
                    remedy: "set relay.url (or REDIS_URL, or REDIS_HOST), or remove the route"
                        .into(),
                }));
            }
        }
        Ok(())
    }

    /// Reads `relay.tls_ca`, where it has a use.
    pub(super) fn read_relay_ca(&mut self, sources: &Sources) -> Result<(), ConfigError> {
        let relay = &self.settings.relay;
        let Some(path) = relay.tls_ca.as_deref().filter(|_| relay.is_redis()) else {
            return Ok(());
        };
        let remedy = "name a readable PEM file with certificates";
        let pem = match (sources.read)(path) {
            Ok(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => pem,
            Ok(_) => return Err(self.wrong("relay.tls_ca", "holds no certificate", remedy)),
            Err(error) => {
                let problem = format!("cannot read the file: {error}");
                return Err(self.wrong("relay.tls_ca", &problem, remedy));
            }
        };
        self.settings.relay.tls_ca_pem = Some(pem);
        Ok(())
    }

    /// That a Redis is named and not used.
    pub(super) fn relay_warning(&self) -> Option<String> {
        let relay = &self.settings.relay;
        let entry = self.entries.iter().find(|it| it.knob.key == "relay.url")?;
        (relay.mode == RelayMode::Embedded && entry.origin != Origin::Default).then(|| {
            format!(
                "relay.url ({}) is set, but relay.mode is embedded: messages reach the clients of \
                 this process only",
                entry.origin
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;
    use crate::config::load::load;
    use crate::config::source::Flag;

    fn sources(environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
        fn read(path: &Path) -> io::Result<String> {
            match path.to_str() {
                Some("/ca") => Ok("x\n-----BEGIN CERTIFICATE-----\ny\n".into()),
                Some("/key") => Ok("no certificate".into()),
                Some("/url") => Ok("redis://:from-a-file@a\n".into()),
                Some(_) | None => Err(io::Error::from(io::ErrorKind::NotFound)),
            }
        }
        let own = |it: &(&str, &str)| (it.0.to_owned(), it.1.to_owned());
        let flag = |it: &(&str, &str)| {
            let [flag, key, value] = ["--set", it.0, it.1].map(str::to_owned);
            Flag { flag, key, value }
        };
        Sources {
            environment: environment.iter().map(own).collect(),
            flags: flags.iter().map(flag).collect(),
            read,
            ..Sources::default()
        }
    }

    #[track_caller]
    fn check(flags: &[(&str, &str)], expected: Result<(), &str>) {
        let result = load(&sources(&[], flags)).map(drop).map_err(|it| it.to_string());
        assert_eq!(result.as_ref().map_err(String::as_str).copied(), expected);
    }

    #[track_caller]
    fn check_environment(environment: &[(&str, &str)], expected: Result<&str, &str>) {
        let result = load(&sources(environment, &[]));
        let shown = result.map(|it| {
            let relay = it.settings.relay;
            let urls: Vec<_> = relay.url.iter().map(ToString::to_string).collect();
            format!("{} {}", relay.effective_mode().as_str(), urls.join(","))
        });
        match expected {
            Ok(expected) => assert_eq!(shown.as_deref(), Ok(expected)),
            Err(part) => {
                let error = shown.unwrap_err().to_string();
                assert!(error.contains(part), "{error}");
            }
        }
    }

    const URL: (&str, &str) = ("relay.url", "redis://a");
    const TLS: (&str, &str) = ("relay.url", "rediss://a,rediss://b:7000");

    #[test]
    fn a_redis_needs_a_name_and_a_stream_a_redis() {
        check(&[URL], Ok(()));
        check(&[URL, ("relay.mode", "sharded")], Ok(()));
        check(
            &[("relay.mode", "pubsub")],
            Err("relay.mode = \"pubsub\" (flag --set): no Redis is named; set relay.url (or \
                 REDIS_URL, or REDIS_HOST), or choose embedded"),
        );
    }

    #[test]
    fn all_servers_are_of_one_kind() {
        check(&[TLS], Ok(()));
        check(
            &[("relay.url", "redis://a,rediss://b")],
            Err("relay.url = \"redis://a,rediss://b\" (flag --set): some servers with TLS, some \
                 without; make all of them redis://, or all rediss://"),
        );
        check(
            &[("relay.url", "redis://u:one@a,redis://u:two@b")],
            Err("relay.url = \"redis://u:********@a,redis://u:********@b\" (flag --set): the \
                 servers have different users or passwords; give all the same, or use relay.user \
                 and relay.password"),
        );
    }

    #[test]
    fn credentials_are_given_once_and_whole() {
        check(&[URL, ("relay.password", "p")], Ok(()));
        check(&[URL, ("relay.user", "u"), ("relay.password", "p")], Ok(()));
        check(&[("relay.url", "redis://u@a"), ("relay.password", "p")], Ok(()));
        check(
            &[("relay.url", "redis://:p@a"), ("relay.password", "p")],
            Err(
                "relay.password = ******** (flag --set): relay.url has one too; remove it, or take \
                 the password out of relay.url",
            ),
        );
        check(
            &[("relay.url", "redis://u:p@a"), ("relay.user", "u")],
            Err("relay.user = \"u\" (flag --set): relay.url has one too; remove it, or take the \
                 user out of relay.url"),
        );
        check(
            &[("relay.url", "redis://u@a")],
            Err("relay.url = \"redis://u@a\" (flag --set): a user without a password; set \
                 relay.password (RINGWAY_RELAY_PASSWORD_FILE), or remove the user"),
        );
    }

    #[test]
    fn what_is_for_tls_needs_tls_and_a_file_with_certificates() {
        check(&[TLS, ("relay.tls_ca", "/ca"), ("relay.tls_server_name", "redis.internal")], Ok(()));
        check(
            &[URL, ("relay.tls_ca", "/ca")],
            Err(
                "relay.tls_ca = \"/ca\" (flag --set): relay.url is without TLS; write rediss:// in \
                 relay.url, or remove it",
            ),
        );
        check(
            &[TLS, ("relay.tls_ca", "/no")],
            Err(
                "relay.tls_ca = \"/no\" (flag --set): cannot read the file: entity not found; name \
                 a readable PEM file with certificates",
            ),
        );
        check(
            &[TLS, ("relay.tls_ca", "/key")],
            Err("relay.tls_ca = \"/key\" (flag --set): holds no certificate; name a readable PEM \
                 file with certificates"),
        );
        let loaded = load(&sources(&[], &[TLS, ("relay.tls_ca", "/ca")])).unwrap();
        assert!(loaded.settings.relay.tls_ca_pem.is_some_and(|it| it.contains("BEGIN")));
        check(&[("relay.tls_ca", "/no")], Ok(()));
    }

    #[test]
    fn an_envelope_has_room_for_what_is_asked_of_it() {
        check(&[URL, ("relay.envelope", "article")], Ok(()));
        check(
            &[("relay.envelope", "article"), ("relay.hmac_key", "sixteen-letters!")],
            Err("relay.envelope = \"article\" (flag --set): its six fields have no room for the \
                 signature of relay.hmac_key; choose full, or remove relay.hmac_key"),
        );
        check(&[("limits.message_bytes", "16MiB")], Ok(()));
        check(
            &[URL, ("limits.message_bytes", "16MiB")],
            Err(
                "relay.outbox_bytes = \"8MiB\" (default): below limits.message_bytes, so that one \
                 message does not fit; raise it, or lower limits.message_bytes",
            ),
        );
    }

    #[test]
    fn a_deployment_names_its_redis_in_its_own_variables() {
        check_environment(&[], Ok("embedded "));
        check_environment(&[("REDIS_HOST", "")], Ok("embedded "));
        check_environment(&[("REDIS_PORT", "6380")], Ok("embedded "));
        check_environment(&[("REDIS_HOST", "a")], Ok("pubsub redis://a"));
        check_environment(&[("REDIS_HOST", "a:6380")], Ok("pubsub redis://a:6380"));
        check_environment(&[("REDIS_HOST", "a"), ("REDIS_PORT", "1")], Ok("pubsub redis://a:1"));
        check_environment(&[("REDIS_HOST", "a:1"), ("REDIS_PORT", "1")], Ok("pubsub redis://a:1"));
        let link = ("REDIS_PORT", "tcp://10.0.0.1:6379");
        check_environment(&[("REDIS_HOST", "a"), link], Ok("pubsub redis://a"));
        check_environment(
            &[("REDIS_HOST", "a"), ("REDIS_URL", "rediss://:p@b")],
            Ok("pubsub rediss://:********@b"),
        );
        check_environment(
            &[("REDIS_URL", "rediss://b"), ("RINGWAY_RELAY_URL", "redis://c")],
            Ok("pubsub redis://c"),
        );
        check_environment(&[("REDIS_HOST", "a b")], Err("REDIS_HOST = \"a b\" (environment"));
        check_environment(&[("REDIS_HOST", "a"), ("REDIS_PORT", "x")], Err("not a port"));
        check_environment(
            &[("REDIS_HOST", "a:1"), ("REDIS_PORT", "2")],
            Err("REDIS_PORT = \"2\" (environment REDIS_PORT): REDIS_HOST names port 1 already"),
        );
    }

    #[test]
    fn passwords_in_urls_are_never_shown() {
        check_environment(&[("RINGWAY_RELAY_URL_FILE", "/url")], Ok("pubsub redis://:********@a"));
        let loaded = load(&sources(&[("REDIS_URL", "redis://u:hunter2@a")], &[])).unwrap();
        assert!(!format!("{loaded:?}").contains("hunter2"));
        for wrong in
            ["redis://u:hunter2@a:b", "u:hunter2@a", "redis://u:hunter2", "redis://hunter2@"]
        {
            let error = load(&sources(&[("REDIS_URL", wrong)], &[])).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
            let error = load(&sources(&[], &[("relay.ur", wrong)])).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
            let error = load(&sources(&[], &[("nothing.alike", wrong)])).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_redis_that_is_not_used_is_warned_about_without_its_password() {
        let flags = [("relay.mode", "embedded"), ("relay.url", "redis://:hunter2@a")];
        let warnings = load(&sources(&[], &flags)).unwrap().warnings;
        let expected = "relay.url (flag --set) is set, but relay.mode is embedded: messages reach \
                        the clients of this process only";
        assert_eq!(warnings, [expected]);
    }
}
