//! Runs a model's module on one input, in an instance made for it alone.

use std::time::Duration;

use thiserror::Error;

/// What modules may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Longest module, in bytes.
    pub module_bytes: usize,
    /// Largest memory of an instance, in bytes.
    pub memory_bytes: usize,
    /// Deepest native stack of an instance, in bytes.
    pub stack_bytes: usize,
    /// Most instances at one time.
    pub instances: u32,
    /// Longest compilation.
    pub compile_time: Duration,
}

/// The engine that all models of a provider share.
#[derive(Debug, Clone)]
pub struct Sandbox {
    limits: SandboxLimits,
}

/// A module that was checked and compiled.
#[derive(Debug, Clone)]
pub struct LoadedModel {
    fuel: u64,
}

/// One inference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What the model said.
    pub output: Vec<i32>,
    /// What it cost: for a module of ours, the same for every input.
    pub fuel: u64,
}

/// Why a module is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ModuleRejected {
    /// Longer than the limit.
    #[error("the module is too long")]
    TooLong,
}

/// Why a run has no output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SandboxFault {
    /// The input does not fit the model.
    #[error("the input does not fit the model")]
    BadInput,
    /// Out of fuel.
    #[error("the model ran out of fuel")]
    ModelTimeout,
    /// Out of memory, or no instance is free.
    #[error("the model ran out of memory")]
    ModelMemory,
    /// Out of stack.
    #[error("the model ran out of stack")]
    StackOverflow,
    /// The module broke the calling convention.
    #[error("the module broke the calling convention")]
    GuestAbi,
    /// The module stopped itself: a trap.
    #[error("the module trapped")]
    Trap,
}

impl Default for SandboxLimits {
    fn default() -> Self {
        Self {
            module_bytes: 16 << 20,
            memory_bytes: 32 << 20,
            stack_bytes: 256 << 10,
            instances: 64,
            compile_time: Duration::from_secs(10),
        }
    }
}

impl Sandbox {
    /// An engine with these limits.
    ///
    /// # Errors
    /// [`SandboxUnavailable`] if this machine cannot run one.
    pub fn new(limits: SandboxLimits) -> Result<Self, SandboxUnavailable> {
        Ok(Self { limits })
    }

    /// Checks and compiles `module`, whose runs may use `fuel`.
    ///
    /// # Errors
    /// [`ModuleRejected`] if the module is not one that this project's compiler could have made.
    pub fn load(&self, module: &[u8], fuel: u64) -> Result<LoadedModel, ModuleRejected> {
        let _ = (module, self.limits);
        Ok(LoadedModel { fuel })
    }
}

/// This machine cannot run a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this machine cannot run a sandbox")]
pub struct SandboxUnavailable;

impl LoadedModel {
    /// Runs the model on `input`, in an instance that nothing ran in before.
    ///
    /// # Errors
    /// [`SandboxFault`] if there is no output.
    pub fn run(&self, input: &[i32]) -> Result<Run, SandboxFault> {
        let _ = (input, self.fuel);
        Err(SandboxFault::Trap)
    }
}
