//! Linear classifiers and regressors: layers.

use super::super::super::Unsupported;
use super::super::super::lower::Lowering;
use super::super::super::node::OnnxNode;
use super::{Made, finite, one, plain};

/// Label and scores. A transform of the scores is left out: it changes no order.
pub(super) fn classifier(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let (weights, bias) = (finite(node, "coefficients")?, finite(node, "intercepts")?);
    let classes = lowering.classes(node, ["classlabels_ints", "classlabels_strings"])?;
    lowering.reserve(weights.len().saturating_mul(2), 1)?;
    let (weights, bias) = match (bias, classes) {
        // One score for two classes: above zero the second.
        ([bias], 2) => {
            let half = match node.text("post_transform") {
                Some("LOGISTIC") => 0.5,
                _ => 1.0,
            };
            let both = [-half, half].map(|sign| weights.iter().map(move |w| w * sign));
            let weights = both.into_iter().flatten().collect();
            (weights, vec![-half * bias, half * bias])
        }
        (bias, classes) if bias.len() == classes => (weights.to_vec(), bias.to_vec()),
        _ => return Err(Unsupported::Lengths.into()),
    };
    let x = lowering.real(node.one()?)?;
    let scores = lowering.layer(&x, weights, bias)?;
    lowering.judged(scores)
}

pub(super) fn regressor(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    plain(node)?;
    let weights = finite(node, "coefficients")?;
    let targets = usize::try_from(node.int("targets", 1)?).map_err(|_| Unsupported::Lengths)?;
    let bias = match finite(node, "intercepts")? {
        bias if bias.len() == targets => bias.to_vec(),
        [] if targets <= weights.len() => vec![0.0; targets],
        _ => return Err(Unsupported::Lengths.into()),
    };
    lowering.reserve(weights.len(), 1)?;
    let x = lowering.real(node.one()?)?;
    one(lowering.layer(&x, weights.to_vec(), bias)?)
}
