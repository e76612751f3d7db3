//! What must be true of the settings of authentication together.

use crate::config::error::ConfigError;
use crate::config::error::Wrong;
use crate::config::load::Loaded;
use crate::config::settings::AuthMode;
use crate::config::settings::ProxyProtocol;
use crate::config::settings::RuleSettings;
use crate::policy::auth::Key;
use crate::policy::rules::Action;
use crate::policy::rules::RuleError;
use crate::policy::rules::RuleOptions;
use crate::policy::rules::Rules;
use crate::stdx::cidr::Cidr;

impl Loaded {
    /// Finds settings of authentication that are valid alone and wrong together.
    pub(super) fn auth_contradictions(&self) -> Result<(), ConfigError> {
        let auth = &self.settings.auth;
        if auth.mode == AuthMode::Jwt && !auth.jwt.has_key() {
            return Err(self.wrong(
                "auth.mode",
                "there is no key to check tokens with",
                "set auth.jwt.secret (or JWT_SECRET), auth.jwt.keys or auth.jwt.jwks_url",
            ));
        }
        if let Some(secret) = &auth.jwt.secret
            && let Err(error) = Key::secret(secret.reveal().as_bytes())
        {
            let remedy = "make one with: openssl rand -base64 48";
            return Err(self.wrong("auth.jwt.secret", &error.0, remedy));
        }
        if let Some(url) = &auth.jwt.jwks_url
            && !url.starts_with("https://")
            && !url.starts_with("http://")
        {
            let remedy = "begin with https://";
            return Err(self.wrong("auth.jwt.jwks_url", "not a URL of HTTP", remedy));
        }
        let has_all = auth.origins.iter().any(|it| it == "*");
        if auth.is_on() && auth.cookie.is_some() && has_all && !auth.cookie_any_origin {
            return Err(self.wrong(
                "auth.origins",
                "any page could connect with the cookie of whoever looks at it",
                "name the origins, or set auth.cookie_any_origin as well",
            ));
        }
        if auth.cookie_any_origin && (auth.cookie.is_none() || !has_all) {
            return Err(self.wrong(
                "auth.cookie_any_origin",
                "it confirms what is not there",
                "set auth.cookie and auth.origins = \"*\" beside it, or remove it",
            ));
        }
        self.proxy_contradictions()?;
        self.rules().map(drop)
    }

    fn proxy_contradictions(&self) -> Result<(), ConfigError> {
        let admission = &self.settings.admission;
        if let Some(wrong) = admission.trusted_proxies.iter().find(|it| Cidr::parse(it).is_none()) {
            let problem = format!("{wrong} is no address and no range");
            let remedy = "write 10.0.0.0/8, with no bits behind the length, or fc00::/7";
            return Err(self.wrong("server.trusted_proxies", &problem, remedy));
        }
        let is_on = admission.proxy_protocol != ProxyProtocol::Off;
        if is_on && self.settings.tls.is_some() {
            let problem = "it would stand before the TLS of tls.cert, where it is not looked for";
            let remedy = "let the load balancer end TLS, or have it pass on without the protocol";
            return Err(self.wrong("server.proxy_protocol", problem, remedy));
        }
        if is_on && admission.trusted_proxies.is_empty() {
            let problem = "nobody is trusted to speak it";
            let remedy = "name the load balancer's addresses in server.trusted_proxies";
            return Err(self.wrong("server.proxy_protocol", problem, remedy));
        }
        Ok(())
    }

    /// The rules that were given, or else those of the contract.
    ///
    /// # Errors
    ///
    /// The first that cannot work.
    pub fn rules(&self) -> Result<Rules, ConfigError> {
        let Some(rows) = &self.settings.rules else {
            return Ok(Rules::default_for(self.settings.auth.is_on()));
        };
        let options: Vec<RuleOptions> = rows.iter().flat_map(options_of).collect();
        Rules::new(&options).map_err(|RuleError(problem)| {
            ConfigError::from(Wrong {
                subject: "rule".into(),
                value: None,
                origin: None,
                problem,
                remedy: "correct that pattern".into(),
            })
        })
    }

    /// What the operator should know about authentication.
    pub(super) fn auth_warnings(&self) -> Vec<String> {
        let settings = &self.settings;
        let auth = &settings.auth;
        let mut warnings = Vec::new();
        let listen = settings.server.listen;
        if !auth.is_on() && !listen.ip().is_loopback() {
            warnings.push(format!(
                "{listen} is reachable from outside and authentication is off: whoever reaches it \
                 may send to every destination under any name"
            ));
        }
        if auth.mode == AuthMode::Off && auth.jwt.has_key() {
            warnings.push(
                "auth.mode is off although there is a key: tokens are not checked".to_owned(),
            );
        }
        if auth.jwt.jwks_url.as_ref().is_some_and(|it| it.starts_with("http://")) {
            warnings.push(
                "auth.jwt.jwks_url is without TLS: whoever is on the way can give us keys"
                    .to_owned(),
            );
        }
        warnings
    }
}

