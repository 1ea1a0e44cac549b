//! How much memory an import may take, and how much work.

use std::cell::Cell;

use super::ImportError;

/// Bytes that are left to take.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    pub(super) const fn new(bytes: usize) -> Self {
        Self { left: bytes }
    }

    /// Takes `bytes` before they are allocated; `false` if there are not as many.
    #[must_use]
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// Operations that are left to do.
///
/// Counted before they are done, and by what the file and the samples are alone: an import that is
/// refused is refused on every machine.
#[derive(Debug)]
pub(super) struct Work {
    left: Cell<u64>,
    most: u64,
}

impl Work {
    pub(super) const fn new(most: u64) -> Self {
        Self {
            left: Cell::new(most),
            most,
        }
    }

    /// Takes `operations` before they are done.
    pub(super) fn spend(&self, operations: u64) -> Result<(), ImportError> {
        let left = self.left.get().checked_sub(operations);
        self.left.set(left.unwrap_or(0));
        match left {
            Some(_) => Ok(()),
            None => Err(ImportError::OverWork { most: self.most }),
        }
    }
}
