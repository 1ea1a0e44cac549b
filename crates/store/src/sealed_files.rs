//! Files at rest that only the node whose state they are can read.
//!
//! Each is an age file to one X25519 key, which stands with the other keys and is drawn when it is
//! first needed. Nothing is decrypted onto the disk. Whoever may read the keys may read the files:
//! this keeps models out of backups, of copied folders, and of disks that are thrown away without
//! their keys.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use zeroize::Zeroizing;

use crate::place::{PRIVATE, place};
use crate::state_dir::make_private;
use crate::{Disk, KeyFile, StoreError, SystemDisk};

/// A folder of sealed files in a state directory: `<folder>/<name>.age`, and `keys/<folder>.key`.
///
/// It takes no lock: files come and go whole, so that a command may put one there while the node
/// runs.
#[derive(Debug, Clone)]
pub struct SealedFiles {
    folder: PathBuf,
    key: KeyFile,
    disk: Arc<dyn Disk>,
}

/// A sealed file's name, and which writing of it this is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SealedEntry {
    /// Its name, without `.age`.
    pub name: String,
    /// Differs when the file was written again.
    pub stamp: (Option<SystemTime>, u64),
}

impl SealedFiles {
    /// Those in the folder `folder` of the state directory at `state`, which are made if they are
    /// not there.
    ///
    /// # Errors
    /// [`StoreError::TooOpen`] if others than the owner may enter, or what the disk says.
    pub fn of(state: &Path, folder: &str) -> Result<Self, StoreError> {
        let keys = state.join("keys");
        let folder_path = state.join(folder);
        for directory in [state, &keys, &folder_path] {
            make_private(directory)?;
        }
        Ok(Self {
            key: KeyFile::at(keys.join(format!("{folder}.key"))),
            folder: folder_path,
            disk: Arc::new(SystemDisk),
        })
    }

