//! A node's Sphinx keys on disk, one an epoch, each with its replay log.
//!
//! A key that was ever used is loaded again only together with its complete log. A key is on
//! the disk before it is published, and overwritten when its window is over. Mixes and gateways
//! alike.

use rand::CryptoRng;
use sphinx::{PublicKey, SecretKey};
use store::{Batch, Durable, LogOrigin, ReplayLog, ShortTag, StateDir, StoreError, Table};
use wire::Epoch;
use zeroize::Zeroizing;

use crate::replay::log_origin;

/// The keys in a state directory.
pub struct EpochKeys {
    state: StateDir,
    durable: Durable,
}

/// A key with its log, ready for use.
pub struct LoadedKey {
    /// The epoch that it is for.
    pub epoch: Epoch,
    /// The key.
    pub secret: SecretKey,
    /// Where the tags of its packets go, before they leave.
    pub log: ReplayLog,
    /// The tags that the log held.
    pub logged: Vec<ShortTag>,
}

impl EpochKeys {
    /// The keys of the node whose state lies in `state`, and whose tables are `durable`.
    #[must_use]
    pub fn new(state: StateDir, durable: Durable) -> Self {
        Self { state, durable }
    }

    /// The public key of `epoch`, to be published. Makes key and log if there are none; on the
    /// disk when this returns.
    ///
    /// # Errors
    /// What the store says: a key that was made before and cannot be read is not made again.
    pub fn prepare(&self, rng: &mut dyn CryptoRng, epoch: Epoch) -> Result<PublicKey, StoreError> {
        if self.durable.get(&KEYS, &epoch)?.is_some() {
            return Ok(self.read(epoch)?.0.public());
        }
        // What a crash left before the key was entered: never published, never used.
        self.state.key_file(&file_name(epoch)).erase()?;
        self.state.remove_replay_log(epoch)?;
        let secret = SecretKey::generate(rng);
        let origin = log_origin(epoch, &secret.public());
        self.state.create_replay_log(&origin)?;
        self.state
            .key_file(&file_name(epoch))
            .create(&*secret.to_bytes())?;
        let mut entered = Batch::new();
        entered.insert(&KEYS, &epoch, &origin.fingerprint);
        self.durable.commit(entered)?;
        Ok(secret.public())
    }

    /// Loads the key of `epoch` for use. From now on a stop of the machine without
    /// [`ReplayLog::close`] retires it.
    ///
    /// # Errors
    /// [`StoreError::UncleanStop`] if that happened: the node does without this key.
    /// [`StoreError::Missing`], [`StoreError::WrongKey`], [`StoreError::StoreCorrupt`], or what
    /// the disk says.
    pub fn load(&self, epoch: Epoch) -> Result<LoadedKey, StoreError> {
        let (secret, origin) = self.read(epoch)?;
        let (log, logged) = self.state.open_replay_log(&origin)?;
        Ok(LoadedKey {
            epoch,
            secret,
            log,
            logged,
        })
    }

    /// The epochs whose keys are here.
    ///
    /// # Errors
    /// What the disk says.
    pub fn epochs(&self) -> Result<Vec<Epoch>, StoreError> {
        let entries = self.durable.scan(&KEYS, .., usize::MAX)?;
        Ok(entries.into_iter().map(|(epoch, _)| epoch).collect())
    }

    /// Overwrites and removes all keys of epochs before `epoch`, and their logs.
    ///
    /// # Errors
    /// What the disk says.
    pub fn erase_before(&self, epoch: Epoch) -> Result<(), StoreError> {
        for (old, _) in self.durable.scan(&KEYS, ..epoch, usize::MAX)? {
            self.state.key_file(&file_name(old)).erase()?;
            self.state.remove_replay_log(old)?;
        }
        let mut removed = Batch::new();
        removed.remove_below(&KEYS, &epoch);
        self.durable.commit(removed)
    }

