//! Layers with nothing between them: one layer.

use super::super::ImportError;
use super::super::budget::Work;
use super::super::float::{Dense, FloatGraph, FloatOperator};
use super::Rewrite;

/// One round, front to back. Two layers become one where that has no more weights than both, or few:
/// a projection before a linear model.
pub(super) fn merge(graph: FloatGraph, work: &Work) -> Result<FloatGraph, ImportError> {
    let uses = graph.uses();
    let mut rewrite = Rewrite::new(graph.input.clone());
    for node in graph.nodes {
        let used = node.inputs.first().map_or(0, |&input| uses[input]);
        let mut node = rewrite.moved(node);
        if let FloatOperator::Dense(outer) = &node.operator
            && let Some(maker) = rewrite.maker(node.inputs[0])
            && let FloatOperator::Dense(inner) = &maker.operator
            && used == 1
            && let Some(products) = products(outer, inner)
        {
            work.spend(products)?;
            let Some(both) = product(outer, inner) else {
                rewrite.keep(node);
                continue;
            };
            node.inputs = maker.inputs.clone();
            node.operator = FloatOperator::Dense(both);
        }
        rewrite.keep(node);
    }
    Ok(rewrite.finish(graph.output))
}

/// Multiplications to make one layer of both, if that has no more weights than they, or few.
fn products(outer: &Dense, inner: &Dense) -> Option<u64> {
    let columns = inner.weights.len() / inner.bias.len();
    let few = FEW.max(outer.weights.len() + inner.weights.len());
    let products = outer.weights.len().saturating_mul(columns);
    let worth = outer.bias.len() * columns <= few && products <= MAX_PRODUCTS;
    worth.then(|| u64::try_from(products).unwrap_or(u64::MAX))
}

/// `outer(inner(x))`, if all its weights are finite.
fn product(outer: &Dense, inner: &Dense) -> Option<Dense> {
    let rows = outer.bias.len();
    let columns = inner.weights.len() / inner.bias.len();
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
