//! The key of stateless resets, by which a node that was killed and came back tells its peers
//! at once that it knows nothing of their connections.

use quinn::crypto::{CryptoError, HmacKey};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{IdentitySeed, Services};

/// Makes the token that ends a connection (RFC 9000, 10.3). The same after a restart for
/// whoever has an identity.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct ResetKey([u8; 32]);

impl ResetKey {
    /// From the identity, or drawn for those who show none.
    pub(crate) fn new(identity: Option<&IdentitySeed>, services: &Services) -> Self {
        let mut key = [0; 32];
        match identity {
            Some(seed) => key = blake3::derive_key(PURPOSE, seed.as_bytes()),
            None => services.entropy.rng().fill_bytes(&mut key),
        }
        Self(key)
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature: &mut [u8]) {
        blake3::Hasher::new_keyed(&self.0)
            .update(data)
            .finalize_xof()
            .fill(signature);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let mut expected = [0; 32];
        self.sign(data, &mut expected);
        if expected.ct_eq(signature).into() {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

const PURPOSE: &str = "subrosa link stateless reset 1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_verifies_under_its_own_key_and_data_alone() {
        let (one, other) = (ResetKey([1; 32]), ResetKey([2; 32]));
        let mut token = [0; 32];
        one.sign(b"connection", &mut token);
        assert!(one.verify(b"connection", &token).is_ok());
        assert!(one.verify(b"connections", &token).is_err());
        assert!(other.verify(b"connection", &token).is_err());
        assert!(one.verify(b"connection", &token[..16]).is_err());
    }
}
