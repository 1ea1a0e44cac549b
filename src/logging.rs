//! Logs for operators, on standard error.

use std::str::FromStr;

use tracing::Level;

/// Installs the log of a node: `SUBROSA_LOG` is error, warn, info (the default), debug or trace.
/// At no level does it name a client.
pub fn to_standard_error() {
    let level = std::env::var("SUBROSA_LOG")
        .ok()
        .and_then(|text| Level::from_str(&text).ok())
        .unwrap_or(Level::INFO);
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}
