//! A clock that ticks as a Poisson process does.

use std::fmt;
use std::time::Duration;

use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use wire::Time;

use crate::Rate;

/// Ticks with exponential gaps, whatever else happens.
///
/// The clock draws its gaps from a stream of its own, seeded once. So its ticks are a function
/// of start, seed and rate: building a packet, choosing a slot's kind or drawing anything else
/// cannot move them.
pub struct PoissonClock {
    stream: ChaCha20Rng,
    rate: Rate,
    next: Time,
    stalls: u64,
}

/// A tick is fired at most this late.
///
/// What is due for longer was missed (the process did not run, or not fast enough) and stays
/// missed: the clock starts afresh from the time of the call, which the law's lack of memory
/// allows. So at most the ticks of this span ever leave together.
pub const PATIENCE: Duration = Duration::from_millis(50);

impl PoissonClock {
    /// A clock whose first tick is one gap after `now`. Takes 32 bytes from `rng`.
    pub fn new(now: Time, rng: &mut dyn CryptoRng, rate: Rate) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let mut stream = ChaCha20Rng::from_seed(seed);
        let next = now.after(rate.draw(&mut stream));
        Self {
            stream,
            rate,
            next,
            stalls: 0,
        }
    }

    /// True once for each tick that is due: call it until it is false.
    ///
    /// Ticks more than [`PATIENCE`] late are passed over together, as one stall.
    pub fn fire(&mut self, now: Time) -> bool {
        if now < self.next {
            return false;
        }
        if now.since(self.next) > PATIENCE {
            self.stalls = self.stalls.saturating_add(1);
            self.restart(now);
            return false;
        }
        self.next = self.next.after(self.rate.draw(&mut self.stream));
        true
    }

    /// Goes on at another rate from `now`; nothing happens if it is the same.
    pub fn set_rate(&mut self, now: Time, rate: Rate) {
        if rate != self.rate {
            self.rate = rate;
            self.restart(now);
        }
    }

    /// When the next tick is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Time {
        self.next
    }

    /// The rate.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How often ticks were passed over because the call came too late.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.stalls
    }

    fn restart(&mut self, now: Time) {
        self.next = now.after(self.rate.draw(&mut self.stream));
    }
}

/// Neither the stream nor the next tick: both say when packets will leave.
impl fmt::Debug for PoissonClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoissonClock")
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(per_second: f64) -> PoissonClock {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        PoissonClock::new(Time::ZERO, &mut rng, Rate::new(per_second).unwrap())
    }

    fn due(clock: &mut PoissonClock, now: Time) -> usize {
        std::iter::from_fn(|| clock.fire(now).then_some(())).count()
    }

    #[test]
    fn fires_once_a_tick_and_not_before_it() {
        let mut clock = clock(10.0);
        let tick = clock.poll_timeout();
        assert!(!clock.fire(tick.before(Duration::from_nanos(1))));
        assert!(clock.fire(tick));
        assert!(clock.poll_timeout() > tick);
        assert_eq!(clock.stalls(), 0);
    }

    #[test]
    fn a_little_late_catches_up() {
        let mut punctual = clock(1000.0);
        let mut late = clock(1000.0);
        let mut ticks = 0;
        let end = Time::ZERO.after(PATIENCE / 2);
        while punctual.poll_timeout() <= end {
            let tick = punctual.poll_timeout();
            ticks += due(&mut punctual, tick);
        }
        assert_eq!(due(&mut late, end), ticks);
        assert_eq!(late.poll_timeout(), punctual.poll_timeout());
    }

    #[test]
    fn too_late_does_not_bunch() {
        let mut clock = clock(120.0);
        let much_later = Time::ZERO.after(Duration::from_secs(3600));
        assert_eq!(due(&mut clock, much_later), 0);
        assert_eq!(clock.stalls(), 1);
        assert!(clock.poll_timeout() > much_later);
        let next = clock.poll_timeout();
        assert!(clock.fire(next));
    }

    #[test]
    fn another_rate_starts_from_now() {
        let mut clock = clock(0.001);
        let now = Time::ZERO.after(Duration::from_secs(1));
        let before = clock.poll_timeout();
        clock.set_rate(now, Rate::new(0.001).unwrap());
        assert_eq!(clock.poll_timeout(), before);
        clock.set_rate(now, Rate::new(1000.0).unwrap());
        assert!(clock.poll_timeout().since(now) < Duration::from_secs(1));
    }
}
