//! What must survive: typed tables in one redb file, written in atomic batches.
//!
//! A batch is on the disk when `commit` returns. On opening, the whole file is checked; a file
//! that fails its checks is an error with its path, never an empty store.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::ops::{Bound, RangeBounds};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, TableDefinition, TableError};
use wire::{Decode, Encode};

use crate::disk::{EngineFile, sync_parent};
use crate::{Disk, StoreError, Table, table};

/// The tables that survive a crash of process and machine. Cheap to clone.
#[derive(Clone)]
pub struct Durable(Arc<Inner>);

struct Inner {
    database: Database,
    path: PathBuf,
    /// Keeps the state directory locked for as long as the tables are open.
    _lock: Arc<File>,
}

impl Durable {
    /// Opens the tables at `path`. New ones are made beside and moved into place, so that an
    /// empty file is never taken for new tables.
    pub(crate) fn open(
        path: &Path,
        lock: Arc<File>,
        disk: &Arc<dyn Disk>,
    ) -> Result<Self, StoreError> {
        if !path.exists() {
            let beside = path.with_extension("new");
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(StoreError::io(&beside, "remove")(error));
                }
                _ => {}
            }
            let tables = Self::at(&beside, Arc::clone(&lock), disk)?;
            let mut batch = Batch::new();
            batch.put(&FORMAT, &[0], &FORMAT_NUMBER);
            tables.commit(batch)?;
            drop(tables);
            fs::rename(&beside, path).map_err(StoreError::io(path, "create"))?;
            sync_parent(disk.as_ref(), path)?;
        }
        if fs::metadata(path)
            .map_err(StoreError::io(path, "inspect"))?
            .len()
            == 0
        {
            return Err(StoreError::corrupt(path, "the file is empty"));
        }
        let tables = Self::at(path, lock, disk)?;
        match tables.get(&FORMAT, &[0])? {
            Some(FORMAT_NUMBER) => Ok(tables),
            _ => Err(StoreError::UnknownFormat {
                path: path.to_owned(),
            }),
        }
    }

    fn at(path: &Path, lock: Arc<File>, disk: &Arc<dyn Disk>) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(StoreError::io(path, "open"))?;
        // A damaged file can make the engine panic; here that is one more way to be corrupt.
        let database = catch_unwind(AssertUnwindSafe(|| checked(file, disk, path)))
            .map_err(|_| StoreError::corrupt(path, "the engine gave up on it"))??;
        Ok(Self(Arc::new(Inner {
            database,
            path: path.to_owned(),
            _lock: lock,
        })))
    }

    /// Writes all of `batch`, or nothing; on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::AlreadyThere`] if an `insert` of the batch found its key (nothing is
    /// written then), or what the disk says.
    pub fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.guarded(|| {
            let mut transaction = self.0.database.begin_write().map_err(|e| self.failed(e))?;
            // One more sync, and no falling back to the commit before when the last is damaged.
            transaction.set_two_phase_commit(true);
            for step in batch.0 {
                let definition = TableDefinition::<&[u8], &[u8]>::new(step.table);
                let mut table = transaction
                    .open_table(definition)
                    .map_err(|e| self.failed(e))?;
                let found = match step.change {
                    Change::Put(value) => {
                        let framed = table::seal(step.table, &step.key, &value);
                        let old = table
                            .insert(step.key.as_slice(), framed.as_slice())
                            .map_err(|e| self.failed(e))?;
                        step.must_be_new && old.is_some()
                    }
                    Change::Remove => {
                        table
                            .remove(step.key.as_slice())
                            .map_err(|e| self.failed(e))?;
                        false
                    }
                    Change::RemoveBelow => {
                        table
                            .retain_in(..step.key.as_slice(), |_, _| false)
                            .map_err(|e| self.failed(e))?;
                        false
                    }
                };
                // Dropping the transaction undoes the steps before.
                if found {
                    return Err(StoreError::AlreadyThere {
                        path: self.0.path.clone(),
                    });
                }
            }
            transaction.commit().map_err(|e| self.failed(e))
        })
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// [`StoreError::StoreCorrupt`] if it fails its check, or what the disk says.
    pub fn get<K: Encode, V: Decode>(
        &self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Option<V>, StoreError> {
        self.guarded(|| {
            let Some(opened) = self.table(table.name())? else {
                return Ok(None);
            };
            let key = key.to_bytes();
            let found = opened.get(key.as_slice()).map_err(|e| self.failed(e))?;
            found
                .map(|framed| self.unseal(table.name(), &key, framed.value()))
                .transpose()
        })
    }

    /// Up to `limit` entries of `range`, in the order of their keys.
    ///
    /// # Errors
    /// [`StoreError::StoreCorrupt`] if one fails its check, or what the disk says.
    pub fn scan<K: Encode + Decode, V: Decode>(
        &self,
        table: &Table<K, V>,
        range: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        self.guarded(|| {
            let Some(opened) = self.table(table.name())? else {
                return Ok(Vec::new());
            };
            let (low, high) = table::bounds(&range);
            let range = (slice(&low), slice(&high));
            let entries = opened.range::<&[u8]>(range).map_err(|e| self.failed(e))?;
            entries
                .take(limit)
                .map(|entry| {
                    let (key, framed) = entry.map_err(|e| self.failed(e))?;
                    let value = self.unseal(table.name(), key.value(), framed.value())?;
                    let key = K::from_bytes(key.value())
                        .map_err(|_| StoreError::corrupt(&self.0.path, "a key does not decode"))?;
                    Ok((key, value))
                })
                .collect()
        })
    }

    fn table(&self, name: &str) -> Result<Option<OpenTable>, StoreError> {
        let transaction = self.0.database.begin_read().map_err(|e| self.failed(e))?;
        match transaction.open_table(TableDefinition::new(name)) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn unseal<V: Decode>(&self, table: &str, key: &[u8], framed: &[u8]) -> Result<V, StoreError> {
        table::unseal(table, key, framed).map_err(|what| StoreError::corrupt(&self.0.path, what))
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        engine_error(&self.0.path, error.into())
    }

    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            Err(StoreError::corrupt(
                &self.0.path,
                "the engine gave up on it",
            ))
        })
    }
}

