//! The edge against a small network in memory: real packets, a virtual clock, seeded.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may fail by panic, in its helpers too"
)]

mod clock;
mod epochs;
mod finishing;
mod hostile;
mod letters;
mod network;
mod replies;
mod round_trip;
mod sealing;
mod short;
mod state_machine;
mod withhold;
