#![doc = include_str!("../README.md")]

mod agenda;
pub mod correlation;
mod links;
mod membership;
mod network;
mod observer;
mod questions;
mod report;
mod scenario;
mod seat;
mod seats;
mod simulate;
mod trace;
mod uplink;
mod wrong_clock;

pub use links::{LinkCounts, LinkLaw};
pub use observer::{Observer, Sighting};
pub use report::{Ending, Imbalance, NodeReport, QuestionReport, Report};
pub use scenario::{
    Counts, Cut, Fault, Harm, Node, Questions, Scenario, ScenarioError, Session, WrongClock,
};
pub use simulate::{run, run_observed};
