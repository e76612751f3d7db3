//! Logs: one subscriber for the process, to standard error.
//!
//! Standard output stays free for the banner and for lines that programs read.

use std::io;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::settings::LogFormat;
use crate::config::settings::LogSettings;

/// Whether this build has no log calls in it at all.
#[must_use]
pub fn are_compiled_out() -> bool {
    tracing::level_filters::STATIC_MAX_LEVEL == tracing::level_filters::LevelFilter::OFF
}

/// Starts logging as `settings` say; a second call changes nothing, so that tests may call it each.
///
/// Times are UTC. JSON lines are flat: the fields of an event stand beside `timestamp`, `level` and
/// `message`.
pub fn init(settings: &LogSettings) {
    let filter = EnvFilter::builder()
        .parse(&settings.level)
        .expect("the configuration takes only what the filter takes");
    let lines = match settings.format {
        LogFormat::Text => {
            fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).boxed()
        }
        LogFormat::Json => fmt::layer().with_writer(io::stderr).json().flatten_event(true).boxed(),
    };
    if let Err(error) = tracing_subscriber::registry().with(filter).with(lines).try_init() {
        tracing::debug!(%error, "logging was already started");
    }
}
