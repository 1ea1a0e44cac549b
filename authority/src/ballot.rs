//! The messages of a vote, as they stand in `Call::Ballot` and `Reply::Ballot`
//! (docs/spec/directory.md, 6.2).

use directory::{
    BadConsensus, Descriptor, DescriptorHash, Document, DocumentHash, Identity, Network, Previous,
    ServiceDescriptor, Subject, verify, verify_document, verify_quorum,
};
use wire::{Decode, DecodeError, Encode, Epoch, NodeId, Reader, Writer};

/// What one authority tells or asks another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ballot {
    /// T1 from its author, T2 from everybody else.
    List(List),
    /// T3 from its author, T4 from everybody else.
    Reveal(Reveal),
    /// T5: a signature over the document.
    Assent(Assent),
    /// Descriptors that a list of yours names and I lack.
    FetchDescriptors(Vec<DescriptorHash>),
    /// The document with this hash, signed or not.
    FetchDocument(DocumentHash),
}

/// What the other answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BallotReply {
    /// The ballot with this digest needs not be sent again.
    Taken(BallotDigest),
    /// Of the descriptors asked for, those that I have.
    Descriptors(Vec<Vec<u8>>),
    /// The document asked for.
    Document(Vec<u8>),
    /// I do not have the document asked for.
    NoDocument(DocumentHash),
}

/// First half of BLAKE3 of an encoded ballot: says which one was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BallotDigest(pub [u8; 16]);

/// T1: what its author would put into the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// The epoch voted on.
    pub epoch: Epoch,
    /// Whose list it is.
    pub author: NodeId,
    /// The newest consensus that the author holds; `None` before the first.
    pub previous: Option<Proof>,
    /// Commitment to the author's share of the beacon after this document.
    pub commitment: [u8; 32],
    /// The descriptors that the author holds, ascending.
    pub descriptors: Vec<DescriptorHash>,
    /// By `author`, over all of the above and the network.
    pub signature: [u8; 64],
}

/// Signatures of at least t authorities over a document's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Epoch and hash of the document.
    pub document: Previous,
    /// Who signed.
    pub signatures: Vec<(NodeId, [u8; 64])>,
}

/// T3: a share of the beacon, and who broke the rules of registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reveal {
    /// The epoch voted on.
    pub epoch: Epoch,
    /// Whose share it is.
    pub author: NodeId,
    /// What the author committed to in the document that this vote continues.
    pub share: [u8; 32],
    /// Pairs of descriptors of one subject for this epoch.
    pub doubled: Vec<Doubled>,
    /// By `author`, over all of the above and the network.
    pub signature: [u8; 64],
}

/// Two different descriptors that one subject signed for one epoch, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubled {
    /// One of them.
    pub first: Vec<u8>,
    /// The other.
    pub second: Vec<u8>,
}

/// T5: one authority's signature over the hash of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assent {
    /// The document's epoch.
    pub epoch: Epoch,
    /// Who signed.
    pub signer: NodeId,
    /// The document's hash.
    pub hash: DocumentHash,
    /// As in a consensus.
    pub signature: [u8; 64],
}

impl Ballot {
    /// Names this ballot in a [`BallotReply::Taken`].
    #[must_use]
    pub fn digest(&self) -> BallotDigest {
        BallotDigest::of(&self.to_bytes())
    }
}

impl BallotDigest {
    /// The digest of an encoded ballot.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let hash = blake3::derive_key("subrosa 2026-11 ballot digest", bytes);
        let mut digest = [0; 16];
        for (to, from) in digest.iter_mut().zip(hash) {
            *to = from;
        }
        Self(digest)
    }
}

impl List {
    /// Most descriptors that one list names.
    pub const MAX_DESCRIPTORS: usize = Document::MAX_NODES + Document::MAX_SERVICES;

    /// Signs the list.
    #[must_use]
    pub fn signed(mut self, identity: &Identity, network: &Network) -> Self {
        self.signature = identity.sign(LIST_CONTEXT, &self.signed_bytes(network));
        self
    }

    /// Whether author, signature and proof are genuine.
    #[must_use]
    pub fn is_genuine(&self, network: &Network) -> bool {
        network.authority(&self.author).is_some()
            && verify(
                &self.author.0,
                LIST_CONTEXT,
                &self.signed_bytes(network),
                &self.signature,
            )
            && self
                .previous
                .as_ref()
                .is_none_or(|proof| proof.verify(network, self.epoch).is_ok())
    }

