//! Where a packet goes next, and where it ends.

use std::fmt;

use wire::{Handle, MailboxAddress, NodeId};

/// A place in a Sphinx header: a node, a client at its gateway, a mailbox, or a constant.
///
/// It may be a client's handle, so `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 32]);

impl Address {
    /// At a gateway: the packet was cover and ends here.
    pub const DROP: Self = Self(*b"subrosa.address.drop............");
    /// At a gateway: reply blocks for a mailbox.
    pub const FEED: Self = Self(*b"subrosa.address.feed............");
    /// At a gateway: a part of a service's descriptor, to be passed on to the authorities.
    pub const PUBLISH: Self = Self(*b"subrosa.address.publish.........");
    /// At the maker of a loop: the packet came back.
    pub const LOOP: Self = Self(*b"subrosa.address.loop............");
    /// At the maker of a reply block: the packet was sent with it.
    pub const REPLY: Self = Self(*b"subrosa.address.reply...........");
}

impl From<NodeId> for Address {
    fn from(node: NodeId) -> Self {
        Self(node.0)
    }
}

impl From<Handle> for Address {
    fn from(handle: Handle) -> Self {
        Self(handle.0)
    }
}

impl From<MailboxAddress> for Address {
    fn from(mailbox: MailboxAddress) -> Self {
        Self(mailbox.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(..)")
    }
}