/// One row of the rules per pattern.
fn options_of(row: &RuleSettings) -> impl Iterator<Item = RuleOptions> {
    let subscribe = row.subscribe.iter().map(|it| (Action::Subscribe, it));
    let all = subscribe.chain(row.send.iter().map(|it| (Action::Send, it)));
    all.map(|(action, pattern)| RuleOptions {
        action,
        pattern: pattern.clone(),
        roles: row.roles.clone(),
        claims: row.claims.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::load;
    use crate::config::source::Flag;
    use crate::config::source::Sources;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn loaded(environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, String> {
        let flag =
            |it: &(&str, &str)| Flag { flag: "--set".into(), key: it.0.into(), value: it.1.into() };
        let environment = environment.iter().map(|it| (it.0.into(), it.1.into())).collect();
        let flags = flags.iter().map(flag).collect();
        load(&Sources { environment, flags, ..Sources::default() }).map_err(|it| it.to_string())
    }

    #[track_caller]
    fn check(flags: &[(&str, &str)], expected: Result<bool, &str>) {
        match (loaded(&[], flags), expected) {
            (Ok(loaded), Ok(is_on)) => assert_eq!(loaded.settings.auth.is_on(), is_on, "{flags:?}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (actual, expected) => panic!("{flags:?}: {actual:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_key_turns_authentication_on_and_off_must_be_written() {
        check(&[], Ok(false));
        check(&[("auth.jwt.secret", SECRET)], Ok(true));
        check(&[("auth.jwt.jwks_url", "https://issuer.example/keys")], Ok(true));
        check(&[("auth.jwt.keys", "/keys.json")], Ok(true));
        check(&[("auth.jwt.secret", SECRET), ("auth.mode", "off")], Ok(false));
        check(&[("auth.mode", "jwt")], Err("there is no key"));
        check(&[("auth.jwt.secret", "short")], Err("too short"));
        let pem = "-----BEGIN PUBLIC KEY-----abcdefghijk";
        check(&[("auth.jwt.secret", pem)], Err("PEM"));
        check(&[("auth.jwt.jwks_url", "file:///etc/keys")], Err("not a URL"));
        check(&[("auth.sources", "token,telepathy")], Err("telepathy"));
    }

    #[test]
    fn the_deployment_gives_its_secret_in_its_own_variable() {
        let by_variable = loaded(&[("JWT_SECRET", SECRET)], &[]).expect("valid");
        assert!(by_variable.settings.auth.is_on());
        let both = [("JWT_SECRET", "x"), ("RINGWAY_AUTH_JWT_SECRET", SECRET)];
        let ours = loaded(&both, &[]).expect("our own name wins");
        assert_eq!(ours.settings.auth.jwt.secret.expect("given").reveal(), SECRET);
        let error = loaded(&[("JWT_SECRET", "hunter2")], &[]).expect_err("too short");
        assert!(error.contains("JWT_SECRET") && !error.contains("hunter2"), "{error}");
        assert!(loaded(&[("JWT_SECRET", "")], &[]).is_ok_and(|it| !it.settings.auth.is_on()));
    }

    #[test]
    fn all_origins_with_a_cookie_are_asked_for_twice() {
        let base = [("auth.jwt.secret", SECRET), ("auth.cookie", "session"), ("auth.origins", "*")];
        check(&base, Err("any page could connect"));
        check(&[&base[..], &[("auth.cookie_any_origin", "true")]].concat(), Ok(true));
        check(&base[..2], Ok(true));
        // Alone it would look as if it did something.
        let confirmed = ("auth.cookie_any_origin", "true");
        for beside in [&base[..0], &base[..1], &base[..2], &[base[0], base[2]]] {
            let flags = [beside, &[confirmed]].concat();
            check(&flags, Err("it confirms what is not there"));
        }
    }

    #[test]
    fn proxies_are_ranges_and_somebody_must_be_trusted() {
        let trusted = ("server.trusted_proxies", "10.0.0.0/8, ::1");
        check(&[trusted, ("server.proxy_protocol", "required")], Ok(false));
        check(&[("server.proxy_protocol", "optional")], Err("nobody is trusted"));
        check(&[("server.trusted_proxies", "10.0.0.1/8")], Err("10.0.0.1/8 is no address"));
    }

    #[test]
    fn what_is_open_is_warned_about() {
        let warnings = |flags: &[(&str, &str)]| loaded(&[], flags).expect("valid").warnings.len();
        let outside = ("server.listen", "0.0.0.0:80");
        assert_eq!(warnings(&[]), 0);
        assert_eq!(warnings(&[outside]), 1);
        assert_eq!(warnings(&[outside, ("auth.jwt.secret", SECRET)]), 0);
        assert_eq!(warnings(&[("auth.mode", "off"), ("auth.jwt.secret", SECRET)]), 1);
        assert_eq!(warnings(&[("auth.jwt.jwks_url", "http://issuer.example/")]), 1);
    }
}
