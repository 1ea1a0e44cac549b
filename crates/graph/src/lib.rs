#![doc = include_str!("../README.md")]

mod encoding;
mod error;
mod graph;
mod interpreter;
mod operator;
mod range;
mod window;

pub use encoding::{DecodeGraphError, MAX_ENCODED_LEN};
pub use error::GraphError;
pub use graph::{Graph, InputType, MAX_ELEMENTS, MAX_NODES, MAX_PARAMETERS, Node, ValueId};
pub use interpreter::InputError;
pub use operator::{Accumulator, Operator, Weights};
pub use range::Range;
pub use window::Window;
