#![doc = include_str!("../README.md")]
#![allow(clippy::todo, reason = "bodies follow")]

mod import;
mod model;
mod module;
mod schema;
mod shipped;

pub use import::{Agreement, ImportError, ImportOptions, Imported, import_onnx};
pub use model::{ArchHash, Model, ModelError, ModelSource, ModuleHash};
pub use module::{CompileError, Module, compile};
pub use schema::{InputSchema, OutputSchema, QuantiseError};
pub use shipped::{Sample, Shipped, shipped};
