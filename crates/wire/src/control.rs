//! Control messages: one call, one reply, on a bidirectional stream of a link.
//!
//! Signed objects travel as opaque bytes; the crates that understand them decode them.

use thiserror::Error;

use crate::{Decode, DecodeError, Encode, Epoch, Handle, Reader, Writer};

/// What one end of a link asks of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// Client to its gateway: deliver to me under this handle.
    Register(Register),
    /// Client to its gateway: what comes for this mailbox is mine.
    Attach(Attach),
    /// Anyone: the newest consensus document that you hold.
    NewestDocument,
    /// Anyone: the consensus document of this epoch.
    Document(Epoch),
    /// Node to authority, or client to gateway to authority: a signed descriptor.
    Publish(Vec<u8>),
    /// Authority to authority: a signed step of the vote.
    Ballot(Vec<u8>),
    /// Anyone: what the authorities' clocks show.
    Clocks,
}

/// What the other end answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// Done as asked.
    Done,
    /// An encoded consensus document with its signatures.
    Document(Vec<u8>),
    /// Authority to authority: what the step asked for.
    Ballot(Vec<u8>),
    /// Not done.
    Refused(CallRefused),
    /// Signed readings: an authority's own, or what a gateway heard of all of late.
    Clocks(Vec<u8>),
}

/// Why a call was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallRefused {
    /// The bytes are not a call, or not one for this role.
    #[error("not a call that this node answers")]
    NotForThisNode,
    /// A signature, key or proof in the call is not valid.
    #[error("not valid")]
    Invalid,
    /// There is no such document yet.
    #[error("not known here yet")]
    NotYet,
    /// For an epoch that is over or not open.
    #[error("wrong epoch")]
    WrongEpoch,
    /// A bound of this node is reached; later it may be done.
    #[error("at its bound")]
    Busy,
}

/// A client's registration at its entry gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register {
    /// Random, the same for one epoch.
    pub handle: Handle,
    /// The epoch of the handle and of the document by which the client names first hops.
    pub epoch: Epoch,
    /// Index of the client's rate class in the signed parameters.
    pub class: u8,
}

/// A mailbox owner's claim at the gateway that keeps the mailbox (`reach = "attached"`).
///
/// The address is BLAKE3 of `key`; the signature covers gateway, handle, epoch and counter
/// (docs/spec/message.md, 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attach {
    /// The mailbox's Ed25519 key.
    pub key: [u8; 32],
    /// The epoch for which the claim holds.
    pub epoch: Epoch,
    /// Rises with every claim; an older claim is refused.
    pub counter: u64,
    /// Ed25519 by `key`.
    pub signature: [u8; 64],
}

/// Longest encoded call.
pub const MAX_CALL_LEN: usize = 4 << 20;

/// Longest encoded reply.
pub const MAX_REPLY_LEN: usize = 16 << 20;

impl Encode for Call {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Register(register) => {
                writer.u8(1);
                register.handle.encode(writer);
                register.epoch.encode(writer);
                writer.u8(register.class);
            }
            Self::Attach(attach) => {
                writer.u8(2);
                writer.raw(&attach.key);
                attach.epoch.encode(writer);
                writer.u64(attach.counter);
                writer.raw(&attach.signature);
            }
            Self::NewestDocument => writer.u8(3),
            Self::Document(epoch) => {
                writer.u8(4);
                epoch.encode(writer);
            }
            Self::Publish(bytes) => {
                writer.u8(5);
                writer.bytes(bytes);
            }
            Self::Ballot(bytes) => {
                writer.u8(6);
                writer.bytes(bytes);
            }
            Self::Clocks => writer.u8(7),
        }
    }
}

impl Decode for Call {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => Self::Register(Register {
                handle: Handle::decode(reader)?,
                epoch: Epoch::decode(reader)?,
                class: reader.u8()?,
            }),
            2 => Self::Attach(Attach {
                key: reader.array()?,
                epoch: Epoch::decode(reader)?,
                counter: reader.u64()?,
                signature: reader.array()?,
            }),
            3 => Self::NewestDocument,
            4 => Self::Document(Epoch::decode(reader)?),
            5 => Self::Publish(reader.bytes(MAX_CALL_LEN)?.to_vec()),
            6 => Self::Ballot(reader.bytes(MAX_CALL_LEN)?.to_vec()),
            7 => Self::Clocks,
            _ => return Err(DecodeError::UnknownTag),
        })
    }
}

impl Encode for Reply {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Done => writer.u8(1),
            Self::Document(bytes) => {
                writer.u8(2);
                writer.bytes(bytes);
            }
            Self::Ballot(bytes) => {
                writer.u8(3);
                writer.bytes(bytes);
            }
            Self::Refused(why) => {
                writer.u8(4);
                writer.u8(match why {
                    CallRefused::NotForThisNode => 1,
                    CallRefused::Invalid => 2,
                    CallRefused::NotYet => 3,
                    CallRefused::WrongEpoch => 4,
                    CallRefused::Busy => 5,
                });
            }
            Self::Clocks(bytes) => {
                writer.u8(5);
                writer.bytes(bytes);
            }
        }
    }
}

impl Decode for Reply {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => Self::Done,
            2 => Self::Document(reader.bytes(MAX_REPLY_LEN)?.to_vec()),
            3 => Self::Ballot(reader.bytes(MAX_REPLY_LEN)?.to_vec()),
            4 => Self::Refused(match reader.u8()? {
                1 => CallRefused::NotForThisNode,
                2 => CallRefused::Invalid,
                3 => CallRefused::NotYet,
                4 => CallRefused::WrongEpoch,
                5 => CallRefused::Busy,
                _ => return Err(DecodeError::UnknownTag),
            }),
            5 => Self::Clocks(reader.bytes(MAX_REPLY_LEN)?.to_vec()),
            _ => return Err(DecodeError::UnknownTag),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_inverts_encoding_or_refuses() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(call) = Call::from_bytes(bytes) {
                assert_eq!(call.to_bytes(), bytes);
            }
            if let Ok(reply) = Reply::from_bytes(bytes) {
                assert_eq!(reply.to_bytes(), bytes);
            }
        });
    }
}
