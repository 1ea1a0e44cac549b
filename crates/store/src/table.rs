//! Typed tables, and the frame in which a value lies on disk.
//!
//! Keys are ordered by their encoding: integers and identifiers in their natural order.

use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use wire::{Decode, DecodeError, Encode};

/// A table's name with the types of its keys and values.
///
/// ```
/// use subrosa_store::Table;
/// const DOCUMENTS: Table<wire::Epoch, [u8; 32]> = Table::new("documents");
/// assert_eq!(DOCUMENTS.name(), "documents");
/// ```
pub struct Table<K, V> {
    name: &'static str,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Table<K, V> {
    /// The table called `name`. One name stands for one pair of types.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            types: PhantomData,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// Bytes of any length as a value. Their bound is the caller's.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Encode for Bytes {
    fn encode(&self, writer: &mut wire::Writer) {
        writer.raw(&self.0);
    }
}

impl Decode for Bytes {
    fn decode(reader: &mut wire::Reader<'_>) -> Result<Self, DecodeError> {
        let length = reader.remaining();
        reader.raw(length).map(|bytes| Self(bytes.to_vec()))
    }
}

/// The value as it lies on disk: 8 bytes that bind it to its table and key, then its encoding.
pub(crate) fn seal(table: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(CHECK_LEN + value.len());
    framed.extend_from_slice(&check(table, key, value));
    framed.extend_from_slice(value);
    framed
}

/// The encoding in a frame, or what is wrong with it.
pub(crate) fn unseal<V: Decode>(table: &str, key: &[u8], framed: &[u8]) -> Result<V, &'static str> {
    let (stored, value) = framed
        .split_first_chunk::<CHECK_LEN>()
        .ok_or("a value is too short")?;
    if *stored != check(table, key, value) {
        return Err("a value fails its check");
    }
    V::from_bytes(value).map_err(|_| "a value does not decode")
}

/// The bounds of `range` in encoded form.
pub(crate) fn bounds<K: Encode>(range: &impl RangeBounds<K>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let encoded = |bound: Bound<&K>| match bound {
        Bound::Included(key) => Bound::Included(key.to_bytes()),
        Bound::Excluded(key) => Bound::Excluded(key.to_bytes()),
        Bound::Unbounded => Bound::Unbounded,
    };
    (encoded(range.start_bound()), encoded(range.end_bound()))
}

fn check(table: &str, key: &[u8], value: &[u8]) -> [u8; CHECK_LEN] {
    let mut hasher = blake3::Hasher::new_derive_key("subrosa store value check 1");
    for part in [table.as_bytes(), key] {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(value);
    let mut check = [0; CHECK_LEN];
    hasher.finalize_xof().fill(&mut check);
    check
}

const CHECK_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_bound_to_its_table_its_key_and_every_bit() {
        let framed = seal("answers", b"key", &[1, 2, 3, 4]);
        let open = |table, key, framed: &[u8]| unseal::<[u8; 4]>(table, key, framed);
        assert_eq!(open("answers", b"key", &framed), Ok([1, 2, 3, 4]));
        let failed = Err("a value fails its check");
        assert_eq!(open("others", b"key", &framed), failed);
        assert_eq!(open("answers", b"yek", &framed), failed);
        // Table and key do not run into each other.
        assert_eq!(open("answersk", b"ey", &framed), failed);
        for bit in 0..8 * framed.len() {
            let mut framed = framed.clone();
            framed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open("answers", b"key", &framed), failed, "bit {bit}");
        }
        assert_eq!(
            open("answers", b"key", &framed[..7]),
            Err("a value is too short")
        );
    }
}
