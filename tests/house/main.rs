//! The whole house in one process: invariants, end to end, hostile input.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::print_stderr, reason = "a test says what it left out")]

mod dialogue;
mod invariants;
mod journey;
mod logs;
mod reach;

/// Held by whoever runs a whole network: two at once would each be too slow.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
