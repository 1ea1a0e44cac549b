//! Which packets were seen before: an exact set of shortened tags, one for each epoch's key.
//!
//! Nothing is forgotten while the key is in force. At its bound the filter refuses what is new;
//! it never makes room. Persisting the tags is the driver's part (`store::ReplayLog`).

use sphinx::{PublicKey, ReplayTag, SecretKey};
use store::{LogOrigin, ShortTag};
use wire::{Epoch, Refusal};
use zeroize::Zeroizing;

/// The tags seen under one key.
pub struct ReplayFilter {
    /// Shortens tags. Derived from the node's secret, so no sender can aim two packets at one
    /// shortened tag, nor many at one shard.
    key: Zeroizing<[u8; 32]>,
    shards: Box<[Shard]>,
    len: usize,
    capacity: usize,
}

impl ReplayFilter {
    /// An empty filter for packets opened with `secret`, of at most `capacity` tags.
    #[must_use]
    pub fn new(secret: &SecretKey, capacity: usize) -> Self {
        let secret = secret.to_bytes();
        Self {
            key: Zeroizing::new(blake3::derive_key(SHORTENING, &*secret)),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            len: 0,
            capacity,
        }
    }

    /// Takes back the tags that a log kept. They all stay, even above the bound.
    pub fn restore(&mut self, logged: &[ShortTag]) {
        for tag in logged {
            self.insert(*tag);
        }
    }

    /// Records `tag` if it is new. The packet may leave once the shortened tag is logged.
    ///
    /// # Errors
    /// [`Refusal::Replay`] if it was recorded before, [`Refusal::ReplayFilterFull`] if it is
    /// new and the filter is at its bound.
    pub fn admit(&mut self, tag: &ReplayTag) -> Result<ShortTag, Refusal> {
        let short = self.shorten(tag);
        if self.len >= self.capacity {
            let seen = self.shards[shard_of(short)].contains(short.0);
            return Err(if seen {
                Refusal::Replay
            } else {
                Refusal::ReplayFilterFull
            });
        }
        if self.insert(short) {
            Ok(short)
        } else {
            Err(Refusal::Replay)
        }
    }

    /// How many tags it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many tags it admits.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn insert(&mut self, tag: ShortTag) -> bool {
        let new = self.shards[shard_of(tag)].insert(tag.0);
        self.len += usize::from(new);
        new
    }

    /// 64 bits; two packets of an epoch share them by chance once in `2^64 / packets`.
    fn shorten(&self, tag: &ReplayTag) -> ShortTag {
        let hash = blake3::keyed_hash(&self.key, &tag.0);
        let front = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        // Zero marks a free place.
        ShortTag(u64::from_be_bytes(*front).max(1))
    }
}

/// Whose replay log goes with a key.
#[must_use]
pub fn log_origin(epoch: Epoch, key: &PublicKey) -> LogOrigin {
    let mut fingerprint = [0; 16];
    let mut hasher = blake3::Hasher::new_derive_key(NAMING);
    hasher.update(&key.0).finalize_xof().fill(&mut fingerprint);
    LogOrigin { epoch, fingerprint }
}

/// An open-addressed set of non-zero numbers that are already as good as random.
///
/// The filter is cut into shards so that growing one never moves more than a thousandth of it:
/// no packet waits for that.
#[derive(Default)]
struct Shard {
    /// A power of two of places; zero is a free one. At most three quarters are taken.
    places: Vec<u64>,
    len: usize,
}

impl Shard {
    fn contains(&self, tag: u64) -> bool {
        !self.places.is_empty() && self.places[self.place_of(tag)] == tag
    }

    fn insert(&mut self, tag: u64) -> bool {
        if 4 * (self.len + 1) > 3 * self.places.len() {
            self.grow();
        }
        let place = self.place_of(tag);
        let new = self.places[place] != tag;
        self.places[place] = tag;
        self.len += usize::from(new);
        new
    }

