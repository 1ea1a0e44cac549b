//! Cutting messages into packets' worth (docs/spec/message.md, 5).
//!
//! RaptorQ (RFC 6330), one source block: any `source` of a message's symbols, and rarely one
//! more, give it back. There is no last symbol: whoever lacks some gets fresh ones, never the
//! same again.

use raptorq::{
    EncodingPacket, ObjectTransmissionInformation, PayloadId, SourceBlockDecoder,
    SourceBlockEncoder,
};
use wire::{AnswerClass, Decode, DecodeError, Encode, Reader, Refusal, SURB_LEN, Writer};
use zeroize::Zeroizing;

use crate::exchange::ExchangeSecret;
use crate::layout::to_usize;

/// One packet's worth of a message to a mailbox.
pub(crate) struct Fragment {
    /// Names the message, seals what goes back.
    pub(crate) secret: ExchangeSecret,
    /// Bytes of the whole message.
    pub(crate) length: u32,
    /// Encoding symbol id: below `source` a piece of the message itself, above it repair.
    pub(crate) index: u32,
    /// The sender has sent, or is about to send, the fragments below this index.
    pub(crate) end: u32,
    /// Ways back, one packet each.
    pub(crate) surbs: Vec<[u8; SURB_LEN]>,
    pub(crate) symbol: Zeroizing<Vec<u8>>,
}

/// How a message of a given length is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    length: u32,
    symbol_len: u16,
    source: u32,
}

impl Shape {
    /// The shape of a message of `length` bytes; `None` if it is empty or needs more than
    /// [`MAX_SOURCE`] symbols.
    pub(crate) fn of(length: u32, symbol_len: u16) -> Option<Self> {
        let symbol = std::num::NonZeroU32::new(symbol_len.into())?;
        let source = length.div_ceil(symbol.get());
        (1..=MAX_SOURCE).contains(&source).then_some(Self {
            length,
            symbol_len,
            source,
        })
    }

    /// The shape that leaves a tenth of the packets of `class` for repair.
    pub(crate) fn of_class(class: AnswerClass, symbol_len: u16) -> Self {
        let source = match class {
            AnswerClass::One => 1,
            AnswerClass::Four => 3,
            AnswerClass::Sixteen => 14,
            AnswerClass::SixtyFour => 58,
        };
        Self {
            length: source * u32::from(symbol_len),
            symbol_len,
            source,
        }
    }

    /// Symbols that are enough, but for bad luck.
    pub(crate) const fn source(self) -> u32 {
        self.source
    }

    /// Bytes of the message.
    pub(crate) const fn length(self) -> u32 {
        self.length
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
        message.truncate(to_usize(self.length));
        Some(Zeroizing::new(message))
    }

    /// Whether `symbol` may be the one of this index.
    ///
    /// # Errors
    /// [`Refusal::FragmentInvalid`] if not.
    pub(crate) fn check(self, index: u32, symbol: &[u8]) -> Result<(), Refusal> {
        let fits = index < MAX_INDEX && symbol.len() == usize::from(self.symbol_len);
        fits.then_some(()).ok_or(Refusal::FragmentInvalid)
    }

    fn transmission(self) -> ObjectTransmissionInformation {
        ObjectTransmissionInformation::new(self.length.into(), self.symbol_len, 1, 1, 1)
    }
}

/// A message, from which come as many symbols as are asked for.
pub(crate) struct Symbols {
    shape: Shape,
    /// To the end of its last symbol.
    padded: Zeroizing<Vec<u8>>,
    /// Made when the first repair is asked for.
    repair: Option<Box<SourceBlockEncoder>>,
}

impl Symbols {
    /// Of `message`, which is padded with zeros to the shape's symbols.
    pub(crate) fn new(shape: Shape, mut message: Zeroizing<Vec<u8>>) -> Self {
        let symbols = to_usize(shape.source);
        message.resize(symbols * usize::from(shape.symbol_len), 0);
        Self {
            shape,
            padded: message,
            repair: None,
        }
    }

    /// The symbol of this index.
    pub(crate) fn symbol(&mut self, index: u32) -> Zeroizing<Vec<u8>> {
        let length = usize::from(self.shape.symbol_len);
        let place = if self.shape.source == 1 { 0 } else { index };
        let mut pieces = self.padded.chunks_exact(length);
        if let Some(piece) = pieces.nth(to_usize(place)) {
            return Zeroizing::new(piece.to_vec());
        }
        let repair = self.repair.get_or_insert_with(|| {
            let transmission = self.shape.transmission();
            Box::new(SourceBlockEncoder::new(0, &transmission, &self.padded))
        });
        let made = repair.repair_packets(index - self.shape.source, 1).pop();
        Zeroizing::new(made.map(|packet| packet.split().1).unwrap_or_default())
    }

