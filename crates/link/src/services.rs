//! What a driver gets from the front door: clock, entropy, and the tap of demo and tests.

use std::sync::Arc;

use rand::CryptoRng;
use wire::Time;

use crate::Tap;

/// Tells the time. Only the front door's reads a real clock.
pub trait Clock: Send + Sync + 'static {
    /// Now; never before an earlier answer of this clock.
    fn now(&self) -> Time;
}

/// Gives out generators of randomness. Only the front door's asks the system for it.
pub trait Entropy: Send + Sync + 'static {
    /// A fresh generator, independent of all others.
    fn rng(&self) -> Box<dyn CryptoRng + Send>;
}

/// What every driver needs from outside.
#[derive(Clone)]
pub struct Services {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives out generators.
    pub entropy: Arc<dyn Entropy>,
    /// Sees what this node sees, in the demo and in tests; `None` everywhere else.
    pub tap: Option<Tap>,
}

impl Services {
    /// Without a tap.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            clock,
            entropy,
            tap: None,
        }
    }

    /// The same for another node's driver: everything that it sees, `tap` sees.
    #[must_use]
    pub fn with_tap(&self, tap: Tap) -> Self {
        Self {
            tap: Some(tap),
            ..self.clone()
        }
    }
}
