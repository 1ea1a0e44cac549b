//! The header: built from the inside out by a sender, read from the outside in by the nodes.
//!
//! Source: `docs/spec/packet.md`, section 2.

use std::time::Duration;

use curve25519_dalek::constants::ED25519_BASEPOINT_TABLE;
use rand::CryptoRng;
use wire::Refusal;
use zeroize::Zeroizing;

use crate::address::Address;
use crate::error::WrapError;
use crate::geometry::{
    DELAY_LEN, ELEMENT_LEN, EXTENDED_LEN, Geometry, HOP_LEN, IDENTIFIER_LEN, LAST_HOP_LEN, MAC_LEN,
    ROUTING_LEN,
};
use crate::keys::{self, RouteKey};
use crate::opened::Next;
use crate::secrets::{HopSecrets, PayloadSeed};

/// One station of a route.
#[derive(Debug, Clone)]
pub struct Hop {
    /// Under which the hop before reaches this one.
    pub address: Address,
    /// The key with which this hop opens the packet.
    pub key: RouteKey,
    /// How long this hop holds the packet. Zero at the last.
    pub delay: Duration,
}

/// A header that a sender made, with what only the sender may know of it.
pub(crate) struct Built {
    pub(crate) bytes: [u8; Geometry::HEADER_LEN],
    /// One a hop, in the order of the route; at least one.
    pub(crate) payload_seeds: Vec<PayloadSeed>,
}

/// Makes a header. Draws the secret exponent (32 bytes), then the padding.
pub(crate) fn build(
    rng: &mut dyn CryptoRng,
    route: &[Hop],
    destination: Address,
    identifier: [u8; IDENTIFIER_LEN],
) -> Result<Built, WrapError> {
    let delays = delays(route)?;
    let (alpha, secrets) = agree(rng, route);
    let streams: Vec<_> = secrets.iter().map(HopSecrets::keystream).collect();

    // From the last hop to the first: each layer tells its hop where the one made before it goes.
    let mut beta = [0; ROUTING_LEN];
    let filler_len = filler(&streams, &mut beta);
    let mut layers = secrets.iter().zip(&streams).rev();
    let mut gamma = [0; MAC_LEN];
    if let Some((last, stream)) = layers.next() {
        let (own, _) = beta.split_at_mut(ROUTING_LEN - filler_len);
        write_last_hop(rng, destination, identifier, own);
        xor(own, stream.as_slice());
        gamma = last.mac(&beta);
    }
    let nexts = route.iter().map(|hop| hop.address).rev();
    for (((secrets, stream), next), delay) in layers.zip(nexts).zip(delays.iter().rev()) {
        write_hop(next, *delay, gamma, &mut beta);
        xor(&mut beta, stream.as_slice());
        gamma = secrets.mac(&beta);
    }

    Ok(Built {
        bytes: join(&alpha, &gamma, &beta),
        payload_seeds: secrets
            .iter()
            .map(|hop| hop.payload_seed.duplicate())
            .collect(),
    })
}

/// What a hop reads in its header, decrypted; the next hop's gamma and beta stand behind it.
pub(crate) struct Routing(Zeroizing<[u8; EXTENDED_LEN]>);

impl Routing {
    /// Decrypts `beta`, which `secrets` authenticated.
    pub(crate) fn decrypt(secrets: &HopSecrets, beta: &[u8; ROUTING_LEN]) -> Self {
        let mut bytes = Zeroizing::new([0; EXTENDED_LEN]);
        let (shifted, _zeros) = bytes.split_at_mut(ROUTING_LEN);
        shifted.copy_from_slice(beta);
        secrets.apply_keystream(&mut bytes);
        Self(bytes)
    }

    /// Where the packet goes.
    ///
    /// # Errors
    /// [`Refusal::UnsupportedVersion`], or [`Refusal::Malformed`] for an unknown flag.
    pub(crate) fn next(&self) -> Result<Next, Refusal> {
        let malformed = |_| Refusal::Malformed;
        let mut reader = wire::Reader::new(self.0.as_slice());
        let flag = reader.u8().map_err(malformed)?;
        if reader.array().map_err(malformed)? != VERSION {
            return Err(Refusal::UnsupportedVersion);
        }
        let address = Address(reader.array().map_err(malformed)?);
        match flag {
            FORWARD => Ok(Next::Hop {
                address,
                delay: Duration::from_nanos(reader.u64().map_err(malformed)?),
            }),
            DELIVER => Ok(Next::Deliver {
                address,
                identifier: reader.array().map_err(malformed)?,
            }),
            _ => Err(Refusal::Malformed),
        }
    }

