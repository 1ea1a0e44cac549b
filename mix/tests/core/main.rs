//! The mix's state machine under a virtual clock: refusals by name, epochs, delays, loops, and
//! an account of packets that balances whatever happens.
#![allow(clippy::unwrap_used, reason = "a test, helpers included")]

#[path = "../support/network.rs"]
mod network;

mod engine;
mod epochs;
mod holding;
mod loops;
mod machine;
mod refusals;
