//! What goes back over a reply block: an acknowledgement, or a symbol of the answer; each with
//! the account of the reply blocks that are left (docs/spec/message.md, 6).

use wire::{Decode, DecodeError, Encode, MessageId, Reader, Refusal, Writer};
use zeroize::Zeroizing;

use crate::exchange::ExchangeSecret;
use crate::fragment::{MAX_INDEX, MAX_PACKETS};
use crate::layout::REPLY_PREFIX_LEN;

/// Which packets of a message arrived, and how many more are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sack {
    /// Symbols that are kept.
    pub(crate) received: u32,
    /// Symbols that complete the message; none once it is whole.
    pub(crate) wanted: u32,
    /// One bit an index, the lowest first: whether it ever came.
    pub(crate) seen: Vec<u8>,
}

impl Sack {
    /// Whether the packet of this index had arrived.
    pub(crate) fn has(&self, index: u32) -> bool {
        let byte = usize::try_from(index / 8)
            .ok()
            .and_then(|at| self.seen.get(at));
        byte.is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// The bits of these indices.
    pub(crate) fn bits<'a>(indices: impl Iterator<Item = &'a u32>) -> Vec<u8> {
        let mut bits = Vec::new();
        for index in indices.filter(|index| **index < MAX_PACKETS) {
            let at = usize::try_from(index / 8).unwrap_or_default();
            if bits.len() <= at {
                bits.resize(at + 1, 0);
            }
            if let Some(byte) = bits.get_mut(at) {
                *byte |= 1 << (index % 8);
            }
        }
        bits
    }

    /// One beyond the highest index that arrived.
    pub(crate) fn end(&self) -> u32 {
        let whole = u32::try_from(self.seen.len()).unwrap_or(u32::MAX);
        self.seen.last().map_or(0, |last| {
            whole.saturating_mul(8).saturating_sub(last.leading_zeros())
        })
    }
}

/// No last byte is zero, so that there is one encoding.
impl Encode for Sack {
    fn encode(&self, writer: &mut Writer) {
        writer.u32(self.received);
        writer.u32(self.wanted);
        writer.bytes(&self.seen);
    }
}

impl Decode for Sack {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let sack = Self {
            received: reader.u32()?,
            wanted: reader.u32()?,
            seen: reader.bytes(MAX_BITMAP_LEN)?.to_vec(),
        };
        let canonical = sack.seen.last() != Some(&0);
        canonical.then_some(sack).ok_or(DecodeError::OutOfRange)
    }
}

/// What a reply says.
pub(crate) enum Said {
    /// How the message to the mailbox fares.
    Sack(Sack),
    /// A symbol of the answer.
    Symbol {
        answer: MessageId,
        length: u32,
        symbol: Zeroizing<Vec<u8>>,
    },
}

/// A reply, opened.
pub(crate) struct Reply {
    /// Its reply block's number: also the index of the symbol in it.
    pub(crate) number: u32,
    /// Reply blocks of this exchange that its sender still has.
    pub(crate) held: u16,
    pub(crate) said: Said,
}

/// Seals an acknowledgement for the reply block of this number.
pub(crate) fn seal_sack(secret: &ExchangeSecret, number: u32, held: u16, sack: &Sack) -> Vec<u8> {
    let said = sack.to_bytes();
    let mut named = number.to_be_bytes().to_vec();
    named.extend_from_slice(&said);
    seal(secret, &secret.reply(&named), number, SACK, held, &said)
}

/// Seals the symbol that the reply block of this number is for.
pub(crate) fn seal_symbol(
    secret: &ExchangeSecret,
    answer: &MessageId,
    number: u32,
    held: u16,
    length: u32,
    symbol: &[u8],
) -> Vec<u8> {
    let mut said = Zeroizing::new(length.to_be_bytes().to_vec());
    said.extend_from_slice(symbol);
    seal(secret, answer, number, SYMBOL, held, &said)
}

fn seal(
    secret: &ExchangeSecret,
    name: &MessageId,
    number: u32,
    kind: u8,
    held: u16,
    said: &[u8],
) -> Vec<u8> {
    let mut writer = Writer::default();
    name.encode(&mut writer);
    writer.u32(number);
    let mut payload = writer.into_bytes();
    let mut body = Zeroizing::new(vec![kind]);
    body.extend_from_slice(&held.to_be_bytes());
    body.extend_from_slice(said);
    let sealed = secret.reply_key(name).seal(number.into(), &payload, &body);
    payload.extend_from_slice(&sealed);
    payload
}

