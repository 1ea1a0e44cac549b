//! Cutting messages into packets' worth, with repair (docs/spec/message.md, 5).
//!
//! RaptorQ (RFC 6330), one source block: any `source` of a message's symbols, and rarely one
//! more, give it back. A message of one symbol has no repair.

use raptorq::{
    Encoder, EncodingPacket, ObjectTransmissionInformation, PayloadId, SourceBlockDecoder,
};
use wire::{AnswerClass, Decode, DecodeError, Encode, MessageId, Reader, Refusal, Writer};
use zeroize::Zeroizing;

/// One packet's worth of a message.
pub(crate) struct Fragment {
    pub(crate) message: MessageId,
    /// Bytes of the whole message.
    pub(crate) length: u32,
    /// Encoding symbol id: below `source` a piece of the message itself, above it repair.
    pub(crate) index: u32,
    pub(crate) symbol: Zeroizing<Vec<u8>>,
}

/// How a message of a given length is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    length: u32,
    symbol_len: u16,
    source: u32,
    packets: u32,
}

impl Shape {
    /// The shape of a message of `length` bytes with as much repair as its size calls for;
    /// `None` if it is empty or needs more than [`MAX_SOURCE`] packets.
    pub(crate) fn of(length: u32, symbol_len: u16) -> Option<Self> {
        let source = length.div_ceil(u32::from(symbol_len));
        (1..=MAX_SOURCE).contains(&source).then_some(Self {
            length,
            symbol_len,
            source,
            packets: source + repair(source),
        })
    }

    /// The shape that fills `class` exactly.
    pub(crate) fn of_class(class: AnswerClass, symbol_len: u16) -> Self {
        // At most 64.
        let packets = u32::try_from(class.packets()).unwrap_or(1);
        let fits = |source: &u32| source + repair(*source) <= packets;
        let source = (1..=packets).rev().find(fits).unwrap_or(1);
        Self {
            length: source * u32::from(symbol_len),
            symbol_len,
            source,
            packets,
        }
    }

    /// Packets that carry the message, repair included.
    pub(crate) const fn packets(self) -> u32 {
        self.packets
    }

    /// Packets that are enough, but for bad luck.
    pub(crate) const fn source(self) -> u32 {
        self.source
    }

    /// Bytes of the message.
    pub(crate) const fn length(self) -> u32 {
        self.length
    }

    /// Cuts `message`, of exactly this shape's length, into all its fragments.
    pub(crate) fn cut(self, id: MessageId, message: &[u8]) -> Vec<Fragment> {
        let fragment = |(index, symbol)| Fragment {
            message: id,
            length: self.length,
            index,
            symbol: Zeroizing::new(symbol),
        };
        if self.source == 1 {
            let mut symbol = message.to_vec();
            symbol.resize(self.symbol_len.into(), 0);
            // One symbol of itself, and again as repair where a class asks for more.
            return (0..self.packets)
                .map(|index| fragment((index, symbol.clone())))
                .collect();
        }
        Encoder::new(message, self.transmission())
            .get_encoded_packets(self.packets - self.source)
            .into_iter()
            .map(EncodingPacket::split)
            .map(|(id, symbol)| fragment((id.encoding_symbol_id(), symbol)))
            .collect()
    }

    /// The message, if `symbols` (by index, each of the right length) are enough for it.
    pub(crate) fn join<'a>(
        self,
        symbols: impl Iterator<Item = (u32, &'a [u8])>,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let mut message = if self.source == 1 {
            let (_, symbol) = symbols.last()?;
            symbol.to_vec()
        } else {
            let block = u64::from(self.source) * u64::from(self.symbol_len);
            SourceBlockDecoder::new(0, &self.transmission(), block).decode(symbols.map(
                |(index, symbol)| EncodingPacket::new(PayloadId::new(0, index), symbol.to_vec()),
            ))?
        };
        message.truncate(usize::try_from(self.length).ok()?);
        Some(Zeroizing::new(message))
    }

    /// Whether a fragment of this shape may look like `fragment`.
    ///
    /// # Errors
    /// [`Refusal::FragmentInvalid`] if not.
    pub(crate) fn check(self, fragment: &Fragment) -> Result<(), Refusal> {
        let fits = fragment.length == self.length
            && fragment.index < self.packets
            && fragment.symbol.len() == usize::from(self.symbol_len);
        fits.then_some(()).ok_or(Refusal::FragmentInvalid)
    }

    fn transmission(self) -> ObjectTransmissionInformation {
        ObjectTransmissionInformation::new(self.length.into(), self.symbol_len, 1, 1, 1)
    }
}

