//! What keeps a provider from serving.

use std::io;

use link::LinkError;
use message::EdgeError;
use thiserror::Error;

use crate::{ModuleRejected, SandboxUnavailable};

/// Why a provider does not start.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// There is nothing to serve, or more than a descriptor lists.
    #[error("a provider serves 1 to {max} models of different names", max = directory::ServiceDescriptor::MAX_MODELS)]
    Models,
    /// A model's name, description or labels are not what a catalogue may hold.
    #[error("model {name}: not fit for a catalogue: {field}")]
    Unlisted {
        /// The model.
        name: String,
        /// What of it.
        field: &'static str,
    },
    /// A model's output does not fit the largest answer, or its input no request.
    #[error("model {name}: {elements} numbers are too many")]
    TooLarge {
        /// The model.
        name: String,
        /// How many there are.
        elements: u32,
    },
    /// A model's module is not one that the sandbox runs.
    #[error("model {name}: {why}")]
    Rejected {
        /// The model.
        name: String,
        /// Why.
        why: ModuleRejected,
    },
    /// This machine has no sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxUnavailable),
    /// The system gives no threads for models.
    #[error("no threads for models: {0}")]
    Threads(io::ErrorKind),
    /// The loading of models was interrupted.
    #[error("the loading of models was interrupted")]
    Interrupted,
    /// The socket could not be opened.
    #[error("link: {0}")]
    Link(#[from] LinkError),
    /// The network has no place for this provider.
    #[error(transparent)]
    Edge(#[from] EdgeError),
}
