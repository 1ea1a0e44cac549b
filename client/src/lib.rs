#![doc = include_str!("../README.md")]

mod answer;
mod asker;
mod error;
mod input;
mod nearest;
mod question;

pub use answer::{Answer, Latency, ProofStatus};
pub use asker::{Asker, AskerConfig, AskerCounts, AskerEvent, QueryId};
pub use error::{ConnectError, QueryError};
pub use input::Input;
pub use question::{ModelListing, Question};
