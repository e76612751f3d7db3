//! Ctrl-C and SIGTERM: what was measured before is kept, and what was started is ended.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;

/// The exit code of what somebody ended with Ctrl-C.
pub const EXIT_CODE: u8 = 130;

static WANTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on the first signal only asks for the end; the second ends this program at once.
///
/// # Errors
///
/// The system does not let it listen.
pub fn listen() -> anyhow::Result<()> {
    if WANTED.get().is_some() {
        return Ok(());
    }
    let wanted = Arc::clone(WANTED.get_or_init(Arc::default));
    for signal in [SIGINT, SIGTERM] {
        // In this order: what the first one sets is what the second one finds.
        let code = i32::from(EXIT_CODE);
        signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&wanted))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&wanted)))
            .context("cannot listen to signals")?;
    }
    Ok(())
}

/// Whether the end is asked for.
#[must_use]
pub fn is_wanted() -> bool {
    WANTED.get().is_some_and(|it| it.load(Ordering::Relaxed))
}

/// Makes an error of it.
///
/// # Errors
///
/// The end is asked for.
pub fn check() -> anyhow::Result<()> {
    anyhow::ensure!(!is_wanted(), "interrupted");
    Ok(())
}
