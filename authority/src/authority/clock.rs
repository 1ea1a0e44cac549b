//! Whether the own clock lets this authority take part.

use directory::ClockReading;
use wire::{Call, CallRefused, NodeId, Reply, Time};

use super::Authority;

impl Authority {
    /// Asks the others for their clocks: before each vote, and until enough have answered.
    pub(super) fn ask_for_clocks(&mut self, now: Time) {
        if now < self.clock_at {
            return;
        }
        let peers = self.peers_but(self.id);
        let ask = peers.into_iter().map(|peer| (peer, Call::Clocks));
        self.calls.extend(ask);
        self.clock_asked = now;
        self.clock_at = now.after(self.retry_gap());
        self.plan_clocks(now);
    }

    pub(super) fn hear_clock(&mut self, now: Time, from: NodeId, bytes: &[u8]) {
        self.clock.hear(now, &from, bytes);
        self.plan_clocks(now);
    }

    /// A clock that is off helps nobody to judge theirs.
    pub(super) fn show_clock(&self, now: Time) -> Reply {
        match self.clock.check() {
            Ok(()) => Reply::Clocks(ClockReading::sign(&self.identity, &self.network, now).alone()),
            Err(_) => Reply::Refused(CallRefused::NotYet),
        }
    }

    /// Enough were heard: look again before the next vote.
    fn plan_clocks(&mut self, now: Time) {
        if self.clock.knows(self.clock_asked) {
            let open = self.schedule.open_for(now);
            let soon = self.schedule.publish_at(open);
            self.clock_at = if soon > now {
                soon
            } else {
                self.schedule.publish_at(open.next())
            };
        }
    }
}
