#![doc = include_str!("../README.md")]

mod boot;
mod disk;
mod durable;
mod error;
mod key_file;
mod replay_log;
mod scratch;
mod state_dir;
mod table;

pub use boot::BootId;
pub use disk::{Disk, SystemDisk};
pub use durable::{Batch, Durable};
pub use error::StoreError;
pub use key_file::KeyFile;
pub use replay_log::{LogOrigin, LogSync, ReplayLog, ShortTag};
pub use scratch::Scratch;
pub use state_dir::StateDir;
pub use table::{Bytes, Table};
