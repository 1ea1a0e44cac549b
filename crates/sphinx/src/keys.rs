//! A node's key pair, and its public key as a sender uses it.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use curve25519_dalek::edwards::EdwardsBasepointTable;
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use curve25519_dalek::traits::BasepointTable;
use rand::CryptoRng;
use wire::{Decode, DecodeError, Encode, Reader, Writer};
use zeroize::Zeroizing;

use crate::element;
use crate::error::BadPublicKey;

/// A node's X25519 key for one epoch. Wiped on drop.
pub struct SecretKey {
    bytes: Zeroizing<[u8; 32]>,
    // The library's own copy, which it wipes when it frees it.
    exponent: PrivateKey,
}

impl SecretKey {
    /// Draws 32 bytes from `rng`.
    #[must_use]
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self::new(bytes)
    }

    /// Takes 32 uniformly random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self::new(Zeroizing::new(bytes))
    }

    /// The bytes, to be kept where secrets are kept.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.bytes.clone()
    }

    /// The key that senders use.
    ///
    /// # Panics
    /// Never: the library computed it with the key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let public = self.exponent.compute_public_key().ok();
        let bytes = public.and_then(|key| key.as_ref().try_into().ok());
        PublicKey(bytes.expect("every X25519 key has a public key of 32 bytes"))
    }

    /// The product with `element`, or `None` if that is a point of low order.
    pub(crate) fn times(&self, element: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        product(&self.exponent, element)
    }

    fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let exponent = exponent(&bytes);
        Self { bytes, exponent }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// A node's X25519 key as its descriptor carries it, not yet checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl Encode for PublicKey {
    fn encode(&self, writer: &mut Writer) {
        writer.raw(&self.0);
    }
}

impl Decode for PublicKey {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A node's key, checked, with the table of its multiples that makes wrapping fast.
///
/// About 30 KB, shared between clones.
#[derive(Clone)]
pub struct RouteKey(Arc<Multiples>);

struct Multiples {
    public: PublicKey,
    table: EdwardsBasepointTable,
}

impl RouteKey {
    /// Checks `key` and computes its table, which takes about a millisecond.
    ///
    /// # Errors
    /// [`BadPublicKey`] unless `key` is canonical and generates the subgroup of prime order:
    /// elsewhere the products that wrapping takes modulo that order would be wrong, and might
    /// tell something of the sender's secret.
    pub fn new(key: PublicKey) -> Result<Self, BadPublicKey> {
        if !element::is_canonical(&key.0) {
            return Err(BadPublicKey::NotCanonical);
        }
        if element::is_low_order(&key.0) {
            return Err(BadPublicKey::LowOrder);
        }
        // Either of the two points with this u: their multiples have the same u again.
        let point = MontgomeryPoint(key.0)
            .to_edwards(0)
            .ok_or(BadPublicKey::NotOnCurve)?;
        if !point.is_torsion_free() {
            return Err(BadPublicKey::Torsion);
        }
        let table = EdwardsBasepointTable::create(&point);
        Ok(Self(Arc::new(Multiples { public: key, table })))
    }

    /// The key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.0.public
    }

    /// The product with a secret scalar, in constant time.
    pub(crate) fn times(&self, scalar: &Scalar) -> Zeroizing<[u8; 32]> {
        Zeroizing::new((&self.0.table * scalar).to_montgomery().0)
    }
}

impl fmt::Debug for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouteKey").field(&self.0.public).finish()
    }
}

/// The product of `scalar`, clamped, with `element`, or `None` if that is of low order.
///
/// The library also computes the public key of `scalar`, about a quarter of the work here, which
/// nobody needs. Its safe interface has no way around that, and it is still faster than the
/// ladders written in Rust, over Montgomery or Edwards points.
pub(crate) fn times(scalar: &[u8; 32], element: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    product(&exponent(scalar), element)
}

/// `bytes`, clamped as X25519 does, modulo the order of the prime subgroup.
pub(crate) fn scalar(bytes: &[u8; 32]) -> Scalar {
    Scalar::from_bytes_mod_order(*Zeroizing::new(clamp_integer(*bytes)))
}

fn exponent(bytes: &[u8; 32]) -> PrivateKey {
    PrivateKey::from_private_key(&X25519, bytes).expect("any 32 bytes are an X25519 key")
}

fn product(exponent: &PrivateKey, element: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let peer = UnparsedPublicKey::new(&X25519, element.as_slice());
    agree(exponent, peer, (), |shared| {
        shared.try_into().map(Zeroizing::new).map_err(|_| ())
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    #[test]
    fn both_sides_reach_the_same_product() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for _ in 0..32 {
            let node = SecretKey::generate(&mut rng);
            let sender = SecretKey::generate(&mut rng);
            let key = RouteKey::new(node.public()).unwrap();
            let at_node = node.times(&sender.public().0).unwrap();
            assert_eq!(at_node, key.times(&scalar(&sender.to_bytes())));
            assert_eq!(Some(at_node), times(&sender.to_bytes(), &node.public().0));
        }
    }

    #[test]
    fn keeps_the_bytes_it_was_given() {
        let key = SecretKey::from_bytes([7; 32]);
        assert_eq!(*key.to_bytes(), [7; 32]);
        assert_eq!(
            SecretKey::from_bytes(*key.to_bytes()).public(),
            key.public()
        );
    }

    #[test]
    fn refuses_public_keys_outside_the_prime_subgroup() {
        let reason = |bytes| RouteKey::new(PublicKey(bytes)).unwrap_err();
        for point in EIGHT_TORSION {
            assert_eq!(reason(point.to_montgomery().0), BadPublicKey::LowOrder);
        }
        for point in EIGHT_TORSION.iter().skip(1) {
            let shifted = (ED25519_BASEPOINT_POINT + point).to_montgomery().0;
            assert_eq!(reason(shifted), BadPublicKey::Torsion);
        }
        assert_eq!(reason([0xff; 32]), BadPublicKey::NotCanonical);
        let mut high_bit = SecretKey::from_bytes([7; 32]).public().0;
        high_bit[31] |= 0x80;
        assert_eq!(reason(high_bit), BadPublicKey::NotCanonical);
        // u = 2 is on the twist.
        let mut two = [0; 32];
        two[0] = 2;
        assert_eq!(reason(two), BadPublicKey::NotOnCurve);
    }
}
