//! Progress for people, on standard error, only where a person looks.

use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Says what goes on; silent for machines.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    wanted: bool,
}

impl Progress {
    /// Speaks unless the output is for a machine.
    #[must_use]
    pub const fn for_people(json: bool) -> Self {
        Self { wanted: !json }
    }

    /// One line.
    pub fn say(&self, line: &str) {
        if self.wanted {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// What goes on and for how long, where standard error is a terminal, else nothing.
    #[must_use]
    pub fn spinner(&self, what: &'static str) -> indicatif::ProgressBar {
        if !(self.wanted && std::io::stderr().is_terminal()) {
            return indicatif::ProgressBar::hidden();
        }
        let spinner = indicatif::ProgressBar::new_spinner();
        if let Ok(style) = indicatif::ProgressStyle::with_template("{msg} {elapsed}") {
            spinner.set_style(style);
        }
        spinner.set_message(what);
        spinner.enable_steady_tick(TICK);
        spinner
    }

    /// A bar of `length` steps where standard error is a terminal, else nothing.
    #[must_use]
    pub fn bar(&self, length: u64) -> indicatif::ProgressBar {
        if self.wanted && std::io::stderr().is_terminal() {
            indicatif::ProgressBar::new(length)
        } else {
            indicatif::ProgressBar::hidden()
        }
    }
}

const TICK: Duration = Duration::from_millis(200);
