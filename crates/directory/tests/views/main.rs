//! What a participant believes, and what it refuses to.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what the tests share is test code too"
)]

mod clocks;
mod descriptors;
mod documents;
mod families;
mod made;
mod subscribers;
