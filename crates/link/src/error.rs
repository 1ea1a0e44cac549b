//! What can go wrong with a link, by who can act.

use std::io;

use thiserror::Error;
use wire::DecodeError;

/// Why a mesh could not start, or a call has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The configuration: frames hold their prefix and at least one byte, and at most 1 MiB.
    #[error("frame length out of range")]
    BadFrameLength,
    /// The configuration: a mesh that listens shows an identity.
    #[error("listening needs an identity")]
    NoIdentity,
    /// The caller's: no link to this peer at present.
    #[error("not connected")]
    NotConnected,
    /// The caller's: the encoded call is longer than the other end reads.
    #[error("call longer than its bound")]
    CallTooLong,
    /// The peer shows another key than the one expected of it.
    #[error("peer shows another key")]
    WrongKey,
    /// The peer turned us away: our key is not in its document, or it is at a bound.
    #[error("turned away by the peer")]
    TurnedAway,
    /// The peer's frames are of another length.
    #[error("peer's frames are of another length")]
    FrameLengthDiffers,
    /// The peer ended its stream inside a frame.
    #[error("stream ended inside a frame")]
    ShortFrame,
    /// The peer's reply is longer than its bound.
    #[error("reply longer than its bound")]
    ReplyTooLong,
    /// The peer's reply is not one.
    #[error("bad reply: {0}")]
    BadReply(DecodeError),
    /// The peer closed the stream without a reply.
    #[error("no reply")]
    Unanswered,
    /// The world: no answer in time.
    #[error("no answer in time")]
    Deadline,
    /// The world: the link went down.
    #[error("link closed")]
    Closed,
    /// The world: the socket could not be opened.
    #[error("cannot open the socket: {0}")]
    Socket(io::ErrorKind),
    /// The cryptographic library refused our own identity or settings.
    #[error("cannot set up TLS")]
    Tls,
}
