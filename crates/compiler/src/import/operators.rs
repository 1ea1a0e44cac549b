//! What each operator of ONNX becomes in the float model: one file a family.
//!
//! A family's `handler` knows its operators by name. A handler reads a node's inputs and
//! attributes, writes float nodes into the [`Lowering`], and returns what the node's outputs stand
//! for. It need not care whether its inputs are constants: a node over constants alone is run at
//! once and becomes a constant. To add an operator: a handler here, and if no float operator says
//! what it means, one in `float` (how it runs), in `quantise` (which integers it becomes) and, if
//! the integers need a new operator, in `crates/graph`.

mod activation;
mod broadcast;
mod conv;
mod dense;
mod elementwise;
mod geometry;
mod ml;
mod pool;
mod quantised;
mod shape;

use super::lower::{Lowering, Refused};
use super::node::OnnxNode;
use super::value::{Float, Value};

/// Lowers one node: what its outputs stand for, in order.
pub(super) type Handler = fn(&mut Lowering<'_>, &OnnxNode<'_>) -> Made;

/// What a handler returns.
pub(super) type Made = Result<Vec<Value>, Refused>;

/// The handler of an operator; `None` if it is not known.
pub(super) fn handler(domain: &str, operator: &str) -> Option<Handler> {
    match domain {
        "" | "ai.onnx" => {
            let families = [
                dense::handler,
                conv::handler,
                pool::handler,
                activation::handler,
                elementwise::handler,
                shape::handler,
                quantised::handler,
            ];
            families.iter().find_map(|family| family(operator))
        }
        "ai.onnx.ml" => ml::handler(operator),
        _ => None,
    }
}

/// One output.
fn one(float: Float) -> Made {
    Ok(vec![Value::Float(float)])
}
