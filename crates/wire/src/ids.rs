//! Identifiers, each its own type, so that none is taken for another.

use std::fmt;

use crate::{Decode, DecodeError, Encode, Reader, Writer};

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $length;

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl Encode for $name {
            fn encode(&self, writer: &mut Writer) {
                writer.raw(&self.0);
            }
        }

        impl Decode for $name {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.array().map(Self)
            }
        }
    };
}

macro_rules! public_identifier {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        identifier!($(#[$doc])* $name, $length);

        /// Hexadecimal.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

/// Identifiers that must not reach a log: `Debug` prints the type's name alone.
macro_rules! private_identifier {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        identifier!($(#[$doc])* $name, $length);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

public_identifier!(
    /// A node of the document: its Ed25519 identity key, which is also the key of its link
    /// certificate and its address in Sphinx headers.
    NodeId,
    32
);
public_identifier!(
    /// The nodes of one operator: the Ed25519 key that signs for each of them.
    FamilyId,
    32
);
public_identifier!(
    /// BLAKE3 of a model graph's canonical encoding.
    GraphHash,
    32
);
private_identifier!(
    /// A client at its gateway: random, one an epoch, kept across reconnections; the client's
    /// address in Sphinx headers.
    Handle,
    32
);
private_identifier!(
    /// A mailbox: BLAKE3 of the Ed25519 key made for it.
    MailboxAddress,
    32
);
private_identifier!(
    /// One question: at most one charge and one answer.
    RequestId,
    16
);
private_identifier!(
    /// One message: what its fragments share.
    MessageId,
    16
);
private_identifier!(
    /// In front of a packet for a mailbox: random to everybody but an owner who announced it.
    AdmissionTag,
    16
);
private_identifier!(
    /// One single-use reply block or loop packet, known to its maker alone. Never zero.
    SurbId,
    16
);

impl MailboxAddress {
    /// The address of the mailbox whose Ed25519 key is `key`.
    #[must_use]
    pub fn of_key(key: &[u8; 32]) -> Self {
        Self(blake3::derive_key("subrosa 2026-11 mailbox address", key))
    }
}

/// An epoch of the directory, counted from the network's genesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The epoch before this one, if there was one.
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Encode for Epoch {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.0);
    }
}

impl Decode for Epoch {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u64().map(Self)
    }
}

/// A node's name in the document: 1 to 32 of `a-z`, `0-9`, `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

impl NodeName {
    /// Longest name, in bytes.
    pub const MAX_LEN: usize = 32;

    /// `None` unless `name` is 1 to 32 of `a-z`, `0-9`, `-`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits = !name.is_empty() && name.len() <= Self::MAX_LEN && name.bytes().all(allowed);
        fits.then(|| Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Encode for NodeName {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes(self.0.as_bytes());
    }
}

impl Decode for NodeName {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.bytes(Self::MAX_LEN)?;
        let name = std::str::from_utf8(bytes).map_err(|_| DecodeError::OutOfRange)?;
        Self::new(name).ok_or(DecodeError::OutOfRange)
    }
}
