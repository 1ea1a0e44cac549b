//! The secret that both ends of an exchange share (docs/spec/message.md, 3).
//!
//! It stands inside the seal of every packet to a mailbox, so that any one packet that arrives
//! lets the receiver answer, and tell its mailbox's gateway which packets come next.

use rand::CryptoRng;
use wire::{AdmissionTag, BlobKey, Decode, DecodeError, Encode, MessageId, Reader, Writer};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Drawn by the sender for one message; names it, and gives the keys of its replies.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct ExchangeSecret([u8; 32]);

impl ExchangeSecret {
    pub(crate) const LEN: usize = 32;

    pub(crate) fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut secret = Self([0; 32]);
        rng.fill_bytes(&mut secret.0);
        secret
    }

    /// The same again: for a packet, or for keeping.
    pub(crate) const fn duplicate(&self) -> Self {
        Self(self.0)
    }

    /// The name of the message that the exchange carries to the mailbox.
    pub(crate) fn message(&self) -> MessageId {
        MessageId(self.hash(b"message", &[]))
    }

    /// The tag of the packet of this index.
    pub(crate) fn tag(&self, index: u32) -> AdmissionTag {
        AdmissionTag(self.hash(b"tag", &index.to_be_bytes()))
    }

    /// The name of a message that goes back: another name for other content.
    pub(crate) fn reply(&self, content: &[u8]) -> MessageId {
        MessageId(self.hash(b"reply", content))
    }

    /// The key of the packets of a message that goes back. Each is sealed under the number of
    /// its reply block, and no number is used twice for one content.
    pub(crate) fn reply_key(&self, reply: &MessageId) -> BlobKey {
        BlobKey::from_bytes(*self.keyed(b"key", &reply.0).as_bytes())
    }

    fn hash(&self, purpose: &[u8], content: &[u8]) -> [u8; 16] {
        let mut short = [0; 16];
        let hash = self.keyed(purpose, content);
        for (to, from) in short.iter_mut().zip(hash.as_bytes()) {
            *to = *from;
        }
        short
    }

    fn keyed(&self, purpose: &[u8], content: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(purpose);
        hasher.update(content);
        hasher.finalize()
    }
}

impl Encode for ExchangeSecret {
    fn encode(&self, writer: &mut Writer) {
        writer.raw(&self.0);
    }
}

impl Decode for ExchangeSecret {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tags_and_keys_follow_from_the_secret_and_nothing_else() {
        let (one, other) = (ExchangeSecret([1; 32]), ExchangeSecret([2; 32]));
        assert_eq!(one.tag(3), ExchangeSecret([1; 32]).tag(3));
        let mut names = vec![
            one.message().0,
            other.message().0,
            one.tag(0).0,
            one.tag(1).0,
            other.tag(0).0,
            one.reply(b"a").0,
            one.reply(b"b").0,
        ];
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 7);
        let sealed = one.reply_key(&MessageId([5; 16])).seal(0, b"", b"text");
        assert!(
            one.reply_key(&MessageId([6; 16]))
                .open(0, b"", &sealed)
                .is_err()
        );
    }
}
