//! The layout of a replay log: a header, then records, each bound to all before it.
//!
//! ```text
//! header, 48 bytes
//!   0  8  "SUBROSAR"
//!   8  2  version = 1
//!  10  6  zero
//!  16  8  epoch
//!  24 16  key fingerprint
//!  40  8  check
//! record
//!   0  1  kind: 1 tags, 2 opened, 3 closed
//!   1  1  zero
//!   2  2  n, words of 8 bytes in the body
//!   4  4  check of the head
//!   8 8n  body: tags | boot id (n = 2) | number of tags in the log (n = 1)
//!   .  8  check of head and body
//! ```
//! Integers are big-endian. A check is the front of BLAKE3 over the one before and the bytes
//! checked. A head has its own, so that a damaged length is not taken for a torn end.

use wire::{DecodeError, Epoch, Reader};

use super::{LogOrigin, ShortTag};
use crate::BootId;

/// All that precedes a record, in 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain([u8; 32]);

/// One step in the life of a log.
pub(super) enum Record<'a> {
    /// Tags whose packets leave after this.
    Tags(&'a [ShortTag]),
    /// In use, in this run of the machine.
    Opened(BootId),
    /// Complete.
    Closed { tags: u64 },
}

/// Whether a log was in use when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Never used.
    Fresh,
    /// In use, in this run of the machine.
    Open(BootId),
    /// Complete.
    Closed,
}

/// What the bytes of a log say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// Whose log it is, if the header is readable.
    pub(super) origin: Option<LogOrigin>,
    pub(super) state: State,
    pub(super) tags: Vec<ShortTag>,
    /// Length up to the end of the last whole record.
    pub(super) whole_len: usize,
    pub(super) chain: Chain,
    /// What is wrong at `whole_len`. A torn end alone is not: no packet left for it.
    pub(super) damage: Option<&'static str>,
}

/// The header of a log that no packet was logged in yet.
pub(super) fn header(origin: &LogOrigin) -> Vec<u8> {
    let mut writer = wire::Writer::default();
    writer.raw(MAGIC);
    writer.u16(VERSION);
    writer.raw(&[0; 6]);
    writer.u64(origin.epoch.0);
    writer.raw(&origin.fingerprint);
    let mut bytes = writer.into_bytes();
    let check = Chain::START.then(&bytes);
    bytes.extend_from_slice(check.front::<CHECK_LEN>());
    bytes
}

/// Reads the bytes of a log as far as they hold together.
pub(super) fn read(bytes: &[u8]) -> Contents {
    let mut contents = Contents {
        origin: None,
        state: State::Fresh,
        tags: Vec::new(),
        whole_len: 0,
        chain: Chain::START,
        damage: None,
    };
    let mut reader = Reader::new(bytes);
    let outcome = contents.read_header(bytes, &mut reader).and_then(|()| {
        contents.whole_len = bytes.len() - reader.remaining();
        while reader.remaining() > 0 {
            contents.read_record(&mut reader)?;
            contents.whole_len = bytes.len() - reader.remaining();
        }
        Ok(())
    });
    contents.damage = match outcome {
        Ok(()) | Err(Fault::TornEnd) => None,
        Err(Fault::Damage(what)) => Some(what),
    };
    contents
}

