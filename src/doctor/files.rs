//! The table as the files of `tuning/`: a test holds them to it, `ringway doctor --print` makes
//! them.

use std::fmt::Write;

use serde_json::json;

use crate::doctor::settings::Fargate;
use crate::doctor::settings::Kind;
use crate::doctor::settings::SETTINGS;
use crate::doctor::settings::Setting;

/// A file that is made of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// `sysctl.conf`, for `/etc/sysctl.d`.
    Sysctl,
    /// `limits.conf`, for `/etc/security/limits.d`.
    Limits,
    /// `ringway.service`, for systemd.
    Systemd,
    /// `fargate.json`: the parts of a container definition.
    Fargate,
    /// The table of `README.md`.
    Table,
}

impl File {
    /// All, with the names that `--print` takes.
    pub const ALL: &[(&str, Self)] = &[
        ("sysctl", Self::Sysctl),
        ("limits", Self::Limits),
        ("systemd", Self::Systemd),
        ("fargate", Self::Fargate),
        ("table", Self::Table),
    ];

    /// What is in it.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Sysctl => sysctl(),
            Self::Limits => limits(),
            Self::Systemd => systemd(),
            Self::Fargate => fargate(),
            Self::Table => table(),
        }
    }
}

const INFALLIBLE: &str = "a string takes any text";
/// The user that the unit and the limits are for.
const USER: &str = "ringway";

fn limit(name: &str) -> &'static str {
    let found = SETTINGS.iter().find(|it| it.kind == Kind::Limit && it.name == name);
    found.expect("the table has this limit").value
}

fn sysctl() -> String {
    let mut text = String::from(
        "# For a host of its own, bare metal or EC2: copy to /etc/sysctl.d/90-ringway.conf, then\n\
         # sysctl --system. No effect in containers. Reasons and how to undo: README.md.\n",
    );
    for it in SETTINGS.iter().filter(|it| it.is_sysctl()) {
        // A dash lets it fail on kernels that do not have the key.
        let dash = if it.kind == Kind::NewSysctl { "-" } else { "" };
        writeln!(text, "{dash}{} = {}", it.name, it.value).expect(INFALLIBLE);
    }
    text
}

fn limits() -> String {
    let mut text = format!(
        "# For logins: copy to /etc/security/limits.d/90-{USER}.conf. No effect on services of\n\
         # systemd, see {USER}.service, nor in containers.\n",
    );
    for name in ["nofile", "memlock"] {
        // This file counts memory in KiB.
        let value = match name {
            "memlock" => (limit(name).parse::<u64>().expect("a number") / 1024).to_string(),
            _ => limit(name).to_owned(),
        };
        for kind in ["soft", "hard"] {
            writeln!(text, "{USER} {kind} {name} {value}").expect(INFALLIBLE);
        }
    }
    text
}

fn systemd() -> String {
    let [nofile, memlock] = ["nofile", "memlock"].map(limit);
    format!(
        "# Copy to /etc/systemd/system/{USER}.service, then systemctl enable --now {USER}.\n\
         [Unit]\n\
         Description=Ringway, a STOMP over WebSocket edge server\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         \n\
         [Service]\n\
         ExecStart=/usr/local/bin/ringway serve --config /etc/ringway/ringway.toml\n\
         ExecReload=/bin/kill -HUP $MAINPID\n\
         User={USER}\n\
         LimitNOFILE={nofile}\n\
         LimitMEMLOCK={memlock}\n\
         # Longer than drain.deadline: SIGTERM begins the drain, which must not be cut short.\n\
         TimeoutStopSec=120\n\
         KillMode=mixed\n\
         Restart=on-failure\n\
         # A wrong configuration is not mended by another start.\n\
         RestartPreventExitStatus=2\n\
         ProtectSystem=strict\n\
         ProtectHome=yes\n\
         PrivateTmp=yes\n\
         NoNewPrivileges=yes\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

fn fargate() -> String {
    let can = |it: &&Setting| it.fargate == Fargate::Yes;
    let controls: Vec<_> = SETTINGS
        .iter()
        .filter(|it| it.is_sysctl())
        .filter(can)
        .map(|it| json!({ "namespace": it.name, "value": it.value }))
        .collect();
    let limits: Vec<_> = SETTINGS
        .iter()
        .filter(|it| it.kind == Kind::Limit)
        .filter(can)
        .map(|it| {
            let value: u64 = it.value.parse().expect("a limit is a number");
            json!({ "name": it.name, "softLimit": value, "hardLimit": value })
        })
        .collect();
    let parts = json!({ "systemControls": controls, "ulimits": limits });
    format!("{parts:#}\n")
}

fn table() -> String {
    let mut text = String::from(
        "| setting | value | Fargate | why | seen | where nobody set it |\n\
         |---|---|---|---|---|---|\n",
    );
    for it in SETTINGS {
        let Setting { name, value, why, seen, default, .. } = it;
        let kind = if it.kind == Kind::Limit { " (limit)" } else { "" };
        let fargate = if it.fargate == Fargate::Yes { "yes" } else { "no" };
        writeln!(text, "| `{name}`{kind} | `{value}` | {fargate} | {why} | {seen} | {default} |")
            .expect(INFALLIBLE);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sysctl_is_in_the_hosts_file_and_only_those_of_a_container_in_the_tasks() {
        let (host, task) = (File::Sysctl.text(), File::Fargate.text());
        let task: serde_json::Value = serde_json::from_str(&task).unwrap();
        let controls = task["systemControls"].as_array().unwrap();
        for it in SETTINGS.iter().filter(|it| it.is_sysctl()) {
            assert!(host.contains(&format!("{} = {}\n", it.name, it.value)), "{}", it.name);
            let in_task = controls.iter().any(|control| control["namespace"] == it.name);
            assert_eq!(in_task, it.fargate == Fargate::Yes, "{}", it.name);
        }
        assert_eq!(task["ulimits"][0]["hardLimit"], 1_048_576);
        assert_eq!(task["ulimits"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn limits_are_the_same_for_logins_and_for_the_service() {
        assert!(File::Limits.text().contains("ringway hard memlock 65536\n"));
        assert!(File::Systemd.text().contains("LimitMEMLOCK=67108864\n"));
        assert!(File::Limits.text().contains("ringway soft nofile 1048576\n"));
        assert!(File::Systemd.text().contains("LimitNOFILE=1048576\n"));
    }
}
