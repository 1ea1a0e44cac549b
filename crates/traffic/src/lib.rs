#![doc = include_str!("../README.md")]
#![deny(clippy::indexing_slicing)]

mod clock;
mod delay;
mod loops;
mod loss;
mod rate;
mod rates;
mod slot;

pub use clock::{PATIENCE, PoissonClock};
pub use delay::DelayLaw;
pub use loops::{LoopBook, LoopCounts, LoopRoute, Returned};
pub use loss::LossTest;
pub use rate::Rate;
pub use rates::Rates;
pub use slot::Slot;
