//! Files that are quantised already: read as what their integers stand for.
//!
//! The float model keeps real numbers, clamped to what the file's integers can hold; this
//! importer's own quantisation, with its own scales, follows as for any other file.

use std::rc::Rc;

use super::super::Unsupported;
use super::super::lower::Lowering;
use super::super::node::{OnnxNode, axis};
use super::super::tensor::{Content, Tensor};
use super::super::value::{Float, Kind, Value};
use super::dense::transpose;
use super::{Handler, Made, one};

/// The handler of an operator of this family.
pub(super) fn handler(operator: &str) -> Option<Handler> {
    Some(match operator {
        "QuantizeLinear" => quantise,
        "DequantizeLinear" => dequantise,
        "QLinearMatMul" => matmul,
        "QLinearConv" => conv,
        _ => return None,
    })
}

/// Scale and zero of a value: one of each.
struct Grid {
    scale: f64,
    zero: f64,
    /// The integers that there are.
    span: [f64; 2],
}

impl Grid {
    /// From inputs `place` and `place + 1` of `node`.
    fn read(node: &OnnxNode<'_>, place: usize) -> Result<Self, Unsupported> {
        let scale = node.input(place)?.scalar()?;
        let (zero, span) = match node.optional(place + 1) {
            Some(zero) => (zero.scalar()?, zero.constant()?.span),
            None => (0.0, Some([0, 255])),
        };
        let [lo, hi] = span.ok_or(Unsupported::Operand)?;
        if scale <= 0.0 {
            return Err(Unsupported::Operand);
        }
        let span = [lo as f64, hi as f64];
        Ok(Self { scale, zero, span })
    }

    /// `x` with this grid's integers, as what they stand for.
    fn hold(&self, lowering: &mut Lowering<'_>, x: &Float) -> Result<Float, Unsupported> {
        let [lo, hi] = self.span.map(|end| (end - self.zero) * self.scale);
        let (scale, zero) = (self.scale, self.zero);
        let held = lowering.clamped(x, lo, hi)?;
        let kind = Kind::Quantised { scale, zero };
        Ok(Float { kind, ..held })
    }
}

/// Input `place`, a value on the grid that the inputs behind it name.
fn on_grid(node: &OnnxNode<'_>, place: usize) -> Result<Float, Unsupported> {
    let Value::Float(float) = node.input(place)? else {
        return Err(Unsupported::Operand);
    };
    let grid = Grid::read(node, place + 1)?;
    let (scale, zero) = (grid.scale, grid.zero);
    if float.kind != (Kind::Quantised { scale, zero }) {
        return Err(Unsupported::Operand);
    }
    let kind = Kind::Real;
    Ok(Float {
        kind,
        ..float.clone()
    })
}

fn quantise(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let x = node.input(0)?;
    if let Value::Constant(tensor) = x {
        let (scales, zeros, inner) = grids(node, 1, &tensor.dims, 1)?;
        let [lo, hi] = match node.optional(2) {
            Some(zero) => zero.constant()?.span.ok_or(Unsupported::Operand)?,
            None => [0, 255],
        };
        let place = |i: usize| i / inner % scales.len();
        let numbers = tensor.numbers().into_iter().enumerate().map(|(i, x)| {
            let steps = (x / scales[place(i)]).round_ties_even() + zeros[place(i)];
            (steps as i64).clamp(lo, hi)
        });
        let content = Content::Integers(numbers.collect());
        let span = Some([lo, hi]);
        let dims = tensor.dims.clone();
        let tensor = Tensor {
            dims,
            content,
            span,
        };
        return Ok(vec![Value::Constant(Rc::new(tensor))]);
    }
    let x = lowering.real(x)?;
    one(Grid::read(node, 1)?.hold(lowering, &x)?)
}

fn dequantise(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    match node.input(0)? {
        Value::Constant(tensor) => {
            let default = if tensor.dims.len() > 1 { 1 } else { 0 };
            let floats = real(node, tensor, 1, default)?;
            if !lowering.budget.take(floats.len().saturating_mul(4)) {
                return Err(Unsupported::TooLarge.into());
            }
            let tensor = Tensor::new(tensor.dims.clone(), Content::Floats(floats));
            Ok(vec![Value::Constant(Rc::new(tensor))])
        }
        Value::Float(_) => one(on_grid(node, 0)?),
    }
}

/// Scales and zeros from inputs `place` and `place + 1`, one or one a slice along an axis; and how
/// many neighbours share one.
fn grids(
    node: &OnnxNode<'_>,
    place: usize,
    dims: &[usize],
    default: i64,
) -> Result<(Vec<f64>, Vec<f64>, usize), Unsupported> {
    let scales = node.input(place)?.constant()?.numbers();
    let zeros = match node.optional(place + 1) {
        Some(zeros) => zeros.constant()?.numbers(),
        None => vec![0.0; scales.len()],
    };
    if zeros.len() != scales.len() || scales.iter().any(|&scale| scale <= 0.0) {
        return Err(Unsupported::Operand);
    }
    if scales.len() == 1 {
        return Ok((scales, zeros, 1));
    }
    let axis = axis(node.int("axis", default)?, dims.len())?;
    if dims[axis] != scales.len() {
        return Err(Unsupported::Shape);
    }
    let inner = dims[axis + 1..].iter().product();
    Ok((scales, zeros, inner))
}

/// What a constant's integers stand for.
fn real(
    node: &OnnxNode<'_>,
    tensor: &Tensor,
    place: usize,
    default: i64,
) -> Result<Vec<f32>, Unsupported> {
    let (scales, zeros, inner) = grids(node, place, &tensor.dims, default)?;
    let numbers = tensor.numbers().into_iter().enumerate().map(|(i, x)| {
        let place = i / inner % scales.len();
        ((x - zeros[place]) * scales[place]) as f32
    });
    Ok(numbers.collect())
}

fn matmul(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let x = on_grid(node, 0)?;
    let tensor = node.input(3)?.constant()?;
    let &[rows, columns] = tensor.dims.as_slice() else {
        return Err(Unsupported::Shape.into());
    };
    lowering.reserve(tensor.len(), 1)?;
    let weights = real(node, tensor, 4, 1)?;
    let bias = vec![0.0; columns];
    let y = lowering.layer(&x, transpose(&weights, [rows, columns]), bias)?;
    one(Grid::read(node, 6)?.hold(lowering, &y)?)
}

fn conv(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let x = on_grid(node, 0)?;
    let x_scale = node.input(1)?.scalar()?;
    let tensor = node.input(3)?.constant()?;
    let scales = node.input(4)?.constant()?.numbers();
    let weights = real(node, tensor, 4, 0)?;
    let bias = |count: usize| match node.optional(8) {
        None => Ok(vec![0.0; count]),
        Some(bias) => {
            let steps = bias.integers()?.iter().enumerate();
            if steps.len() != count {
                return Err(Unsupported::Shape);
            }
            let unit = |channel: usize| x_scale * scales[channel % scales.len()];
            let real = |(channel, &b): (usize, &i64)| (b as f64 * unit(channel)) as f32;
            Ok(steps.map(real).collect())
        }
    };
    let y = lowering.convolve(node, &x, &tensor.dims, &weights, bias)?;
    one(Grid::read(node, 6)?.hold(lowering, &y)?)
}
