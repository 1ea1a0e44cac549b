//! What the names of a file stand for.

use std::rc::Rc;

use super::Unsupported;
use super::tensor::{Content, Tensor};

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Constant(Rc<Tensor>),
    /// A float value, and its dimensions without the batch.
    Float {
        place: usize,
        dims: Vec<usize>,
    },
}

impl Value {
    /// The float value, and its dimensions.
    pub(super) fn float(&self) -> Result<(usize, &[usize]), Unsupported> {
        match self {
            Self::Float { place, dims } => Ok((*place, dims)),
            Self::Constant(_) => Err(Unsupported::Operand),
        }
    }

    fn floats(&self) -> Result<(&[f32], &[usize]), Unsupported> {
        let Self::Constant(tensor) = self else {
            return Err(Unsupported::Operand);
        };
        match &tensor.content {
            Content::Floats(floats) => Ok((floats, &tensor.dims)),
            Content::Integers(_) => Err(Unsupported::Operand),
        }
    }

    /// A constant of two dimensions.
    pub(super) fn matrix(&self) -> Result<(&[f32], [usize; 2]), Unsupported> {
        match self.floats()? {
            (floats, &[rows, columns]) => Ok((floats, [rows, columns])),
            _ => Err(Unsupported::Shape),
        }
    }

    /// A constant that is added to `count` elements.
    pub(super) fn vector(&self, count: usize) -> Result<Vec<f32>, Unsupported> {
        match self.floats()? {
            (floats, [n] | [1, n]) if *n == count => Ok(floats.to_vec()),
            (floats, [] | [1] | [1, 1]) => Ok(vec![floats[0]; count]),
            _ => Err(Unsupported::Shape),
        }
    }
}
