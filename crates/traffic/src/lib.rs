#![doc = include_str!("../README.md")]
#![deny(clippy::indexing_slicing)]

mod clock;
mod delay;
mod rate;
mod rates;
mod slot;

pub use clock::{PATIENCE, PoissonClock};
pub use delay::DelayLaw;
pub use rate::Rate;
pub use rates::Rates;
pub use slot::Slot;
