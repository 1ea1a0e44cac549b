//! The consensus document: a pure function of what the authorities settled.

use std::collections::{BTreeMap, BTreeSet};

use wire::{Decode, DecodeError, Encode, Epoch, NodeId, Reader, Writer};

use crate::{
    Descriptor, Network, NodeDescriptor, Parameters, Role, ServiceDescriptor, Subject, family,
};

/// One view of the network for one epoch (docs/spec/directory.md, 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// [`Network::id`] of the network that it describes.
    pub network: [u8; 32],
    /// The epoch for which it holds.
    pub epoch: Epoch,
    /// The document that it continues.
    pub previous: Previous,
    /// The parameters in force.
    pub parameters: Parameters,
    /// Randomness that nobody knew when the descriptors were registered.
    pub beacon: [u8; 32],
    /// What each authority promised to reveal for the next document's beacon.
    pub commitments: Vec<(NodeId, [u8; 32])>,
    /// Authorities that promised a share of this beacon and did not reveal it.
    pub silent: Vec<NodeId>,
    /// Mixes, by layer, in the order of their identities.
    pub layers: [Vec<NodeDescriptor>; 3],
    /// Gateways, in the order of their identities.
    pub gateways: Vec<NodeDescriptor>,
    /// The catalogue, in the order of the mailbox keys.
    pub services: Vec<ServiceDescriptor>,
}

/// BLAKE3 of an encoded document: what authorities sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentHash(pub [u8; 32]);

/// The document that another one continues; for the first, epoch 0 and the network's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Previous {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its hash.
    pub hash: DocumentHash,
}

/// What a vote has settled, from which everyone computes the same document.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a> {
    /// The epoch voted on.
    pub epoch: Epoch,
    /// The document that the new one continues; `None` for the network's first.
    pub before: Option<&'a Document>,
    /// The descriptors that enough lists name, one a subject.
    pub descriptors: &'a BTreeMap<Subject, Descriptor>,
    /// Subjects that signed two descriptors for the epoch.
    pub doubled: &'a BTreeSet<Subject>,
    /// What each authority promised for the next beacon.
    pub commitments: &'a BTreeMap<NodeId, [u8; 32]>,
    /// The shares of this beacon that were revealed in time.
    pub shares: &'a BTreeMap<NodeId, [u8; 32]>,
}

impl Document {
    /// Most nodes of one document.
    pub const MAX_NODES: usize = 2048;
    /// Most services of one document.
    pub const MAX_SERVICES: usize = 1024;
    /// Most bytes of services in one document.
    pub const MAX_SERVICE_BYTES: usize = 4 << 20;
    /// Longest encoding: nodes, services, and room for the rest.
    pub const MAX_LEN: usize = 6 << 20;

    /// Computes the document of what was settled (docs/spec/directory.md, 7.2).
    ///
    /// Layers are drawn before the nodes with two descriptors are taken out, so that a node
    /// cannot choose by its second descriptor how the others fall. What a family has above its
    /// share is left out before the draw, so that it thins no layer, and again after, since there
    /// are fewer nodes then.
    #[must_use]
    pub fn compute(network: &Network, settled: &Settled<'_>) -> Self {
        let (beacon, silent) = beacon(network, settled);
        let nodes = settled.descriptors.values().filter_map(|d| match d {
            Descriptor::Node(node) if node.epoch == settled.epoch => Some(node),
            _ => None,
        });
        let mut nodes = without_shared_marks(nodes.collect(), settled.before);
        nodes.sort_by_key(|node| draw(&beacon, &node.id.0));
        nodes.truncate(Self::MAX_NODES);
        let mut nodes = family::within_share(nodes);
        let mixes = nodes.iter().filter(|node| node.role == Role::Mix);
        let slots: BTreeMap<NodeId, usize> =
            mixes.map(|node| node.id).zip((0..3).cycle()).collect();
        nodes.retain(|node| !settled.doubled.contains(&Subject::Node(node.id.0)));

        let mut layers: [Vec<NodeDescriptor>; 3] = Default::default();
        let mut gateways = Vec::new();
        for node in family::within_share(nodes) {
            let place = match slots.get(&node.id) {
                Some(layer) => layers.get_mut(*layer),
                None => Some(&mut gateways),
            };
            place.into_iter().for_each(|place| place.push(node.clone()));
        }
        for place in layers.iter_mut().chain([&mut gateways]) {
            place.sort_by_key(|node| node.id);
        }
        let services = services(settled, &beacon, &gateways);
        Self {
            network: *network.id(),
            epoch: settled.epoch,
            previous: settled
                .before
                .map_or_else(|| Previous::genesis(network), Previous::to),
            parameters: network.parameters().clone(),
            beacon,
            commitments: settled.commitments.iter().map(|(a, c)| (*a, *c)).collect(),
            silent,
            layers,
            gateways,
            services,
        }
    }