    fn signed_bytes(&self, network: &Network) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.raw(network.id());
        self.encode_unsigned(&mut writer);
        writer.into_bytes()
    }

    fn encode_unsigned(&self, writer: &mut Writer) {
        self.epoch.encode(writer);
        self.author.encode(writer);
        match &self.previous {
            None => writer.u8(0),
            Some(proof) => {
                writer.u8(1);
                proof.encode(writer);
            }
        }
        writer.raw(&self.commitment);
        writer.list(&self.descriptors);
    }
}

impl Proof {
    /// Checks the quorum, and that the document is older than `voted_on`.
    ///
    /// # Errors
    /// [`BadConsensus`] naming what was wrong.
    pub fn verify(&self, network: &Network, voted_on: Epoch) -> Result<(), BadConsensus> {
        let Previous { epoch, hash } = self.document;
        if epoch >= voted_on {
            return Err(BadConsensus::TooEarly(epoch));
        }
        verify_quorum(network, epoch, &hash, &self.signatures)
    }
}

impl Reveal {
    /// Most bytes of doubled descriptors in one reveal; those beyond wait for another epoch.
    pub const MAX_DOUBLED_BYTES: usize = 2 * ServiceDescriptor::MAX_LEN + 1024;
    /// Most pairs of doubled descriptors in one reveal.
    pub const MAX_DOUBLED: usize = 64;

    /// Signs the reveal.
    #[must_use]
    pub fn signed(mut self, identity: &Identity, network: &Network) -> Self {
        self.signature = identity.sign(REVEAL_CONTEXT, &self.signed_bytes(network));
        self
    }

    /// Whether author and signature are genuine. The pairs are checked one by one.
    #[must_use]
    pub fn is_genuine(&self, network: &Network) -> bool {
        network.authority(&self.author).is_some()
            && verify(
                &self.author.0,
                REVEAL_CONTEXT,
                &self.signed_bytes(network),
                &self.signature,
            )
    }

    fn signed_bytes(&self, network: &Network) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.raw(network.id());
        self.encode_unsigned(&mut writer);
        writer.into_bytes()
    }

    fn encode_unsigned(&self, writer: &mut Writer) {
        self.epoch.encode(writer);
        self.author.encode(writer);
        writer.raw(&self.share);
        writer.list(&self.doubled);
    }
}

impl Doubled {
    /// The subject, if these are two different genuine descriptors of one for `epoch`.
    #[must_use]
    pub fn subject(&self, network: &Network, epoch: Epoch) -> Option<Subject> {
        let open = |bytes: &[u8]| Descriptor::open(bytes, network.parameters()).ok();
        let (first, second) = (open(&self.first)?, open(&self.second)?);
        let proven = first != second
            && first.subject() == second.subject()
            && first.epoch() == epoch
            && second.epoch() == epoch;
        proven.then(|| first.subject())
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.first.len() + self.second.len() + 8
    }
}

impl Assent {
    /// Whether signer and signature are genuine.
    #[must_use]
    pub fn is_genuine(&self, network: &Network) -> bool {
        network.authority(&self.signer).is_some()
            && verify_document(
                network,
                self.epoch,
                &self.hash,
                &self.signer,
                &self.signature,
            )
    }
}

impl Encode for Ballot {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::List(list) => {
                writer.u8(1);
                list.encode(writer);
            }
            Self::Reveal(reveal) => {
                writer.u8(2);
                reveal.encode(writer);
            }
            Self::Assent(assent) => {
                writer.u8(3);
                assent.encode(writer);
            }
            Self::FetchDescriptors(hashes) => {
                writer.u8(4);
                writer.list(hashes);
            }
            Self::FetchDocument(hash) => {
                writer.u8(5);
                hash.encode(writer);
            }
        }
    }
}

impl Decode for Ballot {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => Self::List(List::decode(reader)?),
            2 => Self::Reveal(Reveal::decode(reader)?),
            3 => Self::Assent(Assent::decode(reader)?),
            4 => Self::FetchDescriptors(reader.list(MAX_FETCH)?),
            5 => Self::FetchDocument(DocumentHash::decode(reader)?),
            _ => return Err(DecodeError::UnknownTag),
        })
    }
}

