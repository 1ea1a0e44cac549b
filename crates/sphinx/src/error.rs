//! What a caller can do wrong. What a peer does wrong is a [`wire::Refusal`].

use thiserror::Error;

/// Why no packet, reply block or reply was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WrapError {
    /// The route has no hop.
    #[error("the route has no hop")]
    EmptyRoute,
    /// The route has more than five hops.
    #[error("the route has more than five hops")]
    TooManyHops,
    /// A delay of 2^64 nanoseconds or more.
    #[error("a delay of 2^64 nanoseconds or more")]
    DelayTooLong,
    /// The last hop is given a delay, for which the format has no room.
    #[error("the last hop is given a delay, for which the format has no room")]
    DelayAtLastHop,
    /// The payload is longer than the geometry's capacity.
    #[error("the payload is longer than a packet's capacity")]
    PayloadTooLong,
    /// A reply block's identifier is zero.
    #[error("a reply block's identifier is zero")]
    ZeroIdentifier,
}

/// Why 32 bytes are not a node's public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadPublicKey {
    /// Not the one encoding of its point: 2^255 - 19 or above.
    #[error("the key is not in its canonical encoding")]
    NotCanonical,
    /// A point on which every secret gives the same product.
    #[error("the key is a point of low order")]
    LowOrder,
    /// A point of the curve's twist.
    #[error("the key is not on the curve")]
    NotOnCurve,
    /// A point outside the subgroup of prime order.
    #[error("the key is not in the subgroup of prime order")]
    Torsion,
}
