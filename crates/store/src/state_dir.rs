//! The directory that a node's state lies in, held by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wire::Epoch;

use crate::disk::sync_parent;
use crate::replay_log::LogOrigin;
use crate::{
    BootId, Disk, Durable, KeyFile, ReplayLog, Scratch, SealedFiles, ShortTag, StoreError,
    SystemDisk,
};

/// A state directory, locked for as long as this or anything opened from it lives.
///
/// `durable.redb`, `scratch.sled/`, `keys/`, `replay/`, `lock`.
#[derive(Clone)]
pub struct StateDir {
    path: PathBuf,
    boot: BootId,
    disk: Arc<dyn Disk>,
    lock: Arc<File>,
}

impl StateDir {
    /// Opens the directory at `path`, making it if it is not there.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process holds it, [`StoreError::TooOpen`] if others
    /// than its owner may enter it, or what the disk says.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_in_run(path, BootId::current())
    }

    /// As [`StateDir::open`], in a run of the machine that the caller names. For tests of
    /// power cuts.
    ///
    /// # Errors
    /// As [`StateDir::open`].
    pub fn open_in_run(path: impl Into<PathBuf>, boot: BootId) -> Result<Self, StoreError> {
        Self::open_on(path, boot, Arc::new(SystemDisk))
    }

    /// As [`StateDir::open_in_run`], on a disk that the caller names. For tests of crashes and
    /// of disks that fail.
    ///
    /// # Errors
    /// As [`StateDir::open`].
    pub fn open_on(
        path: impl Into<PathBuf>,
        boot: BootId,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, StoreError> {
        let path = path.into();
        for directory in [path.clone(), path.join(KEYS), path.join(REPLAY)] {
            let known = directory.exists();
            make_private(&directory)?;
            if !known {
                sync_parent(disk.as_ref(), &directory)?;
            }
        }
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(StoreError::io(&lock_path, "open"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::InUse { path: path.clone() },
            TryLockError::Error(error) => StoreError::io(&lock_path, "lock")(error),
        })?;
        Ok(Self {
            path,
            boot,
            disk,
            lock: Arc::new(lock),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the tables that survive.
    ///
    /// # Errors
    /// [`StoreError::StoreCorrupt`] if they fail their checks, [`StoreError::InUse`] if they
    /// are open already, or what the disk says.
    pub fn durable(&self) -> Result<Durable, StoreError> {
        let path = self.path.join("durable.redb");
        Durable::open(&path, Arc::clone(&self.lock), &self.disk)
    }

    /// Opens the tables that may be rebuilt.
    ///
    /// # Errors
    /// What the disk says.
    pub fn scratch(&self) -> Result<Scratch, StoreError> {
        Scratch::open(&self.path.join("scratch.sled"), Arc::clone(&self.lock))
    }

    /// The key file called `name` (`keys/<name>.key`).
    #[must_use]
    pub fn key_file(&self, name: &str) -> KeyFile {
        let path = self.path.join(KEYS).join(format!("{name}.key"));
        KeyFile::on(Arc::clone(&self.disk), path)
    }

    /// Makes the replay log of a key that no packet has been opened with yet.
    ///
    /// # Errors
    /// [`StoreError::AlreadyThere`] if there is one, or what the disk says.
    pub fn create_replay_log(&self, origin: &LogOrigin) -> Result<(), StoreError> {
        ReplayLog::create(self.disk.as_ref(), &self.replay_path(origin.epoch), origin)
    }

    /// Opens the replay log of an epoch's key and returns the tags in it; on the disk it is
    /// marked as in use when this returns.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::WrongKey`], [`StoreError::UncleanStop`],
    /// [`StoreError::StoreCorrupt`], or what the disk says. After any of these the key of that
    /// epoch must not be used.
    pub fn open_replay_log(
        &self,
        origin: &LogOrigin,
    ) -> Result<(ReplayLog, Vec<ShortTag>), StoreError> {
        let path = self.replay_path(origin.epoch);
        let (lock, disk) = (Arc::clone(&self.lock), Arc::clone(&self.disk));
        ReplayLog::open(&path, origin, self.boot, lock, disk)
    }

    /// Removes the replay log of an epoch whose key is erased, if there is one.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove_replay_log(&self, epoch: Epoch) -> Result<(), StoreError> {
        let path = self.replay_path(epoch);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(StoreError::io(&path, "remove")),
        }
    }

    /// The sealed files in the folder `folder`.
    ///
    /// # Errors
    /// As [`SealedFiles::of`].
    pub fn sealed_files(&self, folder: &str) -> Result<SealedFiles, StoreError> {
        SealedFiles::of(&self.path, folder)
    }

    fn replay_path(&self, epoch: Epoch) -> PathBuf {
        self.path.join(REPLAY).join(format!("{epoch}.log"))
    }
}

pub(crate) fn make_private(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(StoreError::io(path, "create"))?;
    let metadata = fs::metadata(path).map_err(StoreError::io(path, "inspect"))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(StoreError::TooOpen {
            path: path.to_owned(),
            mode,
        })
    }
}

const KEYS: &str = "keys";
const REPLAY: &str = "replay";
const LOCK: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        let state = StateDir::open(&path).unwrap();
        let durable = state.durable().unwrap();
        drop(state);
        // What was opened from it holds it too.
        let refused = StateDir::open(&path).err();
        assert_eq!(refused, Some(StoreError::InUse { path: path.clone() }));
        drop(durable);
        assert!(StateDir::open(&path).is_ok());
    }

    #[test]
    fn refuses_a_directory_that_others_may_enter() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        drop(StateDir::open(&path).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        let refused = StateDir::open(&path).err();
        assert_eq!(refused, Some(StoreError::TooOpen { path, mode: 0o750 }));
    }
}
