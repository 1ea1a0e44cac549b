//! What travels from a gateway to a client: frames of one length on the client's own clock.
//!
//! The kind stands in the frame's prefix, inside the link's encryption (docs/spec/link.md).

use std::collections::VecDeque;

use link::Frame;
use rand::CryptoRng;
use sphinx::Geometry;

/// What a frame to a client holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Random bytes, because nothing waited.
    Dummy,
    /// A Sphinx packet whose last hop is the client.
    Packet,
    /// An item of a mailbox that the client attached.
    Item,
}

impl Delivery {
    /// The frame's prefix.
    pub(crate) const fn prefix(self) -> u16 {
        match self {
            Self::Dummy => Frame::DUMMY,
            Self::Packet => Frame::PACKET,
            Self::Item => Frame::MAILBOX_ITEM,
        }
    }
}

/// Bytes of a frame's length without the prefix that are as random as a Sphinx packet.
pub(crate) fn dummy(rng: &mut dyn CryptoRng, geometry: Geometry) -> Box<[u8]> {
    let mut bytes = vec![0; geometry.packet_len()];
    rng.fill_bytes(&mut bytes);
    bytes.into_boxed_slice()
}

/// Where something stands among all that ever waited at this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn(pub(crate) u64);

/// A bounded queue of packet-long byte strings, each with its turn.
#[derive(Default)]
pub(crate) struct Waiting(VecDeque<(Turn, Box<[u8]>)>);

impl Waiting {
    /// Queues `bytes` unless `bound` are waiting already.
    pub(crate) fn push(&mut self, bound: usize, turn: Turn, bytes: Box<[u8]>) -> bool {
        let room = self.0.len() < bound;
        if room {
            self.0.push_back((turn, bytes));
        }
        room
    }

    /// Takes the next.
    pub(crate) fn pop(&mut self) -> Option<Box<[u8]>> {
        self.0.pop_front().map(|(_, bytes)| bytes)
    }

    /// The next one's turn.
    pub(crate) fn turn(&self) -> Option<Turn> {
        self.0.front().map(|(turn, _)| *turn)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}
