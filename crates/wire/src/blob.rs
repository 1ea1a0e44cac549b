//! Sealing of blobs with a symmetric key: ChaCha20-Poly1305, the nonce chosen by place.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A symmetric key for blobs that two sides, or one side at two times, share.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct BlobKey([u8; 32]);

impl BlobKey {
    /// Bytes that sealing adds.
    pub const OVERHEAD: usize = 16;

    /// Takes 32 uniformly random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A key for another purpose, derived from this one.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Self {
        Self(*blake3::keyed_hash(&self.0, purpose.as_bytes()).as_bytes())
    }

    /// Seals `plaintext` for the place `number` under this key, bound to `context`.
    ///
    /// A number is used once a key: two blobs under one number reveal both.
    ///
    /// # Panics
    /// If `plaintext` is 256 GiB or longer; nothing that this network seals is.
    #[must_use]
    pub fn seal(&self, number: u64, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let cipher = ChaCha20Poly1305::new((&self.0).into());
        let payload = Payload {
            msg: plaintext,
            aad: context,
        };
        cipher
            .encrypt((&nonce(number)).into(), payload)
            .expect("ChaCha20-Poly1305 seals anything below 256 GiB")
    }

    /// Opens what [`Self::seal`] made for the same place and context.
    ///
    /// # Errors
    /// [`OpenBlobError`] if it was made by another key, for another place, or changed.
    pub fn open(
        &self,
        number: u64,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, OpenBlobError> {
        let cipher = ChaCha20Poly1305::new((&self.0).into());
        let payload = Payload {
            msg: sealed,
            aad: context,
        };
        cipher
            .decrypt((&nonce(number)).into(), payload)
            .map_err(|_| OpenBlobError)
    }
}

/// The blob does not open under this key at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("sealed blob does not open")]
pub struct OpenBlobError;

fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    if let Some(tail) = nonce.last_chunk_mut() {
        *tail = number.to_be_bytes();
    }
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_at_its_own_place() {
        let key = BlobKey::from_bytes([1; 32]);
        let sealed = key.seal(4, b"here", b"text");
        assert_eq!(key.open(4, b"here", &sealed), Ok(b"text".to_vec()));
        assert_eq!(key.open(5, b"here", &sealed), Err(OpenBlobError));
        assert_eq!(key.open(4, b"there", &sealed), Err(OpenBlobError));
        assert_eq!(
            key.derive("other").open(4, b"here", &sealed),
            Err(OpenBlobError)
        );
    }
}
