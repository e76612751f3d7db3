//! What people see while a run goes on: one line that changes on a terminal, a line every few
//! seconds elsewhere.

use std::time::Duration;
use std::time::Instant;

use console::Term;
use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;

use crate::clock;
use crate::outcome::Slice;

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how a run goes, on standard error.
pub struct Live {
    bar: Option<ProgressBar>,
    name: String,
    phase: String,
    line_at: Instant,
    is_quiet: bool,
}

impl Live {
    /// A view that changes on a terminal and is made of lines elsewhere; a quiet one says nothing.
    #[must_use]
    pub fn new(is_quiet: bool) -> Self {
        let is_terminal = Term::stderr().is_term() && !is_quiet;
        let bar = is_terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {prefix:.bold} {wide_msg}");
            bar.set_style(style.expect("the template is right"));
            bar
        });
        let (name, phase) = (String::new(), String::new());
        Self { bar, name, phase, line_at: clock::now() + LINE_EVERY, is_quiet }
    }

    /// A run begins.
    pub fn begin(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        if let Some(bar) = &self.bar {
            bar.set_prefix(name.to_owned());
        }
    }

    /// A part of it begins.
    pub fn phase(&mut self, phase: &str) {
        phase.clone_into(&mut self.phase);
        if self.bar.is_some() {
            self.show(phase.to_owned());
        }
    }

    /// How many clients are connected.
    pub fn connecting(&mut self, ready_count: usize, clients_count: usize) {
        self.show(format!("connecting: {ready_count} of {clients_count} clients are ready"));
    }

    /// How the measured part goes.
    pub fn going(&mut self, slice: Option<Slice>, seconds: f64) {
        let Some(slice) = slice else { return };
        self.show(format!("{}: {}", self.phase, describe(&slice, seconds)));
    }

    /// Something happened that nobody should miss.
    pub fn say(&mut self, text: &str) {
        if self.is_quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.println(format!("  {}: {text}", self.name)),
            None => eprintln!("  {}: {text}", self.name),
        }
    }

    /// The run is over.
    pub fn end(&mut self) {
        if let Some(bar) = &self.bar {
            bar.set_message("");
        }
    }

    /// All runs are over.
    pub fn close(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    fn show(&mut self, text: String) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            None if self.line_at <= clock::now() && !self.is_quiet => {
                self.line_at = clock::now() + LINE_EVERY;
                eprintln!("  {}: {text}", self.name);
            }
            None => {}
        }
    }
}

fn describe(slice: &Slice, seconds: f64) -> String {
    let mut text = format!(
        "{:.0} of {seconds:.0} s, {} connections, {:.0} sent/s, {:.0} delivered/s",
        slice.at, slice.open, slice.sent_rate, slice.delivery_rate
    );
    if let (Some(p50_us), Some(p99_us), Some(max_us)) = (slice.p50_us, slice.p99_us, slice.max_us) {
        text.push_str(&format!(", p50 {p50_us:.0} p99 {p99_us:.0} max {max_us:.0} µs"));
    }
    if let Some(server_cpu) = slice.server_cpu {
        text.push_str(&format!(", server {:.0} %", 100.0 * server_cpu));
    }
    text.push_str(&format!(", generator {:.0} %", 100.0 * slice.generator_cpu));
    if slice.troubles != 0 {
        text.push_str(&format!(", {} TROUBLES", slice.troubles));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rates_percentiles_and_troubles() {
        let slice = Slice {
            at: 2.0,
            open: 9,
            sent_rate: 10.0,
            delivery_rate: 90.0,
            p50_us: Some(1.0),
            p99_us: Some(2.0),
            max_us: Some(3.0),
            server_cpu: Some(0.5),
            troubles: 1,
            ..Slice::default()
        };
        let expected = "2 of 8 s, 9 connections, 10 sent/s, 90 delivered/s, p50 1 p99 2 max 3 µs, \
                        server 50 %, generator 0 %, 1 TROUBLES";
        assert_eq!(describe(&slice, 8.0), expected);
    }
}
