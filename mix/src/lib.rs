#![doc = include_str!("../README.md")]

pub mod keys;
mod loops;
mod loss;
pub mod membership;
mod mix;
pub mod peel;
pub mod pool;
pub mod replay;

pub use loops::LoopCounts;
pub use loss::LossTest;
pub use mix::{Mix, MixLimits};
