//! `auth.*` and `[[rule]]`: who may enter, and what they may.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::settings::Secret;
use crate::config::value::Values;

/// `auth.*`: who may enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSettings {
    /// How users prove who they are, as asked for; [`AuthSettings::is_on`] says what runs.
    pub mode: AuthMode,
    /// Patterns of the origins whose pages may connect; none means the same origin only.
    pub origins: Vec<String>,
    /// Where tokens may stand.
    pub sources: Vec<String>,
    /// The cookie in which one may stand.
    pub cookie: Option<String>,
    /// The query parameter in which one may stand.
    pub query: Option<String>,
    /// Whether all origins may use the cookie.
    pub cookie_any_origin: bool,
    /// `auth.jwt.*`
    pub jwt: JwtSettings,
}

/// `auth.jwt.*`: how tokens are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// The HMAC secret.
    pub secret: Option<Secret>,
    /// The file of keys.
    pub keys: Option<PathBuf>,
    /// Where keys are fetched.
    pub jwks_url: Option<String>,
    /// The authorities of its certificate.
    pub jwks_ca: Option<PathBuf>,
    /// How often they are fetched.
    pub jwks_refresh: Duration,
    /// How soon again when one is missing.
    pub jwks_cooldown: Duration,
    /// Accepted issuers.
    pub issuer: Vec<String>,
    /// Accepted audiences.
    pub audience: Vec<String>,
    /// Where the user's id is.
    pub user_claim: String,
    /// Where the roles are.
    pub roles_claim: String,
    /// What must be there.
    pub required_claims: Vec<String>,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// Longest token.
    pub token_bytes: usize,
    /// How many are remembered.
    pub remembered: usize,
    /// When a session is warned.
    pub renewal_notice: Duration,
}

impl JwtSettings {
    /// Whether there is any key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.secret.is_some() || self.keys.is_some() || self.jwks_url.is_some()
    }
}

impl AuthSettings {
    /// Whether tokens are needed.
    #[must_use]
    pub fn is_on(&self) -> bool {
        match self.mode {
            AuthMode::Auto => self.jwt.has_key(),
            AuthMode::Jwt => true,
            AuthMode::Off => false,
        }
    }

    /// Whether tokens may stand in the source of this name.
    #[must_use]
    pub fn takes(&self, source: &str) -> bool {
        self.sources.iter().any(|it| it == source)
    }

    pub(super) fn build(values: &mut Values) -> Self {
        Self {
            mode: values.choice("auth.mode", AuthMode::NAMES),
            origins: values.list("auth.origins"),
            sources: values.list("auth.sources"),
            cookie: values.text_or_none("auth.cookie"),
            query: values.text_or_none("auth.query"),
            cookie_any_origin: values.switch("auth.cookie_any_origin"),
            jwt: JwtSettings {
                secret: values.text_or_none("auth.jwt.secret").map(Secret::new),
                keys: values.text_or_none("auth.jwt.keys").map(PathBuf::from),
                jwks_url: values.text_or_none("auth.jwt.jwks_url"),
                jwks_ca: values.text_or_none("auth.jwt.jwks_ca").map(PathBuf::from),
                jwks_refresh: values.time("auth.jwt.jwks_refresh"),
                jwks_cooldown: values.time("auth.jwt.jwks_cooldown"),
                issuer: values.list("auth.jwt.issuer"),
                audience: values.list("auth.jwt.audience"),
                user_claim: values.text("auth.jwt.user_claim"),
                roles_claim: values.text("auth.jwt.roles_claim"),
                required_claims: values.list("auth.jwt.required_claims"),
                leeway: values.time("auth.jwt.leeway"),
                token_bytes: values.number("auth.jwt.token_bytes"),
                remembered: values.number("auth.jwt.remembered"),
                renewal_notice: values.time("auth.jwt.renewal_notice"),
            },
        }
    }
}

/// `auth.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Tokens as soon as there is a key.
    Auto,
    /// Tokens.
    Jwt,
    /// Nobody proves anything; the CONNECT `login` is believed.
    Off,
}

impl AuthMode {
    pub(super) const NAMES: &[(&str, Self)] =
        &[("auto", Self::Auto), ("jwt", Self::Jwt), ("off", Self::Off)];
}

/// `[[rule]]`: what users may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSettings {
    /// Where they may subscribe; patterns in which `{claims.<path>}` may stand.
    pub subscribe: Vec<String>,
    /// Where they may send.
    pub send: Vec<String>,
    /// Who: users with one of these roles, or everybody.
    pub roles: Vec<String>,
    /// Who: users whose claims have these values.
    pub claims: Vec<(String, String)>,
}