/// Changes that happen together or not at all.
#[derive(Default)]
pub struct Batch(Vec<Step>);

struct Step {
    table: &'static str,
    key: Vec<u8>,
    change: Change,
    must_be_new: bool,
}

enum Change {
    Put(Vec<u8>),
    Remove,
    RemoveBelow,
}

impl Batch {
    /// No changes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value under `key`.
    pub fn put<K: Encode, V: Encode>(&mut self, table: &Table<K, V>, key: &K, value: &V) {
        self.step(table, key, Change::Put(value.to_bytes()), false);
    }

    /// Sets the value under `key`, which must not be there yet: else the whole batch fails with
    /// [`StoreError::AlreadyThere`]. For spent sets.
    pub fn insert<K: Encode, V: Encode>(&mut self, table: &Table<K, V>, key: &K, value: &V) {
        self.step(table, key, Change::Put(value.to_bytes()), true);
    }

    /// Removes the entry under `key`, if there is one.
    pub fn remove<K: Encode, V>(&mut self, table: &Table<K, V>, key: &K) {
        self.step(table, key, Change::Remove, false);
    }

    /// Removes every entry whose key is below `key`. For what ends with an epoch.
    pub fn remove_below<K: Encode, V>(&mut self, table: &Table<K, V>, key: &K) {
        self.step(table, key, Change::RemoveBelow, false);
    }

    fn step<K: Encode, V>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        change: Change,
        must_be_new: bool,
    ) {
        self.0.push(Step {
            table: table.name(),
            key: key.to_bytes(),
            change,
            must_be_new,
        });
    }
}

fn checked(file: File, disk: &Arc<dyn Disk>, path: &Path) -> Result<Database, StoreError> {
    let failed = |error: redb::DatabaseError| engine_error(path, error.into());
    let file = EngineFile::new(file, Arc::clone(disk)).map_err(failed)?;
    let mut database = Database::builder()
        .set_cache_size(CACHE_LEN)
        .create_with_backend(file)
        .map_err(failed)?;
    if database.check_integrity().map_err(failed)? {
        Ok(database)
    } else {
        Err(StoreError::corrupt(path, "a page fails its check"))
    }
}

fn engine_error(path: &Path, error: redb::Error) -> StoreError {
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse {
            path: path.to_owned(),
        },
        redb::Error::UpgradeRequired(_) => StoreError::UnknownFormat {
            path: path.to_owned(),
        },
        redb::Error::Corrupted(_) => StoreError::corrupt(path, "the engine finds it damaged"),
        redb::Error::Io(error) if DAMAGED.contains(&error.kind()) => {
            StoreError::corrupt(path, "cut off, or not a file of this engine")
        }
        redb::Error::Io(error) => StoreError::io(path, "read or write")(error),
        redb::Error::PreviousIo => StoreError::Failed {
            path: path.to_owned(),
        },
        _ => StoreError::corrupt(path, "not as this program wrote it"),
    }
}

fn slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

type OpenTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

