//! Whole votes: four authorities on a virtual clock.

mod faults;
mod fuzz;
mod liars;
mod ordinary;
mod town;
