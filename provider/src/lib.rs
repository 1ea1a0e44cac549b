#![doc = include_str!("../README.md")]

mod answers;
mod card;
mod catalogue;
mod driver;
mod error;
mod library;
mod provider;
mod sandbox;
mod service;
mod workers;

pub use card::model_card;
pub use driver::{DEFAULT_THREADS, Node, NodeConfig, run};
pub use error::ProviderError;
pub use provider::{Bounds, Job, JobDone, JobNumber, Provider, ProviderConfig, ProviderCounts};
pub use sandbox::{
    Instance, LoadedModel, ModuleRejected, OwnModules, Run, Sandbox, SandboxFault, SandboxLimits,
    SandboxUnavailable, Trial, Verdict,
};
pub use service::{Reach, Service};
