//! What can be wrong with what a participant is told about the network.

use thiserror::Error;
use wire::{DecodeError, Epoch, FamilyId, NodeId};

use crate::ClockSkew;

/// Why a signed descriptor is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadDescriptor {
    /// Longer than any descriptor.
    #[error("longer than a descriptor may be")]
    TooLong,
    /// Not the bytes of a descriptor in its one form.
    #[error("not a descriptor: {0}")]
    Malformed(#[from] DecodeError),
    /// The signature does not fit the key that it names.
    #[error("the signature does not verify")]
    Signature,
    /// A Sphinx key that no sender could use.
    #[error("a Sphinx key is not a point of the prime-order group")]
    SphinxKey,
    /// One key named for two epochs.
    #[error("one Sphinx key is named for two epochs")]
    RepeatedKey,
    /// It names a family whose key did not sign the node.
    #[error("the family that it names did not sign it")]
    Family,
    /// An address at which this network's nodes cannot be reached.
    #[error("an address is not one that this network admits")]
    Address,
}

/// Why a consensus is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadConsensus {
    /// Not the bytes of a consensus in its one form.
    #[error("not a consensus: {0}")]
    Malformed(#[from] DecodeError),
    /// Made for another network.
    #[error("made for another network")]
    ForeignNetwork,
    /// Its schedule or geometry differs from the network's.
    #[error("its epochs or sizes differ from the network's")]
    ForeignParameters,
    /// A signer that is not an authority of this network.
    #[error("signed by {0}, which is no authority of this network")]
    UnknownSigner(NodeId),
    /// A signer counted twice.
    #[error("signed twice by {0}")]
    DuplicateSigner(NodeId),
    /// A signature that does not verify.
    #[error("the signature of {0} does not verify")]
    BadSignature(NodeId),
    /// Fewer signers than the threshold.
    #[error("signed by {found} authorities of the {needed} needed")]
    TooFewSignatures {
        /// How many signed.
        found: usize,
        /// How many must.
        needed: usize,
    },
    /// A descriptor in it is not valid.
    #[error("it lists a descriptor that is not valid: {0}")]
    Descriptor(BadDescriptor),
    /// For an epoch that has no document yet.
    #[error("for epoch {0}, which is not due")]
    TooEarly(Epoch),
    /// Too old to be used, even under grace.
    #[error("for epoch {0}, which is over")]
    Expired(Epoch),
    /// Older than one accepted before.
    #[error("for epoch {found}, older than epoch {held} accepted before")]
    Rollback {
        /// Its epoch.
        found: Epoch,
        /// The newest epoch held.
        held: Epoch,
    },
    /// It names another document before it than the one held.
    #[error("it does not continue the document of epoch {0}")]
    BrokenChain(Epoch),
}

/// Why a verified document gives no safe topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UnsafeTopology {
    /// A layer without a mix.
    #[error("mix layer {0} is empty")]
    EmptyLayer(u8),
    /// No gateway.
    #[error("there is no gateway")]
    NoGateway,
    /// One operator has more than a third of the mixes.
    #[error("family {family} has {mixes} of {of} mixes, more than a third")]
    LargeFamily {
        /// Whose mixes they are.
        family: FamilyId,
        /// How many it has.
        mixes: usize,
        /// How many there are.
        of: usize,
    },
    /// Hardly any route takes three mixes of three families.
    #[error("families are so placed that hardly a route keeps them apart")]
    TooFewRoutes,
    /// A node's Sphinx key cannot be used.
    #[error("the Sphinx key of {0} cannot be used")]
    SphinxKey(NodeId),
    /// The document names no keys for the epoch asked for.
    #[error("the document names no keys for epoch {0}")]
    NoKeys(Epoch),
}

/// Why there is no topology to send by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The consensus offered is refused.
    #[error("consensus refused: {0}")]
    BadConsensus(#[from] BadConsensus),
    /// The document is genuine, and not safe to send by.
    #[error("network not safe to use: {0}")]
    UnsafeTopology(#[from] UnsafeTopology),
    /// Two genuine documents for one epoch: the authorities cannot be trusted.
    #[error("two documents are signed for epoch {0}; both are kept as evidence")]
    Equivocation(Epoch),
    /// No document was accepted yet.
    #[error("no document yet")]
    NoDocument,
    /// The network has not begun.
    #[error("the network has not begun")]
    NotBegun,
    /// The own clock is too far from those of the authorities.
    #[error(transparent)]
    ClockSkew(#[from] ClockSkew),
    /// The newest document is older than its grace.
    #[error("newest document is {epochs} epochs old")]
    Stale {
        /// Its age.
        epochs: u64,
    },
}

/// Why a network's description cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadNetwork {
    /// No authorities, or more than the bound.
    #[error("a network has 1 to {max} authorities", max = crate::Network::MAX_AUTHORITIES)]
    Authorities,
    /// Two authorities share a key.
    #[error("authority {0} is listed twice")]
    DuplicateAuthority(NodeId),
    /// More signatures than authorities, or too few for any two quorums to share an honest one.
    #[error("the threshold must be above two thirds of the authorities, and at most all")]
    Threshold,
    /// An authority or bootstrap list without addresses, or with too many.
    #[error("an address list is empty or too long")]
    Addresses,
    /// The genesis leaves no time for the first vote.
    #[error("the genesis is too early for a first vote")]
    Genesis,
    /// Parameters that cannot carry a network.
    #[error("the parameters cannot carry a network")]
    Parameters,
}
