//! A feed: reply blocks that the owner of a mailbox sends to the gateway that keeps it.

use crate::{AdmissionTag, Decode, DecodeError, Encode, Epoch, Reader, SURB_LEN, Writer};

/// Reply blocks for a mailbox (`reach = "anonymous"`), as one packet to the gateway that keeps it.
///
/// The mailbox's address is BLAKE3 of `key`; the signature covers the gateway's id and all fields
/// before it (docs/spec/message.md, 10).
#[derive(Clone, PartialEq, Eq)]
pub struct Feed {
    /// The mailbox's Ed25519 key.
    pub key: [u8; 32],
    /// The epoch whose keys the reply blocks name.
    pub epoch: Epoch,
    /// Rises with every feed, across restarts too; an older feed is refused.
    pub counter: u64,
    /// Reply blocks of feeds with a lower counter are discarded: they lead nowhere any more, since
    /// the owner restarted or took another entry gateway. At most `counter`.
    pub floor: u64,
    /// Packets in 1,000 seconds that the mailbox takes of senders whose tags were not announced.
    pub stranger_millihertz: u32,
    /// Tags of packets to come that go before all others. Each is good for one packet.
    pub tags: Vec<AdmissionTag>,
    /// The reply blocks, in the order of their use.
    pub surbs: Vec<[u8; SURB_LEN]>,
    /// Ed25519 by `key`.
    pub signature: [u8; 64],
}

/// Most reply blocks in one feed.
pub const MAX_FEED_SURBS: usize = 20;

/// Most tags in one feed.
pub const MAX_FEED_TAGS: usize = 64;

impl Feed {
    /// Length of an encoded feed.
    #[must_use]
    pub const fn encoded_len(surbs: usize, tags: usize) -> usize {
        FIXED_LEN + surbs * SURB_LEN + tags * AdmissionTag::LEN
    }

    /// What the owner signs, after the gateway's id: all but the signature.
    #[must_use]
    pub fn unsigned_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.encode_unsigned(&mut writer);
        writer.into_bytes()
    }

    fn encode_unsigned(&self, writer: &mut Writer) {
        writer.raw(&self.key);
        self.epoch.encode(writer);
        writer.u64(self.counter);
        writer.u64(self.floor);
        writer.u32(self.stranger_millihertz);
        writer.list(&self.tags);
        writer.list(&self.surbs);
    }
}

impl Encode for Feed {
    fn encode(&self, writer: &mut Writer) {
        self.encode_unsigned(writer);
        writer.raw(&self.signature);
    }
}

impl Decode for Feed {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let feed = Self {
            key: reader.array()?,
            epoch: Epoch::decode(reader)?,
            counter: reader.u64()?,
            floor: reader.u64()?,
            stranger_millihertz: reader.u32()?,
            tags: reader.list(MAX_FEED_TAGS)?,
            surbs: reader.list(MAX_FEED_SURBS)?,
            signature: reader.array()?,
        };
        if feed.floor <= feed.counter {
            Ok(feed)
        } else {
            Err(DecodeError::OutOfRange)
        }
    }
}

/// Everything but tags and reply blocks.
const FIXED_LEN: usize = 32 + 8 + 8 + 8 + 4 + 4 + 4 + 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(surbs: usize, tags: usize) -> Feed {
        Feed {
            key: [1; 32],
            epoch: Epoch(2),
            counter: 3,
            floor: 2,
            stranger_millihertz: 4,
            tags: vec![AdmissionTag([5; 16]); tags],
            surbs: vec![[6; SURB_LEN]; surbs],
            signature: [7; 64],
        }
    }

    #[test]
    fn the_signature_is_what_stands_behind_the_signed_bytes() {
        let feed = feed(2, 1);
        let bytes = feed.to_bytes();
        assert_eq!(bytes[..bytes.len() - 64], feed.unsigned_bytes());
        assert_eq!(bytes.len(), Feed::encoded_len(2, 1));
        assert!(Feed::from_bytes(&bytes) == Ok(feed));
    }

    #[test]
    fn the_largest_feeds_fit_one_packet_of_the_default_geometry() {
        assert!(Feed::encoded_len(MAX_FEED_SURBS, 7) <= 8_175);
        assert!(Feed::encoded_len(16, MAX_FEED_TAGS) <= 8_175);
    }

    #[test]
    fn more_than_the_bounds_is_refused() {
        for (surbs, tags) in [(MAX_FEED_SURBS + 1, 0), (0, MAX_FEED_TAGS + 1)] {
            let bytes = feed(surbs, tags).to_bytes();
            assert_eq!(Feed::from_bytes(&bytes).err(), Some(DecodeError::TooLong));
        }
    }

    #[test]
    fn a_feed_does_not_discard_itself() {
        let mut feed = feed(1, 0);
        feed.floor = feed.counter + 1;
        let refused = Feed::from_bytes(&feed.to_bytes()).err();
        assert_eq!(refused, Some(DecodeError::OutOfRange));
    }

    #[test]
    fn decoding_inverts_encoding_or_refuses() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(feed) = Feed::from_bytes(bytes) {
                assert_eq!(feed.to_bytes(), bytes);
            }
        });
    }
}
