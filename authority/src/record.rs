//! What an authority must find again after a restart, whatever happened in between.

use directory::{Consensus, Document};
use wire::{Decode, DecodeError, Encode, Epoch, Reader, Writer};

/// Stored before anything that depends on it leaves (docs/spec/directory.md, 6.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The newest epoch in whose vote this authority signed a list.
    pub(crate) voted: Epoch,
    /// The newest document that it signed.
    pub(crate) signed: Option<Document>,
    /// The newest consensus that it holds.
    pub(crate) newest: Option<Consensus>,
}

impl Encode for Record {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(VERSION);
        self.voted.encode(writer);
        optional(self.signed.as_ref(), writer);
        optional(self.newest.as_ref(), writer);
    }
}

impl Decode for Record {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.u8()? != VERSION {
            return Err(DecodeError::UnknownTag);
        }
        Ok(Self {
            voted: Epoch::decode(reader)?,
            signed: read_optional(reader)?,
            newest: read_optional(reader)?,
        })
    }
}

fn optional<T: Encode>(value: Option<&T>, writer: &mut Writer) {
    match value {
        None => writer.u8(0),
        Some(value) => {
            writer.u8(1);
            value.encode(writer);
        }
    }
}

fn read_optional<T: Decode>(reader: &mut Reader<'_>) -> Result<Option<T>, DecodeError> {
    match reader.u8()? {
        0 => Ok(None),
        1 => T::decode(reader).map(Some),
        _ => Err(DecodeError::UnknownTag),
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn inverts_or_refuses(bytes: &[u8]) {
        if let Ok(record) = Record::from_bytes(bytes) {
            assert_eq!(record.to_bytes(), bytes);
        }
    }

    #[test]
    fn decoding_inverts_encoding_or_refuses() {
        bolero::check!().for_each(inverts_or_refuses);
    }

    #[test]
    fn every_changed_byte_of_a_short_record_is_refused_or_another_record() {
        let short = [&[VERSION][..], &[0; 10]].concat();
        for length in 0..=short.len() {
            for place in 0..length {
                for value in 0..=u8::MAX {
                    let mut bytes = short[..length].to_vec();
                    bytes[place] = value;
                    inverts_or_refuses(&bytes);
                }
            }
        }
    }
}
