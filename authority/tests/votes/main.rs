//! Whole votes: four authorities on a virtual clock.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::indexing_slicing,
    reason = "what the tests share is test code too"
)]

mod clocks;
mod faults;
mod fuzz;
mod liars;
mod ordinary;
mod town;