    /// Gamma and beta for the next hop.
    pub(crate) fn inner(&self) -> &[u8] {
        let (_own, inner) = self.0.split_at(HOP_LEN - MAC_LEN);
        inner
    }
}

/// The parts of a header in place.
pub(crate) struct Parts<'a> {
    pub(crate) alpha: &'a [u8; ELEMENT_LEN],
    pub(crate) gamma: &'a [u8; MAC_LEN],
    pub(crate) beta: &'a [u8; ROUTING_LEN],
}

impl<'a> Parts<'a> {
    pub(crate) fn of(header: &'a [u8; Geometry::HEADER_LEN]) -> Self {
        let (alpha, rest) = header.split_first_chunk().expect(PARTS_FIT);
        let (gamma, rest) = rest.split_first_chunk().expect(PARTS_FIT);
        let (beta, _) = rest.split_first_chunk().expect(PARTS_FIT);
        Self { alpha, gamma, beta }
    }
}

fn delays(route: &[Hop]) -> Result<Vec<[u8; DELAY_LEN]>, WrapError> {
    let (last, forward) = route.split_last().ok_or(WrapError::EmptyRoute)?;
    if route.len() > Geometry::MAX_HOPS {
        return Err(WrapError::TooManyHops);
    }
    if !last.delay.is_zero() {
        return Err(WrapError::DelayAtLastHop);
    }
    let nanos = |hop: &Hop| u64::try_from(hop.delay.as_nanos());
    forward
        .iter()
        .map(|hop| nanos(hop).map(u64::to_be_bytes))
        .collect::<Result<_, _>>()
        .map_err(|_| WrapError::DelayTooLong)
}

/// Alpha for the first hop, and the secrets shared with every hop.
///
/// The exponent towards hop `i` is the product of the first exponent and all blindings before
/// it. Taken modulo the order of the prime subgroup, in which every [`RouteKey`] lies, it costs
/// one multiplication by table a hop where repeated X25519 costs `i + 1` ladders.
fn agree(rng: &mut dyn CryptoRng, route: &[Hop]) -> ([u8; ELEMENT_LEN], Vec<HopSecrets>) {
    let mut drawn = Zeroizing::new([0; 32]);
    rng.fill_bytes(drawn.as_mut());
    let mut exponent = Zeroizing::new(keys::scalar(&drawn));
    let alpha = (ED25519_BASEPOINT_TABLE * &*exponent).to_montgomery().0;
    let secrets = route
        .iter()
        .map(|hop| {
            let secrets = HopSecrets::derive(&hop.key.times(&exponent));
            *exponent *= keys::scalar(&secrets.blinding);
            secrets
        })
        .collect();
    (alpha, secrets)
}

/// Writes the filler (`phi`) to the end of `beta`: what the hops before the last will have
/// shifted in from the right. Returns its length.
fn filler(streams: &[Zeroizing<[u8; EXTENDED_LEN]>], beta: &mut [u8; ROUTING_LEN]) -> usize {
    let before_last = streams.len().saturating_sub(1);
    let len = before_last * HOP_LEN;
    let (_, filler) = beta.split_at_mut(ROUTING_LEN - len);
    for (hops, stream) in (1..).zip(streams.iter().take(before_last)) {
        // Each hop moves what is there by one step, puts zeros behind, and decrypts all of it.
        let (_, reached) = stream.split_at(EXTENDED_LEN - hops * HOP_LEN);
        xor(filler, reached);
    }
    len
}

fn write_hop(
    next: Address,
    delay: [u8; DELAY_LEN],
    gamma: [u8; MAC_LEN],
    beta: &mut [u8; ROUTING_LEN],
) {
    beta.copy_within(..ROUTING_LEN - HOP_LEN, HOP_LEN);
    let own = [FORWARD].into_iter().chain(VERSION).chain(next.0);
    write(own.chain(delay).chain(gamma), beta);
}

/// The padding is random: zeros would tell the last hop how long the route was (Kuhn, Beck and
/// Strufe 2020).
fn write_last_hop(
    rng: &mut dyn CryptoRng,
    destination: Address,
    identifier: [u8; IDENTIFIER_LEN],
    own: &mut [u8],
) {
    let read = [DELIVER].into_iter().chain(VERSION).chain(destination.0);
    write(read.chain(identifier), own);
    if let Some((_, padding)) = own.split_at_mut_checked(LAST_HOP_LEN) {
        rng.fill_bytes(padding);
    }
}

fn write(bytes: impl Iterator<Item = u8>, to: &mut [u8]) {
    for (to, byte) in to.iter_mut().zip(bytes) {
        *to = byte;
    }
}

fn xor(bytes: &mut [u8], stream: &[u8]) {
    for (byte, mask) in bytes.iter_mut().zip(stream) {
        *byte ^= mask;
    }
}

