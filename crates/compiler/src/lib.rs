#![doc = include_str!("../README.md")]

mod file;
mod import;
mod model;
mod module;
mod schema;
mod shipped;

pub use file::FileError;
pub use import::{
    Agreement, BadSample, ErrorReport, ImportError, ImportOptions, Imported, InputScale, Label,
    LayerReport, NodeReport, Report, Unsupported, import_onnx,
};
pub use model::{ArchHash, Model, ModelError, ModelSource, ModuleHash, Parts, import};
pub use module::{CompileError, Module, compile};
pub use schema::{Encoding, InputSchema, OutputSchema, QuantiseError};
pub use shipped::{Sample, Shipped, shipped};
