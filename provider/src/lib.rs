#![doc = include_str!("../README.md")]

mod answers;
mod card;
mod catalogue;
mod error;
mod provider;
mod sandbox;
mod service;

pub use card::model_card;
pub use error::ProviderError;
pub use provider::{Bounds, Job, JobDone, JobNumber, Provider, ProviderConfig, ProviderCounts};
pub use sandbox::{
    LoadedModel, ModuleRejected, Run, Sandbox, SandboxFault, SandboxLimits, SandboxUnavailable,
};
pub use service::Service;
