//! What stands before a model: factors and shifts, stand-ins for missing numbers; and sums to one.

use super::super::super::Unsupported;
use super::super::super::float::{Affine, FloatOperator};
use super::super::super::lower::Lowering;
use super::super::super::node::OnnxNode;
use super::super::super::value::Value;
use super::{Made, finite, one};

/// `(x - offset) * scale`, as two steps: each rounds once, so that trees behind them can be exact.
pub(super) fn scaler(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let x = lowering.real(node.one()?)?;
    let (offset, scale) = (finite(node, "offset")?, finite(node, "scale")?);
    let count = x.dims.last().copied().unwrap_or(0);
    let each = |numbers: &[f32], sign: f64, unset: f64| match numbers {
        [] => Ok(vec![unset]),
        numbers if numbers.len() == 1 || numbers.len() == count => {
            Ok(numbers.iter().map(|&n| sign * f64::from(n)).collect())
        }
        _ => Err(Unsupported::Lengths),
    };
    let shift: Vec<f64> = each(offset, -1.0, 0.0)?;
    let scale: Vec<f64> = each(scale, 1.0, 1.0)?;
    let shifted = lowering.affine(&x, &[shift.len()], vec![1.0; shift.len()], shift)?;
    let none = vec![0.0; scale.len()];
    one(lowering.affine(&shifted, &[scale.len()], scale, none)?)
}

/// Left out at the end of a model, as Softmax is: dividing all scores by one positive number
/// changes no order.
pub(super) fn normaliser(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let x = lowering.real(node.one()?)?;
    match node.text("norm") {
        None | Some("MAX" | "L1" | "L2") => {}
        Some(_) => return Err(Unsupported::Attribute.into()),
    }
    let dims = x.dims.clone();
    one(lowering.push(FloatOperator::Softmax, &[&x], dims)?)
}

/// The asker's side puts the stand-ins in, where the imputer stands first of all.
pub(super) fn imputer(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let x = lowering.real(node.one()?)?;
    let stand_ins = finite(node, "imputed_value_floats")?;
    let missing = node.raw_number("replaced_value_float").unwrap_or(0.0);
    let count = x.dims.iter().product::<usize>();
    if x.place != 0 || !missing.is_nan() || !lowering.missing.is_empty() {
        return Err(Unsupported::Imputer.into());
    }
    lowering.missing = match stand_ins {
        [one] => vec![*one; count],
        each if each.len() == count => each.to_vec(),
        _ => return Err(Unsupported::Lengths.into()),
    };
    // A value of its own, so that others that take the input are seen.
    let imputed = lowering.uniform(&x, 1.0, 0.0)?;
    lowering.imputed = Some(imputed.place);
    Ok(vec![Value::Float(imputed)])
}

impl Affine {
    /// Every number as it is.
    pub(super) fn identity() -> Self {
        Self::uniform(1.0, 0.0)
    }
}
