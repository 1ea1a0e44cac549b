//! The append-only log of replay tags of one epoch's key.
//!
//! Tags are appended before their packets leave, which survives `kill -9`; the driver syncs at
//! least every 100 ms. A power cut may still lose the last tags, so a log that another run of
//! the machine left open is refused with [`StoreError::UncleanStop`], and with it the key.
//! The layout is in `replay_log/format.rs`.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wire::Epoch;

use crate::{BootId, StoreError, sync_parent};
use format::{Contents, Record, State};

mod format;

/// A replay tag shortened to 64 bits under a key that only this node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortTag(pub u64);

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOrigin {
    /// The epoch of the key.
    pub epoch: Epoch,
    /// The first 16 bytes of a hash of the public key.
    pub fingerprint: [u8; 16],
}

/// A replay log, open for appending. Dropped without [`ReplayLog::close`], it counts as left
/// open: complete within this run of the machine, lost after it.
pub struct ReplayLog {
    file: File,
    path: PathBuf,
    chain: format::Chain,
    tags: u64,
    failed: bool,
    /// Keeps the state directory locked for as long as the log is open.
    _lock: Arc<File>,
}

/// Syncs a log from another thread, so that appending never waits for the disk.
pub struct LogSync {
    file: File,
    path: PathBuf,
}

impl ReplayLog {
    pub(crate) fn create(path: &Path, origin: &LogOrigin) -> Result<(), StoreError> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => StoreError::AlreadyThere {
                    path: path.to_owned(),
                },
                _ => StoreError::io(path, "create")(error),
            })?;
        file.write_all(&format::header(origin))
            .and_then(|()| file.sync_all())
            .map_err(StoreError::io(path, "write"))?;
        sync_parent(path)
    }

    pub(crate) fn open(
        path: &Path,
        origin: &LogOrigin,
        boot: BootId,
        lock: Arc<File>,
    ) -> Result<(Self, Vec<ShortTag>), StoreError> {
        let bytes = fs::read(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => StoreError::Missing {
                path: path.to_owned(),
            },
            _ => StoreError::io(path, "read")(error),
        })?;
        let contents = usable(path, format::read(&bytes), origin, boot)?;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(StoreError::io(path, "open"))?;
        file.set_len(contents.whole_len as u64)
            .map_err(StoreError::io(path, "cut the torn end of"))?;
        let mut log = Self {
            file,
            path: path.to_owned(),
            chain: contents.chain,
            tags: contents.tags.len() as u64,
            failed: false,
            _lock: lock,
        };
        log.write(&Record::Opened(boot))?;
        log.sync()?;
        Ok((log, contents.tags))
    }

    /// Hands `tags` to the operating system; their packets may leave when this returns.
    ///
    /// # Errors
    /// What the disk says; from then on every append fails with [`StoreError::Failed`], and
    /// packets whose tags were not appended must be refused.
    pub fn append(&mut self, tags: &[ShortTag]) -> Result<(), StoreError> {
        for batch in tags.chunks(format::MAX_TAGS) {
            self.write(&Record::Tags(batch))?;
            self.tags += batch.len() as u64;
        }
        Ok(())
    }

    /// Waits until all that was appended is on the disk.
    ///
    /// # Errors
    /// What the disk says; from then on every append fails.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        let synced = self.file.sync_data();
        self.failed |= synced.is_err();
        synced.map_err(StoreError::io(&self.path, "sync"))
    }

    /// A handle that syncs the same file from another thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn syncer(&self) -> Result<LogSync, StoreError> {
        let file = self
            .file
            .try_clone()
            .map_err(StoreError::io(&self.path, "share"))?;
        Ok(LogSync {
            file,
            path: self.path.clone(),
        })
    }

    /// How many tags it holds.
    #[must_use]
    pub fn tags(&self) -> u64 {
        self.tags
    }

    /// Marks the log as complete, so that the next run of the machine may use it.
    ///
    /// # Errors
    /// What the disk says; the log then counts as left open.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.write(&Record::Closed { tags: self.tags })?;
        self.sync()
    }

    fn write(&mut self, record: &Record<'_>) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Failed {
                path: self.path.clone(),
            });
        }
        let written = self.file.write_all(&record.encode(&mut self.chain));
        // Half a record may be in the file now; nothing may follow it.
        self.failed = written.is_err();
        written.map_err(StoreError::io(&self.path, "append to"))
    }
}

impl LogSync {
    /// Waits until all that was appended before is on the disk.
    ///
    /// # Errors
    /// What the disk says; the caller then appends no more.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(StoreError::io(&self.path, "sync"))
    }
}

/// What the log holds, if the key may be used with it.
fn usable(
    path: &Path,
    contents: Contents,
    origin: &LogOrigin,
    boot: BootId,
) -> Result<Contents, StoreError> {
    if contents.origin.is_some_and(|found| found != *origin) {
        return Err(StoreError::WrongKey {
            path: path.to_owned(),
            epoch: origin.epoch,
        });
    }
    // Before the damage: a power cut may leave anything behind the last synced byte.
    if let State::Open(run) = contents.state
        && !run.is_same_run(boot)
    {
        return Err(StoreError::UncleanStop {
            path: path.to_owned(),
            epoch: origin.epoch,
        });
    }
    match contents.damage {
        Some(what) => Err(StoreError::corrupt(path, what)),
        None => Ok(contents),
    }
}
