//! The configuration read again while the server runs: what is live changes, the rest stays.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::error::ConfigError;
use crate::config::knob::Knob;
use crate::config::load::Entry;
use crate::config::load::Loaded;
use crate::config::load::assemble;
use crate::config::load::load;
use crate::config::settings::MASK;

/// What reading again came to.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The configuration that holds from now on.
    pub loaded: Loaded,
    /// What is different in the sources, applied or not.
    pub changes: Vec<Change>,
}

/// One difference; its text shows no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whether the new value holds from now on; if not, it needs a restart.
    pub is_applied: bool,
    text: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Live settings that a relay through Redis is told at its start: what is larger than it was told
/// would be published, and dropped when it comes back.
const SHARED_WITH_REDIS: [&str; 2] = ["limits.message_bytes", "limits.destination_bytes"];

/// Reads the sources of `current` again.
///
/// # Errors
///
/// As [`load`], also for live values that contradict those that stay; then nothing is to change.
pub fn reload(current: &Loaded) -> Result<Reloaded, ConfigError> {
    let read = load(&current.sources)?;
    let is_redis = current.settings.relay.is_redis();
    let is_live = |knob: &Knob| knob.live && !(is_redis && SHARED_WITH_REDIS.contains(&knob.key));
    let mut changes = Vec::new();
    let mut effective = BTreeMap::new();
    for (old, new) in current.entries.iter().zip(&read.entries) {
        assert!(old.knob.key == new.knob.key, "both stand in the order of the catalogue");
        if old.value != new.value {
            changes.push(change(old, new, is_live(new.knob)));
        }
        let kept = if is_live(new.knob) { new } else { old };
        effective.insert(kept.knob.key, (kept.value.clone(), kept.origin.clone()));
    }
    if current.settings.routes != read.settings.routes {
        let [old, new] = [current, &read].map(|it| it.settings.routes.len());
        let text = format!("routes: {old} until now, {new} from now on");
        changes.push(Change { is_applied: true, text });
    }
    if current.settings.rules != read.settings.rules {
        let text = "rules: others than until now".to_owned();
        changes.push(Change { is_applied: true, text });
    }
    let rules = read.settings.rules;
    let routes = read.settings.routes.into_iter().zip(read.route_origins).collect();
    let loaded = assemble(effective, routes, rules, &current.sources)?;
    Ok(Reloaded { loaded, changes })
}

fn change(old: &Entry, new: &Entry, is_applied: bool) -> Change {
    let shown = |it: &Entry| if it.knob.secret { MASK.to_owned() } else { it.value.to_string() };
    let Entry { knob, origin, .. } = new;
    let (old, new) = (shown(old), shown(new));
    let text = if is_applied {
        format!("{}: {old} until now, {new} ({origin}) from now on", knob.key)
    } else {
        format!("{}: stays {old}, {new} ({origin}) needs a restart", knob.key)
    };
    Change { is_applied, text }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::source::Sources;

    const BEFORE: &str =
        "server.cores = 2\nlimits.refusals = 5\nadmin.token = 'a-long-token-one'\n";

    /// Loads `before` from a file, puts `after` in its place and reads it again.
    fn reload_as(before: &str, after: &str) -> (Loaded, Result<Reloaded, String>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ringway.toml");
        fs::write(&path, before).expect("room");
        let loaded = load(&Sources { file: Some(path.clone()), ..Sources::default() });
        let loaded = loaded.expect("valid");
        fs::write(&path, after).expect("room");
        let reloaded = reload(&loaded);
        (loaded, reloaded.map_err(|it| without(&it.to_string(), &path)))
    }

    fn without(text: &str, path: &Path) -> String {
        text.replace(&path.display().to_string(), "file")
    }

    #[track_caller]
    fn check(before: &str, after: &str, expected: &[&str]) -> Reloaded {
        let (loaded, reloaded) = reload_as(before, after);
        let reloaded = reloaded.expect("valid");
        let path = loaded.file.expect("from a file");
        let texts: Vec<_> =
            reloaded.changes.iter().map(|it| without(&it.to_string(), &path)).collect();
        assert_eq!(texts, expected);
        reloaded
    }

    #[test]
    fn the_same_again_changes_nothing() {
        check(BEFORE, BEFORE, &[]);
        check(BEFORE, &format!("\n{BEFORE}"), &[]);
    }

    #[test]
    fn what_is_live_changes_and_what_is_not_stays_and_says_so() {
        let after = "server.cores = 4\nlimits.refusals = 6\nadmin.token = 'a-long-token-two'\n";
        let reloaded = check(
            BEFORE,
            after,
            &[
                "server.cores: stays 2, 4 (file:1) needs a restart",
                "admin.token: ******** until now, ******** (file:3) from now on",
                "limits.refusals: 5 until now, 6 (file:2) from now on",
            ],
        );
        let settings = reloaded.loaded.settings;
        assert_eq!(settings.server.cores, Some(2));
        assert_eq!(settings.limits.refusals, 6);
        let applied: Vec<_> = reloaded.changes.iter().map(|it| it.is_applied).collect();
        assert_eq!(applied, [false, true, true]);
    }

    #[test]
    fn what_a_relay_through_redis_was_told_stays() {
        let before = "relay.url = 'redis://a'\n";
        let after = "relay.url = 'redis://a'\nlimits.message_bytes = 4096\n";
        let stays = "limits.message_bytes: stays \"64KiB\", \"4KiB\" (file:2) needs a restart";
        let reloaded = check(before, after, &[stays]);
        assert_eq!(reloaded.loaded.settings.limits.message_bytes, 64 << 10);
        let takes = "limits.message_bytes: \"64KiB\" until now, \"4KiB\" (file:1) from now on";
        check("", "limits.message_bytes = 4096\n", &[takes]);
    }

    #[test]
    fn a_value_that_is_gone_is_its_default_again() {
        let after = "server.cores = 2\nadmin.token = 'a-long-token-one'\n";
        check(BEFORE, after, &["limits.refusals: 5 until now, 100 (default) from now on"]);
    }

    #[test]
    fn routes_are_taken_over() {
        let after = format!("{BEFORE}[[route]]\nmatch = '/app/x'\nto = '/topic/x'\n");
        let reloaded = check(BEFORE, &after, &["routes: 2 until now, 1 from now on"]);
        assert_eq!(reloaded.loaded.settings.routes.len(), 1);
        let forward = format!("{BEFORE}[[route]]\nmatch = '/app/x'\nforward = 'ringway:x'\n");
        assert!(reload_as(BEFORE, &forward).1.unwrap_err().contains("a stream is kept by Redis"));
    }

    #[test]
    fn a_bad_file_is_an_error_and_so_is_a_live_value_against_one_that_stays() {
        let (_, reloaded) = reload_as(BEFORE, "limits.refusals = 'many'\n");
        let error = reloaded.unwrap_err();
        assert!(error.starts_with("limits.refusals = \"many\" (file:1): "), "{error}");
        // The listener would have become a private one, too, but not before a restart.
        let before = "admin.listen = '0.0.0.0:9090'\nadmin.token = 'a-long-token-one'\n";
        let error = reload_as(before, "admin.listen = '127.0.0.1:9090'\n").1.unwrap_err();
        assert!(error.contains("there is no admin.token"), "{error}");
    }
}
