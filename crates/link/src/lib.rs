#![doc = include_str!("../README.md")]
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]
#![allow(
    clippy::todo,
    dead_code,
    reason = "the public API stands before its bodies"
)]

mod account;
mod bucket;
mod config;
mod counts;
mod error;
mod event;
mod frame;
mod mesh;
mod peer;
mod services;
mod tap;

pub use bucket::FrameRate;
pub use config::{IdentitySeed, Limits, MeshConfig};
pub use counts::LinkCounts;
pub use error::LinkError;
pub use event::{MeshEvent, Responder};
pub use frame::Frame;
pub use mesh::{Mesh, Whose};
pub use peer::{GuestId, Peer};
pub use services::{Clock, Entropy, Services};
pub use tap::{Digest, Sight, Tap, Witness};
