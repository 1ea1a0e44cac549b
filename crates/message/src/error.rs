//! What can go wrong when the edge is asked to do something.

use thiserror::Error;

/// Why the edge did not do what its owner asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EdgeError {
    /// The document does not list the entry gateway.
    #[error("the document does not list the entry gateway")]
    UnknownGateway,
    /// The document does not list the gateway that keeps the mailbox.
    #[error("the document does not list the mailbox's gateway")]
    UnknownMailboxGateway,
    /// The document lists too few gateways besides the entry gateway to keep a mailbox.
    #[error("an anonymous mailbox needs two gateways besides the entry gateway")]
    TooFewGateways,
    /// The signed parameters have no such rate class.
    #[error("the parameters have no such rate class")]
    UnknownClass,
    /// The document leaves a layer without mixes.
    #[error("the document leaves a layer without mixes")]
    NoRoute,
    /// The network's packets are too small to carry a sealed request.
    #[error("the network's packets are too small for sealed requests")]
    SmallGeometry,
    /// The document is older than the one in use.
    #[error("the document is older than the one in use")]
    Rollback,
    /// The send queue or the book of reply blocks is at its bound; later it may be done.
    #[error("at the bound of what may wait")]
    Overload,
    /// The request does not fit the most packets that a message may have.
    #[error("the request is too large")]
    RequestTooLarge,
    /// More reply blocks would be out than one edge keeps account of; later there is room.
    #[error("too many reply blocks are out; wait for answers")]
    SurbsExhausted,
    /// The reply blocks are for an epoch that is over, or cannot be used; the answer is dropped.
    #[error("the reply blocks cannot be used any more")]
    SurbInvalid,
    /// As many mailboxes as one edge serves are open.
    #[error("too many mailboxes")]
    TooManyMailboxes,
}