fn join(
    alpha: &[u8; ELEMENT_LEN],
    gamma: &[u8; MAC_LEN],
    beta: &[u8; ROUTING_LEN],
) -> [u8; Geometry::HEADER_LEN] {
    let mut header = [0; Geometry::HEADER_LEN];
    header[..ELEMENT_LEN].copy_from_slice(alpha);
    header[ELEMENT_LEN..ELEMENT_LEN + MAC_LEN].copy_from_slice(gamma);
    header[ELEMENT_LEN + MAC_LEN..].copy_from_slice(beta);
    header
}

/// 260: the only version that is made or accepted.
const VERSION: [u8; 3] = [0, 1, 4];
/// Another hop follows.
const FORWARD: u8 = 1;
/// The packet ends here.
const DELIVER: u8 = 2;

const PARTS_FIT: &str = "a header is as long as its parts";

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;
    use crate::keys::SecretKey;

    /// Chi-square with 255 degrees of freedom is above this once in a million.
    const CHI_SQUARE_BOUND: f64 = 377.0;

    #[test]
    fn the_last_hop_reads_nothing_but_uniform_bytes_behind_its_own() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for hops in 1..=Geometry::MAX_HOPS {
            let keys: Vec<_> = (0..hops).map(|_| SecretKey::generate(&mut rng)).collect();
            let route: Vec<_> = keys.iter().map(hop).collect();
            let mut counts = [[0_u32; 256]; EXTENDED_LEN - LAST_HOP_LEN];
            for _ in 0..600 {
                let routing = at_last_hop(&mut rng, &keys, &route);
                let behind = routing.0.iter().skip(LAST_HOP_LEN);
                for (counts, &byte) in counts.iter_mut().zip(behind) {
                    counts[usize::from(byte)] += 1;
                }
            }
            // Step by step, as the route's length would show in steps.
            for step in counts.chunks(HOP_LEN) {
                let total: [u32; 256] =
                    std::array::from_fn(|byte| step.iter().map(|counts| counts[byte]).sum());
                assert!(chi_square(&total) < CHI_SQUARE_BOUND, "{hops} hops");
            }
            assert!(
                counts
                    .iter()
                    .all(|counts| chi_square(counts) < 2.0 * CHI_SQUARE_BOUND)
            );
        }
    }

    #[test]
    fn reads_version_before_flag_and_all_of_the_version() {
        let read = |start: [u8; 4]| {
            let mut bytes = Zeroizing::new([0; EXTENDED_LEN]);
            bytes[..4].copy_from_slice(&start);
            Routing(bytes).next()
        };
        assert!(matches!(read([1, 0, 1, 4]), Ok(Next::Hop { .. })));
        assert!(matches!(read([2, 0, 1, 4]), Ok(Next::Deliver { .. })));
        for flag in (0..=255).filter(|flag| ![1, 2].contains(flag)) {
            assert_eq!(read([flag, 0, 1, 4]), Err(Refusal::Malformed));
            assert_eq!(read([flag, 0, 1, 3]), Err(Refusal::UnsupportedVersion));
        }
        assert_eq!(read([1, 1, 1, 4]), Err(Refusal::UnsupportedVersion));
    }

    fn hop(key: &SecretKey) -> Hop {
        Hop {
            address: Address([1; 32]),
            key: RouteKey::new(key.public()).unwrap(),
            delay: Duration::ZERO,
        }
    }

    /// What the last hop of `route` decrypts.
    fn at_last_hop(rng: &mut ChaCha20Rng, keys: &[SecretKey], route: &[Hop]) -> Routing {
        let mut header = build(rng, route, Address::DROP, [7; 16]).unwrap().bytes;
        for key in keys {
            let parts = Parts::of(&header);
            let secrets = HopSecrets::derive(&key.times(parts.alpha).unwrap());
            assert!(secrets.authenticates(parts.beta, parts.gamma));
            let routing = Routing::decrypt(&secrets, parts.beta);
            if let Next::Deliver { .. } = routing.next().unwrap() {
                return routing;
            }
            let alpha = keys::times(&secrets.blinding, parts.alpha).unwrap();
            header[..ELEMENT_LEN].copy_from_slice(alpha.as_slice());
            header[ELEMENT_LEN..].copy_from_slice(routing.inner());
        }
        panic!("no hop delivers")
    }

    /// The distance of the counts of 256 kinds from equal counts.
    fn chi_square(counts: &[u32; 256]) -> f64 {
        let total: u32 = counts.iter().sum();
        let expected = f64::from(total) / 256.0;
        let distance = |&count: &u32| (f64::from(count) - expected).powi(2) / expected;
        counts.iter().map(distance).sum()
    }
}