enum Fault {
    /// The bytes end inside a record whose head is in order.
    TornEnd,
    Damage(&'static str),
}

impl From<DecodeError> for Fault {
    /// Reading a record fails only where the bytes end.
    fn from(_: DecodeError) -> Self {
        Self::TornEnd
    }
}

impl Contents {
    fn read_header(&mut self, bytes: &[u8], reader: &mut Reader<'_>) -> Result<(), Fault> {
        let fields = (|| {
            let magic: [u8; 8] = reader.array()?;
            let version = reader.u16()?;
            let zero: [u8; 6] = reader.array()?;
            let epoch = Epoch(reader.u64()?);
            let fingerprint = reader.array()?;
            let check: [u8; CHECK_LEN] = reader.array()?;
            Ok((
                magic,
                version,
                zero,
                LogOrigin { epoch, fingerprint },
                check,
            ))
        })();
        // The header was synced before the key's first use: it is never torn.
        let (magic, version, zero, origin, check) =
            fields.map_err(|_: DecodeError| Fault::Damage("the header is cut off"))?;
        let chain = bytes
            .get(..HEADER_LEN - CHECK_LEN)
            .map_or(Chain::START, |front| Chain::START.then(front));
        if &magic != MAGIC || version != VERSION || zero != [0; 6] {
            return Err(Fault::Damage("not a replay log of this version"));
        }
        if check != *chain.front() {
            return Err(Fault::Damage("the header fails its check"));
        }
        self.origin = Some(origin);
        self.chain = chain;
        Ok(())
    }

    fn read_record(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let head: [u8; 4] = reader.array()?;
        let head_check: [u8; HEAD_CHECK_LEN] = reader.array()?;
        if head_check != *self.chain.then(&head).front() {
            return Err(Fault::Damage("a record's head fails its check"));
        }
        let [kind, zero, high, low] = head;
        let words = usize::from(u16::from_be_bytes([high, low]));
        let body = reader.raw(8 * words)?;
        let check: [u8; CHECK_LEN] = reader.array()?;
        let chain = self.chain.then(&head).then(body);
        if check != *chain.front() {
            return Err(Fault::Damage("a record fails its check"));
        }
        match (kind, zero, self.state) {
            (TAGS, 0, State::Open(_)) => {
                let (tags, _) = body.as_chunks::<8>();
                let tags = tags.iter().map(|tag| ShortTag(u64::from_be_bytes(*tag)));
                self.tags.extend(tags);
            }
            (OPENED, 0, _) => {
                let boot = body.try_into();
                let boot = boot.map_err(|_| Fault::Damage("a record has the wrong length"))?;
                self.state = State::Open(BootId(boot));
            }
            (CLOSED, 0, State::Open(_)) => {
                if body != (self.tags.len() as u64).to_be_bytes() {
                    return Err(Fault::Damage("tags are missing"));
                }
                self.state = State::Closed;
            }
            _ => return Err(Fault::Damage("a record is out of place")),
        }
        self.chain = chain;
        Ok(())
    }
}

impl Record<'_> {
    /// The record's bytes after all that is in `chain`, which moves on past it.
    pub(super) fn encode(&self, chain: &mut Chain) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Tags(tags) => {
                let bytes = tags.iter().flat_map(|tag| tag.0.to_be_bytes());
                (TAGS, bytes.collect::<Vec<u8>>())
            }
            Self::Opened(boot) => (OPENED, boot.0.to_vec()),
            Self::Closed { tags } => (CLOSED, tags.to_be_bytes().to_vec()),
        };
        let words = u16::try_from(body.len() / 8).expect("appended at most MAX_TAGS at a time");
        let [high, low] = words.to_be_bytes();
        let head = [kind, 0, high, low];
        let after_head = chain.then(&head);
        *chain = after_head.then(&body);
        let mut bytes = Vec::with_capacity(16 + body.len());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(after_head.front::<HEAD_CHECK_LEN>());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(chain.front::<CHECK_LEN>());
        bytes
    }
}

impl Chain {
    const START: Self = Self([0; 32]);

    fn then(&self, bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(bytes);
        Self(*hasher.finalize().as_bytes())
    }

    fn front<const N: usize>(&self) -> &[u8; N] {
        self.0
            .first_chunk()
            .expect("a check is shorter than a hash")
    }
}

