//! `config print`: the effective configuration as TOML, with where each value came from.

use std::fmt::Write;

use crate::config::load::Entry;
use crate::config::load::Loaded;
use crate::config::resolve::Resolved;
use crate::config::settings::MASK;
use crate::config::settings::RouteTarget;
use crate::config::source::Origin;
use crate::config::value::Bytes;
use crate::config::value::Value;

/// Renders `loaded` as a file that `--config` takes, and which gives the same values again.
///
/// Secrets are masked and commented out, so that the mask never becomes a secret; for `auto`, the
/// comment says what it is on this host.
#[must_use]
pub fn print(loaded: &Loaded, resolved: &Resolved) -> String {
    let mut text = String::new();
    let mut section = "";
    for entry in &loaded.entries {
        let knob = entry.knob;
        if knob.section() != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = knob.section();
            writeln!(text, "{gap}[{section}]").expect(INFALLIBLE);
        }
        let line = if entry.value == Value::None {
            format!("# {} is not set", knob.name())
        } else if knob.secret {
            format!("# {} = \"{MASK}\"", knob.name())
        } else if entry.value.is_masked() {
            format!("# {} = {}", knob.name(), entry.value)
        } else {
            format!("{} = {}", knob.name(), entry.value)
        };
        let here = if is_auto(entry) { here(knob.key, resolved) } else { String::new() };
        writeln!(text, "{line:<44} # {}{here}", one_line(&entry.origin)).expect(INFALLIBLE);
    }
    for (route, origin) in loaded.settings.routes.iter().zip(&loaded.route_origins) {
        let (key, target) = match &route.to {
            RouteTarget::Destination(to) => ("to", to),
            RouteTarget::Stream(stream) => ("forward", stream),
        };
        let [pattern, target] = [&route.pattern, target].map(|it| toml::Value::from(it.as_str()));
        let head = "[[route]]";
        writeln!(text, "\n{head:<44} # {}", one_line(origin)).expect(INFALLIBLE);
        writeln!(text, "match = {pattern}\n{key} = {target}").expect(INFALLIBLE);
        if key == "to" {
            writeln!(text, "history = {}", route.history).expect(INFALLIBLE);
        }
        if let Some(schema) = &route.schema {
            let file = toml::Value::from(schema.file.display().to_string());
            writeln!(text, "schema = {file}").expect(INFALLIBLE);
        }
    }
    text
}

const INFALLIBLE: &str = "a string takes any text";

/// A path may hold a line end, which would end the comment.
fn one_line(origin: &Origin) -> String {
    origin.to_string().replace(char::is_control, "?")
}

fn is_auto(entry: &Entry) -> bool {
    matches!(entry.value, Value::Auto | Value::Choice("auto"))
}

/// What `auto` is here, where that is known before the start.
fn here(key: &str, resolved: &Resolved) -> String {
    let bytes = |bytes: usize| format!("; here {}", Bytes(bytes as u64));
    match key {
        "server.cores" => format!("; here {}", resolved.cores),
        "server.pin" => format!("; here {}", if resolved.pin { "on" } else { "off" }),
        "limits.connections" => format!("; here {}", resolved.connections),
        "limits.outbox_bytes" => bytes(resolved.outbox_bytes),
        "limits.outbox_total_bytes" => bytes(resolved.outbox_total_bytes),
        "relay.mode" => format!("; here {}", resolved.relay.as_str()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::config::host::Host;
    use crate::config::load::load;
    use crate::config::resolve::resolve;
    use crate::config::source::Flag;
    use crate::config::source::Sources;

    const HOST: Host =
        Host { cpus: 2, cpu_quota_milli: None, memory_bytes: Some(4 << 30), nofile: 1 << 20 };

    fn load_with(flags: &[(&str, &str)]) -> Loaded {
        let flag =
            |it: &(&str, &str)| Flag { flag: "--set".into(), key: it.0.into(), value: it.1.into() };
        let flags = flags.iter().map(flag).collect();
        load(&Sources { flags, ..Sources::default() }).expect("valid")
    }

    #[test]
    fn what_is_printed_loads_as_the_same() {
        let before = load_with(&[
            ("server.listen", "127.0.0.1:0"),
            ("server.cores", "2"),
            ("server.ping_interval", "1500ms"),
            ("limits.message_bytes", "1000"),
            ("auth.origins", "https://a.example,http://localhost:*"),
            ("relay.url", "redis://[::1],redis://b:7000/0"),
            ("relay.linger_seconds", "0"),
            ("log.level", "info,ringway::io=debug"),
        ]);
        let mut file = tempfile::NamedTempFile::new().expect("a temporary folder");
        file.write_all(print(&before, &resolve(&before.settings, &HOST)).as_bytes()).expect("room");
        let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
        assert_eq!(load(&sources).expect("valid").settings, before.settings);
    }

    #[test]
    fn each_value_says_where_it_came_from_and_secrets_stay_hidden() {
        let loaded = load_with(&[("admin.token", "a-long-enough-token"), ("server.echo", "on")]);
        let text = print(&loaded, &resolve(&loaded.settings, &HOST));
        let has = |start: &str, end: &str| {
            let mut lines = text.lines();
            assert!(lines.any(|it| it.starts_with(start) && it.ends_with(end)), "{text}");
        };
        has("echo = true ", "# flag --set");
        has("cores = \"auto\" ", "# default; here 2");
        has("outbox_total_bytes = \"auto\" ", "# default; here 1GiB");
        has("# token = \"********\" ", "# flag --set");
        has("[[route]] ", "# default");
        assert!(!text.contains("enough"));

        let loaded = load_with(&[("relay.url", "redis://u:hunter2@a")]);
        let text = print(&loaded, &resolve(&loaded.settings, &HOST));
        assert!(text.contains("\n# url = \"redis://u:********@a\" "), "{text}");
        assert!(text.contains("mode = \"auto\"") && text.contains("; here pubsub\n"), "{text}");
        assert!(!text.contains("hunter2"));
    }
}
