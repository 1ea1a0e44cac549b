#![doc = include_str!("../README.md")]

mod elements;
mod encoding;
mod error;
mod exponential;
mod graph;
mod interpreter;
mod operator;
mod order;
mod planes;
mod range;
mod trees;
mod window;

pub use encoding::{DecodeGraphError, MAX_ENCODED_LEN};
pub use error::GraphError;
pub use exponential::POWERS;
pub use graph::{
    Graph, InputType, MAX_ELEMENTS, MAX_NODES, MAX_PARAMETERS, MAX_PRODUCTS, Node, ValueId,
};
pub use interpreter::InputError;
pub use operator::{Accumulator, Conv, MAX_COORDINATE, Operator, Select, Weights};
pub use order::ordered;
pub use range::Range;
pub use trees::{MAX_DEPTH, MISSING, Split, Tree, TreeEnsemble};
pub use window::Window;
