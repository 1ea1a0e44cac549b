//! How a mesh is set up.

use std::net::SocketAddr;
use std::time::Duration;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::FrameRate;

/// How a mesh is set up. Sizes and bounds are fixed at [`crate::Mesh::bind`].
pub struct MeshConfig {
    /// Where to listen; `None` for a mesh that only dials.
    pub listen: Option<SocketAddr>,
    /// The node's identity; `None` for a client, which shows none.
    pub identity: Option<IdentitySeed>,
    /// Length of every frame in both directions: `Geometry::frame_len()`.
    pub frame_len: usize,
    /// Whether peers without a certificate may connect.
    pub admit_guests: bool,
    /// Whether a peer whose key is not admitted comes in as a guest, instead of not at all.
    /// For authorities, who do not know yet who will be in the document.
    pub admit_strangers: bool,
    /// Every bound of the mesh.
    pub limits: Limits,
}

impl MeshConfig {
    /// A client's: dials only, shows no identity.
    #[must_use]
    pub fn client(frame_len: usize) -> Self {
        Self {
            listen: None,
            identity: None,
            frame_len,
            admit_guests: false,
            admit_strangers: false,
            limits: Limits::default(),
        }
    }

    /// A node's: listens at `listen`, admits no guests.
    #[must_use]
    pub fn node(frame_len: usize, identity: IdentitySeed, listen: SocketAddr) -> Self {
        Self {
            listen: Some(listen),
            identity: Some(identity),
            ..Self::client(frame_len)
        }
    }

    /// The same, with guests admitted.
    #[must_use]
    pub fn with_guests(self) -> Self {
        Self {
            admit_guests: true,
            ..self
        }
    }

    /// The same, with guests admitted, and with unknown keys taken for guests.
    #[must_use]
    pub fn with_strangers(self) -> Self {
        Self {
            admit_strangers: true,
            ..self.with_guests()
        }
    }
}

/// The seed of a node's Ed25519 identity key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct IdentitySeed([u8; 32]);

impl IdentitySeed {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for IdentitySeed {
    fn from(seed: [u8; 32]) -> Self {
        Self(seed)
    }
}

/// Every bound of a mesh. The defaults suit a node of a small public network.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections in total.
    pub connections: usize,
    /// Connections from one address (IPv6: from one /64).
    pub connections_per_address: usize,
    /// Handshakes under way.
    pub half_open: usize,
    /// Time for a handshake, and for the exchange of preambles after it.
    pub handshake: Duration,
    /// Silence after which a connection is given up.
    pub idle: Duration,
    /// Frames waiting to be sent to one node.
    pub node_queue: usize,
    /// Frames waiting to be sent to one guest.
    pub guest_queue: usize,
    /// Events waiting for the mesh's owner. Frames come in batches of up to 32.
    pub events: usize,
    /// Calls that one node may have open.
    pub node_calls: u32,
    /// Calls that one guest may have open.
    pub guest_calls: u32,
    /// Calls that all guests together may have before the owner; more are told `Busy`.
    pub all_guests_calls: usize,
    /// Longest call that a guest may send.
    pub guest_call_len: usize,
    /// Time for a call to arrive, for its answer to be found, and for the reply to leave, each.
    pub call: Duration,
    /// Frames that a node may send us.
    pub node_rate: FrameRate,
    /// Frames that a guest may send us.
    pub guest_rate: FrameRate,
    /// Frames a second that a link shall carry whatever is lost; sizes the constant window.
    pub window_rate: u32,
    /// First and longest wait before a node is dialled again; doubles between, randomised.
    pub redial: (Duration, Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 64,
            half_open: 256,
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            node_queue: 1024,
            guest_queue: 64,
            events: 64,
            node_calls: 8,
            guest_calls: 2,
            all_guests_calls: 256,
            guest_call_len: 64 << 10,
            call: Duration::from_secs(10),
            node_rate: FrameRate::new(5000, 5000),
            guest_rate: FrameRate::new(250, 250),
            window_rate: 1000,
            redial: (Duration::from_millis(200), Duration::from_secs(20)),
        }
    }
}
