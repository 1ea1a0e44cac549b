#![doc = include_str!("../README.md")]
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod allowance;
mod authority;
pub mod ballot;
mod chain;
mod driver;
mod evidence;
mod outbox;
mod pool;
mod record;
mod registry;
mod vote;

pub use authority::{Abstention, Authority, Event, RestoreError};
pub use driver::{Config, RunError, run};
pub use evidence::Evidence;
pub use registry::{Everybody, Listed, Registry};
