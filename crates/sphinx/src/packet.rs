//! A packet on its way: made by a sender, opened by the nodes.

use std::fmt;

use rand::CryptoRng;
use wire::Refusal;

use crate::address::Address;
use crate::element;
use crate::error::WrapError;
use crate::geometry::{ELEMENT_LEN, Geometry, IDENTIFIER_LEN};
use crate::header::{self, Hop, Parts, Routing};
use crate::keys::SecretKey;
use crate::opened::Opened;
use crate::payload::{self, Layer, Payload};
use crate::secrets::HopSecrets;

/// A Sphinx packet, exactly as long as the geometry says.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet(Box<[u8]>);

impl Packet {
    /// Wraps `payload` for the hops of `route`, the last of which hands it to `destination`
    /// with `identifier`.
    ///
    /// # Errors
    /// [`WrapError`] if the route has no hop or more than five, a delay has no encoding, or the
    /// payload is above the geometry's capacity.
    pub fn wrap(
        rng: &mut dyn CryptoRng,
        geometry: Geometry,
        route: &[Hop],
        destination: Address,
        identifier: [u8; IDENTIFIER_LEN],
        payload: &[u8],
    ) -> Result<Self, WrapError> {
        let built = header::build(rng, route, destination, identifier)?;
        let mut packet = Self::framed(geometry, &built.bytes, payload)?;
        for seed in built.payload_seeds.iter().rev() {
            Layer::new(seed).add(packet.payload_mut());
        }
        Ok(packet)
    }

    /// Takes a packet as it came over a link.
    ///
    /// # Errors
    /// [`Refusal::BadLength`] unless it is exactly as long as `geometry` says.
    pub fn from_bytes(geometry: Geometry, bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() == geometry.packet_len() {
            Ok(Self(bytes.into()))
        } else {
            Err(Refusal::BadLength)
        }
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn into_bytes(self) -> Box<[u8]> {
        self.0
    }

    /// Opens the header with the first of `keys` that fits.
    ///
    /// The payload is left for [`Opened::finish`], so that a replay or a forbidden next hop is
    /// refused before that is paid for.
    ///
    /// # Errors
    /// In this order: [`Refusal::BadGroupElement`] before any public-key operation if alpha is
    /// of low order or not canonical; [`Refusal::BadMac`] if no key fits;
    /// [`Refusal::UnsupportedVersion`] for any version but 260; [`Refusal::Malformed`] if the
    /// header says neither forward nor deliver.
    pub fn open(mut self, keys: &[&SecretKey]) -> Result<Opened, Refusal> {
        let parts = Parts::of(self.header());
        if !element::is_canonical(parts.alpha) || element::is_low_order(parts.alpha) {
            return Err(Refusal::BadGroupElement);
        }
        let (key_index, secrets) = unlock(&parts, keys)?;
        let routing = Routing::decrypt(&secrets, parts.beta);
        let next = routing.next()?;
        self.header_mut()[ELEMENT_LEN..].copy_from_slice(routing.inner());
        Ok(Opened::new(self, key_index, secrets, next))
    }

    /// `plaintext`, padded and not sealed, behind a header.
    pub(crate) fn framed(
        geometry: Geometry,
        header: &[u8; Geometry::HEADER_LEN],
        plaintext: &[u8],
    ) -> Result<Self, WrapError> {
        payload::frame(geometry, header, plaintext).map(|bytes| Self(bytes.into_boxed_slice()))
    }

    pub(crate) fn header(&self) -> &[u8; Geometry::HEADER_LEN] {
        self.0.first_chunk().expect(HAS_HEADER)
    }

    pub(crate) fn header_mut(&mut self) -> &mut [u8; Geometry::HEADER_LEN] {
        self.0.first_chunk_mut().expect(HAS_HEADER)
    }

    pub(crate) fn payload_mut(&mut self) -> &mut [u8] {
        let (_, payload) = self
            .0
            .split_first_chunk_mut::<{ Geometry::HEADER_LEN }>()
            .expect(HAS_HEADER);
        payload
    }

    pub(crate) fn into_payload(self) -> Payload {
        let (_, payload) = self.0.split_at(Geometry::HEADER_LEN);
        Payload::new(payload.into())
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packet(..)")
    }
}

/// The first key that fits the header's tag, with what it shares with the sender.
fn unlock(parts: &Parts<'_>, keys: &[&SecretKey]) -> Result<(usize, HopSecrets), Refusal> {
    for (place, key) in keys.iter().enumerate() {
        let shared = key.times(parts.alpha).ok_or(Refusal::BadGroupElement)?;
        let secrets = HopSecrets::derive(&shared);
        if secrets.authenticates(parts.beta, parts.gamma) {
            return Ok((place, secrets));
        }
    }
    Err(Refusal::BadMac)
}

const HAS_HEADER: &str = "every geometry's packet is longer than a header";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;
    use crate::keys::RouteKey;

    #[test]
    fn the_same_seed_makes_the_same_packet_and_another_shares_nothing() {
        let geometry = Geometry::new(1024).unwrap();
        let route = [9, 8].map(|seed| Hop {
            address: Address([seed; 32]),
            key: RouteKey::new(SecretKey::from_bytes([seed; 32]).public()).unwrap(),
            delay: Duration::ZERO,
        });
        let wrap = |seed| {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            Packet::wrap(&mut rng, geometry, &route, Address::DROP, [0; 16], b"").unwrap()
        };
        assert_eq!(wrap(1), wrap(1));
        let (one, other) = (wrap(1), wrap(2));
        let pairs = one.as_bytes().chunks(16).zip(other.as_bytes().chunks(16));
        assert!(pairs.into_iter().all(|(one, other)| one != other));
    }
}
