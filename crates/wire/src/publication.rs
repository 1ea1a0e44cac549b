//! A service's descriptor on its way through the mixes to a gateway that passes it on.

use crate::{Decode, DecodeError, Encode, MAX_CALL_LEN, MessageId, Reader, SURB_LEN, Writer};

/// One packet's part of a signed service descriptor (docs/spec/message.md, 11).
#[derive(Clone, PartialEq, Eq)]
pub struct PublicationPart {
    /// Random, the same for all parts of one publication.
    pub id: MessageId,
    /// From zero.
    pub index: u8,
    /// How many parts there are. 1 to [`MAX_PUBLICATION_PARTS`].
    pub count: u8,
    /// For the verdict; one of those that came is used.
    pub surb: [u8; SURB_LEN],
    /// The part's bytes.
    pub bytes: Vec<u8>,
}

/// Most parts of one publication.
pub const MAX_PUBLICATION_PARTS: u8 = 64;

impl PublicationPart {
    /// Length of everything but the part's bytes.
    pub const OVERHEAD: usize = MessageId::LEN + 2 + SURB_LEN + 4;
}

impl Encode for PublicationPart {
    fn encode(&self, writer: &mut Writer) {
        self.id.encode(writer);
        writer.u8(self.index);
        writer.u8(self.count);
        writer.raw(&self.surb);
        writer.bytes(&self.bytes);
    }
}

impl Decode for PublicationPart {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let part = Self {
            id: MessageId::decode(reader)?,
            index: reader.u8()?,
            count: reader.u8()?,
            surb: reader.array()?,
            bytes: reader.bytes(MAX_CALL_LEN)?.to_vec(),
        };
        let placed = part.index < part.count && part.count <= MAX_PUBLICATION_PARTS;
        if placed && !part.bytes.is_empty() {
            Ok(part)
        } else {
            Err(DecodeError::OutOfRange)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(index: u8, count: u8, length: usize) -> PublicationPart {
        PublicationPart {
            id: MessageId([1; 16]),
            index,
            count,
            surb: [2; SURB_LEN],
            bytes: vec![3; length],
        }
    }

    #[test]
    fn a_part_has_its_place_among_the_others() {
        let last = part(63, 64, 5);
        assert_eq!(last.to_bytes().len(), PublicationPart::OVERHEAD + 5);
        assert!(PublicationPart::from_bytes(&last.to_bytes()) == Ok(last));
        for wrong in [part(1, 1, 5), part(0, 0, 5), part(0, 65, 5), part(0, 1, 0)] {
            let refused = PublicationPart::from_bytes(&wrong.to_bytes()).err();
            assert_eq!(refused, Some(DecodeError::OutOfRange));
        }
    }

    #[test]
    fn decoding_inverts_encoding_or_refuses() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(part) = PublicationPart::from_bytes(bytes) {
                assert_eq!(part.to_bytes(), bytes);
            }
        });
    }
}
