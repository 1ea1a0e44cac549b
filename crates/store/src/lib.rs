#![doc = include_str!("../README.md")]

use std::fs::File;
use std::path::Path;

mod boot;
mod durable;
mod error;
mod key_file;
mod replay_log;
mod scratch;
mod state_dir;
mod table;

pub use boot::BootId;
pub use durable::{Batch, Durable};
pub use error::StoreError;
pub use key_file::KeyFile;
pub use replay_log::{LogOrigin, LogSync, ReplayLog, ShortTag};
pub use scratch::Scratch;
pub use state_dir::StateDir;
pub use table::{Bytes, Table};

/// Makes a new or removed name in the directory of `path` survive a power cut.
fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(StoreError::io(parent, "sync"))
}
