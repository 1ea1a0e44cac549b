//! What must survive: typed tables in one redb file, written in atomic batches.
//!
//! A batch is on the disk when `commit` returns. On opening, the whole file is checked; a file
//! that fails its checks is an error with its path, never an empty store.

use std::fs::{File, OpenOptions};
use std::ops::{Bound, RangeBounds};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, TableDefinition, TableError};
use wire::{Decode, Encode};

use crate::{StoreError, Table, table};

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
    pub(crate) fn open(path: &Path, lock: Arc<File>) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(StoreError::io(path, "open"))?;
        let fresh = file
            .metadata()
            .map_err(StoreError::io(path, "inspect"))?
            .len()
            == 0;
        // A damaged file can make the engine panic; here that is one more way to be corrupt.
        let database = catch_unwind(AssertUnwindSafe(|| checked(file, path)))
            .map_err(|_| StoreError::corrupt(path, "the engine gave up on it"))??;
        let durable = Self(Arc::new(Inner {
            database,
            path: path.to_owned(),
            _lock: lock,
        }));
        if fresh {
            let mut batch = Batch::new();
            batch.put(&FORMAT, &[0], &FORMAT_NUMBER);
            durable.commit(batch)?;
        } else if durable.get(&FORMAT, &[0])? != Some(FORMAT_NUMBER) {
            return Err(StoreError::UnknownFormat {
                path: path.to_owned(),
            });
        }
        Ok(durable)
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

fn checked(file: File, path: &Path) -> Result<Database, StoreError> {
    let failed = |error: redb::DatabaseError| engine_error(path, error.into());
    let mut database = Database::builder()
        .set_cache_size(CACHE_LEN)
        .create_file(file)
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
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            StoreError::corrupt(path, "not a file of this engine")
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
const FORMAT_NUMBER: [u8; 1] = [1];
/// The engine's cache: small, because the tables are.
const CACHE_LEN: usize = 8 << 20;
