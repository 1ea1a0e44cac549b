//! Bad paths: an instrument for tests and the demo. No node ever has one.

mod path;
mod proxy;

use std::time::Duration;

use rand::CryptoRng;

pub use proxy::FaultProxy;

/// How likely something is, from 0 (never) to 1 (always).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Chance(f64);

impl Chance {
    /// `None` unless `probability` is from 0 to 1.
    #[must_use]
    pub fn new(probability: f64) -> Option<Self> {
        (0.0..=1.0)
            .contains(&probability)
            .then_some(Self(probability))
    }

    /// As a number from 0 to 1.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    fn falls(self, rng: &mut dyn CryptoRng) -> bool {
        // 53 bits: as many as the fraction of an f64 holds.
        let uniform = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        uniform < self.0
    }
}

/// What a path does to the datagrams on it, each by itself and in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// Datagrams that do not arrive.
    pub loss: Chance,
    /// Datagrams that are held back a few milliseconds, so that later ones overtake them.
    pub reordering: Chance,
    /// Datagrams that arrive twice.
    pub duplication: Chance,
    /// Longest datagram that passes, in bytes.
    pub mtu: usize,
}

impl Faults {
    /// A path without faults.
    pub const NONE: Self = Self {
        loss: Chance(0.0),
        reordering: Chance(0.0),
        duplication: Chance(0.0),
        mtu: usize::MAX,
    };

    /// A path that loses datagrams and does nothing else.
    #[must_use]
    pub const fn losing(loss: Chance) -> Self {
        Self { loss, ..Self::NONE }
    }

    /// What becomes of a datagram of `length` bytes.
    fn fate(&self, rng: &mut dyn CryptoRng, length: usize) -> Fate {
        if length > self.mtu {
            return Fate::TooLong;
        }
        if self.loss.falls(rng) {
            return Fate::Lost;
        }
        Fate::Passes {
            twice: self.duplication.falls(rng),
            late: self.reordering.falls(rng).then(|| lateness(rng)),
        }
    }
}

/// Uniform up to [`LONGEST_LATENESS`].
fn lateness(rng: &mut dyn CryptoRng) -> Duration {
    LONGEST_LATENESS.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX))
}

/// What becomes of one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lost,
    TooLong,
    Passes { twice: bool, late: Option<Duration> },
}

/// What a proxy has done to the datagrams that came to it, both directions together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FaultCounts {
    /// Came to the proxy.
    pub came: u64,
    /// Sent on, the second copies of doubled ones not counted.
    pub passed: u64,
    /// Dropped by chance.
    pub lost: u64,
    /// Dropped because they were longer than the path's datagrams may be.
    pub too_long: u64,
    /// Dropped because the path was cut.
    pub cut: u64,
    /// Dropped because a bound of the proxy was reached, or the node's socket was not there.
    pub overload: u64,
    /// Held back and still there, or sent on late: part of `passed` once sent.
    pub late: u64,
    /// Sent twice.
    pub doubled: u64,
}

impl FaultCounts {
    /// Everything that came and will not arrive.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.lost + self.too_long + self.cut + self.overload
    }

    /// Both proxies' together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            came: self.came + other.came,
            passed: self.passed + other.passed,
            lost: self.lost + other.lost,
            too_long: self.too_long + other.too_long,
            cut: self.cut + other.cut,
            overload: self.overload + other.overload,
            late: self.late + other.late,
            doubled: self.doubled + other.doubled,
        }
    }
}

/// Several frames of the highest class.
const LONGEST_LATENESS: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    fn chance(probability: f64) -> Chance {
        Chance::new(probability).unwrap()
    }

    #[test]
    fn chances_are_from_0_to_1() {
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Chance::new(wrong), None);
        }
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        assert!(!(0..1000).any(|_| chance(0.0).falls(&mut rng)));
        assert!((0..1000).all(|_| chance(1.0).falls(&mut rng)));
    }

    #[test]
    fn fates_fall_as_often_as_said_and_as_seeded() {
        let faults = Faults {
            loss: chance(0.1),
            reordering: chance(0.5),
            duplication: chance(0.2),
            mtu: 1200,
        };
        let fates = |seed| -> Vec<Fate> {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            (0..20_000).map(|_| faults.fate(&mut rng, 1200)).collect()
        };
        assert_eq!(fates(3), fates(3));
        assert_ne!(fates(3), fates(4));
        let share = |is: fn(&Fate) -> bool| fates(3).iter().filter(|f| is(f)).count() as f64 / 2e4;
        // Four standard deviations of 20,000 tosses are below 0.015.
        let near = |share: f64, expected: f64| assert!((share - expected).abs() < 0.015, "{share}");
        near(share(|f| *f == Fate::Lost), 0.1);
        near(
            share(|f| matches!(f, Fate::Passes { late: Some(_), .. })),
            0.9 * 0.5,
        );
        near(
            share(|f| matches!(f, Fate::Passes { twice: true, .. })),
            0.9 * 0.2,
        );
        assert_eq!(share(|f| *f == Fate::TooLong), 0.0);
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        assert_eq!(faults.fate(&mut rng, 1201), Fate::TooLong);
    }

    #[test]
    fn a_path_without_faults_passes_everything_as_it_is() {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let passes = Fate::Passes {
            twice: false,
            late: None,
        };
        assert!((0..70_000).all(|length| Faults::NONE.fate(&mut rng, length) == passes));
    }
}
