#![doc = include_str!("../README.md")]
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]
#![allow(
    clippy::todo,
    dead_code,
    reason = "the public API stands before its bodies"
)]

mod account;
mod bucket;
mod calls;
mod config;
mod counts;
mod error;
mod event;
mod fault;
mod frame;
mod gate;
mod link;
mod log;
mod mesh;
mod peer;
mod reset;
mod services;
mod splitter;
mod tap;
mod tls;
mod transport;
mod window;

pub use bucket::FrameRate;
pub use config::{IdentitySeed, Limits, MeshConfig};
pub use counts::LinkCounts;
pub use error::LinkError;
pub use event::{MeshEvent, Responder};
pub use fault::{Chance, FaultCounts, FaultProxy, Faults};
pub use frame::Frame;
pub use mesh::{Mesh, Whose};
pub use peer::{GuestId, Peer};
pub use services::{Clock, Entropy, Services};
pub use tap::{Digest, Sight, Tap, Witness};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A lock held for a few lines that cannot leave the value half changed: after a panic
/// elsewhere it still holds.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
