//! The edge against a small network in memory: real packets, a virtual clock, seeded.

mod clock;
mod epochs;
mod hostile;
mod network;
mod replies;
mod round_trip;
mod sealing;
mod state_machine;
