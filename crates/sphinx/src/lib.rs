#![doc = include_str!("../README.md")]
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod address;
mod element;
mod error;
mod geometry;
mod header;
mod keys;
mod opened;
mod packet;
mod payload;
mod secrets;
mod surb;

pub use address::Address;
pub use error::{BadPublicKey, WrapError};
pub use geometry::Geometry;
pub use header::Hop;
pub use keys::{PublicKey, RouteKey, SecretKey};
pub use opened::{Next, Opened, Peeled};
pub use packet::Packet;
pub use payload::Payload;
pub use secrets::ReplayTag;
pub use surb::{Surb, SurbRecovery};
