#![doc = include_str!("../README.md")]

mod agenda;
mod links;
mod membership;
mod network;
mod questions;
mod report;
mod scenario;
mod seat;
mod seats;
mod simulate;
mod trace;
mod uplink;

pub use links::{LinkCounts, LinkLaw};
pub use report::{Ending, Imbalance, NodeReport, QuestionReport, Report};
pub use scenario::{Counts, Fault, Node, Questions, Scenario, ScenarioError};
pub use simulate::run;
