//! `ringway revoke` and `ringway disconnect`: an operator's word to every task that shares the
//! Redis of this configuration.

use std::process::ExitCode;

use clap::Args;

use crate::cli::EXIT_FAILURE;
use crate::cli::EXIT_START;
use crate::cli::say;
use crate::config::Loaded;
use crate::fleet::Fleet;
use crate::fleet::Word;
use crate::io::clock::Clock;
use crate::policy::auth::Revocation;
use crate::policy::auth::USER_BYTES_MAX;
use crate::policy::auth::Whom;

/// Which tokens are to be worth nothing any more.
#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The token of this `jti`
    #[arg(long, required_unless_present = "user", conflicts_with = "user")]
    jti: Option<String>,
    /// All tokens of this user that were issued until now
    #[arg(long)]
    user: Option<String>,
    /// Seconds until all of them have expired, so that the revocation can be forgotten
    #[arg(long, value_name = "SECONDS", default_value_t = 30 * 24 * 3600)]
    keep_for: u64,
}

/// Whose sessions are to end.
#[derive(Debug, Args)]
pub(super) struct DisconnectArgs {
    /// The user
    #[arg(long)]
    user: String,
}

/// Revokes.
pub(super) fn revoke(loaded: &Loaded, args: &RevokeArgs) -> ExitCode {
    tell(loaded, |now_ms| {
        let whom = match (&args.jti, &args.user) {
            (Some(jti), _) => Whom::Token(name(jti)?),
            (None, user) => {
                let id = name(user.as_deref().unwrap_or_default())?;
                Whom::User { id, issued_until_ms: now_ms }
            }
        };
        let until_ms = now_ms.saturating_add(args.keep_for.saturating_mul(1000));
        Ok(Word::Revoke(Revocation { whom, until_ms }))
    })
}

/// Ends the sessions of a user.
pub(super) fn disconnect(loaded: &Loaded, args: &DisconnectArgs) -> ExitCode {
    tell(loaded, |_| Ok(Word::Disconnect(name(&args.user)?)))
}

fn name(text: &str) -> Result<Box<str>, String> {
    if text.is_empty() || USER_BYTES_MAX < text.len() {
        return Err(format!("a name has 1 to {USER_BYTES_MAX} bytes"));
    }
    Ok(text.into())
}

fn tell(loaded: &Loaded, word: impl FnOnce(u64) -> Result<Word, String>) -> ExitCode {
    let wrong = |why: String| {
        eprintln!("ringway: {why}");
        ExitCode::from(EXIT_START)
    };
    let fleet = match Fleet::new(&loaded.settings.relay) {
        Ok(Some(fleet)) => fleet,
        Ok(None) => {
            return wrong(
                "needs relay.url and relay.hmac_key, those of the fleet: tasks hear operators \
                 through Redis, and obey what is signed"
                    .to_owned(),
            );
        }
        Err(why) => return wrong(why),
    };
    let clock = Clock::start();
    let now_ms = clock.now(clock.unix_start_ms()).unix_ms;
    let word = match word(now_ms) {
        Ok(word) => word,
        Err(why) => return wrong(why),
    };
    match fleet.say(now_ms, &word) {
        Ok(count) => say(&format!("told; cores that heard it: {count}\n")),
        Err(why) => {
            eprintln!("ringway: {why}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}
