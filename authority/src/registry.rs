//! Who may register: the seam where a chain's registry will plug in.

use std::collections::BTreeSet;

use directory::{Descriptor, Subject};
use wire::NodeId;

/// Decides whose descriptors an authority lists.
///
/// Authorities may differ: a document takes what enough of them list.
pub trait Registry: Send + 'static {
    /// Whether this subject is registered. The descriptor is genuine by then.
    fn admits(&self, descriptor: &Descriptor) -> bool;
}

/// Admits everybody: for closed networks and tests. Nothing bounds how many nodes one
/// operator runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Everybody;

impl Registry for Everybody {
    fn admits(&self, _: &Descriptor) -> bool {
        true
    }
}

/// Admits these nodes, and every service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed(pub BTreeSet<NodeId>);

impl Registry for Listed {
    fn admits(&self, descriptor: &Descriptor) -> bool {
        match descriptor.subject() {
            Subject::Node(key) => self.0.contains(&NodeId(key)),
            Subject::Service(_) => true,
        }
    }
}
