//! A rate that somebody must keep to: a token bucket that is one point in time.

use std::time::Duration;

use traffic::Rate;
use wire::Time;

/// Frames that a client may be ahead of its rate.
///
/// A client sends by a Poisson clock of mean rate `r`; the bucket fills at [`HEADROOM`] times `r`.
/// An honest client then exceeds a burst of 64 with probability below `1e-11` a frame
/// (`exp(-theta * 64)`, where `theta = 0.43` solves `exp(theta) = 1 + 1.25 theta`).
const BURST: u32 = 64;

/// How much faster than the class rate the bucket fills.
const HEADROOM: f64 = 1.25;

/// Packets that strangers may put into a mailbox at once, ahead of the rate that its owner set:
/// as many as a question of a few packets has, asked by several at one time.
const STRANGERS_BURST: u32 = 32;

/// A token bucket in the form of the time at which it will be full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    gap: Duration,
    burst: u32,
    full_at: Time,
}

impl Bucket {
    /// A full bucket for clients of rate `class`.
    pub(crate) fn new(now: Time, class: Rate) -> Self {
        Self {
            gap: gap(class),
            burst: BURST,
            full_at: now,
        }
    }

    /// A full bucket for a mailbox's strangers, who get `rate` together and no more.
    pub(crate) fn of_strangers(now: Time, rate: Rate) -> Self {
        Self {
            gap: exact_gap(rate),
            burst: STRANGERS_BURST,
            full_at: now,
        }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Time) -> bool {
        let full_at = self.full_at.max(now);
        if full_at.since(now) > self.gap * (self.burst - 1) {
            return false;
        }
        self.full_at = full_at.after(self.gap);
        true
    }

    /// Fills at another rate from now on; what is missing stays missing.
    pub(crate) fn set_class(&mut self, now: Time, class: Rate) {
        self.set_gap(now, gap(class));
    }

    /// As [`Self::set_class`], for a rate that is exact.
    pub(crate) fn set_rate(&mut self, now: Time, rate: Rate) {
        self.set_gap(now, exact_gap(rate));
    }

    fn set_gap(&mut self, now: Time, next: Duration) {
        let missing = self.full_at.since(now).as_secs_f64() / self.gap.as_secs_f64();
        self.full_at = now.after(next.mul_f64(missing));
        self.gap = next;
    }
}

fn gap(class: Rate) -> Duration {
    exact_gap(class)
        .div_f64(HEADROOM)
        .max(Duration::from_nanos(1))
}

fn exact_gap(rate: Rate) -> Duration {
    Duration::from_secs_f64(1.0 / rate.per_second()).max(Duration::from_nanos(1))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn class(per_second: f64) -> Rate {
        Rate::new(per_second).unwrap()
    }

    fn taken(bucket: &mut Bucket, now: Time, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(bucket.take(now))).sum()
    }

    #[test]
    fn allows_a_burst_and_no_more() {
        let mut bucket = Bucket::new(Time::ZERO, class(6.0));
        assert_eq!(taken(&mut bucket, Time::ZERO, 1_000), BURST);
        let later = Time::ZERO.after(SECOND);
        assert_eq!(taken(&mut bucket, later, 1_000), 7);
    }

    #[test]
    fn an_honest_client_is_never_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for rate in [6.0, 30.0, 120.0] {
            let mut bucket = Bucket::new(Time::ZERO, class(rate));
            let mut now = Time::ZERO;
            for _ in 0..200_000 {
                now = now.after(class(rate).draw(&mut rng));
                assert!(bucket.take(now));
            }
        }
    }

    #[test]
    fn another_class_does_not_refill() {
        let mut bucket = Bucket::new(Time::ZERO, class(6.0));
        taken(&mut bucket, Time::ZERO, BURST);
        for rate in [120.0, 6.0, 30.0, 6.0] {
            bucket.set_class(Time::ZERO, class(rate));
            assert_eq!(taken(&mut bucket, Time::ZERO, 10), 0, "{rate}");
        }
    }
}
