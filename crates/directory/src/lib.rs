#![doc = include_str!("../README.md")]
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod address;
mod clock;
mod consensus;
mod descriptor;
mod document;
mod error;
mod family;
mod identity;
mod network;
mod parameters;
mod schedule;
mod service;
mod subscriber;
mod topology;
mod view;

pub use clock::{ClockCheck, ClockReading, ClockSkew};
pub use consensus::{Consensus, sign_document, verify_document, verify_quorum};
pub use descriptor::{Descriptor, DescriptorHash, NodeDescriptor, NodeDraft, Role, Subject};
pub use document::{Document, DocumentHash, Previous, Settled, commitment};
pub use error::{BadConsensus, BadDescriptor, BadNetwork, DirectoryError, UnsafeTopology};
pub use family::FamilyMember;
pub use identity::{Identity, verify};
pub use network::{AuthorityEntry, Network, NetworkDraft};
pub use parameters::Parameters;
pub use schedule::Schedule;
pub use service::{
    Encoding, Finite, InputSchema, Line, ModelCard, ModelName, OutputSchema, ServiceDescriptor,
    ServiceDraft,
};
pub use subscriber::{Subscriber, SubscriberEvent};
pub use topology::{Place, Relay, Topology};
pub use view::View;
