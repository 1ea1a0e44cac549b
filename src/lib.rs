#![doc = include_str!("../README.md")]
//!
//! # This crate
//! The front door: what the commands are made of. Alone in this project it reads the clock, asks
//! the system for randomness, touches the files that a command names, starts processes and opens
//! listeners for people. A program that asks questions needs two things of it, [`read_network`]
//! and [`services`], and the crate `client`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the front door speaks to people"
)]

pub mod ask;
pub mod cli;
mod clock;
pub mod compile_module;
pub mod config;
pub mod demo;
mod entropy;
pub mod exit;
pub mod exposition;
pub mod input;
pub mod keys;
pub mod logging;
pub mod model;
pub mod network_file;
pub mod node;
pub mod plan;
pub mod progress;
pub mod scrape;
pub mod shelf;
pub mod testnet;
pub mod trial;

use std::sync::Arc;

use client::DummyInputs;
use link::Services;

pub use clock::SystemClock;
pub use entropy::SystemEntropy;
pub use network_file::read as read_network;

/// What dummy questions to the shipped models ask: the samples that come with them.
#[must_use]
pub fn dummy_inputs() -> DummyInputs {
    let mut inputs = DummyInputs::default();
    for model in compiler::shipped() {
        let samples = model.samples().into_iter();
        inputs.add(model.name, samples.map(|sample| sample.input.into()));
    }
    inputs
}

/// The system's clock and randomness, for whatever runs in this process.
#[must_use]
pub fn services() -> Services {
    Services::new(Arc::new(SystemClock::new()), Arc::new(SystemEntropy))
}
