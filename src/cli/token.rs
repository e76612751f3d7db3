//! `ringway token`: a token to try things with. For development only: whoever can make tokens is
//! everybody.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use serde_json::Map;
use serde_json::Value;

use crate::cli::EXIT_START;
use crate::cli::say;
use crate::config::Loaded;
use crate::config::settings::AuthSettings;
use crate::policy::auth::SigningKey;

/// What the token is to say, and who signs it.
#[derive(Clone, Debug, Args)]
pub(super) struct TokenArgs {
    /// The user
    #[arg(long, default_value = "dev")]
    user: String,
    /// A role; repeatable
    #[arg(long)]
    role: Vec<String>,
    /// Another claim; the value is JSON where it can be, else a text; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    claim: Vec<String>,
    /// Seconds until it expires; below zero it has expired already
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, allow_negative_numbers = true)]
    expires_in: i64,
    /// Sign with this private key (PEM) instead of `auth.jwt.secret`
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Name the key
    #[arg(long)]
    kid: Option<String>,
    /// Sign with this algorithm, such as HS512 or PS256, instead of the key's first
    #[arg(long)]
    alg: Option<String>,
}

/// Prints the token; what was wrong is one line and exit code 2.
pub(super) fn run(loaded: &Loaded, args: &TokenArgs) -> ExitCode {
    match make(&loaded.settings.auth, args, unix_seconds()) {
        Ok(token) => {
            eprintln!("ringway: for development only; a real token comes from who knows the user");
            say(&format!("{token}\n"))
        }
        Err(why) => {
            eprintln!("ringway: token: {why}");
            ExitCode::from(EXIT_START)
        }
    }
}

fn make(auth: &AuthSettings, args: &TokenArgs, now: i64) -> Result<String, String> {
    let mut key = match (&args.key, &auth.jwt.secret) {
        (Some(path), _) => {
            let pem = std::fs::read(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            SigningKey::private_pem(&pem).map_err(|error| error.0)?
        }
        (None, Some(secret)) => SigningKey::secret(secret.reveal().as_bytes()),
        (None, None) => {
            return Err("no key: give --key FILE, or set auth.jwt.secret (or JWT_SECRET)".into());
        }
    };
    if let Some(name) = &args.alg {
        key = key.with_algorithm(name).map_err(|error| error.0)?;
    }
    if let Some(kid) = &args.kid {
        key = key.with_kid(kid);
    }
    key.sign(&claims(auth, args, now)?).map_err(|error| error.0)
}

fn claims(auth: &AuthSettings, args: &TokenArgs, now: i64) -> Result<Value, String> {
    let mut claims = Map::new();
    put(&mut claims, &auth.jwt.user_claim, args.user.clone().into());
    if !args.role.is_empty() {
        put(&mut claims, &auth.jwt.roles_claim, args.role.clone().into());
    }
    if let Some(issuer) = auth.jwt.issuer.first() {
        put(&mut claims, "iss", issuer.clone().into());
    }
    if let Some(audience) = auth.jwt.audience.first() {
        put(&mut claims, "aud", audience.clone().into());
    }
    put(&mut claims, "iat", now.into());
    put(&mut claims, "exp", now.saturating_add(args.expires_in).max(0).into());
    for claim in &args.claim {
        let (name, text) = claim.split_once('=').ok_or("--claim needs NAME=VALUE")?;
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        put(&mut claims, name, value);
    }
    Ok(Value::Object(claims))
}

/// Puts a value where the path with dots leads.
fn put(claims: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            claims.insert(path.to_owned(), value);
        }
        Some((name, rest)) => {
            let inner = claims.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a command of its own: there is no shard's clock")]
fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::settings::Secret;
    use crate::config::settings::Settings;
    use crate::policy::auth::ClaimOptions;
    use crate::policy::auth::ClaimPath;
    use crate::policy::auth::Key;
    use crate::policy::auth::KeySet;
    use crate::policy::auth::Options;
    use crate::policy::auth::Verifier;

    fn texts(list: &[Box<str>]) -> Vec<&str> {
        list.iter().map(|it| &**it).collect()
    }

    #[test]
    fn a_token_says_what_it_was_asked_to_and_is_believed() {
        let secret = "0123456789abcdef0123456789abcdef";
        let mut auth = Settings::default().auth;
        auth.jwt.secret = Some(Secret::new(secret.into()));
        auth.jwt.roles_claim = "realm.roles".into();
        auth.jwt.issuer = vec!["here".into()];
        let args = TokenArgs {
            user: "amy".into(),
            role: vec!["admin".into()],
            claim: vec!["rooms=[1,2]".into(), "plan=gold".into()],
            expires_in: 60,
            key: None,
            kid: None,
            alg: None,
        };
        let token = make(&auth, &args, 1_000).unwrap();
        let path = ClaimPath::new;
        let claims = ClaimOptions {
            issuers: auth.jwt.issuer.clone(),
            audiences: Vec::new(),
            leeway_ms: 0,
            required: vec![path("exp")],
            user: path("sub"),
            roles: path("realm.roles"),
            kept: vec![path("rooms"), path("plan")],
        };
        let options = Options { claims, token_bytes_max: 4096, remembered_max: 2 };
        let keys = KeySet::new(vec![Key::secret(secret.as_bytes()).unwrap()], 1);
        let mut verifier = Verifier::new(options, Arc::new(keys));
        let standing = verifier.verify(1_059_999, &token).unwrap();
        assert_eq!(&*standing.claims().user, "amy");
        assert_eq!(texts(&standing.claims().roles), ["admin"]);
        assert_eq!(texts(standing.claims().values(&path("rooms"))), ["1", "2"]);
        assert_eq!(texts(standing.claims().values(&path("plan"))), ["gold"]);
        assert!(verifier.verify(1_060_000, &token).is_err());
        assert!(make(&Settings::default().auth, &args, 1_000).unwrap_err().contains("no key"));
        let wrong = TokenArgs { alg: Some("ES256".into()), ..args };
        assert!(make(&auth, &wrong, 1_000).unwrap_err().contains("ES256"));
        // A server takes no secret for an algorithm that it is too short for.
        for (alg, bytes, expected) in
            [("HS384", 47, false), ("HS384", 48, true), ("HS512", 63, false), ("HS512", 64, true)]
        {
            auth.jwt.secret = Some(Secret::new("s".repeat(bytes)));
            let args = TokenArgs { alg: Some(alg.into()), ..wrong.clone() };
            let made = make(&auth, &args, 1_000);
            assert_eq!(made.is_ok(), expected, "{alg} {bytes}: {made:?}");
            let told = |why: &String| why.contains(&format!("this one has {bytes}"));
            assert!(made.is_ok() || made.as_ref().is_err_and(told), "{made:?}");
        }
    }
}
