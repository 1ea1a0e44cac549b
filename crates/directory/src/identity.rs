//! Ed25519 identities, and signatures that name what they sign.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand::CryptoRng;
use wire::{MailboxAddress, NodeId};
use zeroize::Zeroizing;

/// The signing key of a node, an authority or a mailbox.
///
/// Wiped on drop; neither cloned nor printed.
pub struct Identity(SigningKey);

impl Identity {
    /// Draws a new key.
    #[must_use]
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_seed(&seed)
    }

    /// The key of this seed (RFC 8032, section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, to be kept in a key file.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The public key as a node's name in documents, certificates and Sphinx headers.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId(self.public())
    }

    /// The address of the mailbox whose key this is.
    #[must_use]
    pub fn mailbox(&self) -> MailboxAddress {
        MailboxAddress::of_key(&self.public())
    }

    /// Signs `bytes` for the one purpose that `context` names.
    ///
    /// # Panics
    /// If `context` is longer than 255 bytes; contexts are short constants.
    #[must_use]
    pub fn sign(&self, context: &str, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(&framed(context, bytes)).to_bytes()
    }

    /// 32 bytes that only the holder of this key can tell in advance.
    pub fn derive(&self, purpose: &'static str, number: u64) -> Zeroizing<[u8; 32]> {
        let mut material = Zeroizing::new([0; 40]);
        let (seed, tail) = material.split_at_mut(32);
        seed.copy_from_slice(self.0.as_bytes());
        tail.copy_from_slice(&number.to_be_bytes());
        Zeroizing::new(blake3::derive_key(purpose, material.as_ref()))
    }
}

/// Whether `signature` over `bytes` for the purpose `context` was made with `key`.
///
/// Strict: keys and points of low order and non-canonical scalars do not verify
/// (docs/spec/directory.md, 2).
#[must_use]
pub fn verify(key: &[u8; 32], context: &str, bytes: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|key| {
        key.verify_strict(&framed(context, bytes), &Signature::from_bytes(signature))
            .is_ok()
    })
}

/// One byte of context length, the context, the bytes.
fn framed(context: &str, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(context.len()).expect("contexts are short constants");
    let mut framed = Vec::with_capacity(1 + context.len() + bytes.len());
    framed.push(length);
    framed.extend_from_slice(context.as_bytes());
    framed.extend_from_slice(bytes);
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_one_key_purpose_and_text() {
        let identity = Identity::from_seed(&[7; 32]);
        let other = Identity::from_seed(&[8; 32]);
        let signature = identity.sign("purpose", b"text");
        assert!(verify(&identity.public(), "purpose", b"text", &signature));
        assert!(!verify(&identity.public(), "purposet", b"ext", &signature));
        assert!(!verify(&identity.public(), "purpose", b"next", &signature));
        assert!(!verify(&other.public(), "purpose", b"text", &signature));
    }

    #[test]
    fn a_key_of_low_order_verifies_nothing() {
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!verify(&identity_point, "purpose", b"text", &signature));
    }

    #[test]
    fn derived_secrets_differ_by_purpose_and_number() {
        let identity = Identity::from_seed(&[7; 32]);
        let one = identity.derive("a", 1);
        assert_eq!(one, identity.derive("a", 1));
        assert_ne!(one, identity.derive("a", 2));
        assert_ne!(one, identity.derive("b", 1));
    }
}
