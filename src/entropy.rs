//! The one place that asks the operating system for randomness.

use link::Entropy;
use rand::rngs::SysRng;
use rand::{CryptoRng, SeedableRng, TryRng};
use rand_chacha::ChaCha20Rng;

/// Generators seeded by the operating system, one for each that asks.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// If the operating system has no randomness: nothing here is safe to do without.
    fn rng(&self) -> Box<dyn CryptoRng + Send> {
        let mut seed = [0; 32];
        SysRng
            .try_fill_bytes(&mut seed)
            .expect("the operating system gives randomness");
        Box::new(ChaCha20Rng::from_seed(seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_generators_differ() {
        let (mut one, mut other) = (SystemEntropy.rng(), SystemEntropy.rng());
        assert_ne!(
            (one.next_u64(), one.next_u64()),
            (other.next_u64(), other.next_u64())
        );
    }
}
