#![doc = include_str!("../README.md")]
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod blob;
mod codec;
mod control;
mod feed;
mod ids;
mod ledger;
mod mail;
mod publication;
mod query;
mod refusal;
mod time;

pub use blob::{BlobKey, OpenBlobError};
pub use codec::{Decode, DecodeError, Encode, Reader, Writer};
pub use control::{Attach, Call, CallRefused, MAX_CALL_LEN, MAX_REPLY_LEN, Register, Reply};
pub use feed::{Feed, MAX_FEED_SURBS, MAX_FEED_TAGS};
pub use ids::{
    AdmissionTag, Epoch, FamilyId, GraphHash, Handle, MailboxAddress, MessageId, NodeId, NodeName,
    RequestId, SurbId,
};
pub use ledger::{Ledger, RefusalCounts};
pub use mail::{Letter, MAX_LETTER_LEN, Mail};
pub use publication::{MAX_PUBLICATION_PARTS, PublicationPart};
pub use query::{AnswerClass, MAX_INPUT_LEN, Outcome, Request, RequestFailure, Response, SURB_LEN};
pub use refusal::Refusal;
pub use time::Time;
