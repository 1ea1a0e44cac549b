#![doc = include_str!("../README.md")]

mod sandbox;

pub use sandbox::{
    LoadedModel, ModuleRejected, Run, Sandbox, SandboxFault, SandboxLimits, SandboxUnavailable,
};
