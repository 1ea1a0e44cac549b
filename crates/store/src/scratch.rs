//! What may be rebuilt: typed tables in a sled tree, fast and without a promise.
//!
//! Written behind, at most half a second late. If the engine cannot open what it left, the
//! directory is emptied and the loss reported by [`Scratch::was_rebuilt`]: nothing is kept
//! here whose loss would cost more than a repeated question.

use std::fs::{self, File};
use std::ops::RangeBounds;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wire::{Decode, Encode};

use crate::{StoreError, Table, table};

/// The tables that may be lost. Cheap to clone.
#[derive(Clone)]
pub struct Scratch(Arc<Inner>);

struct Inner {
    database: sled::Db,
    path: PathBuf,
    rebuilt: bool,
    /// Keeps the state directory locked for as long as the tables are open.
    _lock: Arc<File>,
}

impl Scratch {
    pub(crate) fn open(path: &Path, lock: Arc<File>) -> Result<Self, StoreError> {
        let (database, rebuilt) = match engine(path) {
            Ok(database) => (database, false),
            Err(StoreError::StoreCorrupt { .. }) => {
                tracing::warn!(path = %path.display(), "scratch tables unreadable, starting empty");
                fs::remove_dir_all(path).map_err(StoreError::io(path, "empty"))?;
                (engine(path)?, true)
            }
            Err(error) => return Err(error),
        };
        Ok(Self(Arc::new(Inner {
            database,
            path: path.to_owned(),
            rebuilt,
            _lock: lock,
        })))
    }

    /// Whether what was here could not be read and was given up on opening.
    #[must_use]
    pub fn was_rebuilt(&self) -> bool {
        self.0.rebuilt
    }

    /// Sets the value under `key`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn put<K: Encode, V: Encode>(
        &self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), StoreError> {
        let key = key.to_bytes();
        let framed = table::seal(table.name(), &key, &value.to_bytes());
        let tree = self.tree(table.name())?;
        tree.insert(key, framed).map_err(|e| self.failed(e))?;
        Ok(())
    }

    /// The value under `key`. One that fails its check counts as absent.
    ///
    /// # Errors
    /// What the disk says.
    pub fn get<K: Encode, V: Decode>(
        &self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Option<V>, StoreError> {
        let key = key.to_bytes();
        let found = self
            .tree(table.name())?
            .get(&key)
            .map_err(|e| self.failed(e))?;
        Ok(found.and_then(|framed| table::unseal(table.name(), &key, &framed).ok()))
    }

    /// Removes the entry under `key`, if there is one.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove<K: Encode, V>(&self, table: &Table<K, V>, key: &K) -> Result<(), StoreError> {
        let tree = self.tree(table.name())?;
        tree.remove(key.to_bytes()).map_err(|e| self.failed(e))?;
        Ok(())
    }

    /// Up to `limit` entries of `range`, in the order of their keys. Entries that fail their
    /// check are left out.
    ///
    /// # Errors
    /// What the disk says.
    pub fn scan<K: Encode + Decode, V: Decode>(
        &self,
        table: &Table<K, V>,
        range: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        let tree = self.tree(table.name())?;
        let mut entries = Vec::new();
        for entry in tree.range(table::bounds(&range)).take(limit) {
            let (key, framed) = entry.map_err(|e| self.failed(e))?;
            let value = table::unseal(table.name(), &key, &framed).ok();
            entries.extend(K::from_bytes(&key).ok().zip(value));
        }
        Ok(entries)
    }

    /// Empties `table`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn clear<K, V>(&self, table: &Table<K, V>) -> Result<(), StoreError> {
        let dropped = self.0.database.drop_tree(table.name());
        dropped.map_err(|e| self.failed(e)).map(|_| ())
    }

    /// Waits until all that was written is on the disk.
    ///
    /// # Errors
    /// What the disk says.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.0
            .database
            .flush()
            .map_err(|e| self.failed(e))
            .map(|_| ())
    }

    fn tree(&self, name: &str) -> Result<sled::Tree, StoreError> {
        self.0.database.open_tree(name).map_err(|e| self.failed(e))
    }

    fn failed(&self, error: sled::Error) -> StoreError {
        engine_error(&self.0.path, error)
    }
}

fn engine(path: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_LEN)
        .flush_every_ms(Some(500));
    catch_unwind(AssertUnwindSafe(|| config.open()))
        .map_err(|_| StoreError::corrupt(path, "the engine gave up on it"))?
        .map_err(|error| engine_error(path, error))
}

fn engine_error(path: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => StoreError::io(path, "read or write")(error),
        _ => StoreError::corrupt(path, "the engine finds it damaged"),
    }
}

/// The engine's cache in bytes.
const CACHE_LEN: u64 = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bytes, StateDir};
    use wire::Epoch;

    const SPOOL: Table<Epoch, Bytes> = Table::new("spool");

    #[test]
    fn keeps_puts_in_order_and_forgets_what_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(home.path().join("s")).unwrap();
        let scratch = state.scratch().unwrap();
        for number in [300, 2, 255, 256] {
            let value = Bytes(vec![1; 10]);
            scratch.put(&SPOOL, &Epoch(number), &value).unwrap();
        }
        scratch.remove(&SPOOL, &Epoch(255)).unwrap();
        let entries = scratch.scan(&SPOOL, Epoch(3).., 10).unwrap();
        let found: Vec<u64> = entries.iter().map(|(key, _)| key.0).collect();
        assert_eq!(found, [256, 300]);
        assert!(scratch.get(&SPOOL, &Epoch(2)).unwrap().is_some());
        scratch.clear(&SPOOL).unwrap();
        assert!(scratch.get(&SPOOL, &Epoch(2)).unwrap().is_none());
    }

    #[test]
    fn starts_empty_and_says_so_when_it_cannot_be_read() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        let state = StateDir::open(&path).unwrap();
        let scratch = state.scratch().unwrap();
        scratch.put(&SPOOL, &Epoch(1), &Bytes(vec![1; 10])).unwrap();
        scratch.sync().unwrap();
        assert!(!scratch.was_rebuilt());
        drop(scratch);
        fs::write(
            path.join("scratch.sled/conf"),
            b"this was never its configuration",
        )
        .unwrap();
        let scratch = state.scratch().unwrap();
        assert!(scratch.was_rebuilt());
        assert!(scratch.get(&SPOOL, &Epoch(1)).unwrap().is_none());
    }
}
