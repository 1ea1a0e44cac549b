//! A document with the signatures that make it binding.

use std::collections::BTreeSet;

use wire::{Decode, DecodeError, Encode, Epoch, NodeId, Reader, Writer};

use crate::{BadConsensus, Document, DocumentHash, Identity, Network, identity};

/// A document and the authorities' signatures over its hash (docs/spec/directory.md, 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consensus {
    /// The document.
    pub document: Document,
    /// Who signed its hash, in the order of their keys.
    pub signatures: Vec<(NodeId, [u8; 64])>,
}

impl Consensus {
    /// Longest encoding.
    pub const MAX_LEN: usize = Document::MAX_LEN + 4 + Network::MAX_AUTHORITIES * 96;

    /// Reads a consensus and checks everything that needs no memory of earlier ones: that at
    /// least t distinct authorities of `network` signed it, and every descriptor in it.
    ///
    /// # Errors
    /// [`BadConsensus`] naming what was wrong.
    pub fn open(bytes: &[u8], network: &Network) -> Result<Self, BadConsensus> {
        let consensus = Self::read(bytes)?;
        consensus.verify(network)?;
        Ok(consensus)
    }

    /// Reads a consensus without checking who signed it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BadConsensus> {
        if bytes.len() > Self::MAX_LEN {
            return Err(BadConsensus::Malformed(DecodeError::TooLong));
        }
        Ok(Self::from_bytes(bytes)?)
    }

    /// Checks network, signatures and descriptors.
    ///
    /// # Errors
    /// [`BadConsensus`] naming what was wrong.
    pub fn verify(&self, network: &Network) -> Result<(), BadConsensus> {
        let document = &self.document;
        if document.network != *network.id() {
            return Err(BadConsensus::ForeignNetwork);
        }
        let (ours, theirs) = (network.parameters(), &document.parameters);
        if (ours.epoch, ours.first_epoch, ours.vote_step, ours.geometry)
            != (
                theirs.epoch,
                theirs.first_epoch,
                theirs.vote_step,
                theirs.geometry,
            )
        {
            return Err(BadConsensus::ForeignParameters);
        }
        verify_quorum(network, document.epoch, &document.hash(), &self.signatures)?;
        for node in document.nodes() {
            node.verify(theirs).map_err(BadConsensus::Descriptor)?;
        }
        for service in &document.services {
            service.verify().map_err(BadConsensus::Descriptor)?;
        }
        Ok(())
    }
}

/// Checks that at least t distinct authorities of `network` signed `hash` for `epoch`, and
/// that nobody else did.
///
/// # Errors
/// [`BadConsensus`] naming what was wrong.
pub fn verify_quorum(
    network: &Network,
    epoch: Epoch,
    hash: &DocumentHash,
    signatures: &[(NodeId, [u8; 64])],
) -> Result<(), BadConsensus> {
    let mut signers = BTreeSet::new();
    for (signer, signature) in signatures {
        if network.authority(signer).is_none() {
            return Err(BadConsensus::UnknownSigner(*signer));
        }
        if !signers.insert(*signer) {
            return Err(BadConsensus::DuplicateSigner(*signer));
        }
        if !verify_document(network, epoch, hash, signer, signature) {
            return Err(BadConsensus::BadSignature(*signer));
        }
    }
    if signers.len() < network.threshold() {
        return Err(BadConsensus::TooFewSignatures {
            found: signers.len(),
            needed: network.threshold(),
        });
    }
    Ok(())
}

/// An authority's signature over the hash of the document of `epoch`.
#[must_use]
pub fn sign_document(
    identity: &Identity,
    network: &Network,
    epoch: Epoch,
    hash: &DocumentHash,
) -> [u8; 64] {
    identity.sign(CONTEXT, &signed_bytes(network, epoch, hash))
}

/// Whether `signature` is `signer`'s over the hash of the document of `epoch`.
#[must_use]
pub fn verify_document(
    network: &Network,
    epoch: Epoch,
    hash: &DocumentHash,
    signer: &NodeId,
    signature: &[u8; 64],
) -> bool {
    let signed = signed_bytes(network, epoch, hash);
    identity::verify(&signer.0, CONTEXT, &signed, signature)
}

fn signed_bytes(network: &Network, epoch: Epoch, hash: &DocumentHash) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.raw(network.id());
    epoch.encode(&mut writer);
    hash.encode(&mut writer);
    writer.into_bytes()
}

impl Encode for Consensus {
    fn encode(&self, writer: &mut Writer) {
        self.document.encode(writer);
        writer.u8(u8::try_from(self.signatures.len()).unwrap_or(u8::MAX));
        for (signer, signature) in &self.signatures {
            signer.encode(writer);
            writer.raw(signature);
        }
    }
}

impl Decode for Consensus {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let document = Document::decode(reader)?;
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

const CONTEXT: &str = "subrosa 2026-11 consensus";
