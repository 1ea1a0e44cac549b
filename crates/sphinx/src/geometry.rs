//! The single source of sizes: every length of a packet, on the wire and inside, comes from here.

/// The lengths of a network's packets: one payload length, and all that follows from it.
///
/// Source: `docs/spec/packet.md`, section 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    payload_len: usize,
}

impl Geometry {
    /// 8 KiB of payload, 8,540 bytes of packet.
    pub const DEFAULT: Self = Self { payload_len: 8192 };
    /// Length of the header: alpha, gamma, beta.
    pub const HEADER_LEN: usize = ELEMENT_LEN + MAC_LEN + ROUTING_LEN;
    /// Length of a single-use reply block.
    pub const SURB_LEN: usize = Self::HEADER_LEN + ADDRESS_LEN + SEED_LEN;
    /// Most hops of a route (`r`).
    pub const MAX_HOPS: usize = 5;

    /// `None` unless `payload_len` is 1 KiB to 64 KiB and a multiple of 64.
    #[must_use]
    pub const fn new(payload_len: usize) -> Option<Self> {
        let in_range = 1024 <= payload_len && payload_len <= 65_536;
        if in_range && payload_len.is_multiple_of(64) {
            Some(Self { payload_len })
        } else {
            None
        }
    }

    /// Length of the payload, sealed or not.
    #[must_use]
    pub const fn payload_len(self) -> usize {
        self.payload_len
    }

    /// Length of a packet.
    #[must_use]
    pub const fn packet_len(self) -> usize {
        Self::HEADER_LEN + self.payload_len
    }

    /// Length of a frame on a link: a two-byte prefix and a packet.
    #[must_use]
    pub const fn frame_len(self) -> usize {
        2 + self.packet_len()
    }

    /// Most bytes of plaintext in one packet.
    #[must_use]
    pub const fn capacity(self) -> usize {
        self.payload_len - PAYLOAD_OVERHEAD
    }

    /// Most bytes of plaintext in a packet for a mailbox, which forwards it with its account of
    /// reply blocks in front.
    #[must_use]
    pub const fn mailbox_capacity(self) -> usize {
        self.capacity() - ACCOUNT_LEN
    }
}

impl Default for Geometry {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A point of Curve25519: its `u`, little-endian.
pub(crate) const ELEMENT_LEN: usize = 32;
/// The truncated HMAC over beta (`gamma`).
pub(crate) const MAC_LEN: usize = 16;
/// A node, a client, a mailbox, or a constant.
pub(crate) const ADDRESS_LEN: usize = 32;
/// What tells one delivery from another at its destination.
pub(crate) const IDENTIFIER_LEN: usize = 16;
/// The delay at a hop, in nanoseconds.
pub(crate) const DELAY_LEN: usize = 8;
/// The flag that tells a hop from the last.
pub(crate) const FLAG_LEN: usize = 1;
/// The version of the format.
pub(crate) const VERSION_LEN: usize = 3;
/// What a payload key is derived from.
pub(crate) const SEED_LEN: usize = 16;

/// What a header spends on one hop.
pub(crate) const HOP_LEN: usize = FLAG_LEN + VERSION_LEN + ADDRESS_LEN + DELAY_LEN + MAC_LEN;
/// What the last hop reads.
pub(crate) const LAST_HOP_LEN: usize = FLAG_LEN + VERSION_LEN + ADDRESS_LEN + IDENTIFIER_LEN;
/// The encrypted routing information (`beta`).
pub(crate) const ROUTING_LEN: usize = HOP_LEN * Geometry::MAX_HOPS;
/// Beta with one hop of zeros behind, which decrypting shifts in.
pub(crate) const EXTENDED_LEN: usize = ROUTING_LEN + HOP_LEN;

/// Zeros in front of a plaintext, by which its recipient knows that nobody changed it.
pub(crate) const ZEROS_LEN: usize = 16;
/// Zeros in front and the mark behind.
pub(crate) const PAYLOAD_OVERHEAD: usize = ZEROS_LEN + 1;
/// Room for a mailbox's account of reply blocks.
const ACCOUNT_LEN: usize = 16;

const _: () = assert!(Geometry::HEADER_LEN == 348 && Geometry::SURB_LEN == wire::SURB_LEN);
const _: () = assert!(LAST_HOP_LEN <= HOP_LEN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_8_kib_of_payload() {
        let geometry = Geometry::new(8192).unwrap();
        assert_eq!(geometry, Geometry::DEFAULT);
        assert_eq!(geometry.packet_len(), 8540);
        assert_eq!(geometry.frame_len(), 8542);
        assert_eq!(geometry.capacity(), 8175);
        assert_eq!(geometry.mailbox_capacity(), 8159);
    }

    #[test]
    fn refuses_payloads_out_of_range_or_off_the_grid() {
        for bad in [0, 64, 960, 1023, 1025, 8191, 65_535, 65_600, usize::MAX] {
            assert_eq!(Geometry::new(bad), None, "{bad}");
        }
        assert!(Geometry::new(1024).is_some() && Geometry::new(65_536).is_some());
    }
}
