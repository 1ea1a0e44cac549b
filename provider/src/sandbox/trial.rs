//! A module's first compilation, where it can do no harm.
//!
//! Compiling is the one step that nothing meters: a module within every cap may still take minutes
//! or gigabytes. Whoever implements [`Trial`] compiles it in a process that can be killed; that
//! process answers with a [`Verdict`], and nothing else of it is read. A verdict that lies costs
//! time, never more: what runs is what this process compiled itself.

use wasmtime::Engine;

use super::{ModuleRejected, SandboxLimits, SandboxUnavailable, translation};

/// Compiles modules for the first time.
pub trait Trial: Send + Sync + 'static {
    /// Whether `module` compiles within `limits`: its time, its memory and
    /// [`Verdict::STACK_BYTES`]. Blocks for at most [`SandboxLimits::compile_time`].
    ///
    /// # Errors
    /// [`ModuleRejected`]: why the module is not to be compiled here.
    fn compile(&self, module: &[u8], limits: &SandboxLimits) -> Result<(), ModuleRejected>;
}

/// No trial: for modules that the same program made of graphs it holds, in tests, benches, and
/// commands whose process is of no use to anybody else.
#[derive(Debug, Clone, Copy)]
pub struct OwnModules;

impl Trial for OwnModules {
    fn compile(&self, _: &[u8], _: &SandboxLimits) -> Result<(), ModuleRejected> {
        Ok(())
    }
}

/// What the process of a trial says of one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    compiles: bool,
    module: blake3::Hash,
}

impl Verdict {
    /// Length of a verdict in bytes: whether the module compiles (1 or 0), then BLAKE3 of the module.
    pub const LEN: usize = 33;

    /// The stack that a trial may use. A sandbox compiles with twice as much.
    pub const STACK_BYTES: usize = 2 << 20;

    /// Compiles `module` on this thread, with a sandbox's settings, and throws the code away.
    ///
    /// To be called in a process with limits: nothing here bounds time or memory.
    ///
    /// # Errors
    /// [`SandboxUnavailable`] if this machine has no compiler.
    pub fn of(module: &[u8]) -> Result<Self, SandboxUnavailable> {
        let engine = Engine::new(&translation()).map_err(|_| SandboxUnavailable)?;
        Ok(Self {
            compiles: engine.precompile_module(module).is_ok(),
            module: blake3::hash(module),
        })
    }

    /// As the process writes it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [u8::from(self.compiles); Self::LEN];
        bytes[1..].copy_from_slice(self.module.as_bytes());
        bytes
    }

    /// Reads what the process wrote about `module`.
    ///
    /// # Errors
    /// [`ModuleRejected::Compiler`] if it does not compile; [`ModuleRejected::CompilerGarbled`] if
    /// this is no verdict, or one on another module.
    pub fn read(said: &[u8], module: &[u8]) -> Result<(), ModuleRejected> {
        let hash = blake3::hash(module);
        let verdict = |compiles| Self {
            compiles,
            module: hash,
        };
        if said == verdict(true).to_bytes() {
            Ok(())
        } else if said == verdict(false).to_bytes() {
            Err(ModuleRejected::Compiler)
        } else {
            Err(ModuleRejected::CompilerGarbled)
        }
    }
}