/// Header, then the symbol to the end.
impl Encode for Fragment {
    fn encode(&self, writer: &mut Writer) {
        self.message.encode(writer);
        writer.u32(self.length);
        writer.u32(self.index);
        writer.raw(&self.symbol);
    }
}

impl Decode for Fragment {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            message: MessageId::decode(reader)?,
            length: reader.u32()?,
            index: reader.u32()?,
            symbol: Zeroizing::new(reader.raw(reader.remaining())?.to_vec()),
        })
    }
}

/// Repair symbols for `source` symbols: a tenth, at least one, none for a single one.
const fn repair(source: u32) -> u32 {
    if source == 1 { 0 } else { source.div_ceil(10) }
}

/// Bytes of a fragment before its symbol.
pub(crate) const FRAGMENT_HEADER_LEN: usize = MessageId::LEN + 8;

/// Most source symbols of one message.
pub(crate) const MAX_SOURCE: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId([1; 16]);

    fn message(length: u32) -> Vec<u8> {
        (0..length).map(|i| (i * 31 % 251) as u8).collect()
    }

    fn symbols(fragments: &[Fragment]) -> impl Iterator<Item = (u32, &[u8])> {
        fragments.iter().map(|f| (f.index, f.symbol.as_slice()))
    }

    #[test]
    fn a_message_survives_the_loss_of_its_repair_share() {
        for length in [101, 200, 1_000, 5_000, 25_599] {
            let shape = Shape::of(length, 100).unwrap();
            let mut fragments = shape.cut(ID, &message(length));
            assert_eq!(fragments.len(), shape.packets() as usize);
            for fragment in &fragments {
                assert_eq!(shape.check(fragment), Ok(()));
            }
            fragments.drain(..(shape.packets() - shape.source()) as usize);
            assert_eq!(**shape.join(symbols(&fragments)).unwrap(), message(length));
        }
    }

    #[test]
    fn one_packet_has_no_repair_and_more_have_a_tenth() {
        let packets = |symbols: u32| Shape::of(symbols * 100, 100).unwrap().packets();
        assert_eq!(packets(1), 1);
        assert_eq!(packets(2), 3);
        assert_eq!(packets(10), 11);
        assert_eq!(packets(11), 13);
        assert_eq!(packets(158), 174);
        assert_eq!(Shape::of(0, 100), None);
        assert_eq!(Shape::of(MAX_SOURCE * 100 + 1, 100), None);
        assert_eq!(Shape::of(u32::MAX, 100), None);
    }

    #[test]
    fn every_answer_class_is_filled_exactly() {
        for (class, source) in AnswerClass::ALL.into_iter().zip([1, 3, 14, 58]) {
            let shape = Shape::of_class(class, 100);
            assert_eq!(shape.packets() as usize, class.packets());
            assert_eq!(shape.source(), source);
            let text = message(shape.length());
            let fragments = shape.cut(ID, &text);
            assert_eq!(fragments.len(), class.packets());
            let repair = (shape.packets() - source) as usize;
            assert_eq!(**shape.join(symbols(&fragments[repair..])).unwrap(), text);
        }
    }

    #[test]
    fn too_few_symbols_give_nothing() {
        let shape = Shape::of(1_000, 100).unwrap();
        let fragments = shape.cut(ID, &message(1_000));
        assert!(shape.join(symbols(&fragments[..9])).is_none());
    }

    #[test]
    fn decoding_inverts_encoding_or_refuses() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(fragment) = Fragment::from_bytes(bytes) {
                assert_eq!(fragment.to_bytes(), bytes);
                for shape in [Shape::of(1_000, 100), Shape::of(7, 100)] {
                    let _ = shape.unwrap().check(&fragment);
                }
                let _ = Shape::of(fragment.length, 100);
            }
        });
    }
}
