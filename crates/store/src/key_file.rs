//! One secret in one file that only its owner can read.
//!
//! Written beside and moved into place, so that a crash leaves the old file or the new one.
//! Layout: one line, `subrosa-key-1 <secret, hex> <check, 16 hex>`.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::disk::sync_parent;
use crate::place::{PRIVATE, write_beside};
use crate::{Disk, StoreError, SystemDisk};

/// A file with one secret of at most [`KeyFile::MAX_LEN`] bytes.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl KeyFile {
    /// Longest secret, in bytes.
    pub const MAX_LEN: usize = 4096;

    /// The key file at `path`, which need not be there yet.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self::on(Arc::new(SystemDisk), path.into())
    }

    pub(crate) fn on(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { path, disk }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Writes `secret` to a file that must not be there yet; on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::AlreadyThere`] if there is one, or what the disk says.
    ///
    /// # Panics
    /// If `secret` is longer than [`KeyFile::MAX_LEN`].
    pub fn create(&self, secret: &[u8]) -> Result<(), StoreError> {
        let beside = self.write_beside(secret)?;
        // A link fails where a rename would overwrite.
        let linked = fs::hard_link(&beside, &self.path);
        fs::remove_file(&beside).map_err(StoreError::io(&beside, "remove"))?;
        linked.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => StoreError::AlreadyThere {
                path: self.path.clone(),
            },
            _ => StoreError::io(&self.path, "create")(error),
        })?;
        sync_parent(self.disk.as_ref(), &self.path)
    }

    /// Writes `secret` in place of what was there; on the disk when this returns.
    ///
    /// # Errors
    /// What the disk says; the old file is then still whole.
    ///
    /// # Panics
    /// If `secret` is longer than [`KeyFile::MAX_LEN`].
    pub fn replace(&self, secret: &[u8]) -> Result<(), StoreError> {
        let beside = self.write_beside(secret)?;
        fs::rename(&beside, &self.path).map_err(StoreError::io(&self.path, "replace"))?;
        sync_parent(self.disk.as_ref(), &self.path)
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::TooOpen`] if others than the owner may read it,
    /// [`StoreError::StoreCorrupt`], or what the disk says.
    pub fn read(&self) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let metadata = fs::metadata(&self.path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => StoreError::Missing {
                path: self.path.clone(),
            },
            _ => StoreError::io(&self.path, "inspect")(error),
        })?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(StoreError::TooOpen {
                path: self.path.clone(),
                mode,
            });
        }
        if metadata.len() > MAX_FILE_LEN {
            return Err(StoreError::corrupt(&self.path, "too long for a key"));
        }
        let text = fs::read(&self.path).map_err(StoreError::io(&self.path, "read"))?;
        parse(&Zeroizing::new(text)).map_err(|what| StoreError::corrupt(&self.path, what))
    }

    /// Overwrites the secret and removes the file, if there is one. Copies that the file system
    /// or the disk keeps on its own are out of reach.
    ///
    /// # Errors
    /// What the disk says.
    pub fn erase(&self) -> Result<(), StoreError> {
        let mut file = match OpenOptions::new().write(true).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io(&self.path, "open")(error)),
        };
        let metadata = file
            .metadata()
            .map_err(StoreError::io(&self.path, "inspect"))?;
        let length = usize::try_from(metadata.len().min(MAX_FILE_LEN)).unwrap_or(0);
        file.write_all(&vec![b'0'; length])
            .and_then(|()| self.disk.sync_all(&file))
            .map_err(StoreError::io(&self.path, "overwrite"))?;
        fs::remove_file(&self.path).map_err(StoreError::io(&self.path, "remove"))?;
        sync_parent(self.disk.as_ref(), &self.path)
    }

    fn write_beside(&self, secret: &[u8]) -> Result<PathBuf, StoreError> {
        assert!(
            secret.len() <= Self::MAX_LEN,
            "secret too long for a key file"
        );
        let line = render(secret);
        write_beside(self.disk.as_ref(), &self.path, line.as_bytes(), PRIVATE)
    }
}

fn render(secret: &[u8]) -> Zeroizing<String> {
    let mut line = Zeroizing::new(String::with_capacity(2 * secret.len() + 64));
    line.push_str(PREFIX);
    push_hex(&mut line, secret);
    line.push(' ');
    push_hex(&mut line, &check(secret));
    line.push('\n');
    line
}