    /// BLAKE3 of the encoding.
    #[must_use]
    pub fn hash(&self) -> DocumentHash {
        DocumentHash::of_bytes(&self.to_bytes())
    }

    /// Every node: layers 1 to 3, then gateways.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeDescriptor> {
        self.layers.iter().flatten().chain(&self.gateways)
    }

    /// What `authority` promised to reveal for the next beacon.
    #[must_use]
    pub fn commitment(&self, authority: &NodeId) -> Option<&[u8; 32]> {
        self.commitments
            .iter()
            .find(|(id, _)| id == authority)
            .map(|(_, commitment)| commitment)
    }
}

impl DocumentHash {
    /// The hash of the document with this encoding.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(blake3::derive_key("subrosa 2026-11 document hash", bytes))
    }
}

impl Previous {
    /// What the first document of `network` continues.
    #[must_use]
    pub const fn genesis(network: &Network) -> Self {
        Self {
            epoch: Epoch(0),
            hash: DocumentHash(*network.id()),
        }
    }

    /// Names `document` as the one to continue.
    #[must_use]
    pub fn to(document: &Document) -> Self {
        Self {
            epoch: document.epoch,
            hash: document.hash(),
        }
    }
}

/// The commitment to a share of the beacon.
#[must_use]
pub fn commitment(share: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key("subrosa 2026-11 beacon commitment", share)
}

/// The beacon, and who kept its share back. Shares without a promise do not count.
fn beacon(network: &Network, settled: &Settled<'_>) -> ([u8; 32], Vec<NodeId>) {
    let mut hasher = blake3::Hasher::new_derive_key("subrosa 2026-11 beacon");
    hasher.update(network.id());
    hasher.update(&settled.epoch.0.to_be_bytes());
    let mut silent = Vec::new();
    if let Some(before) = settled.before {
        hasher.update(&before.beacon);
        for (authority, promised) in &before.commitments {
            match settled.shares.get(authority) {
                Some(share) if commitment(share) == *promised => {
                    hasher.update(&authority.0);
                    hasher.update(share);
                }
                _ => silent.push(*authority),
            }
        }
    }
    (*hasher.finalize().as_bytes(), silent)
}

/// The place of `key` in the order that the beacon draws.
fn draw(beacon: &[u8; 32], key: &[u8; 32]) -> ([u8; 32], [u8; 32]) {
    (*blake3::keyed_hash(beacon, key).as_bytes(), *key)
}

/// Leaves out nodes that claim a name, address or Sphinx key which another claims too. One that
/// had it in the document before keeps it; otherwise nobody does.
fn without_shared_marks<'a>(
    nodes: Vec<&'a NodeDescriptor>,
    before: Option<&Document>,
) -> Vec<&'a NodeDescriptor> {
    let held: BTreeMap<Vec<u8>, NodeId> = before
        .into_iter()
        .flat_map(Document::nodes)
        .flat_map(|node| node.marks().map(|mark| (mark, node.id)))
        .collect();
    let mut claims: BTreeMap<Vec<u8>, BTreeSet<NodeId>> = BTreeMap::new();
    for node in &nodes {
        for mark in node.marks() {
            claims.entry(mark).or_default().insert(node.id);
        }
    }
    let keeps = |mark: Vec<u8>, id: NodeId| match held.get(&mark) {
        Some(holder) if claims.get(&mark).is_some_and(|ids| ids.contains(holder)) => *holder == id,
        _ => claims.get(&mark).is_some_and(|ids| ids.len() == 1),
    };
    nodes
        .into_iter()
        .filter(|node| node.marks().all(|mark| keeps(mark, node.id)))
        .collect()
}

