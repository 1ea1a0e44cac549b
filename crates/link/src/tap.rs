//! The tap: what one node sees, shown to the demo's inspector and to tests.
//!
//! It carries what no log may: both ends of a packet, plaintexts, addresses. It exists only
//! where one process plays the whole network; drivers report what they see at their own edge,
//! and nothing anywhere acts on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::{Ledger, Time};

use crate::Peer;

/// Collects what nodes see.
pub trait Witness: Send + Sync + 'static {
    /// `node` saw `sight`. Called on the node's own path: it should return at once.
    fn saw(&self, node: &str, sight: Sight);
}

/// One thing that one node saw.
#[derive(Clone)]
#[non_exhaustive]
pub enum Sight {
    /// A frame came in.
    FrameIn {
        /// When.
        at: Time,
        /// From whom.
        peer: Peer,
        /// The address at the other end.
        remote: Option<SocketAddr>,
        /// Of the packet's bytes.
        digest: Digest,
    },
    /// A frame went out.
    FrameOut {
        /// When.
        at: Time,
        /// To whom.
        peer: Peer,
        /// The address at the other end.
        remote: Option<SocketAddr>,
        /// Of the packet's bytes.
        digest: Digest,
    },
    /// A packet was peeled.
    Peeled {
        /// When.
        at: Time,
        /// Of the packet that came.
        input: Digest,
        /// Of the packet inside; `None` if it ended here.
        output: Option<Digest>,
        /// How long it is held.
        delay: Duration,
        /// How many packets are held with it.
        pool: usize,
    },
    /// The node's account of packets, as of now.
    Account {
        /// What came, went and was refused.
        ledger: Box<Ledger>,
        /// What it holds.
        held: u64,
    },
    /// How many packets the node made, by kind, as of now. On the wire all are alike.
    Kinds(Vec<(&'static str, u64)>),
    /// This node's own keys opened something.
    Plaintext {
        /// When.
        at: Time,
        /// What kind of thing.
        label: &'static str,
        /// The thing.
        bytes: Vec<u8>,
    },
}

/// A packet's name in sights: the first half of BLAKE3 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// Of these bytes.
    #[must_use]
    pub fn of(packet: &[u8]) -> Self {
        let mut digest = [0; 16];
        blake3::Hasher::new()
            .update(packet)
            .finalize_xof()
            .fill(&mut digest);
        Self(digest)
    }
}

/// A witness's ear at one node.
#[derive(Clone)]
pub struct Tap {
    node: Arc<str>,
    witness: Arc<dyn Witness>,
}

impl Tap {
    /// At the node that the witness knows as `node`.
    pub fn new(node: &str, witness: Arc<dyn Witness>) -> Self {
        Self {
            node: node.into(),
            witness,
        }
    }

    /// Passes a sight on.
    pub fn saw(&self, sight: Sight) {
        self.witness.saw(&self.node, sight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_names_its_bytes() {
        assert!(Digest::of(b"one") == Digest::of(b"one"));
        assert!(Digest::of(b"one") != Digest::of(b"two"));
        // The published BLAKE3 of nothing begins so.
        assert_eq!(Digest::of(b"").0[..4], [0xaf, 0x13, 0x49, 0xb9]);
    }
}