fn parse(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "not a key file")?;
    let line = text.strip_suffix('\n').ok_or("cut off")?;
    let fields = line.strip_prefix(PREFIX).ok_or("not a key file")?;
    let (secret, stored) = fields.split_once(' ').ok_or("cut off")?;
    let secret = from_hex(secret).ok_or("not in hexadecimal")?;
    let stored = from_hex(stored).ok_or("not in hexadecimal")?;
    if stored.as_slice() == check(&secret) {
        Ok(secret)
    } else {
        Err("fails its check")
    }
}

fn push_hex(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            line.push(char::from_digit(u32::from(digit), 16).expect("four bits are one digit"));
        }
    }
}

fn from_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for pair in text.as_bytes().chunks_exact(2) {
        bytes.push(digit(*pair.first()?)? << 4 | digit(*pair.last()?)?);
    }
    Some(bytes)
}

fn check(secret: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_derive_key("subrosa store key file check 1");
    hasher.update(secret);
    let mut check = [0; 8];
    hasher.finalize_xof().fill(&mut check);
    check
}

const PREFIX: &str = "subrosa-key-1 ";
const MAX_FILE_LEN: u64 = 2 * KeyFile::MAX_LEN as u64 + 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn key_file(home: &tempfile::TempDir) -> KeyFile {
        KeyFile::at(home.path().join("identity.key"))
    }

    #[test]
    fn reads_back_what_was_written_and_replaced() {
        let home = tempfile::tempdir().unwrap();
        let file = key_file(&home);
        file.create(&[7; 32]).unwrap();
        assert_eq!(*file.read().unwrap(), [7; 32]);
        file.replace(&[8; 4096]).unwrap();
        assert_eq!(*file.read().unwrap(), [8; 4096]);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn never_overwrites_unless_told_to_replace() {
        let home = tempfile::tempdir().unwrap();
        let file = key_file(&home);
        file.create(&[7; 32]).unwrap();
        let refused = file.create(&[8; 32]);
        assert!(matches!(refused, Err(StoreError::AlreadyThere { .. })));
        assert_eq!(*file.read().unwrap(), [7; 32]);
    }

    #[test]
    fn is_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let file = key_file(&home);
        file.create(&[7; 32]).unwrap();
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for open in [0o640, 0o604, 0o610] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(open)).unwrap();
            let refused = file.read().err();
            let path = file.path().to_owned();
            assert_eq!(refused, Some(StoreError::TooOpen { path, mode: open }));
        }
    }

    #[test]
    fn every_damaged_byte_and_every_cut_is_corrupt() {
        let home = tempfile::tempdir().unwrap();
        let file = key_file(&home);
        file.create(&[0x5a; 8]).unwrap();
        let whole = fs::read(file.path()).unwrap();
        let damaged = (0..whole.len()).map(|place| {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            bytes
        });
        let cut = (0..whole.len()).map(|len| whole[..len].to_vec());
        for bytes in damaged.chain(cut) {
            fs::write(file.path(), &bytes).unwrap();
            let refused = file.read().err();
            let corrupt = matches!(refused, Some(StoreError::StoreCorrupt { .. }));
            assert!(corrupt, "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn what_a_crash_left_beside_is_not_in_the_way() {
        let home = tempfile::tempdir().unwrap();
        let file = key_file(&home);
        fs::write(home.path().join("identity.key.new"), b"half").unwrap();
        assert!(matches!(file.read(), Err(StoreError::Missing { .. })));
        file.create(&[7; 32]).unwrap();
        assert_eq!(*file.read().unwrap(), [7; 32]);
    }

    #[test]
    fn an_erased_key_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let file = key_file(&home);
        file.create(&[7; 32]).unwrap();
        // A second name for the same bytes shows what was done to them.
        let witness = home.path().join("witness");
        fs::hard_link(file.path(), &witness).unwrap();
        file.erase().unwrap();
        file.erase().unwrap();
        assert!(!file.exists());
        assert!(fs::read(&witness).unwrap().iter().all(|b| *b == b'0'));
    }

    #[test]
    fn parsing_inverts_rendering_or_refuses() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(secret) = parse(bytes) {
                assert_eq!(render(&secret).as_bytes(), bytes);
            }
            assert_eq!(*parse(render(bytes).as_bytes()).unwrap(), bytes);
        });
    }
}
