//! Proof that somebody signed what nobody honest signs.

use directory::{Consensus, Descriptor, Subject};
use wire::{Encode, NodeId, Writer};

use crate::ballot::{Assent, List, Reveal};

/// Two statements that one key signed and that exclude each other. Anyone can check it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// Two descriptors of one subject for one epoch.
    TwoDescriptors(Box<(Descriptor, Descriptor)>),
    /// Two lists of one authority for one vote.
    TwoLists(Box<(List, List)>),
    /// Two reveals of one authority for one vote.
    TwoReveals(Box<(Reveal, Reveal)>),
    /// Signatures of one authority over two documents of one epoch.
    TwoAssents(Box<(Assent, Assent)>),
    /// Two documents of one epoch, each with a quorum.
    TwoDocuments(Box<(Consensus, Consensus)>),
}

impl Evidence {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TwoDescriptors(_) => "two_descriptors",
            Self::TwoLists(_) => "two_lists",
            Self::TwoReveals(_) => "two_reveals",
            Self::TwoAssents(_) => "two_assents",
            Self::TwoDocuments(_) => "two_documents",
        }
    }

    /// The authority or node that it convicts; `None` for services, and for documents, which
    /// convict everyone who signed both.
    #[must_use]
    pub fn convicts(&self) -> Option<NodeId> {
        match self {
            Self::TwoDescriptors(both) => match both.0.subject() {
                Subject::Node(key) => Some(NodeId(key)),
                Subject::Service(_) => None,
            },
            Self::TwoLists(both) => Some(both.0.author),
            Self::TwoReveals(both) => Some(both.0.author),
            Self::TwoAssents(both) => Some(both.0.signer),
            Self::TwoDocuments(_) => None,
        }
    }
}

/// A tag, then both statements: how evidence is kept on disk and shown to others.
impl Encode for Evidence {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::TwoDescriptors(both) => pair(1, &both.0, &both.1, writer),
            Self::TwoLists(both) => pair(2, &both.0, &both.1, writer),
            Self::TwoReveals(both) => pair(3, &both.0, &both.1, writer),
            Self::TwoAssents(both) => pair(4, &both.0, &both.1, writer),
            Self::TwoDocuments(both) => pair(5, &both.0, &both.1, writer),
        }
    }
}

fn pair<T: Encode>(tag: u8, first: &T, second: &T, writer: &mut Writer) {
    writer.u8(tag);
    first.encode(writer);
    second.encode(writer);
}
