//! When to expect an answer (docs/spec/message.md, 7).
//!
//! The delays that the sender chose are known exactly. What others choose is taken at the
//! 99.9 % quantile of its public law, and what the network adds from the sender's own loops.

use std::time::Duration;

use directory::Parameters;
use rand::{CryptoRng, RngExt};
use traffic::{DelayLaw, Rate};

/// Mixes on every way.
const LAYERS: u32 = 3;

/// The 99.9 % quantile of the standard normal law.
const Z_999: f64 = 3.090_232;

/// Time in which `slots` ticks of a clock at `rate` have passed, but for one case in a thousand.
///
/// The sum of exponential gaps follows a gamma law; its quantile by Wilson and Hilferty
/// (1931), within 3 % everywhere.
pub(crate) fn slots_quantile(rate: Rate, slots: u32) -> Duration {
    let shape = f64::from(slots.max(1));
    let root = 1.0 - 1.0 / (9.0 * shape) + Z_999 / (3.0 * shape.sqrt());
    Duration::from_secs_f64(shape * root.powi(3) / rate.per_second())
}

/// The same for a queue that others fill too, taken as half busy.
pub(crate) fn shared_slots_quantile(rate: Rate, slots: u32) -> Duration {
    slots_quantile(rate, slots) * 2
}

/// The same for the mixes of a leg whose delays others chose.
pub(crate) fn leg_quantile(law: DelayLaw) -> Duration {
    law.sum_quantile(LAYERS, 0.999)
}

/// What a mailbox's gateway and the three mixes behind it add for most packets: senders cannot
/// tell whether the owner of a mailbox is at its gateway or far behind it.
pub(crate) fn forwarding_quantile(parameters: &Parameters, packets: u32) -> Duration {
    leg_quantile(parameters.rates.delay)
        + shared_slots_quantile(parameters.rates.gateway_loop, packets)
}

/// `span` and up to a quarter more, so that repeats of a request tell nobody when it was made.
pub(crate) fn randomised(rng: &mut dyn CryptoRng, span: Duration) -> Duration {
    span.mul_f64(rng.random_range(1.0..1.25))
}

/// What the network adds to the delays chosen, measured by loops.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Jitter {
    mean: f64,
    deviation: f64,
}

impl Jitter {
    /// Before the first loop is back: 0.2 s, give or take 0.1 s.
    pub(crate) const UNKNOWN: Self = Self {
        mean: 0.2,
        deviation: 0.1,
    };

    /// Takes the excess of one loop, as RFC 6298 does a round trip.
    pub(crate) fn observe(&mut self, excess: Duration) {
        let error = excess.as_secs_f64() - self.mean;
        self.deviation += (error.abs() - self.deviation) / 4.0;
        self.mean += error / 8.0;
    }

    /// What one way through the network adds at most, as far as was seen.
    pub(crate) fn bound(&self) -> Duration {
        Duration::from_secs_f64(self.mean + 4.0 * self.deviation)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    #[test]
    fn slots_leave_within_their_quantile_999_times_in_1000() {
        let rate = Rate::new(10.0).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for slots in [1, 3, 20, 174] {
            let bound = slots_quantile(rate, slots);
            let late = (0..20_000)
                .filter(|_| {
                    let sum: Duration = (0..slots).map(|_| rate.draw(&mut rng)).sum();
                    sum > bound
                })
                .count();
            // Five standard deviations of Binomial(20,000, 0.001), and the formula's 3 %.
            assert!((1..=48).contains(&late), "{slots}: {late}");
        }
    }

    #[test]
    fn the_bound_follows_what_loops_show() {
        let mut jitter = Jitter::UNKNOWN;
        for _ in 0..100 {
            jitter.observe(Duration::from_millis(20));
        }
        assert!(jitter.bound() < Duration::from_millis(25));
        assert!(jitter.bound() >= Duration::from_millis(20));
        jitter.observe(Duration::from_secs(1));
        assert!(jitter.bound() > Duration::from_millis(900));
    }

    #[test]
    fn a_quarter_at_most_is_added() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let span = Duration::from_secs(4);
        for _ in 0..1_000 {
            let drawn = randomised(&mut rng, span);
            assert!((span..span + span / 4).contains(&drawn));
        }
    }
}
