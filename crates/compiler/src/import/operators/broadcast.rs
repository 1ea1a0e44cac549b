//! Shapes that meet: broadcasting, and reading a value by strides.

use super::super::Unsupported;
use super::super::float::{Affine, FloatOperator, Select};
use super::super::lower::Lowering;
use super::super::tensor::elements;
use super::super::value::Float;

/// The dimensions that two values have together.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Unsupported> {
    let rank = a.len().max(b.len());
    let dim = |dims: &[usize], axis: usize| {
        let missing = rank - dims.len();
        if axis < missing {
            1
        } else {
            dims[axis - missing]
        }
    };
    let meet = |axis| match (dim(a, axis), dim(b, axis)) {
        (a, b) if a == b => Ok(a),
        (1, b) => Ok(b),
        (a, 1) => Ok(a),
        _ => Err(Unsupported::Shape),
    };
    (0..rank).map(meet).collect()
}

/// Steps between neighbours along each axis.
pub(super) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// For each element of a value of dimensions `dims`, row by row: its coordinates.
pub(super) fn coordinates(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let strides = strides(dims);
    let count: usize = dims.iter().product();
    (0..count).map(move |i| {
        let axes = strides.iter().zip(dims);
        axes.map(|(stride, dim)| i / stride % dim).collect()
    })
}

/// The element at `coordinates`, as `steps` count them.
pub(super) fn place(coordinates: &[usize], steps: &[usize]) -> usize {
    let axes = coordinates.iter().zip(steps);
    axes.map(|(at, step)| at * step).sum()
}

impl Lowering<'_> {
    /// Elements of `inputs` one after the other, by index; [`Select::FILL`] stands for `fill`.
    pub(super) fn select(
        &mut self,
        inputs: &[&Float],
        dims: Vec<usize>,
        indices: impl Iterator<Item = u32>,
        fill: f64,
    ) -> Result<Float, Unsupported> {
        let first = inputs.first().ok_or(Unsupported::Arity)?;
        if inputs.iter().any(|input| input.kind != first.kind) {
            return Err(Unsupported::Operand);
        }
        let count = elements(&dims).ok_or(Unsupported::Shape)?;
        if !self.budget.take(count.saturating_mul(4)) {
            return Err(Unsupported::TooLarge);
        }
        let indices: Vec<u32> = indices.collect();
        let select = Select { indices, fill };
        let float = self.push(FloatOperator::Select(select), inputs, dims)?;
        let kind = first.kind;
        Ok(Float { kind, ..float })
    }

    /// `float` repeated along the axes where `dims` is larger.
    pub(super) fn expand(&mut self, float: &Float, dims: &[usize]) -> Result<Float, Unsupported> {
        let dims = broadcast(&float.dims, dims)?;
        let count = elements(&dims).ok_or(Unsupported::Shape)?;
        if count == float.dims.iter().product() {
            let float = float.clone();
            return Ok(Float { dims, ..float });
        }
        if count > graph::MAX_ELEMENTS {
            return Err(Unsupported::TooLarge);
        }
        let missing = dims.len() - float.dims.len();
        let own = strides(&float.dims).into_iter().zip(&float.dims);
        let own = own.map(|(stride, &dim)| if dim == 1 { 0 } else { stride });
        let steps: Vec<usize> = vec![0; missing].into_iter().chain(own).collect();
        let indices = coordinates(&dims).map(|at| index(place(&at, &steps)));
        let indices: Vec<u32> = indices.collect();
        self.select(&[float], dims, indices.into_iter(), 0.0)
    }

    /// `scale x + shift`, element by element, for constants of dimensions `dims` that fit `x`.
    pub(super) fn affine(
        &mut self,
        x: &Float,
        dims: &[usize],
        scale: Vec<f64>,
        shift: Vec<f64>,
    ) -> Result<Float, Unsupported> {
        let x = self.expand(x, dims)?;
        if scale.iter().chain(&shift).any(|c| !c.is_finite()) {
            return Err(Unsupported::NotFinite);
        }
        let (count, inner) = pattern(dims, &x.dims);
        let affine = if count == scale.len() {
            Affine {
                scale,
                shift,
                inner,
            }
        } else {
            let all: usize = x.dims.iter().product();
            if !self.budget.take(all.saturating_mul(16)) {
                return Err(Unsupported::TooLarge);
            }
            let missing = x.dims.len() - dims.len();
            let own = strides(dims).into_iter().zip(dims);
            let own = own.map(|(stride, &dim)| if dim == 1 { 0 } else { stride });
            let steps: Vec<usize> = vec![0; missing].into_iter().chain(own).collect();
            let places: Vec<usize> = coordinates(&x.dims).map(|at| place(&at, &steps)).collect();
            Affine {
                scale: places.iter().map(|&at| scale[at]).collect(),
                shift: places.iter().map(|&at| shift[at]).collect(),
                inner: 1,
            }
        };
        let dims = x.dims.clone();
        self.push(FloatOperator::Affine(affine), &[&x], dims)
    }
}

/// How constants of dimensions `of` repeat over `dims`: so many, each for so many neighbours; 0 if
/// they do not repeat that simply.
fn pattern(of: &[usize], dims: &[usize]) -> (usize, usize) {
    let missing = dims.len() - of.len();
    let varies = |axis: usize| axis >= missing && of[axis - missing] > 1;
    let Some(first) = (0..dims.len()).find(|&axis| varies(axis)) else {
        return (1, 1);
    };
    let last = (0..dims.len()).rfind(|&axis| varies(axis)).unwrap_or(first);
    let inner = dims[last + 1..].iter().product();
    let whole = (first..=last).all(|axis| varies(axis) || dims[axis] == 1);
    let count = dims[first..=last].iter().product();
    if whole { (count, inner) } else { (0, inner) }
}

/// An index of an element.
pub(super) fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(Select::FILL)
}
