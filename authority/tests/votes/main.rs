//! Whole votes: four authorities on a virtual clock.

mod faults;
mod liars;
mod ordinary;
mod town;
