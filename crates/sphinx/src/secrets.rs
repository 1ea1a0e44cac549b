//! What a hop's shared secret is expanded into, and the ciphers that its parts key.
//!
//! Source: `docs/spec/packet.md`, section 3.

use std::fmt;

use aes::Aes128;
use ctr::Ctr64BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::geometry::{EXTENDED_LEN, MAC_LEN, ROUTING_LEN, SEED_LEN};

/// Tells a packet from every other under the same key: what a replay filter remembers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplayTag(pub [u8; 32]);

impl fmt::Debug for ReplayTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplayTag(..)")
    }
}

/// The keys that sender and node share for one packet at one hop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct HopSecrets {
    stream_key: [u8; 16],
    mac_key: [u8; 16],
    /// Where the key of the payload's layer comes from.
    pub(crate) payload_seed: PayloadSeed,
    /// What alpha is multiplied with on its way to the next hop.
    pub(crate) blinding: [u8; 32],
    #[zeroize(skip)]
    pub(crate) replay_tag: ReplayTag,
}

impl HopSecrets {
    /// Expands a product of X25519.
    pub(crate) fn derive(shared: &[u8; 32]) -> Self {
        let mut expanded = Zeroizing::new([0; EXPANDED_LEN]);
        Hkdf::<Sha256>::new(Some(b""), shared)
            .expand(EXPAND_INFO, expanded.as_mut())
            .expect("HKDF-SHA256 gives up to 8,160 bytes");
        let mut rest: &[u8] = expanded.as_ref();
        let stream_key = take(&mut rest);
        let mac_key = take(&mut rest);
        let payload_seed = PayloadSeed(take(&mut rest));
        let _: [u8; UNUSED_LEN] = take(&mut rest);
        Self {
            stream_key,
            mac_key,
            payload_seed,
            blinding: take(&mut rest),
            replay_tag: ReplayTag(take(&mut rest)),
        }
    }

    /// The header's tag over `beta` (`gamma`).
    pub(crate) fn mac(&self, beta: &[u8; ROUTING_LEN]) -> [u8; MAC_LEN] {
        let tag = self.keyed(beta).finalize().into_bytes();
        take(&mut tag.as_slice())
    }

    /// Whether `gamma` is the tag over `beta`, in constant time.
    pub(crate) fn authenticates(&self, beta: &[u8; ROUTING_LEN], gamma: &[u8; MAC_LEN]) -> bool {
        self.keyed(beta).verify_truncated_left(gamma).is_ok()
    }

    /// The bytes that encrypt and decrypt beta, and of which the filler is made (`rho`).
    pub(crate) fn keystream(&self) -> Zeroizing<[u8; EXTENDED_LEN]> {
        let mut stream = Zeroizing::new([0; EXTENDED_LEN]);
        self.apply_keystream(&mut stream);
        stream
    }

    /// Encrypts or decrypts `bytes`.
    pub(crate) fn apply_keystream(&self, bytes: &mut [u8; EXTENDED_LEN]) {
        // One key a packet and hop: the nonce is constant.
        let mut cipher = Ctr64BE::<Aes128>::new(&self.stream_key.into(), &[0; 16].into());
        cipher.apply_keystream(bytes);
    }

    fn keyed(&self, beta: &[u8; ROUTING_LEN]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.mac_key).expect("HMAC takes a key of any length");
        mac.update(beta);
        mac
    }
}

/// What one layer of the payload is keyed by.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct PayloadSeed(pub(crate) [u8; SEED_LEN]);

impl PayloadSeed {
    /// A second copy, for who must keep the seed beside the header it came from.
    pub(crate) fn duplicate(&self) -> Self {
        Self(self.0)
    }

    /// The four keys of the wide-block cipher.
    pub(crate) fn expand(&self) -> Zeroizing<[u8; PAYLOAD_KEY_LEN]> {
        let mut key = Zeroizing::new([0; PAYLOAD_KEY_LEN]);
        Hkdf::<Sha256>::new(Some(PAYLOAD_SALT), &self.0)
            .expand(PAYLOAD_INFO, key.as_mut())
            .expect("HKDF-SHA256 gives up to 8,160 bytes");
        key
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (head, tail) = bytes
        .split_first_chunk()
        .expect("the derived bytes are as long as their parts");
    *bytes = tail;
    *head
}

/// Two ChaCha20 keys of 32 bytes and two BLAKE2b keys of 64.
pub(crate) const PAYLOAD_KEY_LEN: usize = 2 * (32 + 64);
/// Older versions of the format keyed the payload directly with 192 bytes in this place.
const UNUSED_LEN: usize = PAYLOAD_KEY_LEN - SEED_LEN;
const EXPANDED_LEN: usize = 16 + 16 + PAYLOAD_KEY_LEN + 32 + 32;

const EXPAND_INFO: &[u8] = b"Dwste mou enan moxlo arketa makru kai ena upomoxlio gia na ton \
topothetisw kai tha kinisw thn gh.";
const PAYLOAD_SALT: &[u8] = b"sphinx-payload-key-V01-CS01-HKDF:SHA256-SALT";
const PAYLOAD_INFO: &[u8] = b"sphinx-payload-key-V01-CS01-HKDF:SHA256-INFO";
