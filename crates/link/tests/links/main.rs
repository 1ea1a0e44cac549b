//! Links over real sockets on loopback: what they carry, whom they refuse, where they are bounded.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod bounds;
mod calls;
mod frames;
mod harness;
mod hostile;
mod keys;
mod paths;
mod relay;