    /// Where `tag` is, or the free place where it belongs.
    fn place_of(&self, tag: u64) -> usize {
        let mask = self.places.len() - 1;
        let mut place = low_bits(tag) & mask;
        while self.places[place] != 0 && self.places[place] != tag {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        let wider = (2 * self.places.len()).max(SMALLEST_SHARD);
        let old = std::mem::replace(&mut self.places, vec![0; wider]);
        for tag in old.into_iter().filter(|tag| *tag != 0) {
            let place = self.place_of(tag);
            self.places[place] = tag;
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "only the low bits choose a place"
)]
fn low_bits(tag: u64) -> usize {
    tag as usize
}

/// By the high bits; the low ones choose the place in the shard.
fn shard_of(tag: ShortTag) -> usize {
    low_bits(tag.0 >> (64 - SHARD_BITS))
}

const SHORTENING: &str = "subrosa mix replay tag shortening 1";
const NAMING: &str = "subrosa mix replay log of a key 1";
const SHARD_BITS: u32 = 10;
const SHARDS: usize = 1 << SHARD_BITS;
const SMALLEST_SHARD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn filter(capacity: usize) -> ReplayFilter {
        ReplayFilter::new(&SecretKey::from_bytes([7; 32]), capacity)
    }

    fn tag(number: u32) -> ReplayTag {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        ReplayTag(bytes)
    }

    #[test]
    fn admits_each_of_many_tags_once() {
        let mut filter = filter(200_000);
        for number in 0..200_000 {
            assert!(filter.admit(&tag(number)).is_ok());
        }
        for number in 0..200_000 {
            assert_eq!(filter.admit(&tag(number)), Err(Refusal::Replay));
        }
        assert_eq!(filter.len(), 200_000);
    }

    #[test]
    fn at_its_bound_refuses_what_is_new_and_still_knows_what_it_saw() {
        let mut filter = filter(3);
        for number in 0..3 {
            assert!(filter.admit(&tag(number)).is_ok());
        }
        assert_eq!(filter.admit(&tag(9)), Err(Refusal::ReplayFilterFull));
        assert_eq!(filter.admit(&tag(1)), Err(Refusal::Replay));
        assert_eq!(filter.len(), 3);
    }

    #[test]
    fn keeps_every_tag_of_a_log_even_above_its_bound() {
        let mut before = filter(100);
        let logged: Vec<_> = (0..100).map(|n| before.admit(&tag(n)).unwrap()).collect();
        let mut after = filter(10);
        after.restore(&logged);
        assert_eq!(after.len(), 100);
        assert!((0..100).all(|n| after.admit(&tag(n)) == Err(Refusal::Replay)));
        assert_eq!(after.admit(&tag(200)), Err(Refusal::ReplayFilterFull));
    }

    #[test]
    fn another_key_shortens_otherwise() {
        let mut one = filter(10);
        let mut other = ReplayFilter::new(&SecretKey::from_bytes([8; 32]), 10);
        assert_ne!(one.admit(&tag(1)), other.admit(&tag(1)));
    }

    #[test]
    fn a_log_is_named_by_key_and_epoch() {
        let origin = log_origin(Epoch(1), &PublicKey([1; 32]));
        assert_ne!(origin, log_origin(Epoch(2), &PublicKey([1; 32])));
        assert_ne!(origin, log_origin(Epoch(1), &PublicKey([2; 32])));
    }

    #[test]
    fn a_shard_is_a_set() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|numbers| {
            let mut shard = Shard::default();
            let mut model = BTreeSet::new();
            for number in numbers {
                // Few places, so that they collide and wrap around.
                let tag = u64::from(number % 64) * 16 + 15;
                assert_eq!(shard.insert(tag), model.insert(tag));
                assert!(shard.contains(tag));
                assert!(4 * shard.len <= 3 * shard.places.len());
            }
            assert_eq!(shard.len, model.len());
            assert!(!shard.contains(3));
        });
    }
}
