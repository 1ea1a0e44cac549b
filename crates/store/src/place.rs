//! Whole files at once: written beside, moved into place.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::disk::sync_parent;
use crate::{Disk, StoreError, SystemDisk};

/// Writes `bytes` to the file at `path` in place of what was there: a crash leaves the old file or
/// the new one, never a part. On the disk when this returns; others may read it.
///
/// # Errors
/// What the disk says; the old file is then still whole.
pub fn place_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    place(&SystemDisk, path, bytes, PUBLIC)
}

/// As [`place_file`], on a disk and with permissions that the caller names.
pub(crate) fn place(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
    mode: u32,
) -> Result<(), StoreError> {
    let beside = write_beside(disk, path, bytes, mode)?;
    if let Err(error) = fs::rename(&beside, path) {
        let _ = fs::remove_file(&beside);
        return Err(StoreError::io(path, "replace")(error));
    }
    sync_parent(disk, path)
}

/// Writes `bytes` to a file beside `path` and returns where that is.
pub(crate) fn write_beside(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
    mode: u32,
) -> Result<PathBuf, StoreError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // What a crash left half written.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(StoreError::io(&beside, "remove")(error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .map_err(StoreError::io(&beside, "create"))?;
    file.write_all(bytes)
        .and_then(|()| disk.sync_all(&file))
        .map_err(StoreError::io(&beside, "write"))?;
    Ok(beside)
}

/// Readable by its owner alone.
pub(crate) const PRIVATE: u32 = 0o600;
/// As the owner's umask allows.
const PUBLIC: u32 = 0o666;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        entries.map(|e| name(e).into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("model");
        fs::write(home.path().join("model.new"), b"half").unwrap();
        for bytes in [&b"first"[..], b"second"] {
            place_file(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(names(home.path()), ["model"]);
    }

    #[test]
    fn what_cannot_be_replaced_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("model");
        fs::create_dir(&path).unwrap();
        let refused = place_file(&path, b"bytes");
        assert!(matches!(refused, Err(StoreError::Io { .. })), "{refused:?}");
        assert_eq!(names(home.path()), ["model"]);
    }
}
