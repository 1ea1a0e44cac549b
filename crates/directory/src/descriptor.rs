//! What a node signs about itself, once an epoch.

use std::net::SocketAddr;

use sphinx::{PublicKey, RouteKey};
use wire::{Decode, DecodeError, Encode, Epoch, FamilyId, NodeId, NodeName, Reader, Writer};

use crate::{
    BadDescriptor, FamilyMember, Identity, Parameters, ServiceDescriptor, address, identity,
};

/// Anything that the authorities collect and list.
#[allow(
    clippy::large_enum_variant,
    reason = "nodes are the common case, and a few thousand the most"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Descriptor {
    /// A mix or a gateway.
    Node(NodeDescriptor),
    /// A service behind a mailbox.
    Service(Box<ServiceDescriptor>),
}

/// BLAKE3 of a signed descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DescriptorHash(pub [u8; 32]);

/// Whom a descriptor speaks for: an identity or mailbox key, and which of the two it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A node's identity key.
    Node([u8; 32]),
    /// A mailbox's key.
    Service([u8; 32]),
}

impl Descriptor {
    /// Reads and checks a descriptor that somebody published: bounds, form, signature, keys
    /// and addresses.
    ///
    /// # Errors
    /// [`BadDescriptor`] naming what was wrong.
    pub fn open(bytes: &[u8], parameters: &Parameters) -> Result<Self, BadDescriptor> {
        if bytes.len() > ServiceDescriptor::MAX_LEN {
            return Err(BadDescriptor::TooLong);
        }
        let descriptor = Self::from_bytes(bytes)?;
        match &descriptor {
            Self::Node(node) => node.verify(parameters)?,
            Self::Service(service) => service.verify()?,
        }
        Ok(descriptor)
    }

    /// BLAKE3 of the encoding, signature included.
    #[must_use]
    pub fn hash(&self) -> DescriptorHash {
        DescriptorHash::of_bytes(&self.to_bytes())
    }

    /// The epoch for which it was signed.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Node(node) => node.epoch,
            Self::Service(service) => service.epoch,
        }
    }

    /// Whom it speaks for.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match self {
            Self::Node(node) => Subject::Node(node.id.0),
            Self::Service(service) => Subject::Service(service.mailbox_key),
        }
    }
}

impl Encode for Descriptor {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Node(node) => {
                writer.u8(1);
                node.encode(writer);
            }
            Self::Service(service) => {
                writer.u8(2);
                service.encode(writer);
            }
        }
    }
}

impl Decode for Descriptor {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => Ok(Self::Node(NodeDescriptor::decode(reader)?)),
            2 => Ok(Self::Service(Box::new(ServiceDescriptor::decode(reader)?))),
            _ => Err(DecodeError::UnknownTag),
        }
    }
}

impl DescriptorHash {
    /// The hash of the descriptor with this encoding.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(blake3::derive_key("subrosa 2026-11 descriptor hash", bytes))
    }
}

impl Encode for DescriptorHash {
    fn encode(&self, writer: &mut Writer) {
        writer.raw(&self.0);
    }
}

impl Decode for DescriptorHash {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}

impl Encode for Subject {
    fn encode(&self, writer: &mut Writer) {
        let (tag, key) = match self {
            Self::Node(key) => (1, key),
            Self::Service(key) => (2, key),
        };
        writer.u8(tag);
        writer.raw(key);
    }
}

impl Decode for Subject {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => reader.array().map(Self::Node),
            2 => reader.array().map(Self::Service),
            _ => Err(DecodeError::UnknownTag),
        }
    }
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Peels, delays and forwards, in the layer that the beacon gives it.
    Mix,
    /// Admits clients, keeps mailboxes.
    Gateway,
}

/// What a node says of itself before it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDraft {
    /// Its name in documents and logs.
    pub name: NodeName,
    /// What it does.
    pub role: Role,
    /// The epoch for which it speaks.
    pub epoch: Epoch,
    /// Where others reach it (`advertise`, not `listen`). 1 to 4.
    pub addresses: Vec<SocketAddr>,
    /// Its Sphinx key of this epoch.
    pub sphinx_key: PublicKey,
    /// Its Sphinx key of the next epoch, for a document that stands in for a missing one.
    pub next_sphinx_key: PublicKey,
    /// Whose it is; `None` for a node whose operator runs no other.
    pub family: Option<FamilyMember>,
}

