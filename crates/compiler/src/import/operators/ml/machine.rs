//! Support vector machines.

use super::super::super::Unsupported;
use super::super::super::float::{Affine, Dense, FloatOperator, Machine, pairs};
use super::super::super::lower::{Lowering, Refused};
use super::super::super::node::OnnxNode;
use super::super::super::value::Float;
use super::{Made, finite, one, plain};

/// Label and scores: of two classes the decision and its opposite, of more the votes of all pairs.
pub(super) fn classifier(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let classes = lowering.classes(node, ["classlabels_ints", "classlabels_strings"])?;
    let counts = node.ints("vectors_per_class").unwrap_or_default();
    let counts: Option<Vec<usize>> = counts.iter().map(|&c| c.try_into().ok()).collect();
    let counts = counts.filter(|counts| counts.len() == classes);
    let counts = counts.ok_or(Unsupported::Lengths)?;
    let total = counts.iter().fold(0_usize, |sum, &c| sum.saturating_add(c));
    let (coefficients, rho) = (finite(node, "coefficients")?, finite(node, "rho")?);
    let pair_count = classes * (classes - 1) / 2;
    if total.checked_mul(classes - 1) != Some(coefficients.len()) || rho.len() != pair_count {
        return Err(Unsupported::Lengths.into());
    }
    // Probabilities by pairs would decide otherwise.
    if !finite(node, "prob_a")?.is_empty() {
        return Err(Unsupported::Probabilities.into());
    }
    lowering.reserve(pair_count.saturating_mul(total), 1)?;
    let starts: Vec<usize> = counts
        .iter()
        .scan(0, |start, count| {
            *start += count;
            Some(*start - count)
        })
        .collect();
    let mut rows = Vec::with_capacity(pair_count * total);
    for (i, j) in pairs(classes) {
        // Of class i the coefficients against j, of class j those against i.
        let mut row = vec![0.0; total];
        for (class, against) in [(i, j - 1), (j, i)] {
            let own = starts[class]..starts[class] + counts[class];
            let from = against * total;
            row[own.clone()].copy_from_slice(&coefficients[from + own.start..from + own.end]);
        }
        rows.extend(row);
    }
    let scores = if classes == 2 {
        let opposite: Vec<f32> = rows.iter().map(|c| -c).collect();
        rows.extend(opposite);
        let bias = vec![rho[0], -rho[0]];
        machine(lowering, node, rows, bias)?
    } else {
        let decisions = machine(lowering, node, rows, rho.to_vec())?;
        let votes = FloatOperator::Votes(classes);
        lowering.push(votes, &[&decisions], vec![1, classes])?
    };
    lowering.judged(scores)
}

pub(super) fn regressor(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    plain(node)?;
    if node.int("one_class", 0)? != 0 {
        return Err(Unsupported::Attribute.into());
    }
    let (coefficients, rho) = (finite(node, "coefficients")?, finite(node, "rho")?);
    let total = usize::try_from(node.int("n_supports", 0)?).unwrap_or(0);
    if total != coefficients.len() || rho.len() != 1 {
        return Err(Unsupported::Lengths.into());
    }
    lowering.reserve(total, 1)?;
    let bias = rho.to_vec();
    one(machine(lowering, node, coefficients.to_vec(), bias)?)
}

/// `rows` has a coefficient a vector for each decision.
fn machine(
    lowering: &mut Lowering<'_>,
    node: &OnnxNode<'_>,
    rows: Vec<f32>,
    bias: Vec<f32>,
) -> Result<Float, Refused> {
    let x = lowering.real(node.one()?)?;
    let columns: usize = x.dims.iter().product();
    let count = rows.len() / bias.len();
    let vectors = finite(node, "support_vectors")?;
    if count == 0 || count.checked_mul(columns) != Some(vectors.len()) {
        return Err(Unsupported::Lengths.into());
    }
    lowering.reserve(vectors.len(), 1)?;
    match (node.text("kernel_type"), finite(node, "kernel_params")?) {
        (None | Some("LINEAR"), _) => {
            // Sums of products with sums of vectors are products with one vector.
            let row = |row: &[f32]| {
                let mut sum = vec![0.0_f64; columns];
                for (coefficient, vector) in row.iter().zip(vectors.chunks_exact(columns)) {
                    for (sum, v) in sum.iter_mut().zip(vector) {
                        *sum += f64::from(*coefficient) * f64::from(*v);
                    }
                }
                sum.into_iter().map(|w| w as f32)
            };
            let weights = rows.chunks_exact(count).flat_map(row).collect();
            Ok(lowering.layer(&x, weights, bias)?)
        }
        (Some("RBF"), &[gamma, ..]) if gamma > 0.0 => {
            let (x, affine) = lowering.undone(x);
            let outputs = bias.len();
            let machine = Machine {
                affine,
                vectors: vectors.to_vec(),
                gamma: gamma.into(),
                decisions: Dense {
                    weights: rows,
                    bias,
                },
            };
            Ok(lowering.push(FloatOperator::Machine(machine), &[&x], vec![1, outputs])?)
        }
        _ => Err(Unsupported::Kernel.into()),
    }
}

impl Lowering<'_> {
    /// The value before all factors and shifts that made `x`, and these together.
    fn undone(&self, x: Float) -> (Float, Affine) {
        let (mut x, mut all) = (x, Affine::identity());
        let elements: usize = x.dims.iter().product();
        while self.imputed != Some(x.place)
            && let Some(node) = x.place.checked_sub(1).map(|place| &self.float.nodes[place])
        {
            let FloatOperator::Affine(inner) = &node.operator else {
                break;
            };
            let each = |i: usize| {
                let ((outer, then), (scale, shift)) = (all.at(i), inner.at(i));
                (outer * scale, outer * shift + then)
            };
            let (scale, shift) = (0..elements).map(each).unzip();
            all = Affine {
                scale,
                shift,
                inner: 1,
            };
            x.place = node.inputs[0];
        }
        (x, all)
    }
}
