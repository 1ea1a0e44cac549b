//! The classic operators of `ai.onnx.ml`.

use super::Handler;

/// The handler of an operator of this family.
pub(super) const fn handler(_operator: &str) -> Option<Handler> {
    None
}
