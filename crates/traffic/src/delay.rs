//! The law of delays at a hop.

use std::time::Duration;

use rand::CryptoRng;
use rand_distr::{Distribution, Exp1};
use wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Exponential delays, cut at a bound so far out that one draw in a billion meets it.
///
/// A cap near the mean would bias the law and give it a memory; so a draw above the bound is
/// drawn again, and mixes refuse only what no honest sender draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DelayLaw {
    mean_micros: u32,
}

impl DelayLaw {
    /// The law with this mean (mu), to the nearest microsecond below; `None` unless that is
    /// above zero and below 71 minutes.
    #[must_use]
    pub fn new(mean: Duration) -> Option<Self> {
        match u32::try_from(mean.as_micros()) {
            Ok(0) | Err(_) => None,
            Ok(mean_micros) => Some(Self { mean_micros }),
        }
    }

    /// Draws a delay, below [`Self::bound`].
    pub fn sample(&self, rng: &mut dyn CryptoRng) -> Duration {
        let mut draw = || self.mean().mul_f64(Exp1.sample(rng));
        first_below(self.bound(), &mut draw)
    }

    /// Whether an honest sender draws this delay.
    #[must_use]
    pub fn accepts(&self, delay: Duration) -> bool {
        delay < self.bound()
    }

    /// The mean.
    #[must_use]
    pub const fn mean(&self) -> Duration {
        Duration::from_micros(self.mean_micros as u64)
    }

    /// The `1 - 1e-9` quantile, 20.7 times the mean: every delay is below it.
    #[must_use]
    pub const fn bound(&self) -> Duration {
        Duration::from_nanos(self.mean_micros as u64 * BOUND_NANOS_PER_MICRO)
    }

    /// The delay that a share `p` of delays does not exceed.
    #[must_use]
    pub fn quantile(&self, p: f64) -> Duration {
        self.sum_quantile(1, p)
    }

    /// The time that a share `p` of sums of `hops` delays does not exceed (Erlang's law).
    ///
    /// `p` outside `0..=1` is taken to its nearer end; no sum exceeds `hops` times the bound.
    #[must_use]
    pub fn sum_quantile(&self, hops: u32, p: f64) -> Duration {
        let (mut low, mut high) = (0.0, f64::from(hops) * BOUND_UNITS);
        for _ in 0..BISECTIONS {
            let middle = f64::midpoint(low, high);
            if erlang(hops, middle) < p {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.mean().mul_f64(high)
    }
}

impl Encode for DelayLaw {
    fn encode(&self, writer: &mut Writer) {
        writer.u32(self.mean_micros);
    }
}

impl Decode for DelayLaw {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u32()? {
            0 => Err(DecodeError::OutOfRange),
            mean_micros => Ok(Self { mean_micros }),
        }
    }
}

fn first_below(bound: Duration, draw: &mut dyn FnMut() -> Duration) -> Duration {
    loop {
        let delay = draw();
        if delay < bound {
            return delay;
        }
    }
}

/// Probability that the sum of `stages` draws of mean 1 is at most `x`:
/// `1 - e^-x * sum of x^n / n! for n below stages`.
fn erlang(stages: u32, x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 0.0;
    for n in 1..=stages {
        sum += term;
        term *= x / f64::from(n);
    }
    1.0 - (-x).exp() * sum
}

/// `-ln(1e-9)`, the bound in means.
const BOUND_UNITS: f64 = 20.723_265_836_946_41;

/// The bound in nanoseconds for a mean of one microsecond; whole, so that all nodes agree.
const BOUND_NANOS_PER_MICRO: u64 = 20_723;

/// Enough to settle an `f64`.
const BISECTIONS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn law(millis: u64) -> DelayLaw {
        DelayLaw::new(Duration::from_millis(millis)).unwrap()
    }

    #[test]
    fn refuses_a_mean_of_nothing_and_one_too_long() {
        assert_eq!(DelayLaw::new(Duration::from_nanos(999)), None);
        assert_eq!(DelayLaw::new(Duration::from_secs(4300)), None);
        assert_eq!(DelayLaw::from_bytes(&[0; 4]), Err(DecodeError::OutOfRange));
    }

    #[test]
    fn accepts_up_to_the_bound_and_not_at_it() {
        let law = law(50);
        assert_eq!(law.bound(), Duration::from_micros(1_036_150));
        assert!(law.accepts(Duration::ZERO));
        assert!(law.accepts(law.bound() - Duration::from_nanos(1)));
        assert!(!law.accepts(law.bound()));
        assert!(!law.accepts(Duration::MAX));
    }

    #[test]
    fn a_draw_above_the_bound_is_drawn_again_not_clamped() {
        let bound = law(50).bound();
        let mut draws = [bound * 2, bound, Duration::from_millis(40)].into_iter();
        let delay = first_below(bound, &mut || draws.next().unwrap());
        assert_eq!(delay, Duration::from_millis(40));
    }

    #[test]
    fn quantiles_are_those_of_the_law() {
        let law = law(1000);
        let median = law.quantile(0.5).as_secs_f64();
        assert!((median - std::f64::consts::LN_2).abs() < 1e-8);
        let p999 = law.quantile(0.999).as_secs_f64();
        assert!((p999 - 1000f64.ln()).abs() < 1e-8);
        // Tables of chi-square with 6 degrees of freedom, halved: 22.458 / 2.
        let three = law.sum_quantile(3, 0.999).as_secs_f64();
        assert!((three - 11.229).abs() < 1e-3, "{three}");
        assert_eq!(law.sum_quantile(0, 0.5), Duration::ZERO);
        assert_eq!(law.quantile(-1.0), Duration::ZERO);
        assert!(law.quantile(2.0) >= law.bound());
    }
}
