//! What the settings lead to before anything starts: the files that they name, and tables that
//! only the upper layers understand. `config check` ends here; `serve` goes on with what was read.

use crate::config::ConfigError;
use crate::config::HistoryUrl;
use crate::config::Loaded;
use crate::config::settings::RelaySettings;
use crate::config::settings::TlsSettings;
use crate::io::tls;
use crate::io::tls::FileOf;
use crate::io::tls::Unusable;
use crate::server::keys::Keeper;
use crate::server::options;
use crate::shard::link;

/// What was read, and can serve.
#[derive(Debug)]
pub struct Files {
    pub(super) keys: Keeper,
    /// Where the public listener speaks TLS.
    pub(super) certificate: Option<tls::Server>,
    /// Where Redis does.
    pub(super) relay_tls: Option<link::Tls>,
}

/// Reads what the settings name.
///
/// # Errors
///
/// The first that cannot serve: the setting, the file, and what to do.
pub fn read(loaded: &Loaded) -> Result<Files, ConfigError> {
    let settings = &loaded.settings;
    options::router(settings).map_err(|error| {
        let problem = error.0.strip_prefix("route ").unwrap_or(&error.0);
        ConfigError::of("route", problem, "correct that row")
    })?;
    options::origins(settings).map_err(|error| {
        loaded.wrong("auth.origins", &error, "give origins such as https://example.com")
    })?;
    let keys = Keeper::new(&settings.auth).map_err(|(key, problem)| {
        let remedy = match key {
            "auth.jwt.secret" => "make one with: openssl rand -base64 48",
            "auth.jwt.keys" => "give a JWK set, or public keys in PEM (-----BEGIN PUBLIC KEY-----)",
            _ => "give certificates of authorities in PEM (-----BEGIN CERTIFICATE-----)",
        };
        loaded.wrong(key, &problem, remedy)
    })?;
    let certificate = certificate(settings.tls.as_ref())
        .map_err(|(key, problem)| loaded.wrong(key, &problem, remedy_of(key)))?;
    let relay_tls = relay_tls(&settings.relay)
        .map_err(|problem| loaded.wrong("relay.tls_ca", &problem, remedy_of("relay.tls_ca")))?;
    let history = &settings.history;
    if history.tls && matches!(history.url, HistoryUrl::Mysql { .. }) {
        let files = tls::ClientFiles { ca: history.tls_ca.clone(), certificate_and_key: None };
        tls::Client::load(&files).map_err(|error| {
            loaded.wrong("history.tls_ca", &error.to_string(), remedy_of("history.tls_ca"))
        })?;
    }
    Ok(Files { keys, certificate, relay_tls })
}

/// The certificate of the public listener; else which setting is wrong, and why.
pub(super) fn certificate(
    settings: Option<&TlsSettings>,
) -> Result<Option<tls::Server>, (&'static str, String)> {
    let Some(settings) = settings else { return Ok(None) };
    let files = tls::ServerFiles {
        certificate: settings.cert.clone(),
        key: settings.key.clone(),
        client_ca: settings.client_ca.clone(),
    };
    let told = |Unusable { of, text }: Unusable| match of {
        FileOf::Certificate => ("tls.cert", text),
        FileOf::Key => ("tls.key", text),
        FileOf::Authorities => ("tls.client_ca", text),
    };
    tls::Server::load(&files).map(Some).map_err(told)
}

/// What the links to Redis need; else what is wrong with `relay.tls_ca`.
fn relay_tls(relay: &RelaySettings) -> Result<Option<link::Tls>, String> {
    if !relay.is_redis() || !relay.is_tls() {
        return Ok(None);
    }
    let files = tls::ClientFiles { ca: relay.tls_ca.clone(), certificate_and_key: None };
    let config = tls::Client::load(&files).map_err(|error| error.to_string())?;
    let server_name = relay.tls_server_name.as_deref().map(Box::from);
    Ok(Some(link::Tls { config, server_name }))
}

fn remedy_of(key: &str) -> &'static str {
    match key {
        "tls.cert" => {
            "give the certificate in PEM (-----BEGIN CERTIFICATE-----), then those that lead from \
             it to its authority"
        }
        "tls.key" => {
            "give the key of tls.cert in PEM without a passphrase (-----BEGIN PRIVATE KEY-----)"
        }
        _ => "give certificates of authorities in PEM (-----BEGIN CERTIFICATE-----)",
    }
}
