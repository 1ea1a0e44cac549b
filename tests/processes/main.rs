//! The binary as people and machines run it: commands, a testnet of processes, faults.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::print_stderr, reason = "a test says what it left out")]

mod commands;
mod compile;
mod hosting;
mod models;
mod network;
mod node;
mod paths;
mod testnet;
