//! The table of settings as text: for the README, and for `--help`.

use std::fmt::Write;

use crate::config::catalogue::KNOBS;
use crate::config::catalogue::LATER;
use crate::config::knob::Knob;

/// The settings as a Markdown table, with a line end after each row: the one in the README.
#[must_use]
pub fn markdown_table() -> String {
    let mut table = String::from("| key | default | allowed | what it does |\n|---|---|---|---|\n");
    for Knob { key, kind, default, help, flag, .. } in KNOBS {
        let flag = flag.map(|it| format!(" (`{it}`)")).unwrap_or_default();
        let default = if default.is_empty() { "`[]`".into() } else { format!("`{default}`") };
        writeln!(table, "| `{key}`{flag} | {default} | {} | {help} |", kind.bounds())
            .expect("a string takes any text");
    }
    table
}

/// The settings as plain text, two lines each: the end of `ringway --help`.
#[must_use]
pub fn help_text() -> String {
    let mut text = String::from(
        "Settings of the file, the environment (RINGWAY_SERVER_CORES is server.cores) and --set:\n",
    );
    for knob @ Knob { key, kind, default, help, .. } in KNOBS {
        let default = if default.is_empty() { "[]" } else { default };
        let file = if knob.has_secret() {
            format!("; also in a file named by {}_FILE", knob.environment())
        } else {
            String::new()
        };
        let bounds = kind.bounds();
        let line = format!("\n  {key} = {default}  ({bounds}{file})\n      {help}");
        text.push_str(&line.replace('`', ""));
    }
    let later: Vec<_> = LATER.iter().map(|(key, _)| *key).collect();
    write!(text, "\n\nTo come, and refused until then: {}, --history.", later.join(", "))
        .expect("a string takes any text");
    text
}