const FORMAT: Table<[u8; 1], [u8; 1]> = Table::new("format");
/// What the system reports when a file does not hold what its engine looks for.
const DAMAGED: [ErrorKind; 2] = [ErrorKind::InvalidData, ErrorKind::UnexpectedEof];
const FORMAT_NUMBER: [u8; 1] = [1];
/// The engine's cache: small, because the tables are.
const CACHE_LEN: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bytes, StateDir};
    use wire::Epoch;

    const ANSWERS: Table<Epoch, Bytes> = Table::new("answers");
    const OTHERS: Table<Epoch, Bytes> = Table::new("others");

    fn put(durable: &Durable, numbers: std::ops::Range<u64>) {
        let mut batch = Batch::new();
        for number in numbers {
            batch.put(&ANSWERS, &Epoch(number), &Bytes(vec![number as u8; 100]));
        }
        durable.commit(batch).unwrap();
    }

    fn keys(durable: &Durable) -> Vec<u64> {
        let entries = durable.scan(&ANSWERS, .., usize::MAX).unwrap();
        entries.into_iter().map(|(key, _)| key.0).collect()
    }

    #[test]
    fn an_empty_table_is_there() {
        let home = tempfile::tempdir().unwrap();
        let durable = StateDir::open(home.path().join("s")).unwrap().durable();
        let durable = durable.unwrap();
        assert!(durable.get(&ANSWERS, &Epoch(1)).unwrap().is_none());
        assert!(keys(&durable).is_empty());
    }

    #[test]
    fn a_batch_whose_insert_finds_its_key_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(home.path().join("s")).unwrap();
        let durable = state.durable().unwrap();
        put(&durable, 1..2);
        let mut batch = Batch::new();
        batch.put(&OTHERS, &Epoch(9), &Bytes(vec![1]));
        batch.remove(&ANSWERS, &Epoch(5));
        batch.insert(&ANSWERS, &Epoch(1), &Bytes(vec![2]));
        let refused = durable.commit(batch);
        assert!(matches!(refused, Err(StoreError::AlreadyThere { .. })));
        assert!(durable.get(&OTHERS, &Epoch(9)).unwrap().is_none());
        let kept = durable.get(&ANSWERS, &Epoch(1)).unwrap().unwrap();
        assert_eq!(kept.0, [1; 100]);
    }

    #[test]
    fn scans_in_order_within_range_and_limit() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(home.path().join("s")).unwrap();
        let durable = state.durable().unwrap();
        put(&durable, 250..260);
        let entries = durable.scan(&ANSWERS, Epoch(252)..Epoch(258), 4).unwrap();
        let found: Vec<u64> = entries.iter().map(|(key, _)| key.0).collect();
        assert_eq!(found, [252, 253, 254, 255]);
    }

    #[test]
    fn removes_below_and_alone() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::open(home.path().join("s")).unwrap();
        let durable = state.durable().unwrap();
        put(&durable, 250..260);
        let mut batch = Batch::new();
        batch.remove_below(&ANSWERS, &Epoch(257));
        batch.remove(&ANSWERS, &Epoch(258));
        durable.commit(batch).unwrap();
        assert_eq!(keys(&durable), [257, 259]);
    }

    #[test]
    fn no_damaged_byte_changes_a_value_or_empties_the_store() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        let state = StateDir::open(&path).unwrap();
        put(&state.durable().unwrap(), 0..50);
        let file = path.join("durable.redb");
        let whole = fs::read(&file).unwrap();
        let mut refused = 0;
        // Of the engine's header every third byte, of the rest every 97th that says something.
        let full = (512..whole.len()).filter(|at| whole[*at] != 0);
        for at in (0..320).step_by(3).chain(full.step_by(97)) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&file, &bytes).unwrap();
            match state.durable() {
                Ok(durable) => assert_eq!(keys(&durable), (0..50).collect::<Vec<_>>(), "{at}"),
                Err(StoreError::StoreCorrupt { path, .. }) => {
                    assert_eq!(path, file);
                    refused += 1;
                }
                Err(StoreError::UnknownFormat { .. }) => refused += 1,
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
        assert!(refused > 50, "{refused}");
    }

    #[test]
    fn a_cut_or_foreign_file_is_corrupt() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        let state = StateDir::open(&path).unwrap();
        put(&state.durable().unwrap(), 0..50);
        let file = path.join("durable.redb");
        let whole = fs::read(&file).unwrap();
        for bytes in [&whole[..whole.len() / 2], &whole[..100], b"hello", b""] {
            fs::write(&file, bytes).unwrap();
            let refused = state.durable().err();
            let corrupt = matches!(refused, Some(StoreError::StoreCorrupt { .. }));
            assert!(corrupt, "{} bytes: {refused:?}", bytes.len());
        }
    }
}