    pub(crate) const fn shape(&self) -> Shape {
        self.shape
    }

    /// Bytes kept.
    pub(crate) fn bytes(&self) -> usize {
        self.padded.len()
    }
}

/// Header, reply blocks, then the symbol to the end.
impl Encode for Fragment {
    fn encode(&self, writer: &mut Writer) {
        self.secret.encode(writer);
        writer.u32(self.length);
        writer.u32(self.index);
        writer.u32(self.end);
        writer.u8(u8::try_from(self.surbs.len()).unwrap_or(u8::MAX));
        for surb in &self.surbs {
            writer.raw(surb);
        }
        writer.raw(&self.symbol);
    }
}

impl Decode for Fragment {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let secret = ExchangeSecret::decode(reader)?;
        let (length, index, end) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let count = usize::from(reader.u8()?);
        if !(1..=MAX_SURBS).contains(&count) {
            return Err(DecodeError::OutOfRange);
        }
        Ok(Self {
            secret,
            length,
            index,
            end,
            surbs: (0..count)
                .map(|_| reader.array())
                .collect::<Result<_, _>>()?,
            symbol: Zeroizing::new(reader.raw(reader.remaining())?.to_vec()),
        })
    }
}

/// Bytes of a fragment before its reply blocks.
pub(crate) const FRAGMENT_HEADER_LEN: usize = ExchangeSecret::LEN + 13;

/// Most reply blocks in one packet.
pub(crate) const MAX_SURBS: usize = 16;

/// Most source symbols of one message.
pub(crate) const MAX_SOURCE: u32 = 256;

/// Packets to a mailbox are numbered below this, whatever is lost.
pub(crate) const MAX_PACKETS: u32 = 1_024;

/// Symbols are numbered below this: one for each reply block of the most packets.
pub(crate) const MAX_INDEX: u32 = MAX_PACKETS * 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Zeroizing<Vec<u8>> {
        Zeroizing::new((0..length).map(|i| (i * 31 % 251) as u8).collect())
    }

    /// The symbols of these indices, joined.
    fn join(shape: Shape, indices: impl Iterator<Item = u32>) -> Option<Zeroizing<Vec<u8>>> {
        let mut symbols = Symbols::new(shape, message(shape.length()));
        let made: Vec<_> = indices
            .map(|index| (index, symbols.symbol(index)))
            .collect();
        for (index, symbol) in &made {
            assert_eq!(shape.check(*index, symbol), Ok(()));
        }
        shape.join(
            made.iter()
                .map(|(index, symbol)| (*index, symbol.as_slice())),
        )
    }

    #[test]
    fn any_symbols_that_are_enough_give_the_message_back() {
        for length in [1, 99, 100, 101, 200, 1_000, 5_000, 25_599] {
            let shape = Shape::of(length, 100).unwrap();
            let source = shape.source();
            // The message itself, some of it and repair, and repair from far off.
            for first in [0, source / 2, 16_000 - source] {
                let joined = join(shape, first..first + source + 1).unwrap();
                assert_eq!(joined, message(length), "{length} from {first}");
            }
        }
    }

    #[test]
    fn a_message_has_as_many_symbols_as_it_fills() {
        let source = |length: u32| Shape::of(length, 100).map(Shape::source);
        assert_eq!(source(1), Some(1));
        assert_eq!(source(100), Some(1));
        assert_eq!(source(101), Some(2));
        assert_eq!(source(MAX_SOURCE * 100), Some(256));
        assert_eq!(source(0), None);
        assert_eq!(source(MAX_SOURCE * 100 + 1), None);
        assert_eq!(source(u32::MAX), None);
        assert_eq!(Shape::of(5, 0), None);
    }

    #[test]
    fn every_answer_class_leaves_a_tenth_for_repair() {
        for class in AnswerClass::ALL {
            let shape = Shape::of_class(class, 100);
            let (source, packets) = (to_usize(shape.source()), class.packets());
            assert_eq!(source + (source - 1).div_ceil(10), packets, "{class:?}");
            assert_eq!(Shape::of(shape.length(), 100), Some(shape));
        }
    }

    #[test]
    fn too_few_symbols_give_nothing() {
        let shape = Shape::of(1_000, 100).unwrap();
        assert!(join(shape, 3..12).is_none());
    }

    #[test]
    fn decoding_inverts_encoding_or_refuses() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(fragment) = Fragment::from_bytes(bytes) {
                assert_eq!(fragment.to_bytes(), bytes);
                assert!((1..=MAX_SURBS).contains(&fragment.surbs.len()));
                for shape in [Shape::of(1_000, 100), Shape::of(7, 100)] {
                    let _ = shape.unwrap().check(fragment.index, &fragment.symbol);
                }
                let _ = Shape::of(fragment.length, 100);
            }
        });
    }
}
