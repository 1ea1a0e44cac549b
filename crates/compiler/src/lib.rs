#![doc = include_str!("../README.md")]

mod import;
mod model;
mod module;
mod schema;
mod shipped;

pub use import::{
    Agreement, BadSample, ImportError, ImportOptions, Imported, InputScale, Label, Unsupported,
    import_onnx,
};
pub use model::{ArchHash, Model, ModelError, ModelSource, ModuleHash};
pub use module::{CompileError, Module, compile};
pub use schema::{InputSchema, OutputSchema, QuantiseError};
pub use shipped::{Sample, Shipped, shipped};
