//! What a store may grow to: the memory that its module declared, once.

use thiserror::Error;
use wasmtime::{ResourceLimiter, Result};

/// Admits one memory of the declared size, and no table.
pub(super) struct Limiter {
    memory_bytes: usize,
}

/// The module asked for memory that it does not have.
#[derive(Debug, Clone, Copy, Error)]
#[error("memory refused")]
pub(super) struct MemoryRefused;

impl Limiter {
    pub(super) const fn new(memory_bytes: usize) -> Self {
        Self { memory_bytes }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool> {
        // Growth by nothing is how a module asks for its size.
        if desired <= self.memory_bytes && (current == 0 || current == desired) {
            Ok(true)
        } else {
            Err(MemoryRefused.into())
        }
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool> {
        Ok(false)
    }

    fn instances(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        0
    }
}
