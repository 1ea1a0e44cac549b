//! The one place that reads the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use link::Clock;
use wire::Time;

/// The wall clock read once, carried on by the monotonic clock: it never runs backwards.
pub struct SystemClock {
    started: Time,
    monotonic: Instant,
}

impl SystemClock {
    /// Reads both clocks.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "the front door is where clocks are read"
    )]
    pub fn new() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self {
            started: Time::ZERO.after(since_epoch),
            monotonic: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        self.started.after(self.monotonic.elapsed())
    }
}
