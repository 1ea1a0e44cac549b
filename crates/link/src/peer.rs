//! Who is at the other end of a link.

use std::fmt;

use wire::NodeId;

/// Who is at the other end of a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A node that has shown its identity key.
    Node(NodeId),
    /// Somebody who has shown no key: a client.
    Guest(GuestId),
}

/// A guest's number at this node: counted up, meaningless elsewhere, never logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestId(pub u64);

/// A node's identity; of a guest only that it is one.
impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => write!(f, "Node({id})"),
            Self::Guest(_) => f.write_str("Guest(..)"),
        }
    }
}

/// The type's name alone.
impl fmt::Debug for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuestId(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_format_shows_a_guests_number() {
        let shown = format!("{:?} {:?}", Peer::Guest(GuestId(77)), GuestId(77));
        assert!(!shown.contains("77"));
    }
}