/// Opens a reply of an exchange.
///
/// # Errors
/// [`Refusal::SealInvalid`] if it is not of this exchange, [`Refusal::Malformed`] if it says
/// nothing known.
pub(crate) fn open(secret: &ExchangeSecret, plaintext: &[u8]) -> Result<Reply, Refusal> {
    let malformed = |_: DecodeError| Refusal::Malformed;
    let mut reader = Reader::new(plaintext);
    let name = MessageId::decode(&mut reader).map_err(malformed)?;
    let number = reader.u32().map_err(malformed)?;
    if number >= MAX_INDEX {
        return Err(Refusal::Malformed);
    }
    let (context, sealed) = plaintext
        .split_at_checked(REPLY_PREFIX_LEN)
        .ok_or(Refusal::Malformed)?;
    let body = secret
        .reply_key(&name)
        .open(number.into(), context, sealed)
        .map(Zeroizing::new)
        .map_err(|_| Refusal::SealInvalid)?;
    let (held, said) = said(&body, name).map_err(malformed)?;
    Ok(Reply { number, held, said })
}

fn said(body: &[u8], answer: MessageId) -> Result<(u16, Said), DecodeError> {
    let mut reader = Reader::new(body);
    let kind = reader.u8()?;
    let held = u16::from_be_bytes(reader.array()?);
    let said = match kind {
        SACK => {
            let sack = Sack::decode(&mut reader)?;
            reader.finish()?;
            Said::Sack(sack)
        }
        SYMBOL => Said::Symbol {
            answer,
            length: reader.u32()?,
            symbol: Zeroizing::new(reader.raw(reader.remaining())?.to_vec()),
        },
        _ => return Err(DecodeError::UnknownTag),
    };
    Ok((held, said))
}

const SACK: u8 = 0;
const SYMBOL: u8 = 1;

/// One bit for each packet that a message may have.
const MAX_BITMAP_LEN: usize = 128;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    fn secret(seed: u64) -> ExchangeSecret {
        ExchangeSecret::generate(&mut ChaCha20Rng::seed_from_u64(seed))
    }

    fn sack() -> Sack {
        Sack {
            received: 3,
            wanted: 2,
            seen: Sack::bits([0, 1, 11].iter()),
        }
    }

    #[test]
    fn an_acknowledgement_tells_each_packet_apart() {
        let sack = sack();
        let seen: Vec<u32> = (0..2_000).filter(|index| sack.has(*index)).collect();
        assert_eq!(seen, [0, 1, 11]);
        assert_eq!(sack.end(), 12);
        assert_eq!(
            Sack {
                seen: Vec::new(),
                ..sack
            }
            .end(),
            0
        );
        let most = Sack::bits([1_023, 1_024].iter());
        assert_eq!(most.len(), MAX_BITMAP_LEN);
    }

    #[test]
    fn a_reply_opens_in_its_exchange_alone() {
        let (ours, other) = (secret(1), secret(2));
        let sealed = seal_sack(&ours, 5, 7, &sack());
        let reply = open(&ours, &sealed).unwrap();
        assert_eq!((reply.number, reply.held), (5, 7));
        assert!(matches!(reply.said, Said::Sack(said) if said == sack()));
        assert_eq!(open(&other, &sealed).err(), Some(Refusal::SealInvalid));
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(open(&ours, &changed).is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_symbol_comes_back_with_its_answers_name() {
        let secret = secret(3);
        let answer = secret.reply(b"an answer");
        let sealed = seal_symbol(&secret, &answer, 70, 0, 9, b"symbol");
        let reply = open(&secret, &sealed).unwrap();
        let Said::Symbol {
            answer: named,
            length,
            symbol,
        } = reply.said
        else {
            panic!("a symbol");
        };
        assert_eq!((reply.number, named, length), (70, answer, 9));
        assert_eq!(**symbol, *b"symbol");
    }

    #[test]
    fn decoding_inverts_encoding_or_refuses() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(sack) = Sack::from_bytes(bytes) {
                assert_eq!(sack.to_bytes(), bytes);
                let highest = (0..MAX_PACKETS).filter(|index| sack.has(*index)).max();
                assert_eq!(highest.map_or(0, |index| index + 1), sack.end());
            }
            let _ = said(bytes, MessageId([0; 16]));
        });
    }

    #[test]
    fn hostile_replies_are_refused() {
        let secret = secret(4);
        bolero::check!().for_each(|bytes: &[u8]| {
            assert!(open(&secret, bytes).is_err());
        });
    }
}
