//! Layers of weights: Gemm and MatMul.

use graph::Window;

use super::super::Unsupported;
use super::super::float::{Conv, Dense, FloatOperator};
use super::super::lower::Lowering;
use super::super::node::OnnxNode;
use super::super::value::{Float, Kind, Value};
use super::broadcast::index;
use super::{Handler, Made, one};

/// The handler of an operator of this family.
pub(super) fn handler(operator: &str) -> Option<Handler> {
    match operator {
        "Gemm" => Some(gemm),
        "MatMul" => Some(matmul),
        _ => None,
    }
}

fn matmul(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let [x, weights] = node.two()?;
    let (floats, dims) = weights.matrix()?;
    lowering.reserve(floats.len(), 1)?;
    let bias = vec![0.0; dims[1]];
    let x = lowering.real(x)?;
    one(lowering.layer(&x, transpose(floats, dims), bias)?)
}

fn gemm(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let (x, weights, bias) = (node.input(0)?, node.input(1)?, node.optional(2));
    let (alpha, beta) = (node.number("alpha", 1.0)?, node.number("beta", 1.0)?);
    let (0, flip @ (0 | 1)) = (node.int("transA", 0)?, node.int("transB", 0)?) else {
        return Err(Unsupported::Attribute.into());
    };
    let x = lowering.real(x)?;
    if x.dims.len() != 2 {
        return Err(Unsupported::Shape.into());
    }
    let (floats, dims) = weights.matrix()?;
    lowering.reserve(floats.len(), 1)?;
    let (mut rows, count) = if flip == 1 {
        (floats.to_vec(), dims[0])
    } else {
        (transpose(floats, dims), dims[1])
    };
    rows.iter_mut().for_each(|w| *w *= alpha);
    let mut biases = vec![0.0; count];
    if let Some(bias @ Value::Constant(_)) = bias {
        let given = bias.vector(count)?;
        biases = given.iter().map(|b| b * beta).collect();
    }
    let y = lowering.layer(&x, rows, biases)?;
    match bias {
        Some(bias @ Value::Float(_)) => {
            let bias = lowering.real(bias)?;
            let bias = lowering.expand(&bias, &y.dims)?;
            let beta = f64::from(beta);
            let add = FloatOperator::Add {
                left: 1.0,
                right: beta,
            };
            let dims = y.dims.clone();
            one(lowering.push(add, &[&y, &bias], dims)?)
        }
        _ => one(y),
    }
}

impl Lowering<'_> {
    /// `W x + b` for each row of `x` (its last axis). The room for the weights is reserved.
    pub(super) fn layer(
        &mut self,
        x: &Float,
        weights: Vec<f32>,
        bias: Vec<f32>,
    ) -> Result<Float, Unsupported> {
        let (&columns, outer) = x.dims.split_last().ok_or(Unsupported::Shape)?;
        if columns.checked_mul(bias.len()) != Some(weights.len()) || bias.is_empty() {
            return Err(Unsupported::Shape);
        }
        finite(&weights)?;
        finite(&bias)?;
        let dims = [outer, &[bias.len()]].concat();
        let rows: usize = outer.iter().product();
        if rows == 1 {
            let dense = FloatOperator::Dense(Dense { weights, bias });
            return self.push(dense, &[x], dims);
        }
        // Columns become planes, rows their elements.
        let size = |n: usize| u32::try_from(n).map_err(|_| Unsupported::TooLarge);
        let window = Window::point(size(columns)?, 1, size(rows)?);
        let outputs = bias.len();
        let x = self.flip(x, rows, columns)?;
        self.reserve(0, 0)?;
        let conv = Conv {
            window,
            groups: 1,
            weights,
            bias,
        };
        let y = self.conv(&x, conv, vec![1, outputs, rows])?;
        let y = self.flip(&y, outputs, rows)?;
        Ok(Float { dims, ..y })
    }

    /// Element `(r, c)` to place `(c, r)`.
    fn flip(&mut self, x: &Float, rows: usize, columns: usize) -> Result<Float, Unsupported> {
        let row = move |c: usize| (0..rows).map(move |r| index(r * columns + c));
        let indices = (0..columns).flat_map(row);
        let flipped = self.select(&[x], vec![columns, rows], indices, 0.0)?;
        let kind = Kind::Real;
        Ok(Float { kind, ..flipped })
    }
}

/// Products and sums of finite constants may not be.
pub(super) fn finite(constants: &[f32]) -> Result<(), Unsupported> {
    if constants.iter().all(|x| x.is_finite()) {
        Ok(())
    } else {
        Err(Unsupported::NotFinite)
    }
}

pub(super) fn transpose(floats: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let column = |c: usize| (0..rows).map(move |r| floats[r * columns + c]);
    (0..columns).flat_map(column).collect()
}
