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

use crate::disk::sync_parent;
use crate::{BootId, Disk, StoreError};
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
    disk: Arc<dyn Disk>,
    /// Keeps the state directory locked for as long as the log is open.
    _lock: Arc<File>,
}

/// Syncs a log from another thread, so that who appends does not wait for it.
pub struct LogSync {
    file: File,
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl ReplayLog {
    pub(crate) fn create(
        disk: &dyn Disk,
        path: &Path,
        origin: &LogOrigin,
    ) -> Result<(), StoreError> {
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
            .and_then(|()| disk.sync_all(&file))
            .map_err(StoreError::io(path, "write"))?;
        sync_parent(disk, path)
    }

    pub(crate) fn open(
        path: &Path,
        origin: &LogOrigin,
        boot: BootId,
        lock: Arc<File>,
        disk: Arc<dyn Disk>,
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
            disk,
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
        let synced = self.disk.sync_data(&self.file);
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
            disk: Arc::clone(&self.disk),
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
        self.disk
            .sync_data(&self.file)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StateDir;

    const ORIGIN: LogOrigin = LogOrigin {
        epoch: Epoch(7),
        fingerprint: [3; 16],
    };
    const RUN: BootId = BootId([1; 16]);
    const NEXT_RUN: BootId = BootId([2; 16]);

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let state = open(&home, RUN);
        state.create_replay_log(&ORIGIN).unwrap();
        home
    }

    fn open(home: &tempfile::TempDir, run: BootId) -> StateDir {
        StateDir::open_in_run(home.path().join("state"), run).unwrap()
    }

    fn tags(numbers: std::ops::Range<u64>) -> Vec<ShortTag> {
        numbers.map(ShortTag).collect()
    }

    #[test]
    fn a_killed_process_loses_no_appended_tag() {
        let home = home();
        let (mut log, found) = open(&home, RUN).open_replay_log(&ORIGIN).unwrap();
        assert_eq!(found, []);
        log.append(&tags(1..10_000)).unwrap();
        assert_eq!(log.tags(), 9_999);
        drop(log);
        let (_, found) = open(&home, RUN).open_replay_log(&ORIGIN).unwrap();
        assert_eq!(found, tags(1..10_000));
    }

    #[test]
    fn an_open_log_of_another_run_is_an_unclean_stop() {
        let home = home();
        let opened = open(&home, RUN).open_replay_log(&ORIGIN).unwrap();
        drop(opened);
        for run in [NEXT_RUN, BootId::UNKNOWN] {
            let refused = open(&home, run).open_replay_log(&ORIGIN).err().unwrap();
            assert!(matches!(
                refused,
                StoreError::UncleanStop {
                    epoch: Epoch(7),
                    ..
                }
            ));
        }
    }

    #[test]
    fn an_unknown_run_is_never_the_same_run() {
        let home = home();
        let opened = open(&home, BootId::UNKNOWN).open_replay_log(&ORIGIN);
        drop(opened.unwrap());
        let again = open(&home, BootId::UNKNOWN).open_replay_log(&ORIGIN);
        assert!(matches!(again, Err(StoreError::UncleanStop { .. })));
    }

    #[test]
    fn a_closed_or_unused_log_outlives_its_run() {
        let home = home();
        let (mut log, _) = open(&home, NEXT_RUN).open_replay_log(&ORIGIN).unwrap();
        log.append(&tags(1..4)).unwrap();
        log.close().unwrap();
        let (_, found) = open(&home, RUN).open_replay_log(&ORIGIN).unwrap();
        assert_eq!(found, tags(1..4));
    }

    #[test]
    fn every_prefix_of_a_log_reopens_and_goes_on() {
        let home = home();
        let state = open(&home, RUN);
        let (mut log, _) = state.open_replay_log(&ORIGIN).unwrap();
        for batch in 0..4 {
            log.append(&tags(1 + 3 * batch..4 + 3 * batch)).unwrap();
        }
        let path = log.path.clone();
        drop(log);
        let whole = fs::read(&path).unwrap();
        let header = format::header(&ORIGIN).len();
        for len in header..=whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let (mut log, found) = state.open_replay_log(&ORIGIN).unwrap();
            assert_eq!(found, tags(1..13)[..found.len()], "cut at {len}");
            log.append(&tags(100..102)).unwrap();
            drop(log);
            let (_, again) = state.open_replay_log(&ORIGIN).unwrap();
            assert_eq!(again, [found, tags(100..102)].concat(), "cut at {len}");
        }
    }

    #[test]
    fn a_damaged_log_is_refused_with_its_path() {
        let home = home();
        let state = open(&home, RUN);
        let (mut log, _) = state.open_replay_log(&ORIGIN).unwrap();
        log.append(&tags(1..4)).unwrap();
        let damaged = log.path.clone();
        drop(log);
        let mut bytes = fs::read(&damaged).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&damaged, &bytes).unwrap();
        let refused = state.open_replay_log(&ORIGIN).err();
        assert_eq!(
            refused,
            Some(StoreError::corrupt(&damaged, "a record fails its check"))
        );
        // And it stays so: nothing was mended in passing.
        assert_eq!(fs::read(&damaged).unwrap(), bytes);
    }

    #[test]
    fn a_missing_log_is_not_made_anew() {
        let home = home();
        let state = open(&home, RUN);
        state.remove_replay_log(ORIGIN.epoch).unwrap();
        let refused = state.open_replay_log(&ORIGIN).err().unwrap();
        assert!(matches!(refused, StoreError::Missing { .. }));
    }

    #[test]
    fn a_log_of_another_key_is_refused() {
        let home = home();
        let other = LogOrigin {
            fingerprint: [4; 16],
            ..ORIGIN
        };
        let refused = open(&home, RUN).open_replay_log(&other).err().unwrap();
        assert!(matches!(refused, StoreError::WrongKey { .. }));
    }

    #[test]
    fn a_log_is_made_once() {
        let home = home();
        let refused = open(&home, RUN).create_replay_log(&ORIGIN);
        assert!(matches!(refused, Err(StoreError::AlreadyThere { .. })));
    }

    /// Whatever happens to process and machine: a log that opens holds every appended tag.
    #[test]
    fn a_log_that_opens_is_complete() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|fates| {
            let home = home();
            let (mut run, mut held, mut next) = (1, Vec::new(), 1);
            let mut left_open_in = None;
            for fate in fates.iter().take(12) {
                let state = open(&home, BootId([run; 16]));
                let (mut log, found) = match state.open_replay_log(&ORIGIN) {
                    Ok(opened) => opened,
                    Err(refused) => {
                        assert!(matches!(refused, StoreError::UncleanStop { .. }));
                        assert!(left_open_in.is_some_and(|left| left != run));
                        return;
                    }
                };
                assert_eq!(found, held);
                assert!(left_open_in.is_none_or(|left| left == run));
                let appended = tags(next..next + u64::from(fate % 8));
                next += u64::from(fate % 8);
                log.append(&appended).unwrap();
                held.extend(appended);
                left_open_in = Some(run);
                if fate & 16 != 0 {
                    log.close().unwrap();
                    left_open_in = None;
                }
                if fate & 32 != 0 {
                    run += 1;
                }
            }
        });
    }
}
