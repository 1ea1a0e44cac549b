//! Layers with nothing between them: one layer.

use super::super::float::{Dense, FloatGraph, FloatOperator};
use super::Rewrite;

/// One round, front to back. Two layers become one where that has no more weights than both, or few:
/// a projection before a linear model.
pub(super) fn merge(graph: FloatGraph) -> FloatGraph {
    let uses = graph.uses();
    let mut rewrite = Rewrite::new(graph.input.clone());
    for node in graph.nodes {
        let used = node.inputs.first().map_or(0, |&input| uses[input]);
        let mut node = rewrite.moved(node);
        if let FloatOperator::Dense(outer) = &node.operator
            && let Some(maker) = rewrite.maker(node.inputs[0])
            && let FloatOperator::Dense(inner) = &maker.operator
            && used == 1
            && let Some(both) = product(outer, inner)
        {
            node.inputs = maker.inputs.clone();
            node.operator = FloatOperator::Dense(both);
        }
        rewrite.keep(node);
    }
    rewrite.finish(graph.output)
}

/// `outer(inner(x))`, if it has no more weights than both, or few, and all are finite.
fn product(outer: &Dense, inner: &Dense) -> Option<Dense> {
    let (rows, middle) = (outer.bias.len(), inner.bias.len());
    let columns = inner.weights.len() / middle;
    let few = FEW.max(outer.weights.len() + inner.weights.len());
    if rows * columns > few || outer.weights.len().saturating_mul(columns) > MAX_PRODUCTS {
        return None;
    }
    let (mut weights, mut bias) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let mut sums = vec![0.0_f64; columns];
        let mut constant = f64::from(outer.bias[row]);
        for (place, &factor) in outer.row(row).iter().enumerate() {
            let factor = f64::from(factor);
            constant += factor * f64::from(inner.bias[place]);
            for (sum, w) in sums.iter_mut().zip(inner.row(place)) {
                *sum += factor * f64::from(*w);
            }
        }
        weights.extend(sums.into_iter().map(|w| w as f32));
        bias.push(constant as f32);
    }
    let finite = weights.iter().chain(&bias).all(|w| w.is_finite());
    finite.then_some(Dense { weights, bias })
}

/// Weights that are few enough not to count them.
const FEW: usize = 1 << 14;

/// Most multiplications to make one layer of two.
const MAX_PRODUCTS: usize = 1 << 24;
