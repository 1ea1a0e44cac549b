//! The token bucket that stands before everything else a frame could cost.

use std::time::Duration;

use wire::Time;

/// Frames that a peer may send: so many a second, so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRate {
    per_second: u32,
    burst: u32,
}

impl FrameRate {
    /// `per_second` in the long run, `burst` at once.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// Holds up to `burst` tokens, refilled at `per_second`; a frame costs one.
pub(crate) struct Bucket {
    rate: FrameRate,
    /// In billionths of a token, so that `per_second` tokens a second are exactly
    /// `per_second` of these a nanosecond.
    level: u64,
    filled: Time,
}

impl Bucket {
    pub(crate) fn new(now: Time, rate: FrameRate) -> Self {
        Self {
            rate,
            level: capacity(rate),
            filled: now,
        }
    }

    /// Another rate from now on; a full bucket stays full, another keeps what it holds.
    pub(crate) fn set_rate(&mut self, now: Time, rate: FrameRate) {
        if rate == self.rate {
            return;
        }
        self.refill(now);
        let full = self.level == capacity(self.rate);
        self.rate = rate;
        self.level = if full {
            capacity(rate)
        } else {
            self.level.min(capacity(rate))
        };
    }

    pub(crate) fn refill(&mut self, now: Time) {
        let nanos = whole_nanos(now.since(self.filled));
        let gained = nanos.saturating_mul(u64::from(self.rate.per_second));
        self.level = self.level.saturating_add(gained).min(capacity(self.rate));
        self.filled = self.filled.max(now);
    }

    /// Takes one token if there is one.
    pub(crate) fn take(&mut self) -> bool {
        match self.level.checked_sub(TOKEN) {
            Some(rest) => {
                self.level = rest;
                true
            }
            None => false,
        }
    }
}

fn capacity(rate: FrameRate) -> u64 {
    u64::from(rate.burst).saturating_mul(TOKEN)
}

fn whole_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const TOKEN: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    fn taken(bucket: &mut Bucket) -> usize {
        std::iter::from_fn(|| bucket.take().then_some(())).count()
    }

    #[test]
    fn gives_the_burst_and_then_the_rate() {
        let mut bucket = Bucket::new(at(0), FrameRate::new(10, 5));
        assert_eq!(taken(&mut bucket), 5);
        bucket.refill(at(99));
        assert_eq!(taken(&mut bucket), 0);
        bucket.refill(at(100));
        assert_eq!(taken(&mut bucket), 1);
        bucket.refill(at(1_000_000));
        assert_eq!(taken(&mut bucket), 5);
    }

    #[test]
    fn refilling_often_gives_no_more() {
        let mut bucket = Bucket::new(at(0), FrameRate::new(7, 2));
        let mut total = taken(&mut bucket);
        for step in 1..=10_000 {
            bucket.refill(Time::from_nanos(step * 100_000));
            total += taken(&mut bucket);
        }
        assert_eq!(total, 2 + 7);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let mut bucket = Bucket::new(at(1000), FrameRate::new(10, 1));
        assert!(bucket.take());
        bucket.refill(at(1000));
        bucket.refill(at(0));
        assert!(!bucket.take());
        bucket.refill(at(1050));
        assert!(!bucket.take());
    }

    #[test]
    fn a_new_rate_gives_no_tokens_to_an_empty_bucket() {
        let mut bucket = Bucket::new(at(0), FrameRate::new(10, 2));
        taken(&mut bucket);
        bucket.set_rate(at(0), FrameRate::new(10, 100));
        assert!(!bucket.take());
        let mut full = Bucket::new(at(0), FrameRate::new(10, 2));
        full.set_rate(at(0), FrameRate::new(10, 100));
        assert_eq!(taken(&mut full), 100);
    }
}
