#![doc = include_str!("../README.md")]
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod ask;
mod assembly;
pub mod driver;

mod edge;
mod error;
mod expect;
mod feed;
mod fragment;
mod layout;
mod mailbox;
mod participant;
mod route;
mod seal;
mod serve;
mod slots;
mod surbs;

pub use ask::{Flight, Recipient, RequestDraft, Timing};
pub use edge::{Edge, EdgeConfig, EdgeCounts, EdgeEvent, EdgeMemory};
pub use error::EdgeError;
pub use feed::{BadFeed, FeedDraft, sign_feed, verify_feed};
pub use layout::{ADMISSION_LEN, answer_capacity, request_capacity};
pub use mailbox::{BadAttach, attach, verify_attach};
pub use participant::Participant;
pub use seal::{BadSealingKey, ENCAPSULATED_LEN, SEAL_OVERHEAD, SealingKey, SealingPublicKey};
pub use serve::{OpenedRequest, ReplyPath};
