//! What a link carries: frames of one length.

use std::fmt;

use bytes::Bytes;

/// A 2-byte prefix and a packet; cheap to clone.
///
/// The prefix is zero between nodes. From a client it is the index of the first mix in layer 1;
/// to a client it is one of the kinds of delivery below (docs/spec/link.md, 3).
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(Bytes);

impl Frame {
    /// Length of the prefix.
    pub const PREFIX_LEN: usize = 2;
    /// Prefix to a client: random bytes, nothing waited.
    pub const DUMMY: u16 = 0;
    /// Prefix to a client: a Sphinx packet for its handle.
    pub const PACKET: u16 = 1;
    /// Prefix to a client: an item of a mailbox that it owns.
    pub const MAILBOX_ITEM: u16 = 2;

    /// Puts `prefix` before a copy of `packet`.
    #[must_use]
    pub fn new(prefix: u16, packet: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(Self::PREFIX_LEN + packet.len());
        bytes.extend_from_slice(&prefix.to_be_bytes());
        bytes.extend_from_slice(packet);
        Self(bytes.into())
    }

    /// The prefix.
    #[must_use]
    pub fn prefix(&self) -> u16 {
        self.0
            .first_chunk()
            .map_or(0, |prefix| u16::from_be_bytes(*prefix))
    }

    /// The packet.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        self.0.get(Self::PREFIX_LEN..).unwrap_or_default()
    }

    /// Prefix and packet.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What came as one frame; at least the prefix's length.
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        debug_assert!(bytes.len() >= Self::PREFIX_LEN, "frames hold their prefix");
        Self(bytes.into())
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }
}

/// The length alone.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} B)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_stands_before_the_packet() {
        let frame = Frame::new(0x0102, b"packet");
        assert_eq!(frame.as_bytes(), b"\x01\x02packet");
        assert_eq!((frame.prefix(), frame.packet()), (0x0102, &b"packet"[..]));
        assert_eq!(Frame::whole(frame.as_bytes().to_vec()), frame);
    }
}
