#![doc = include_str!("../README.md")]

mod driver;
pub mod engine;
pub mod keys;
pub mod logs;
mod loops;
mod loss;
pub mod membership;
mod mix;
pub mod peel;
pub mod pool;
pub mod replay;
pub mod workers;

pub use driver::{MixConfig, MixError, run};
pub use loops::LoopCounts;
pub use loss::LossTest;
pub use mix::{Mix, MixLimits};
