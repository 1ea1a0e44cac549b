//! What can go wrong with state on disk, and where.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use wire::Epoch;

/// Why state could not be read or written. Every variant names the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process holds this state directory.
    #[error("{}: in use by another process; stop it first", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Others than the owner could read a secret.
    #[error("{}: mode {mode:03o} lets others read it; run chmod go= on it", path.display())]
    TooOpen {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file that must be there is not.
    #[error("{}: missing; it is never made anew in silence", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file that must not be there is.
    #[error("{}: already there; it is never overwritten", path.display())]
    AlreadyThere {
        /// The file.
        path: PathBuf,
    },
    /// The bytes are not what was written.
    #[error("{}: corrupt ({what}); restore it or remove it, it is never reset in silence", path.display())]
    StoreCorrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// A sealed file with more in it than its reader takes.
    #[error("{}: holds more than {max_len} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bound, in bytes.
        max_len: usize,
    },
    /// A name that a sealed file cannot have.
    #[error("{}: not a name; use 1 to 64 of a-z, 0-9 and -", path.display())]
    BadName {
        /// The file.
        path: PathBuf,
    },
    /// Written in a format that this program does not know.
    #[error("{}: written by another version of this program", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A replay log that belongs to another key or epoch.
    #[error("{}: belongs to another key than the one of epoch {epoch}", path.display())]
    WrongKey {
        /// The log.
        path: PathBuf,
        /// The epoch that was asked for.
        epoch: Epoch,
    },
    /// The machine stopped while the replay log was open: tags may be missing, so the key of
    /// that epoch must not be used again.
    #[error("{}: the machine stopped without closing it; the key of epoch {epoch} stays retired", path.display())]
    UncleanStop {
        /// The log.
        path: PathBuf,
        /// The epoch whose key stays retired.
        epoch: Epoch,
    },
    /// An earlier write failed, so nothing more is written here.
    #[error("{}: an earlier write failed; restart when the disk is well", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}: {kind}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        kind: io::ErrorKind,
    },
}

impl StoreError {
    /// Names file and action for an error of the operating system.
    pub(crate) fn io<'a>(path: &'a Path, action: &'static str) -> impl Fn(io::Error) -> Self + 'a {
        move |error| Self::Io {
            path: path.to_owned(),
            action,
            kind: error.kind(),
        }
    }

    pub(crate) fn corrupt(path: &Path, what: &'static str) -> Self {
        Self::StoreCorrupt {
            path: path.to_owned(),
            what,
        }
    }
}
