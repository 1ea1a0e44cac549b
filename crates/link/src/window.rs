//! A congestion window that loss does not change.
//!
//! Rates on this network are fixed by signed parameters: a link that slowed down on loss would
//! delay packets without relieving anybody, and would show an observer how a path fares. So
//! the window follows from the rate that the link shall carry and from the round trip alone.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory};

use crate::transport::FIRST_ROUND_TRIP;

/// How the window follows from the round trip.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowLaw {
    bytes_per_second: u64,
    max: u64,
}

impl WindowLaw {
    /// For links that carry `bytes_per_second`, and never more than `max` bytes in flight.
    pub(crate) const fn new(bytes_per_second: u64, max: u64) -> Self {
        Self {
            bytes_per_second,
            max,
        }
    }

    /// What is sent in two round trips and [`SLACK`]: one trip until a byte is confirmed, one
    /// more until a lost one is sent again.
    fn window(self, round_trip: Duration) -> u64 {
        let span = round_trip.saturating_mul(2).saturating_add(SLACK);
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let bytes = self.bytes_per_second.saturating_mul(millis) / 1000;
        bytes.min(self.max).max(MIN_WINDOW)
    }
}

impl ControllerFactory for WindowLaw {
    fn build(self: Arc<Self>, _now: Instant, _mtu: u16) -> Box<dyn Controller> {
        let window = self.window(FIRST_ROUND_TRIP);
        Box::new(ConstantWindow { law: *self, window })
    }
}

#[derive(Debug, Clone, Copy)]
struct ConstantWindow {
    law: WindowLaw,
    window: u64,
}

impl Controller for ConstantWindow {
    fn on_ack(
        &mut self,
        _now: Instant,
        _sent: Instant,
        _bytes: u64,
        _app_limited: bool,
        rtt: &quinn_proto::RttEstimator,
    ) {
        self.window = self.law.window(rtt.get());
    }

    fn on_congestion_event(
        &mut self,
        _now: Instant,
        _sent: Instant,
        _persistent: bool,
        _lost_bytes: u64,
    ) {
    }

    fn on_mtu_update(&mut self, _mtu: u16) {}

    fn window(&self) -> u64 {
        self.window
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(*self)
    }

    fn initial_window(&self) -> u64 {
        self.law.window(FIRST_ROUND_TRIP)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// For delayed acknowledgements, timers and bursts.
const SLACK: Duration = Duration::from_millis(100);

/// Room for a handshake and a few frames at any rate.
const MIN_WINDOW: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_rate_and_round_trip_within_its_bounds() {
        let law = WindowLaw::new(8_540_000, 8 << 20);
        assert_eq!(law.window(Duration::ZERO), 854_000);
        assert_eq!(law.window(Duration::from_millis(50)), 1_708_000);
        assert_eq!(law.window(Duration::from_secs(9)), 8 << 20);
        assert_eq!(law.window(Duration::MAX), 8 << 20);
        assert_eq!(
            WindowLaw::new(1, 8 << 20).window(Duration::ZERO),
            MIN_WINDOW
        );
    }

    #[test]
    fn loss_does_not_change_the_window() {
        let law = Arc::new(WindowLaw::new(8_540_000, 8 << 20));
        let now = tokio::time::Instant::now().into_std();
        let mut controller = law.build(now, 1200);
        let before = controller.window();
        controller.on_congestion_event(now, now, true, 1 << 20);
        assert_eq!(controller.window(), before);
    }
}
