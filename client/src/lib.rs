#![doc = include_str!("../README.md")]

mod answer;
mod asker;
mod builder;
mod client;
mod dummies;
mod error;
mod input;
mod letter;
mod nearest;
mod query;
mod question;
mod seat;

pub use answer::{Answer, Latency, ProofStatus};
pub use asker::{Asker, AskerConfig, AskerCounts, AskerEvent, QueryId, WriteId};
pub use builder::ClientBuilder;
pub use client::Client;
pub use dummies::DummyInputs;
pub use error::{ConnectError, LetterError, QueryError};
pub use input::Input;
pub use letter::{Listener, Sending};
pub use message::{BadContact, Contact};
pub use nearest::nearest;
pub use query::Query;
pub use question::{ModelListing, Question};