    /// Seals `bytes` under `name`, in place of what had the name; on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::BadName`], or as [`KeyFile::read`], or what the disk says.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name)?;
        let sealed = age::encrypt(&self.identity()?.to_public(), bytes)
            .map_err(|_| StoreError::corrupt(&path, "cannot be sealed"))?;
        place(self.disk.as_ref(), &path, &sealed, PRIVATE)
    }

    /// Opens what stands under `name`, at most `max_len` bytes of it, into memory.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::TooLong`], [`StoreError::StoreCorrupt`] if it is not
    /// sealed to this key or was changed, [`StoreError::BadName`], or what the disk says.
    pub fn read(&self, name: &str, max_len: usize) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let path = self.path(name)?;
        let file = fs::File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => StoreError::Missing { path: path.clone() },
            _ => StoreError::io(&path, "open")(error),
        })?;
        let corrupt = |what| StoreError::corrupt(&path, what);
        let sealed = age::Decryptor::new(std::io::BufReader::new(file))
            .map_err(|_| corrupt("not an age file"))?;
        let identity = self.identity()?;
        let mut opened = sealed
            .decrypt(std::iter::once(&identity as &dyn age::Identity))
            .map_err(|_| corrupt("sealed to another key"))?;
        let mut bytes = Zeroizing::new(Vec::new());
        let bound = u64::try_from(max_len).unwrap_or(u64::MAX);
        opened
            .by_ref()
            .take(bound.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|_| corrupt("changed or cut off"))?;
        if bytes.len() > max_len {
            return Err(StoreError::TooLong { path, max_len });
        }
        Ok(bytes)
    }

    /// Removes what stands under `name`; `false` if nothing does.
    ///
    /// # Errors
    /// [`StoreError::BadName`], or what the disk says.
    pub fn remove(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.path(name)?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io(&path, "remove")(error)),
        }
    }

    /// What there is, by name. Files with other names than [`SealedFiles::put`] gives are none.
    ///
    /// # Errors
    /// What the disk says.
    pub fn list(&self) -> Result<Vec<SealedEntry>, StoreError> {
        let failed = StoreError::io(&self.folder, "list");
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let file = entry.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(SUFFIX));
            let Some(name) = name.filter(|name| is_name(name)) else {
                continue;
            };
            // Gone again meanwhile.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            found.push(SealedEntry {
                name: name.to_owned(),
                stamp: (metadata.modified().ok(), metadata.len()),
            });
        }
        found.sort();
        Ok(found)
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.folder.join(format!("{name}{SUFFIX}"));
        if is_name(name) {
            Ok(path)
        } else {
            Err(StoreError::BadName { path })
        }
    }

    /// The folder's key: drawn once, then kept.
    fn identity(&self) -> Result<Identity, StoreError> {
        if !self.key.exists() {
            let drawn = Identity::generate().to_string();
            match self.key.create(drawn.expose_secret().as_bytes()) {
                // Another process drew one meanwhile.
                Ok(()) | Err(StoreError::AlreadyThere { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let secret = self.key.read()?;
        let text = std::str::from_utf8(&secret).ok();
        text.and_then(|text| Identity::from_str(text).ok())
            .ok_or_else(|| StoreError::corrupt(self.key.path(), "not an age key"))
    }
}

/// 1 to 64 of `a-z`, `0-9`, `-`: nothing that leaves the folder.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

const SUFFIX: &str = ".age";

#[cfg(test)]
mod tests {
    use super::*;

    fn files(home: &Path) -> SealedFiles {
        SealedFiles::of(&home.join("data"), "models").unwrap()
    }

    #[test]
    fn what_was_put_is_read_and_stands_nowhere_in_plain() {
        let home = tempfile::tempdir().unwrap();
        let files = files(home.path());
        let secret = b"weights that nobody may see".repeat(100);
        files.put("wine", &secret).unwrap();
        assert_eq!(*files.read("wine", secret.len()).unwrap(), secret);
        let stored = fs::read(home.path().join("data/models/wine.age")).unwrap();
        assert!(stored.windows(10).all(|part| part != &secret[..10]));
        // The key is kept: another process reads it too.
        let again = SealedFiles::of(&home.path().join("data"), "models").unwrap();
        assert_eq!(*again.read("wine", secret.len()).unwrap(), secret);
    }

    #[test]
    fn files_come_and_go_and_show_when_they_change() {
        let home = tempfile::tempdir().unwrap();
        let files = files(home.path());
        files.put("b", b"1").unwrap();
        files.put("a", b"1").unwrap();
        fs::write(home.path().join("data/models/notes.txt"), b"").unwrap();
        let before = files.list().unwrap();
        let names: Vec<&str> = before.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        files.put("a", b"longer").unwrap();
        assert_ne!(files.list().unwrap()[0], before[0]);
        assert!(files.remove("a").unwrap());
        assert!(!files.remove("a").unwrap());
        assert_eq!(files.list().unwrap(), before[1..]);
    }

    #[test]
    fn a_changed_foreign_or_long_file_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let files = files(home.path());
        files.put("wine", &[7; 100]).unwrap();
        let path = home.path().join("data/models/wine.age");
        let whole = fs::read(&path).unwrap();
        let refused = files.read("wine", 99);
        assert!(
            matches!(refused, Err(StoreError::TooLong { .. })),
            "{refused:?}"
        );
        let corrupt = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let refused = files.read("wine", 100);
            assert!(
                matches!(refused, Err(StoreError::StoreCorrupt { .. })),
                "{refused:?}"
            );
        };
        corrupt(&whole[..whole.len() - 1]);
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        corrupt(&changed);
        corrupt(b"not an age file");
        let other = age::encrypt(&Identity::generate().to_public(), &[7; 100]).unwrap();
        corrupt(&other);
    }

    #[test]
    fn a_name_does_not_leave_the_folder() {
        let home = tempfile::tempdir().unwrap();
        let files = files(home.path());
        for name in ["", "../keys/models", "a/b", "A", "a.b"] {
            let refused = files.put(name, b"bytes");
            assert!(
                matches!(refused, Err(StoreError::BadName { .. })),
                "{name}: {refused:?}"
            );
        }
    }
}
