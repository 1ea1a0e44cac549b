//! How a command ends: 0 done, 1 a fault of the world, 2 wrong usage or config.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// Why a command did not do what it was asked, in one line for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    code: u8,
    line: String,
}

impl Fault {
    /// The caller can mend it: usage or config. Exit status 2.
    pub fn usage(line: impl Display) -> Self {
        Self {
            code: 2,
            line: line.to_string(),
        }
    }

    /// The world did not do its part. Exit status 1.
    pub fn failed(line: impl Display) -> Self {
        Self {
            code: 1,
            line: line.to_string(),
        }
    }

    /// The output could not be written.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "what map_err gives")]
    pub fn output(error: std::io::Error) -> Self {
        Self::failed(format!("output: {error}"))
    }

    /// The line.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Says it on standard error and turns it into an exit status.
    #[must_use]
    pub fn end(&self) -> ExitCode {
        if !self.line.is_empty() {
            let _ = writeln!(std::io::stderr(), "{}", self.line);
        }
        ExitCode::from(self.code)
    }
}
