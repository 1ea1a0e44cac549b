//! The edge against a small network in memory: real packets, a virtual clock, seeded.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may fail by panic, in its helpers too"
)]

// As the crates above it call it, which share a file of these tests.
extern crate subrosa_message as message;

mod agents;
mod clock;
mod epochs;
mod finishing;
mod hostile;
mod keepers;
mod letters;
mod network;
mod replies;
mod round_trip;
mod sealing;
mod short;
mod state_machine;
mod withhold;