/// Most tags in one record.
pub(super) const MAX_TAGS: usize = 4096;
const MAGIC: &[u8; 8] = b"SUBROSAR";
const VERSION: u16 = 1;
const HEADER_LEN: usize = 48;
const HEAD_CHECK_LEN: usize = 4;
const CHECK_LEN: usize = 8;
const TAGS: u8 = 1;
const OPENED: u8 = 2;
const CLOSED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: LogOrigin = LogOrigin {
        epoch: Epoch(7),
        fingerprint: [3; 16],
    };
    const RUN: BootId = BootId([1; 16]);

    fn tags(numbers: std::ops::Range<u64>) -> Vec<ShortTag> {
        numbers.map(ShortTag).collect()
    }

    /// Opened, two batches of tags, closed, opened again, one more batch.
    fn sample() -> Vec<u8> {
        let mut bytes = header(&ORIGIN);
        let mut chain = Chain::START.then(&bytes[..HEADER_LEN - CHECK_LEN]);
        let (first, second, third) = (tags(1..4), tags(4..5), tags(5..8));
        for record in [
            Record::Opened(RUN),
            Record::Tags(&first),
            Record::Tags(&second),
            Record::Closed { tags: 4 },
            Record::Opened(RUN),
            Record::Tags(&third),
        ] {
            bytes.extend(record.encode(&mut chain));
        }
        bytes
    }

    #[test]
    fn reads_what_was_written() {
        let bytes = sample();
        let contents = read(&bytes);
        assert_eq!(contents.origin, Some(ORIGIN));
        assert_eq!(contents.state, State::Open(RUN));
        assert_eq!(contents.tags, tags(1..8));
        assert_eq!(contents.whole_len, bytes.len());
        assert_eq!(contents.damage, None);
    }

    #[test]
    fn every_prefix_is_whole_records_and_a_torn_end() {
        let bytes = sample();
        for len in HEADER_LEN..bytes.len() {
            let contents = read(&bytes[..len]);
            assert_eq!(contents.damage, None, "cut at {len}");
            assert!(len - contents.whole_len < 8 + 8 * 3 + 8);
            assert_eq!(contents.tags, tags(1..8)[..contents.tags.len()]);
            assert_eq!(read(&bytes[..contents.whole_len]).tags, contents.tags);
        }
        for len in 0..HEADER_LEN {
            assert!(read(&bytes[..len]).damage.is_some(), "cut at {len}");
        }
    }

    #[test]
    fn every_flipped_bit_is_damage_never_a_torn_end() {
        let bytes = sample();
        for bit in 0..8 * bytes.len() {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes).damage.is_some(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_out_of_place_is_damage() {
        let none: [ShortTag; 0] = [];
        for record in [Record::Tags(&none), Record::Closed { tags: 0 }] {
            let mut bytes = header(&ORIGIN);
            let mut chain = Chain::START.then(&bytes[..HEADER_LEN - CHECK_LEN]);
            bytes.extend(record.encode(&mut chain));
            assert_eq!(read(&bytes).damage, Some("a record is out of place"));
        }
    }

    #[test]
    fn a_closed_log_counts_its_tags() {
        let mut bytes = header(&ORIGIN);
        let mut chain = Chain::START.then(&bytes[..HEADER_LEN - CHECK_LEN]);
        bytes.extend(Record::Opened(RUN).encode(&mut chain));
        bytes.extend(Record::Closed { tags: 1 }.encode(&mut chain));
        assert_eq!(read(&bytes).damage, Some("tags are missing"));
    }

    #[test]
    fn any_bytes_are_read_without_panic_and_to_the_same_end() {
        let sample = sample();
        bolero::check!()
            .with_type::<(Vec<u8>, u16)>()
            .for_each(|(tail, cut)| {
                for bytes in [
                    tail.clone(),
                    [&sample[..usize::from(*cut) % sample.len()], tail].concat(),
                ] {
                    let contents = read(&bytes);
                    assert!(contents.whole_len <= bytes.len());
                    let again = read(&bytes[..contents.whole_len]);
                    assert_eq!(again.tags, contents.tags);
                    assert_eq!(again.chain, contents.chain);
                }
            });
    }
}
