//! What a slot carries.

use rand::CryptoRng;

use crate::Rates;

/// What a client's slot carries. On the wire all three look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The head of the queue.
    Real,
    /// A packet that comes back to its sender.
    Loop,
    /// A packet that a gateway drops.
    Drop,
}

impl Slot {
    /// Real if packets wait, else a loop or a drop packet by the weights in `rates`.
    ///
    /// Draws the same amount from `rng` whichever it is.
    pub fn choose(waiting: usize, rates: &Rates, rng: &mut dyn CryptoRng) -> Self {
        let cover = Self::cover(rates, rng.next_u64());
        if waiting > 0 { Self::Real } else { cover }
    }

    /// `draw` is uniform; a bias of 2^-32 between two kinds of cover tells nobody anything.
    fn cover(rates: &Rates, draw: u64) -> Self {
        let total = u64::from(rates.client_loop) + u64::from(rates.drop);
        let point = (u128::from(draw) * u128::from(total)) >> 64;
        if point < u128::from(rates.client_loop) || total == 0 {
            Self::Loop
        } else {
            Self::Drop
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha20Rng;

    use super::*;

    #[test]
    fn real_whenever_something_waits() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        for waiting in 1..100 {
            assert_eq!(
                Slot::choose(waiting, &Rates::default(), &mut rng),
                Slot::Real
            );
        }
    }

    #[test]
    fn idle_slots_follow_the_weights() {
        let rates = Rates {
            client_loop: 3,
            drop: 1,
            ..Rates::default()
        };
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let loops = (0..10_000)
            .filter(|_| Slot::choose(0, &rates, &mut rng) == Slot::Loop)
            .count();
        // Five standard deviations of Binomial(10,000, 3/4).
        assert!((7283..=7717).contains(&loops), "{loops}");
    }

    #[test]
    fn draws_the_same_whatever_it_chooses() {
        let rates = Rates::default();
        let (mut idle, mut busy) = (ChaCha20Rng::seed_from_u64(4), ChaCha20Rng::seed_from_u64(4));
        for _ in 0..100 {
            Slot::choose(0, &rates, &mut idle);
            Slot::choose(1, &rates, &mut busy);
        }
        assert_eq!(idle.next_u64(), busy.next_u64());
    }

    #[test]
    fn without_weights_every_idle_slot_is_a_loop() {
        let rates = Rates {
            client_loop: 0,
            drop: 0,
            ..Rates::default()
        };
        assert_eq!(Slot::cover(&rates, 0), Slot::Loop);
        assert_eq!(Slot::cover(&rates, u64::MAX), Slot::Loop);
    }
}
