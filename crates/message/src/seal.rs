//! Sealing of a packet's content to whoever keeps a mailbox (docs/spec/message.md, 3).
//!
//! HPKE (RFC 9180), base mode: X-Wing, HKDF-SHA256, ChaCha20-Poly1305. Every packet has an
//! encapsulation of its own, so that two packets of one message share nothing.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand::CryptoRng;
use thiserror::Error;
use wire::{MailboxAddress, Refusal};
use zeroize::Zeroizing;

/// Opens what was sealed to a mailbox.
pub struct SealingKey {
    secret: <XWing as Kem>::PrivateKey,
    public: SealingPublicKey,
}

/// Seals to a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealingPublicKey(<XWing as Kem>::PublicKey);

/// The bytes are not an X-Wing public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not an X-Wing public key")]
pub struct BadSealingKey;

impl SealingKey {
    /// Length of the encoded secret: the seed from which X-Wing expands it.
    pub const LEN: usize = 32;

    /// Draws a key.
    pub fn generate(mut rng: &mut dyn CryptoRng) -> Self {
        let (secret, public) = XWing::gen_keypair_with_rng(&mut rng);
        Self {
            secret,
            public: SealingPublicKey(public),
        }
    }

    /// The key that expands from `seed`, 32 uniformly random bytes.
    ///
    /// # Panics
    /// Never: every seed is a key.
    #[must_use]
    pub fn from_bytes(seed: &[u8; Self::LEN]) -> Self {
        let secret = <XWing as Kem>::PrivateKey::from_bytes(seed)
            .expect("every 32 bytes are the seed of an X-Wing key");
        let public = SealingPublicKey(XWing::sk_to_pk(&secret));
        Self { secret, public }
    }

    /// The seed, for keeping.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LEN]> {
        Zeroizing::new(self.secret.to_bytes().into())
    }

    /// The half that senders need.
    #[must_use]
    pub fn public(&self) -> &SealingPublicKey {
        &self.public
    }

    /// Opens what [`SealingPublicKey::seal`] made for `mailbox`.
    ///
    /// # Errors
    /// [`Refusal::SealInvalid`] if it was sealed to another key or mailbox, or changed.
    pub fn open(
        &self,
        mailbox: &MailboxAddress,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let (encapsulated, ciphertext) = sealed
            .split_at_checked(ENCAPSULATED_LEN)
            .ok_or(Refusal::SealInvalid)?;
        let encapsulated = <XWing as Kem>::EncappedKey::from_bytes(encapsulated)
            .map_err(|_| Refusal::SealInvalid)?;
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.secret,
            &encapsulated,
            CONTEXT,
            ciphertext,
            mailbox.as_bytes(),
        )
        .map(Zeroizing::new)
        .map_err(|_| Refusal::SealInvalid)
    }
}

impl SealingPublicKey {
    /// Length of the encoding.
    pub const LEN: usize = 1_216;

    /// Reads the encoding of a public key.
    ///
    /// # Errors
    /// [`BadSealingKey`] if the length or a coefficient is out of range.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadSealingKey> {
        <XWing as Kem>::PublicKey::from_bytes(bytes)
            .map(Self)
            .map_err(|_| BadSealingKey)
    }

    /// The encoding, as it stands in a service's descriptor.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes().to_vec()
    }

    /// Seals `plaintext` so that only the keeper of `mailbox` reads it; adds [`SEAL_OVERHEAD`].
    ///
    /// # Panics
    /// Never: X-Wing encapsulates to every key that was parsed.
    pub fn seal(
        &self,
        mut rng: &mut dyn CryptoRng,
        mailbox: &MailboxAddress,
        plaintext: &[u8],
    ) -> Vec<u8> {
        let (encapsulated, ciphertext) =
            hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
                &OpModeS::Base,
                &self.0,
                CONTEXT,
                plaintext,
                mailbox.as_bytes(),
                &mut rng,
            )
            .expect("X-Wing encapsulates to every key that was parsed");
        let mut sealed = Vec::with_capacity(ENCAPSULATED_LEN + ciphertext.len());
        sealed.extend_from_slice(&encapsulated.to_bytes());
        sealed.extend_from_slice(&ciphertext);
        sealed
    }
}

/// Bytes of one X-Wing encapsulation.
pub const ENCAPSULATED_LEN: usize = 1_120;

/// Bytes that sealing adds: the encapsulation and a tag.
pub const SEAL_OVERHEAD: usize = ENCAPSULATED_LEN + 16;

/// The `info` of RFC 9180.
const CONTEXT: &[u8] = b"subrosa mail packet 2";

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    const MAILBOX: MailboxAddress = MailboxAddress([7; 32]);

    #[test]
    fn opens_only_with_its_key_for_its_mailbox() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let key = SealingKey::generate(&mut rng);
        let other = SealingKey::generate(&mut rng);
        let sealed = key.public().seal(&mut rng, &MAILBOX, b"a question");
        assert_eq!(sealed.len(), 10 + SEAL_OVERHEAD);
        assert_eq!(**key.open(&MAILBOX, &sealed).unwrap(), *b"a question");
        assert_eq!(
            other.open(&MAILBOX, &sealed).unwrap_err(),
            Refusal::SealInvalid
        );
        let elsewhere = MailboxAddress([8; 32]);
        assert_eq!(
            key.open(&elsewhere, &sealed).unwrap_err(),
            Refusal::SealInvalid
        );
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let key = SealingKey::generate(&mut rng);
        let sealed = key.public().seal(&mut rng, &MAILBOX, b"text");
        for place in (0..sealed.len()).step_by(61) {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(
                key.open(&MAILBOX, &changed).unwrap_err(),
                Refusal::SealInvalid
            );
        }
    }

    #[test]
    fn keys_survive_their_encoding() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let key = SealingKey::generate(&mut rng);
        let again = SealingKey::from_bytes(&key.to_bytes());
        let public = SealingPublicKey::from_bytes(&key.public().to_bytes()).unwrap();
        assert_eq!(public.to_bytes().len(), SealingPublicKey::LEN);
        let sealed = public.seal(&mut rng, &MAILBOX, b"text");
        assert_eq!(**again.open(&MAILBOX, &sealed).unwrap(), *b"text");
    }

    #[test]
    fn refuses_bytes_that_are_no_public_key() {
        assert_eq!(
            SealingPublicKey::from_bytes(&[0; 12]).unwrap_err(),
            BadSealingKey
        );
        assert_eq!(
            SealingPublicKey::from_bytes(&[0xff; SealingPublicKey::LEN]).unwrap_err(),
            BadSealingKey
        );
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let key = SealingKey::generate(&mut ChaCha20Rng::seed_from_u64(4));
        bolero::check!()
            .with_iterations(200)
            .for_each(|bytes: &[u8]| {
                assert_eq!(key.open(&MAILBOX, bytes).unwrap_err(), Refusal::SealInvalid);
                let _ = SealingPublicKey::from_bytes(bytes);
            });
    }
}
