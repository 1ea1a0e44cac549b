//! Sending a service's descriptor through the mixes until a gateway says what the authorities
//! said of it (docs/spec/message.md, 11).

use std::time::Duration;

use directory::Topology;
use sphinx::Geometry;
use wire::{MAX_PUBLICATION_PARTS, PublicationPart, Time};

/// A descriptor on its way.
pub(crate) struct Publication {
    descriptor: Vec<u8>,
    gap: Duration,
    next_at: Time,
    attempts: u32,
}

impl Publication {
    /// A descriptor to be sent from `now` on.
    pub(crate) fn new(now: Time, topology: &Topology, descriptor: Vec<u8>) -> Self {
        Self {
            descriptor,
            gap: topology.parameters().vote_step.clamp(SHORTEST, LONGEST),
            next_at: now,
            attempts: 0,
        }
    }

    /// Whether it is to be sent, and when it was so often that it is given up.
    pub(crate) fn due(&mut self, now: Time) -> Due {
        if self.attempts >= MAX_ATTEMPTS {
            return Due::GivenUp;
        }
        if now < self.next_at {
            return Due::NotYet;
        }
        self.attempts += 1;
        self.next_at = now.after(self.gap);
        self.gap = (self.gap * 3 / 2).min(LONGEST);
        Due::Now
    }

    /// The parts, each short enough for a packet.
    pub(crate) fn parts(&self, geometry: Geometry) -> Vec<Vec<u8>> {
        let room = geometry
            .capacity()
            .saturating_sub(PublicationPart::OVERHEAD);
        let parts = self.descriptor.chunks(room.max(1));
        let parts = parts.map(<[u8]>::to_vec);
        parts.take(usize::from(MAX_PUBLICATION_PARTS)).collect()
    }
}

/// See [`Publication::due`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    NotYet,
    Now,
    GivenUp,
}

/// Between the first attempts: a step of the vote, but not outside of these.
const SHORTEST: Duration = Duration::from_millis(300);
const LONGEST: Duration = Duration::from_secs(6);

/// More than a minute of trying; the next epoch has a descriptor of its own.
const MAX_ATTEMPTS: u32 = 16;
