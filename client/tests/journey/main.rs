//! Askers and providers in a small network in memory: real packets, a virtual clock, seeded.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a test may fail where it stands; shares of small counts"
)]

mod choice;
mod gone;
mod journey;
// One network for the tests of both ends.
#[path = "../../../provider/tests/serving/network.rs"]
mod network;
mod requests;
mod state_machine;
mod world;
