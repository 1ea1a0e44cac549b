#![doc = include_str!("../README.md")]

mod boot;
mod disk;
mod durable;
mod error;
mod key_file;
mod place;
mod replay_log;
mod scratch;
mod sealed_files;
mod state_dir;
mod table;

pub use boot::BootId;
pub use disk::{Disk, SystemDisk};
pub use durable::{Batch, Durable};
pub use error::StoreError;
pub use key_file::KeyFile;
pub use place::place_file;
pub use replay_log::{LogOrigin, LogSync, ReplayLog, ShortTag};
pub use scratch::Scratch;
pub use sealed_files::{SealedEntry, SealedFiles};
pub use state_dir::StateDir;
pub use table::{Bytes, Table};
