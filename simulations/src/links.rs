//! What links do: they take time, and they lose frames.

use std::time::Duration;

use rand::{CryptoRng, RngExt};
use traffic::DelayLaw;

/// What a link does to a frame or a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkLaw {
    /// Everything takes at least this long.
    pub latency: Duration,
    /// Mean of the exponential time on top; none if zero.
    pub jitter: Duration,
    /// Share of frames that never arrive. Calls arrive, or fail visibly.
    pub loss: f64,
}

impl LinkLaw {
    /// Whether a frame is lost.
    pub(crate) fn loses(&self, rng: &mut dyn CryptoRng) -> bool {
        rng.random::<f64>() < self.loss
    }

    /// How long a frame or a call takes.
    pub(crate) fn delay(&self, rng: &mut dyn CryptoRng) -> Duration {
        let jitter = DelayLaw::new(self.jitter).map(|law| law.sample(rng));
        self.latency + jitter.unwrap_or_default()
    }
}

/// What became of everything that was put on a link. It balances like a node's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounts {
    /// Frames put on a link.
    pub sent: u64,
    /// Frames that arrived at a node that was there.
    pub arrived: u64,
    /// Frames that the link lost, or that the scenario's harm befell.
    pub lost: u64,
    /// Of those lost, what mixes dropped.
    pub dropped_by_mixes: u64,
    /// Of those lost, what a cut stopped.
    pub cut: u64,
    /// Frames that arrived where nobody was, or whose link was gone.
    pub stranded: u64,
}
