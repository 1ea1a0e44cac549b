//! The rate of a Poisson process, as an integer that can be signed.

use std::time::Duration;

use rand::CryptoRng;
use rand_distr::{Distribution, Exp1};
use wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Events per second of a Poisson process: 0.001 to about 4.29 million, in steps of 0.001.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    millihertz: u32,
}

impl Rate {
    /// The nearest thousandth of an event per second; `None` unless that is in range.
    #[must_use]
    pub fn new(per_second: f64) -> Option<Self> {
        let millihertz = (per_second * 1000.0).round();
        // The comparison is false for NaN as well.
        let fits = (1.0..=f64::from(u32::MAX)).contains(&millihertz);
        // In range and whole, so that the cast is exact.
        fits.then_some(Self {
            millihertz: millihertz as u32,
        })
    }

    /// `None` if `millihertz` is zero.
    #[must_use]
    pub const fn from_millihertz(millihertz: u32) -> Option<Self> {
        if millihertz == 0 {
            None
        } else {
            Some(Self { millihertz })
        }
    }

    /// Thousandths of an event per second.
    #[must_use]
    pub const fn millihertz(self) -> u32 {
        self.millihertz
    }

    /// Events per second (lambda).
    #[must_use]
    pub fn per_second(self) -> f64 {
        f64::from(self.millihertz) / 1000.0
    }

    /// The mean gap between events: `1 / lambda`.
    #[must_use]
    pub fn mean_gap(self) -> Duration {
        Duration::from_nanos(1_000_000_000_000 / u64::from(self.millihertz))
    }

    /// Gap to the next event for `u` uniform over `0 < u <= 1`: `-ln(u) / lambda`.
    ///
    /// A `u` outside that range is taken to its nearer end.
    #[must_use]
    pub fn gap(self, u: f64) -> Duration {
        self.stretch(-u.clamp(f64::MIN_POSITIVE, 1.0).ln())
    }

    /// Draws the gap to the next event.
    pub fn draw(self, rng: &mut dyn CryptoRng) -> Duration {
        self.stretch(Exp1.sample(rng))
    }

    /// `unit` of the law with mean 1, at this rate. Finite: the largest draw is below 800.
    fn stretch(self, unit: f64) -> Duration {
        Duration::from_secs_f64(unit / self.per_second())
    }
}

impl Encode for Rate {
    fn encode(&self, writer: &mut Writer) {
        writer.u32(self.millihertz);
    }
}

impl Decode for Rate {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_millihertz(reader.u32()?).ok_or(DecodeError::OutOfRange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_a_rate() {
        for bad in [0.0, -1.0, 0.0004, 4.3e6, f64::NAN, f64::INFINITY] {
            assert_eq!(Rate::new(bad), None, "{bad}");
        }
        assert_eq!(Rate::from_bytes(&[0; 4]), Err(DecodeError::OutOfRange));
    }

    #[test]
    fn a_rate_is_what_was_asked_for() {
        let rate = Rate::new(6.0).unwrap();
        assert_eq!(rate.millihertz(), 6000);
        assert_eq!(Rate::new(0.0005).unwrap().millihertz(), 1);
        assert_eq!(Rate::new(30.0).unwrap().mean_gap().as_millis(), 33);
        assert_eq!(Rate::from_bytes(&rate.to_bytes()), Ok(rate));
    }

    #[test]
    fn the_gap_inverts_the_law() {
        let rate = Rate::new(2.0).unwrap();
        assert_eq!(rate.gap(1.0), Duration::ZERO);
        let median = rate.gap(0.5).as_secs_f64();
        assert!((median - std::f64::consts::LN_2 / 2.0).abs() < 1e-9);
        assert!(rate.gap(0.0) < Duration::from_secs(400));
    }
}
