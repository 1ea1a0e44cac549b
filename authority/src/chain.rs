//! The newest consensus documents that an authority holds and serves.

use std::collections::BTreeMap;

use directory::{Consensus, Document, DocumentHash, Network};
use wire::{Encode, Epoch, NodeId};

use crate::ballot::Proof;
use crate::evidence::Evidence;

/// The newest documents with a quorum, by epoch.
#[derive(Default)]
pub(crate) struct Chain {
    links: BTreeMap<Epoch, Link>,
    marks: BTreeMap<Vec<u8>, NodeId>,
}

struct Link {
    consensus: Consensus,
    bytes: Vec<u8>,
    hash: DocumentHash,
}

/// What a consensus added.
pub(crate) enum Added {
    /// Held now.
    New,
    /// Held before, or older than all that is held.
    Nothing,
    /// Another document of an epoch that has one.
    Conflict(Evidence),
}

impl Chain {
    /// Takes a verified consensus.
    pub(crate) fn add(&mut self, consensus: Consensus) -> Added {
        let epoch = consensus.document.epoch;
        let hash = consensus.document.hash();
        if let Some(link) = self.links.get(&epoch) {
            if link.hash == hash {
                return Added::Nothing;
            }
            let both = (link.consensus.clone(), consensus);
            return Added::Conflict(Evidence::TwoDocuments(Box::new(both)));
        }
        if self.newest_epoch().is_none_or(|newest| epoch > newest) {
            let nodes = consensus.document.nodes();
            self.marks = nodes
                .flat_map(|node| node.marks().map(|mark| (mark, node.id)))
                .collect();
        }
        let bytes = consensus.to_bytes();
        self.links.insert(
            epoch,
            Link {
                consensus,
                bytes,
                hash,
            },
        );
        if self.links.len() > DEPTH {
            self.links.pop_first();
        }
        if self.links.contains_key(&epoch) {
            Added::New
        } else {
            Added::Nothing
        }
    }

    pub(crate) fn newest(&self) -> Option<&Consensus> {
        self.links.last_key_value().map(|(_, link)| &link.consensus)
    }

    pub(crate) fn newest_epoch(&self) -> Option<Epoch> {
        self.links.last_key_value().map(|(epoch, _)| *epoch)
    }

    pub(crate) fn newest_bytes(&self) -> Option<&[u8]> {
        self.links
            .last_key_value()
            .map(|(_, link)| link.bytes.as_slice())
    }

    pub(crate) fn bytes(&self, epoch: Epoch) -> Option<&[u8]> {
        self.links.get(&epoch).map(|link| link.bytes.as_slice())
    }

    pub(crate) fn holds(&self, document: &Document) -> bool {
        let link = self.links.get(&document.epoch);
        link.is_some_and(|link| link.consensus.document == *document)
    }

    /// Names, addresses and keys of the newest document's nodes, with their holders.
    pub(crate) const fn marks(&self) -> &BTreeMap<Vec<u8>, NodeId> {
        &self.marks
    }

    /// The proof of the newest document, for lists.
    pub(crate) fn proof(&self, network: &Network) -> Option<Proof> {
        let (epoch, link) = self.links.last_key_value()?;
        let mut signatures = link.consensus.signatures.clone();
        signatures.truncate(network.threshold());
        Some(Proof {
            document: directory::Previous {
                epoch: *epoch,
                hash: link.hash,
            },
            signatures,
        })
    }

    /// The document with this hash, encoded.
    pub(crate) fn document(&self, hash: &DocumentHash) -> Option<Vec<u8>> {
        let mut links = self.links.values();
        let link = links.find(|link| link.hash == *hash)?;
        Some(link.consensus.document.to_bytes())
    }
}

/// How many documents are kept and served.
const DEPTH: usize = 4;
