//! What the names of a file stand for.

use std::rc::Rc;

use super::Unsupported;
use super::tensor::{Content, Tensor};

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Constant(Rc<Tensor>),
    Float(Float),
}

/// A value of the float model, as a node of the file sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Float {
    /// Which value of the float model.
    pub(super) place: usize,
    /// Its dimensions; the batch, if it has one, is 1.
    pub(super) dims: Vec<usize>,
    pub(super) kind: Kind,
}

/// What the elements of a value are in the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Real,
    /// Whole numbers: indices, truth values.
    Whole,
    /// A class: its place among the model's classes, whatever the file calls it.
    Class,
    /// Integers of a quantised file; the float model has what they stand for.
    Quantised {
        scale: f64,
        zero: f64,
    },
}

impl Value {
    /// Its dimensions.
    pub(super) fn dims(&self) -> &[usize] {
        match self {
            Self::Constant(tensor) => &tensor.dims,
            Self::Float(float) => &float.dims,
        }
    }

    /// How many elements it has.
    pub(super) fn elements(&self) -> usize {
        self.dims().iter().product()
    }

    /// The constant.
    pub(super) fn constant(&self) -> Result<&Rc<Tensor>, Unsupported> {
        match self {
            Self::Constant(tensor) => Ok(tensor),
            Self::Float(_) => Err(Unsupported::Operand),
        }
    }

    /// The constant's one number.
    pub(super) fn scalar(&self) -> Result<f64, Unsupported> {
        match self.constant()?.numbers().as_slice() {
            [number] => Ok(*number),
            _ => Err(Unsupported::Shape),
        }
    }

    /// The constant's whole numbers.
    pub(super) fn integers(&self) -> Result<&[i64], Unsupported> {
        match &self.constant()?.content {
            Content::Integers(integers) => Ok(integers),
            Content::Floats(_) => Err(Unsupported::Operand),
        }
    }

    /// A constant of floats of two dimensions.
    pub(super) fn matrix(&self) -> Result<(&[f32], [usize; 2]), Unsupported> {
        let tensor = self.constant()?;
        match (&tensor.content, tensor.dims.as_slice()) {
            (Content::Floats(floats), &[rows, columns]) => Ok((floats, [rows, columns])),
            (Content::Floats(_), _) => Err(Unsupported::Shape),
            (Content::Integers(_), _) => Err(Unsupported::Operand),
        }
    }

    /// A constant that is added to `count` elements.
    pub(super) fn vector(&self, count: usize) -> Result<Vec<f32>, Unsupported> {
        let numbers = self.constant()?.numbers();
        let numbers: Vec<f32> = numbers.iter().map(|&x| x as f32).collect();
        match (numbers.as_slice(), self.dims()) {
            (all, [n] | [1, n]) if *n == count => Ok(all.to_vec()),
            ([one], _) => Ok(vec![*one; count]),
            _ => Err(Unsupported::Shape),
        }
    }
}
