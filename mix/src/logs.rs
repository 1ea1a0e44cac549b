//! The replay logs of the keys in use, and the thread that syncs them.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use store::{LogSync, ReplayLog, ShortTag, StoreError};
use wire::Epoch;

use crate::peel::LogEntry;

/// The logs of all keys in use. Appending goes to the page cache and waits for the disk only
/// where the file system makes it; a thread syncs every [`Logs::SYNC_GAP`], plus what the sync
/// takes.
pub struct Logs {
    open: BTreeMap<Epoch, OpenLog>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct OpenLog {
    log: ReplayLog,
    unsynced: Arc<AtomicBool>,
}

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    failed: AtomicBool,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Work {
    open: Vec<Synced>,
    /// Logs of keys that are over, to be marked as complete.
    over: Vec<ReplayLog>,
}

struct Synced {
    epoch: Epoch,
    sync: LogSync,
    unsynced: Arc<AtomicBool>,
}

impl Logs {
    /// Between two syncs, half of what a power cut may cost at most.
    pub const SYNC_GAP: Duration = Duration::from_millis(50);

    /// No logs yet; starts the thread, called after `name`.
    ///
    /// # Errors
    /// What the system says about a new thread.
    pub fn start(name: &str) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let synced = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name(format!("{name}-sync"))
            .spawn(move || synced.run())?;
        Ok(Self {
            open: BTreeMap::new(),
            shared,
            thread: Some(thread),
        })
    }

    /// Takes the log of the key of `epoch`.
    ///
    /// # Errors
    /// What the store says.
    pub fn add(&mut self, epoch: Epoch, log: ReplayLog) -> Result<(), StoreError> {
        let unsynced = Arc::new(AtomicBool::new(false));
        self.shared.lock().open.push(Synced {
            epoch,
            sync: log.syncer()?,
            unsynced: Arc::clone(&unsynced),
        });
        self.open.insert(epoch, OpenLog { log, unsynced });
        Ok(())
    }

    /// Appends the tags of a batch; its packets may leave when this returns `true`. Once it
    /// returned `false`, it always does: nothing leaves unlogged.
    #[must_use]
    pub fn append(&mut self, entries: &[LogEntry]) -> bool {
        if self.shared.failed.load(Ordering::Acquire) {
            return false;
        }
        let appended = entries
            .chunk_by(|one, other| one.epoch == other.epoch)
            .all(|run| self.append_run(run));
        if !appended {
            self.shared.failed.store(true, Ordering::Release);
        }
        appended
    }

    /// Closes the logs of epochs that `in_use` does not name.
    pub fn retain(&mut self, in_use: impl Fn(Epoch) -> bool) {
        if self.open.keys().all(|epoch| in_use(*epoch)) {
            return;
        }
        let mut work = self.shared.lock();
        work.open.retain(|synced| in_use(synced.epoch));
        let over = self.open.extract_if(.., |epoch, _| !in_use(*epoch));
        work.over.extend(over.map(|(_, open)| open.log));
    }

    /// Marks all logs as complete. Waits for the disk.
    ///
    /// # Errors
    /// What the disk says; the log in question then counts as left open.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.stop();
        let open = std::mem::take(&mut self.open);
        open.into_values().try_for_each(|open| open.log.close())
    }

    fn append_run(&mut self, run: &[LogEntry]) -> bool {
        let Some(open) = run.first().and_then(|e| self.open.get_mut(&e.epoch)) else {
            return false;
        };
        let tags: Vec<ShortTag> = run.iter().map(|entry| entry.tag).collect();
        let appended = open.log.append(&tags);
        open.unsynced.store(true, Ordering::Release);
        appended
            .inspect_err(|error| tracing::error!(%error, "replay log failed, nothing is forwarded"))
            .is_ok()
    }

    fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self) {
        while !self.stopped.load(Ordering::Acquire) {
            thread::park_timeout(Logs::SYNC_GAP);
            let over = std::mem::take(&mut self.lock().over);
            for log in over {
                if let Err(error) = log.close() {
                    tracing::warn!(%error, "replay log of a past epoch not closed");
                }
            }
            self.sync();
        }
    }

    fn sync(&self) {
        // New logs wait meanwhile, appending does not.
        for synced in &self.lock().open {
            if synced.unsynced.swap(false, Ordering::AcqRel)
                && let Err(error) = synced.sync.sync()
            {
                tracing::error!(%error, "replay log failed, nothing is forwarded");
                self.failed.store(true, Ordering::Release);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{BootId, LogOrigin, StateDir};

    fn origin(epoch: u64) -> LogOrigin {
        LogOrigin {
            epoch: Epoch(epoch),
            fingerprint: [1; 16],
        }
    }

    fn log(state: &StateDir, epoch: u64) -> ReplayLog {
        state.create_replay_log(&origin(epoch)).unwrap();
        state.open_replay_log(&origin(epoch)).unwrap().0
    }

    fn entries(epochs: &[u64]) -> Vec<LogEntry> {
        let numbered = epochs.iter().zip(1..);
        let entry = |(epoch, number): (&u64, u64)| LogEntry {
            epoch: Epoch(*epoch),
            tag: ShortTag(number),
        };
        numbered.map(entry).collect()
    }

    #[test]
    fn each_tag_goes_to_the_log_of_its_epoch_and_closing_keeps_them() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(home.path().join("s")).unwrap();
        let mut logs = Logs::start("test").unwrap();
        for epoch in [1, 2] {
            logs.add(Epoch(epoch), log(&state, epoch)).unwrap();
        }
        assert!(logs.append(&entries(&[1, 1, 2, 1, 2])));
        logs.close().unwrap();
        drop(state);
        // In another run of the machine: closed logs only.
        let state = StateDir::open_in_run(home.path().join("s"), BootId([9; 16])).unwrap();
        let found = |epoch| state.open_replay_log(&origin(epoch)).unwrap().1;
        assert_eq!(found(1), [1, 2, 4].map(ShortTag));
        assert_eq!(found(2), [3, 5].map(ShortTag));
    }

    #[test]
    fn a_tag_without_a_log_stops_everything() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(home.path().join("s")).unwrap();
        let mut logs = Logs::start("test").unwrap();
        logs.add(Epoch(1), log(&state, 1)).unwrap();
        assert!(logs.append(&entries(&[1])));
        assert!(!logs.append(&entries(&[1, 2])));
        assert!(!logs.append(&entries(&[1])));
    }

    #[test]
    fn the_log_of_an_epoch_that_is_over_is_closed() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(home.path().join("s")).unwrap();
        let mut logs = Logs::start("test").unwrap();
        for epoch in [1, 2] {
            logs.add(Epoch(epoch), log(&state, epoch)).unwrap();
        }
        logs.retain(|epoch| epoch == Epoch(2));
        assert!(logs.append(&entries(&[2])));
        assert!(!logs.append(&entries(&[1])));
        logs.close().unwrap();
    }
}
