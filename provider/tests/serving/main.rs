//! The provider's core in a small network in memory: real packets, a virtual clock, seeded.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod answers;
mod network;
mod refusals;
mod state_machine;
mod world;
