//! From graph to WebAssembly.

use graph::Graph;
use thiserror::Error;

/// A model as a WebAssembly module: no imports, memory of one size, exports as
/// docs/spec/model.md, 5 lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The binary format.
    pub bytes: Vec<u8>,
    /// What one inference costs in wasmtime's fuel: the same for every input.
    pub fuel: u64,
}

/// Why a graph does not become a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// Parameters and values need more memory than a module may have.
    #[error("the model needs more than {} MiB of memory", max >> 20)]
    TooLarge {
        /// The bound, in bytes.
        max: usize,
    },
}

/// The module that computes what [`Graph::run`] computes, bit for bit.
///
/// # Errors
/// [`CompileError::TooLarge`] if the module would need too much memory.
pub fn compile(graph: &Graph) -> Result<Module, CompileError> {
    let _ = graph;
    todo!()
}
