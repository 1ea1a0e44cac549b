//! The classic operators of `ai.onnx.ml`: linear models, support vector machines, trees, and what
//! stands before and behind them.

mod exact;
mod labels;
mod linear;
mod machine;
mod modes;
mod nodes;
mod scale;
mod trees;

use super::super::Unsupported;
use super::super::node::OnnxNode;
use super::{Handler, Made, one};

/// The handler of an operator of this family.
pub(super) fn handler(operator: &str) -> Option<Handler> {
    Some(match operator {
        "LinearClassifier" => linear::classifier,
        "LinearRegressor" => linear::regressor,
        "SVMClassifier" => machine::classifier,
        "SVMRegressor" => machine::regressor,
        "TreeEnsembleClassifier" => trees::classifier,
        "TreeEnsembleRegressor" => trees::regressor,
        "TreeEnsemble" => trees::ensemble,
        "Scaler" => scale::scaler,
        "Normalizer" => scale::normaliser,
        "Imputer" => scale::imputer,
        "ArrayFeatureExtractor" => labels::extractor,
        "LabelEncoder" => labels::encoder,
        "ZipMap" => labels::zip_map,
        _ => return None,
    })
}

/// A list of finite numbers; empty if it is not there.
fn finite<'a>(node: &OnnxNode<'a>, name: &str) -> Result<&'a [f32], Unsupported> {
    let numbers = node.numbers(name).unwrap_or_default();
    super::dense::finite(numbers)?;
    Ok(numbers)
}

/// Whether the operator leaves its scores as they are.
fn plain(node: &OnnxNode<'_>) -> Result<(), Unsupported> {
    match node.text("post_transform") {
        None | Some("NONE") => Ok(()),
        Some(_) => Err(Unsupported::Attribute),
    }
}
