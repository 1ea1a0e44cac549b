//! The payload: one wide-block layer a hop, all or nothing.
//!
//! Source: `docs/spec/packet.md`, section 4.

use std::fmt;

use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use chacha20::ChaCha20;
use lioness_rs::{KeyInit, Lioness};
use subtle::ConstantTimeEq;
use wire::Refusal;
use zeroize::Zeroizing;

use crate::error::WrapError;
use crate::geometry::{Geometry, PAYLOAD_OVERHEAD, ZEROS_LEN};
use crate::secrets::PayloadSeed;

/// A payload at its destination, exactly as long as the geometry says.
pub struct Payload(Box<[u8]>);

impl Payload {
    pub(crate) fn new(bytes: Box<[u8]>) -> Self {
        Self(bytes)
    }

    /// What the sender put in.
    ///
    /// # Errors
    /// [`Refusal::PayloadIntegrity`] if the payload was changed on its way, or is not the
    /// plaintext yet, as with a reply that only its recovery can read.
    pub fn plaintext(&self) -> Result<Vec<u8>, Refusal> {
        let (zeros, padded) = self
            .0
            .split_first_chunk::<ZEROS_LEN>()
            .ok_or(Refusal::PayloadIntegrity)?;
        if !bool::from(zeros.ct_eq(&[0; ZEROS_LEN])) {
            return Err(Refusal::PayloadIntegrity);
        }
        let end = padded.iter().rposition(|&byte| byte != 0);
        match end.and_then(|end| padded.split_at_checked(end)) {
            Some((plaintext, [MARK, ..])) => Ok(plaintext.to_vec()),
            _ => Err(Refusal::PayloadIntegrity),
        }
    }

    /// The bytes as they arrived.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload(..)")
    }
}

/// A header in front of `plaintext`, padded but not yet sealed.
pub(crate) fn frame(
    geometry: Geometry,
    header: &[u8; Geometry::HEADER_LEN],
    plaintext: &[u8],
) -> Result<Vec<u8>, WrapError> {
    if plaintext.len() > geometry.capacity() {
        return Err(WrapError::PayloadTooLong);
    }
    let mut packet = Vec::with_capacity(geometry.packet_len());
    packet.extend_from_slice(header);
    packet.extend_from_slice(&[0; ZEROS_LEN]);
    packet.extend_from_slice(plaintext);
    packet.push(MARK);
    packet.resize(geometry.packet_len(), 0);
    Ok(packet)
}

/// One layer of a payload.
pub(crate) struct Layer(Lioness<ChaCha20, Blake2bMac<U32>>);

impl Layer {
    pub(crate) fn new(seed: &PayloadSeed) -> Self {
        let key: Zeroizing<_> = seed.expand();
        Self(Lioness::new((&*key).into()))
    }

    /// Puts the layer on.
    pub(crate) fn add(&self, payload: &mut [u8]) {
        self.0.encrypt_block(payload).expect(LONG_ENOUGH);
    }

    /// Takes the layer off.
    pub(crate) fn remove(&self, payload: &mut [u8]) {
        self.0.decrypt_block(payload).expect(LONG_ENOUGH);
    }
}

/// Ends the plaintext; zeros follow.
const MARK: u8 = 1;

const LONG_ENOUGH: &str = "every geometry's payload is longer than the cipher's 32 bytes";
const _: () = assert!(PAYLOAD_OVERHEAD == ZEROS_LEN + 1);
