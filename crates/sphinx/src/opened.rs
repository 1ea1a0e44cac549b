//! A packet whose header fitted a key: what it asks for, then the rest of the work.

use std::fmt;
use std::time::Duration;

use crate::address::Address;
use crate::geometry::{ELEMENT_LEN, IDENTIFIER_LEN};
use crate::header::Parts;
use crate::keys;
use crate::packet::Packet;
use crate::payload::{Layer, Payload};
use crate::secrets::{HopSecrets, ReplayTag};

/// A packet after its header was authenticated and decrypted, before blinding and payload.
pub struct Opened {
    // Alpha and payload as they came; gamma and beta are the next hop's already.
    packet: Packet,
    key_index: usize,
    secrets: HopSecrets,
    next: Next,
}

/// Where a header sends its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// On, after a time.
    Hop {
        /// The next hop.
        address: Address,
        /// How long the sender wants the packet held here.
        delay: Duration,
    },
    /// No further: this is the last hop.
    Deliver {
        /// For whom, at this hop.
        address: Address,
        /// What tells this delivery from others there.
        identifier: [u8; IDENTIFIER_LEN],
    },
}

impl Opened {
    pub(crate) fn new(packet: Packet, key_index: usize, secrets: HopSecrets, next: Next) -> Self {
        Self {
            packet,
            key_index,
            secrets,
            next,
        }
    }

    /// Blinds alpha and takes one layer off the payload.
    ///
    /// # Panics
    /// Never: alpha was checked not to be of low order, and no clamped scalar takes another
    /// point to the identity.
    #[must_use]
    pub fn finish(mut self) -> Peeled {
        Layer::new(&self.secrets.payload_seed).remove(self.packet.payload_mut());
        match self.next {
            Next::Hop { address, delay } => {
                let alpha = Parts::of(self.packet.header()).alpha;
                let blinded = keys::times(&self.secrets.blinding, alpha)
                    .expect("a clamped scalar takes no point but those of low order to zero");
                self.packet.header_mut()[..ELEMENT_LEN].copy_from_slice(blinded.as_slice());
                Peeled::Forward {
                    packet: self.packet,
                    next: address,
                    delay,
                }
            }
            Next::Deliver {
                address,
                identifier,
            } => Peeled::Deliver {
                address,
                identifier,
                payload: self.packet.into_payload(),
            },
        }
    }

    /// Which of the keys given to [`Packet::open`] fitted, and so whose replay filter is asked.
    #[must_use]
    pub fn key_index(&self) -> usize {
        self.key_index
    }

    /// The same for every copy of this packet, and for no other packet under this key.
    #[must_use]
    pub fn replay_tag(&self) -> &ReplayTag {
        &self.secrets.replay_tag
    }

    /// Where the header sends the packet.
    #[must_use]
    pub fn next(&self) -> Next {
        self.next
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened(..)")
    }
}

/// A packet with one layer less.
#[derive(Debug)]
pub enum Peeled {
    /// It goes on.
    Forward {
        /// As the next hop expects it.
        packet: Packet,
        /// The next hop.
        next: Address,
        /// How long the sender wants the packet held here.
        delay: Duration,
    },
    /// It ends here.
    Deliver {
        /// For whom, at this hop.
        address: Address,
        /// What tells this delivery from others there.
        identifier: [u8; IDENTIFIER_LEN],
        /// With the last layer taken off.
        payload: Payload,
    },
}