/// The services whose gateways all serve, within the document's bounds.
fn services(
    settled: &Settled<'_>,
    beacon: &[u8; 32],
    gateways: &[NodeDescriptor],
) -> Vec<ServiceDescriptor> {
    let serving: BTreeSet<NodeId> = gateways.iter().map(|node| node.id).collect();
    let mut services: Vec<&ServiceDescriptor> = settled
        .descriptors
        .iter()
        .filter_map(|(subject, descriptor)| match descriptor {
            Descriptor::Service(service)
                if service.epoch == settled.epoch
                    && !settled.doubled.contains(subject)
                    && service.gateways.iter().all(|id| serving.contains(id)) =>
            {
                Some(service.as_ref())
            }
            _ => None,
        })
        .collect();
    services.sort_by_key(|service| draw(beacon, &service.mailbox_key));
    services.truncate(Document::MAX_SERVICES);
    let mut room = Document::MAX_SERVICE_BYTES;
    services.retain(|service| match room.checked_sub(service.to_bytes().len()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    });
    services.sort_by_key(|service| service.mailbox_key);
    services.into_iter().cloned().collect()
}

impl Encode for DocumentHash {
    fn encode(&self, writer: &mut Writer) {
        writer.raw(&self.0);
    }
}

impl Decode for DocumentHash {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}

impl Encode for Previous {
    fn encode(&self, writer: &mut Writer) {
        self.epoch.encode(writer);
        self.hash.encode(writer);
    }
}

impl Decode for Previous {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            epoch: Epoch::decode(reader)?,
            hash: DocumentHash::decode(reader)?,
        })
    }
}

impl Encode for Document {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(VERSION);
        writer.raw(&self.network);
        self.epoch.encode(writer);
        self.previous.encode(writer);
        self.parameters.encode(writer);
        writer.raw(&self.beacon);
        writer.u8(u8::try_from(self.commitments.len()).unwrap_or(u8::MAX));
        for (authority, commitment) in &self.commitments {
            authority.encode(writer);
            writer.raw(commitment);
        }
        writer.list(&self.silent);
        for layer in &self.layers {
            writer.list(layer);
        }
        writer.list(&self.gateways);
        writer.list(&self.services);
    }
}

impl Decode for Document {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.u8()? != VERSION {
            return Err(DecodeError::UnknownTag);
        }
        let network = reader.array()?;
        let epoch = Epoch::decode(reader)?;
        let previous = Previous::decode(reader)?;
        let parameters = Parameters::decode(reader)?;
        let beacon = reader.array()?;
        let count = usize::from(reader.u8()?);
        if count > Network::MAX_AUTHORITIES {
            return Err(DecodeError::TooLong);
        }
        let mut commitments = Vec::new();
        for _ in 0..count {
            commitments.push((NodeId::decode(reader)?, reader.array()?));
        }
        let document = Self {
            network,
            epoch,
            previous,
            parameters,
            beacon,
            commitments,
            silent: reader.list(Network::MAX_AUTHORITIES)?,
            layers: [
                reader.list(Self::MAX_NODES)?,
                reader.list(Self::MAX_NODES)?,
                reader.list(Self::MAX_NODES)?,
            ],
            gateways: reader.list(Self::MAX_NODES)?,
            services: reader.list(Self::MAX_SERVICES)?,
        };
        if document.in_form() {
            Ok(document)
        } else {
            Err(DecodeError::OutOfRange)
        }
    }
}

impl Document {
    /// Every list in strict order, every node once, in its role, for this epoch.
    fn in_form(&self) -> bool {
        let mixes = self.layers.iter().flatten();
        let nodes = self.nodes().map(|node| node.id).collect::<BTreeSet<_>>();
        let places = self.layers.iter().chain([&self.gateways]);
        self.epoch > self.previous.epoch
            && ascending(&self.commitments, |(authority, _)| *authority)
            && ascending(&self.silent, |authority| *authority)
            && places
                .into_iter()
                .all(|place| ascending(place, |node| node.id))
            && ascending(&self.services, |service| service.mailbox_key)
            && nodes.len() == self.nodes().count()
            && nodes.len() <= Self::MAX_NODES
            && self.nodes().all(|node| node.epoch == self.epoch)
            && self
                .services
                .iter()
                .all(|service| service.epoch == self.epoch)
            && mixes.into_iter().all(|node| node.role == Role::Mix)
            && self.gateways.iter().all(|node| node.role == Role::Gateway)
    }
}

fn ascending<T, K: Ord>(items: &[T], key: impl Fn(&T) -> K) -> bool {
    items.is_sorted_by(|a, b| key(a) < key(b))
}

/// The format of documents.
const VERSION: u8 = 2;
