#![doc = include_str!("../README.md")]
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod ask;
mod assembly;
mod contact;
pub mod driver;

mod edge;
mod error;
mod exchange;
mod expect;
mod feed;
mod fragment;
mod layout;
mod mailbox;
mod owner;
mod participant;
mod profile;
mod publication;
mod repair;
mod route;
mod sack;
mod seal;
mod send;
mod serve;
mod slots;
mod surbs;
#[cfg(test)]
mod vectors;

pub use ask::{Failure, Flight, LetterId, Recipient, RequestDraft, Timing};
pub use contact::{BadContact, Contact};
pub use edge::{Edge, EdgeConfig, EdgeCounts, EdgeEvent, EdgeMemory};
pub use error::EdgeError;
pub use feed::{BadFeed, FeedDraft, sign_feed, verify_feed};
pub use layout::{ADMISSION_LEN, answer_capacity, mail_capacity};
pub use mailbox::{BadAttach, attach, verify_attach};
pub use owner::{AnonymousMailbox, mailbox_gateways};
pub use participant::Participant;
pub use profile::read_profile;
pub use seal::{BadSealingKey, ENCAPSULATED_LEN, SEAL_OVERHEAD, SealingKey, SealingPublicKey};
pub use serve::{OpenedLetter, OpenedRequest, ReplyPath};
