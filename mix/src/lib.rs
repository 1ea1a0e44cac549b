#![doc = include_str!("../README.md")]

mod driver;
pub mod engine;
pub mod keys;
pub mod logs;
mod loops;
pub mod membership;
mod mix;
pub mod peel;
pub mod pool;
pub mod replay;
pub mod workers;

pub use driver::{MixConfig, MixError, run};
pub use mix::{Mix, MixLimits};
