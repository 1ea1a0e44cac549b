//! Waiting for the disk: what stands between a write and the word that it is done.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::StoreError;

/// What a state directory waits for before it says that something is done.
///
/// All syncs of [`crate::Durable`], [`crate::ReplayLog`] and [`crate::KeyFile`] go through it.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Returns when the bytes of `file` are on the disk.
    ///
    /// # Errors
    /// What the disk says; whoever waits then says so too.
    fn sync_data(&self, file: &File) -> io::Result<()>;

    /// Returns when `file`, which may be a directory, is on the disk with all that the system
    /// knows of it.
    ///
    /// # Errors
    /// What the disk says; whoever waits then says so too.
    fn sync_all(&self, file: &File) -> io::Result<()>;
}

/// The machine's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }
}

/// Makes a new or removed name in the directory of `path` survive a power cut.
pub(crate) fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| disk.sync_all(&directory))
        .map_err(StoreError::io(parent, "sync"))
}

/// A file of the tables' engine that is synced through `disk`.
#[derive(Debug)]
pub(crate) struct EngineFile {
    backend: FileBackend,
    file: File,
    disk: Arc<dyn Disk>,
}

impl EngineFile {
    pub(crate) fn new(file: File, disk: Arc<dyn Disk>) -> Result<Self, redb::DatabaseError> {
        let own = file.try_clone().map_err(redb::StorageError::from)?;
        Ok(Self {
            backend: FileBackend::new(own)?,
            file,
            disk,
        })
    }
}

type Locked<T> = Result<T, BackendError>;

impl StorageBackend for EngineFile {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_data(&self.file)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.backend.query_lock_range(start, end)
    }
}
