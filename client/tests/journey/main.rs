//! Askers and providers in a small network in memory: real packets, a virtual clock, seeded.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod choice;
mod journey;
// One network for the tests of both ends.
#[path = "../../../provider/tests/serving/network.rs"]
mod network;
mod state_machine;
mod world;