/// A node's signed word about itself for one epoch (docs/spec/directory.md, 5.1).
///
/// A node signs one descriptor an epoch; after a restart it publishes the same bytes again. A
/// second one, however small the difference, costs it the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDescriptor {
    /// Its identity key.
    pub id: NodeId,
    /// Its name in documents and logs.
    pub name: NodeName,
    /// What it does.
    pub role: Role,
    /// The epoch for which it speaks.
    pub epoch: Epoch,
    /// Where others reach it. 1 to 4.
    pub addresses: Vec<SocketAddr>,
    /// Its Sphinx key of this epoch.
    pub sphinx_key: PublicKey,
    /// Its Sphinx key of the next epoch.
    pub next_sphinx_key: PublicKey,
    /// Whose it is, signed by the family too.
    pub family: Option<FamilyMember>,
    /// By `id`, over all of the above.
    pub signature: [u8; 64],
}

impl NodeDescriptor {
    /// Signs what `draft` says.
    #[must_use]
    pub fn sign(identity: &Identity, draft: NodeDraft) -> Self {
        let mut descriptor = Self {
            id: identity.node_id(),
            name: draft.name,
            role: draft.role,
            epoch: draft.epoch,
            addresses: draft.addresses,
            sphinx_key: draft.sphinx_key,
            next_sphinx_key: draft.next_sphinx_key,
            family: draft.family,
            signature: [0; 64],
        };
        descriptor.signature = identity.sign(CONTEXT, &descriptor.signed_bytes());
        descriptor
    }

    /// Checks signatures, keys and addresses.
    ///
    /// # Errors
    /// [`BadDescriptor`] naming what was wrong.
    pub fn verify(&self, parameters: &Parameters) -> Result<(), BadDescriptor> {
        let local = parameters.local_addresses;
        if !self.addresses.iter().all(|a| address::admitted(a, local)) {
            return Err(BadDescriptor::Address);
        }
        if self.sphinx_key == self.next_sphinx_key {
            return Err(BadDescriptor::RepeatedKey);
        }
        let signed = self.signed_bytes();
        if !identity::verify(&self.id.0, CONTEXT, &signed, &self.signature) {
            return Err(BadDescriptor::Signature);
        }
        if self.family.is_some_and(|member| !member.verify(&self.id)) {
            return Err(BadDescriptor::Family);
        }
        for key in [self.sphinx_key, self.next_sphinx_key] {
            RouteKey::new(key).map_err(|_| BadDescriptor::SphinxKey)?;
        }
        Ok(())
    }

    /// The Sphinx key that it names for `epoch`.
    #[must_use]
    pub fn key_of(&self, epoch: Epoch) -> Option<PublicKey> {
        if epoch == self.epoch {
            Some(self.sphinx_key)
        } else if epoch == self.epoch.next() {
            Some(self.next_sphinx_key)
        } else {
            None
        }
    }

    /// Whose it is, if it names a family.
    #[must_use]
    pub fn family_id(&self) -> Option<FamilyId> {
        self.family.map(|member| member.family)
    }

    /// What no two nodes of one document may share: name, addresses, Sphinx keys; each as bytes
    /// that begin with its kind.
    pub fn marks(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let name = std::iter::once([b"n", self.name.as_str().as_bytes()].concat());
        let keys =
            [self.sphinx_key, self.next_sphinx_key].map(|key| [b"k", key.0.as_slice()].concat());
        let addresses = self.addresses.iter().map(|socket| {
            let mut writer = Writer::default();
            writer.u8(b'a');
            address::encode_one(socket, &mut writer);
            writer.into_bytes()
        });
        name.chain(keys).chain(addresses)
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.encode_unsigned(&mut writer);
        writer.into_bytes()
    }

    fn encode_unsigned(&self, writer: &mut Writer) {
        self.id.encode(writer);
        self.name.encode(writer);
        writer.u8(match self.role {
            Role::Mix => 1,
            Role::Gateway => 2,
        });
        self.epoch.encode(writer);
        address::encode(&self.addresses, writer);
        self.sphinx_key.encode(writer);
        self.next_sphinx_key.encode(writer);
        writer.u8(u8::from(self.family.is_some()));
        if let Some(member) = &self.family {
            member.encode(writer);
        }
    }
}

impl Encode for NodeDescriptor {
    fn encode(&self, writer: &mut Writer) {
        self.encode_unsigned(writer);
        writer.raw(&self.signature);
    }
}

impl Decode for NodeDescriptor {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: NodeId::decode(reader)?,
            name: NodeName::decode(reader)?,
            role: match reader.u8()? {
                1 => Role::Mix,
                2 => Role::Gateway,
                _ => return Err(DecodeError::UnknownTag),
            },
            epoch: Epoch::decode(reader)?,
            addresses: address::decode(reader)?,
            sphinx_key: PublicKey::decode(reader)?,
            next_sphinx_key: PublicKey::decode(reader)?,
            family: match reader.u8()? {
                0 => None,
                1 => Some(FamilyMember::decode(reader)?),
                _ => return Err(DecodeError::UnknownTag),
            },
            signature: reader.array()?,
        })
    }
}

const CONTEXT: &str = "subrosa 2026-11 node descriptor";
