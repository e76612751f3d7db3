//! From the settings of authentication to what shards and sessions are told.

use std::sync::Arc;

use crate::broker::session;
use crate::config::settings::AuthSettings;
use crate::policy::auth;
use crate::policy::auth::ClaimPath;
use crate::policy::auth::KeySet;
use crate::policy::rules::Rules;
use crate::proto::http::credentials::Sources;
use crate::shard::AuthOptions;

/// What sessions are told, where tokens are needed.
pub(super) fn session_options(auth: &AuthSettings) -> Option<session::AuthOptions> {
    auth.is_on().then(|| session::AuthOptions {
        takes_authorization: auth.takes("authorization"),
        takes_token: auth.takes("token"),
        takes_passcode: auth.takes("passcode"),
        notice: auth.jwt.renewal_notice,
    })
}

/// What a shard is told, where tokens are needed.
pub(super) fn shard_options(
    settings: &AuthSettings,
    rules: &Rules,
    keys: Arc<KeySet>,
) -> Option<AuthOptions> {
    if !settings.is_on() {
        return None;
    }
    let AuthSettings { jwt, cookie, query, .. } = settings;
    let paths = |list: &[String]| list.iter().map(|it| ClaimPath::new(it)).collect();
    Some(AuthOptions {
        verifier: auth::Options {
            claims: auth::ClaimOptions {
                issuers: jwt.issuer.clone(),
                audiences: jwt.audience.clone(),
                leeway_ms: u64::try_from(jwt.leeway.as_millis()).unwrap_or(u64::MAX),
                required: paths(&jwt.required_claims),
                user: ClaimPath::new(&jwt.user_claim),
                roles: ClaimPath::new(&jwt.roles_claim),
                kept: rules.claim_paths(),
            },
            token_bytes_max: jwt.token_bytes,
            remembered_max: jwt.remembered,
        },
        keys,
        learns_keys: jwt.jwks_url.is_some(),
        sources: Sources {
            has_authorization: settings.takes("http"),
            cookie: cookie.clone(),
            query: query.clone(),
            has_subprotocol: settings.takes("subprotocol"),
        },
    })
}
