//! Frames that were refused before the core saw them.

use std::sync::atomic::{AtomicU64, Ordering};

use wire::Refusal;

/// Frames that were refused before the core saw them, by reason.
#[derive(Default)]
pub(super) struct Unseen([AtomicU64; Refusal::ALL.len()]);

impl Unseen {
    pub(super) fn add(&self, refusal: Refusal, count: u64) {
        if let Some(total) = self.0.get(refusal as usize) {
            total.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What came together since this was last asked.
    pub(super) fn take(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        let counts = self.0.iter().map(|total| total.swap(0, Ordering::Relaxed));
        Refusal::ALL.into_iter().zip(counts).filter(|(_, n)| *n > 0)
    }
}
