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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_framed() {
        let geometry = Geometry::new(1024).unwrap();
        let most = vec![7; geometry.capacity()];
        for plaintext in [&b""[..], b"\0", b"\x01\0\0", b"a question", &most] {
            let packet = frame(geometry, &[9; Geometry::HEADER_LEN], plaintext).unwrap();
            assert_eq!(packet.len(), geometry.packet_len());
            let payload = Payload(packet[Geometry::HEADER_LEN..].into());
            assert_eq!(payload.plaintext(), Ok(plaintext.to_vec()));
        }
    }

    #[test]
    fn reads_one_layout_only() {
        let mut bytes = [0; 1024];
        let read = |bytes: &[u8]| Payload(bytes.into()).plaintext();
        assert_eq!(read(&bytes), Err(Refusal::PayloadIntegrity), "no mark");
        bytes[20] = MARK;
        assert_eq!(read(&bytes), Ok(vec![0; 4]));
        for front in 0..ZEROS_LEN {
            bytes[front] = 0x80;
            assert_eq!(read(&bytes), Err(Refusal::PayloadIntegrity), "at {front}");
            bytes[front] = 0;
        }
        bytes[21] = 2;
        assert_eq!(
            read(&bytes),
            Err(Refusal::PayloadIntegrity),
            "behind the mark"
        );
    }

    #[test]
    fn a_layer_is_taken_off_by_its_own_key_alone() {
        let (layer, other) = (
            Layer::new(&PayloadSeed([1; 16])),
            Layer::new(&PayloadSeed([2; 16])),
        );
        let plain = [3; 1024];
        let mut payload = plain;
        layer.add(&mut payload);
        let sealed = payload;
        other.remove(&mut payload);
        assert_ne!(payload, plain);
        payload = sealed;
        layer.remove(&mut payload);
        assert_eq!(payload, plain);
    }
}