impl Encode for BallotReply {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Taken(digest) => {
                writer.u8(1);
                writer.raw(&digest.0);
            }
            Self::Descriptors(descriptors) => {
                writer.u8(2);
                writer.u8(u8::try_from(descriptors.len()).unwrap_or(u8::MAX));
                for bytes in descriptors {
                    writer.bytes(bytes);
                }
            }
            Self::Document(bytes) => {
                writer.u8(3);
                writer.bytes(bytes);
            }
            Self::NoDocument(hash) => {
                writer.u8(4);
                hash.encode(writer);
            }
        }
    }
}

impl Decode for BallotReply {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => Self::Taken(BallotDigest(reader.array()?)),
            2 => {
                let count = usize::from(reader.u8()?);
                if count > MAX_FETCH {
                    return Err(DecodeError::TooLong);
                }
                let mut descriptors = Vec::new();
                for _ in 0..count {
                    descriptors.push(reader.bytes(ServiceDescriptor::MAX_LEN)?.to_vec());
                }
                Self::Descriptors(descriptors)
            }
            3 => Self::Document(reader.bytes(Document::MAX_LEN)?.to_vec()),
            4 => Self::NoDocument(DocumentHash::decode(reader)?),
            _ => return Err(DecodeError::UnknownTag),
        })
    }
}

impl Encode for List {
    fn encode(&self, writer: &mut Writer) {
        self.encode_unsigned(writer);
        writer.raw(&self.signature);
    }
}

impl Decode for List {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let list = Self {
            epoch: Epoch::decode(reader)?,
            author: NodeId::decode(reader)?,
            previous: match reader.u8()? {
                0 => None,
                1 => Some(Proof::decode(reader)?),
                _ => return Err(DecodeError::UnknownTag),
            },
            commitment: reader.array()?,
            descriptors: reader.list(Self::MAX_DESCRIPTORS)?,
            signature: reader.array()?,
        };
        if list.descriptors.is_sorted_by(|a, b| a < b) {
            Ok(list)
        } else {
            Err(DecodeError::OutOfRange)
        }
    }
}

impl Encode for Proof {
    fn encode(&self, writer: &mut Writer) {
        self.document.encode(writer);
        writer.u8(u8::try_from(self.signatures.len()).unwrap_or(u8::MAX));
        for (signer, signature) in &self.signatures {
            signer.encode(writer);
            writer.raw(signature);
        }
    }
}

impl Decode for Proof {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let document = Previous::decode(reader)?;
        let count = usize::from(reader.u8()?);
        if count > Network::MAX_AUTHORITIES {
            return Err(DecodeError::TooLong);
        }
        let mut signatures = Vec::new();
        for _ in 0..count {
            signatures.push((NodeId::decode(reader)?, reader.array()?));
        }
        Ok(Self {
            document,
            signatures,
        })
    }
}

impl Encode for Reveal {
    fn encode(&self, writer: &mut Writer) {
        self.encode_unsigned(writer);
        writer.raw(&self.signature);
    }
}

impl Decode for Reveal {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let reveal = Self {
            epoch: Epoch::decode(reader)?,
            author: NodeId::decode(reader)?,
            share: reader.array()?,
            doubled: reader.list(Self::MAX_DOUBLED)?,
            signature: reader.array()?,
        };
        let bytes: usize = reveal.doubled.iter().map(Doubled::len_bytes).sum();
        if bytes <= Self::MAX_DOUBLED_BYTES {
            Ok(reveal)
        } else {
            Err(DecodeError::TooLong)
        }
    }
}

impl Encode for Doubled {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes(&self.first);
        writer.bytes(&self.second);
    }
}

impl Decode for Doubled {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            first: reader.bytes(ServiceDescriptor::MAX_LEN)?.to_vec(),
            second: reader.bytes(ServiceDescriptor::MAX_LEN)?.to_vec(),
        })
    }
}

impl Encode for Assent {
    fn encode(&self, writer: &mut Writer) {
        self.epoch.encode(writer);
        self.signer.encode(writer);
        self.hash.encode(writer);
        writer.raw(&self.signature);
    }
}

impl Decode for Assent {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            epoch: Epoch::decode(reader)?,
            signer: NodeId::decode(reader)?,
            hash: DocumentHash::decode(reader)?,
            signature: reader.array()?,
        })
    }
}

/// Most descriptors asked for, and sent, at once: what fits a reply at their greatest length.
pub(crate) const MAX_FETCH: usize = 64;

const LIST_CONTEXT: &str = "subrosa 2026-11 vote list";
const REVEAL_CONTEXT: &str = "subrosa 2026-11 vote reveal";