    fn read(&self, epoch: Epoch) -> Result<(SecretKey, LogOrigin), StoreError> {
        let file = self.state.key_file(&file_name(epoch));
        let secret = file.read()?;
        let bytes: Zeroizing<[u8; 32]> = match secret.as_slice().try_into() {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(_) => {
                return Err(StoreError::StoreCorrupt {
                    path: file.path().to_owned(),
                    what: "not a Sphinx key",
                });
            }
        };
        let secret = SecretKey::from_bytes(*bytes);
        let origin = log_origin(epoch, &secret.public());
        if self.durable.get(&KEYS, &epoch)? == Some(origin.fingerprint) {
            Ok((secret, origin))
        } else {
            Err(StoreError::WrongKey {
                path: file.path().to_owned(),
                epoch,
            })
        }
    }
}

fn file_name(epoch: Epoch) -> String {
    format!("sphinx-{epoch}")
}

/// The index of keys and replay logs: the fingerprint of each key that was ever entered.
const KEYS: Table<Epoch, [u8; 16]> = Table::new("sphinx-keys");

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    const E: Epoch = Epoch(3);

    fn keys(home: &tempfile::TempDir) -> EpochKeys {
        let state = StateDir::open(home.path().join("s")).unwrap();
        let durable = state.durable().unwrap();
        EpochKeys::new(state, durable)
    }

    #[test]
    fn a_key_is_made_once_and_loads_with_its_tags() {
        let home = tempfile::tempdir().unwrap();
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let made = keys(&home).prepare(rng, E).unwrap();
        assert_eq!(keys(&home).prepare(rng, E).unwrap(), made);
        let mut loaded = keys(&home).load(E).unwrap();
        assert_eq!(loaded.secret.public(), made);
        loaded.log.append(&[ShortTag(5)]).unwrap();
        drop(loaded);
        assert_eq!(keys(&home).load(E).unwrap().logged, [ShortTag(5)]);
    }

    #[test]
    fn a_key_without_its_log_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let keys = keys(&home);
        keys.prepare(rng, E).unwrap();
        keys.state.remove_replay_log(E).unwrap();
        assert!(matches!(keys.load(E), Err(StoreError::Missing { .. })));
    }

    #[test]
    fn a_lost_or_exchanged_key_is_not_made_again() {
        let home = tempfile::tempdir().unwrap();
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let keys = keys(&home);
        keys.prepare(rng, E).unwrap();
        keys.state
            .key_file(&file_name(E))
            .replace(&[7; 32])
            .unwrap();
        let exchanged = keys.prepare(rng, E);
        assert!(matches!(exchanged, Err(StoreError::WrongKey { .. })));
        keys.state.key_file(&file_name(E)).erase().unwrap();
        let lost = keys.prepare(rng, E);
        assert!(matches!(lost, Err(StoreError::Missing { .. })));
    }

    #[test]
    fn what_a_crash_left_half_made_is_made_anew() {
        let home = tempfile::tempdir().unwrap();
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let keys = keys(&home);
        let stale = log_origin(E, &PublicKey([9; 32]));
        keys.state.create_replay_log(&stale).unwrap();
        let made = keys.prepare(rng, E).unwrap();
        assert_eq!(keys.load(E).unwrap().secret.public(), made);
    }

    #[test]
    fn erased_keys_are_gone_and_newer_ones_stay() {
        let home = tempfile::tempdir().unwrap();
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let keys = keys(&home);
        for epoch in 1..=4 {
            keys.prepare(rng, Epoch(epoch)).unwrap();
        }
        keys.erase_before(E).unwrap();
        assert!(!keys.state.key_file(&file_name(Epoch(2))).exists());
        assert!(matches!(
            keys.load(Epoch(2)),
            Err(StoreError::Missing { .. })
        ));
        assert!(keys.load(E).is_ok());
        assert!(keys.load(Epoch(4)).is_ok());
    }
}
