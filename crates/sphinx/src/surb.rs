//! Single-use reply blocks: a header made in advance, with which someone answers whom they
//! cannot see.
//!
//! Source: `docs/spec/packet.md`, section 5.

use std::fmt;

use rand::CryptoRng;
use wire::{Refusal, SurbId};

use crate::address::Address;
use crate::element;
use crate::error::WrapError;
use crate::geometry::{ADDRESS_LEN, Geometry, SEED_LEN};
use crate::header::{self, Hop, Parts};
use crate::packet::Packet;
use crate::payload::{Layer, Payload};
use crate::secrets::PayloadSeed;

/// A single-use reply block: consumed by its one use.
///
/// It holds the payload seed of its maker, who is the last hop, and of no other hop. Who holds
/// it can therefore not tell what the reply looks like further on.
pub struct Surb {
    header: [u8; Geometry::HEADER_LEN],
    first_hop: Address,
    seed: PayloadSeed,
}

impl Surb {
    /// Makes a reply block for `route`, whose last hop is its maker, and what the maker keeps.
    ///
    /// A reply arrives as a delivery to [`Address::REPLY`] with `identifier`.
    ///
    /// # Errors
    /// [`WrapError`] as [`Packet::wrap`], and [`WrapError::ZeroIdentifier`].
    pub fn create(
        rng: &mut dyn CryptoRng,
        route: &[Hop],
        identifier: SurbId,
    ) -> Result<(Self, SurbRecovery), WrapError> {
        let first_hop = route.first().ok_or(WrapError::EmptyRoute)?.address;
        if identifier.0 == [0; SurbId::LEN] {
            return Err(WrapError::ZeroIdentifier);
        }
        let built = header::build(rng, route, Address::REPLY, identifier.0)?;
        let own = built.payload_seeds.last().ok_or(WrapError::EmptyRoute)?;
        let surb = Self {
            header: built.bytes,
            first_hop,
            seed: own.duplicate(),
        };
        let recovery = SurbRecovery {
            identifier,
            seeds: built.payload_seeds,
        };
        Ok((surb, recovery))
    }

    /// Takes a reply block as it came in a message.
    ///
    /// # Errors
    /// [`Refusal::SurbInvalid`] if every node would refuse a packet made with it.
    pub fn from_bytes(bytes: &[u8; Geometry::SURB_LEN]) -> Result<Self, Refusal> {
        let mut reader = wire::Reader::new(bytes);
        let mut read = || -> Result<Self, wire::DecodeError> {
            Ok(Self {
                header: reader.array()?,
                first_hop: Address(reader.array()?),
                seed: PayloadSeed(reader.array()?),
            })
        };
        let surb = read().map_err(|_| Refusal::SurbInvalid)?;
        let alpha = Parts::of(&surb.header).alpha;
        if !element::is_canonical(alpha) || element::is_low_order(alpha) {
            return Err(Refusal::SurbInvalid);
        }
        Ok(surb)
    }

    /// Wraps `payload` as a reply, to be handed to [`Self::first_hop`].
    ///
    /// # Errors
    /// [`WrapError::PayloadTooLong`] above the geometry's capacity.
    pub fn reply(self, geometry: Geometry, payload: &[u8]) -> Result<Packet, WrapError> {
        let mut packet = Packet::framed(geometry, &self.header, payload)?;
        Layer::new(&self.seed).add(packet.payload_mut());
        Ok(packet)
    }

    /// The node that is given the reply.
    #[must_use]
    pub fn first_hop(&self) -> Address {
        self.first_hop
    }

    /// The bytes that go into a message: header, first hop, seed.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Geometry::SURB_LEN] {
        let mut bytes = [0; Geometry::SURB_LEN];
        bytes[..FIRST_HOP_AT].copy_from_slice(&self.header);
        bytes[FIRST_HOP_AT..SEED_AT].copy_from_slice(&self.first_hop.0);
        bytes[SEED_AT..].copy_from_slice(&self.seed.0);
        bytes
    }
}

impl fmt::Debug for Surb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surb(..)")
    }
}

/// What the maker of a reply block keeps, and what alone can read the reply. Wiped on drop.
pub struct SurbRecovery {
    identifier: SurbId,
    /// One a hop, in the order of the route; at least one.
    seeds: Vec<PayloadSeed>,
}

impl SurbRecovery {
    /// What the reply will be delivered with.
    #[must_use]
    pub fn identifier(&self) -> SurbId {
        self.identifier
    }

    /// Reads a reply.
    ///
    /// Every hop took off a layer that its sender, who knew one seed only, had not put on: they
    /// are put on again, last hop first, which leaves the sender's own layer.
    ///
    /// # Errors
    /// [`Refusal::PayloadIntegrity`] if the payload was changed on its way or answers another
    /// reply block.
    pub fn recover(self, mut payload: Payload) -> Result<Vec<u8>, Refusal> {
        for seed in self.seeds.iter().rev() {
            Layer::new(seed).add(payload.as_mut());
        }
        if let Some(own) = self.seeds.last() {
            Layer::new(own).remove(payload.as_mut());
        }
        payload.plaintext()
    }
}

impl fmt::Debug for SurbRecovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SurbRecovery(..)")
    }
}

const FIRST_HOP_AT: usize = Geometry::HEADER_LEN;
const SEED_AT: usize = FIRST_HOP_AT + ADDRESS_LEN;
const _: () = assert!(SEED_AT + SEED_LEN == Geometry::SURB_LEN);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn recovers_the_frozen_reply_of_the_reference() {
        let vector = include_str!("../tests/vectors/surb_reply.json");
        let vector: Value = serde_json::from_str(vector).unwrap();
        let kept = hex(&vector["recovery"]);
        let (identifier, seeds) = kept.split_first_chunk().unwrap();
        let seeds = seeds
            .chunks(SEED_LEN)
            .map(|seed| PayloadSeed(seed.try_into().unwrap()));
        let recovery = SurbRecovery {
            identifier: SurbId(*identifier),
            seeds: seeds.collect(),
        };
        assert_eq!(recovery.seeds.len(), 5);
        assert_eq!(identifier.to_vec(), hex(&vector["deliver"]["identifier"]));
        let payload = Payload::new(hex(&vector["deliver"]["payload"]).into());
        assert_eq!(recovery.recover(payload), Ok(hex(&vector["plaintext"])));
    }

    fn hex(value: &Value) -> Vec<u8> {
        let text = value.as_str().unwrap();
        let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
        (0..text.len() / 2).map(byte).collect()
    }
}
