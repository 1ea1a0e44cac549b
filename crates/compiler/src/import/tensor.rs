//! Constants of a file: dimensions, type and bytes that fit each other.

use graph::MAX_PARAMETERS;
use rten_onnx::onnx::{DataLocation, DataType, TensorProto};

use super::{ImportError, Label};

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) dims: Vec<usize>,
    pub(super) content: Content,
}

/// The elements of a constant, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Floats(Vec<f32>),
    Integers(Vec<i64>),
}

impl Tensor {
    /// Reads a tensor.
    pub(super) fn read(proto: &TensorProto) -> Result<Self, ImportError> {
        let tensor = Label::new(proto.name.as_deref().unwrap_or_default());
        let external = proto.data_location == Some(DataLocation::EXTERNAL);
        if external || !proto.external_data.is_empty() {
            return Err(ImportError::ExternalData { tensor });
        }
        let bad = || ImportError::BadTensor {
            tensor: tensor.clone(),
        };
        let dims: Option<Vec<usize>> = proto.dims.iter().map(|&d| d.try_into().ok()).collect();
        let dims = dims.filter(|dims| dims.len() <= MAX_RANK).ok_or_else(bad)?;
        let count = elements(&dims).filter(|&count| count <= MAX_PARAMETERS);
        let count = count.ok_or_else(bad)?;
        let content = match proto.data_type {
            Some(DataType::FLOAT) => floats(proto).map(Content::Floats),
            Some(DataType::INT64) => integers(proto).map(Content::Integers),
            _ => None,
        };
        let content = content.filter(|content| content.len() == count);
        let content = content.ok_or_else(bad)?;
        if let Content::Floats(floats) = &content
            && floats.iter().any(|x| !x.is_finite())
        {
            return Err(ImportError::NotFinite { tensor });
        }
        Ok(Self { dims, content })
    }
}

impl Content {
    fn len(&self) -> usize {
        match self {
            Self::Floats(floats) => floats.len(),
            Self::Integers(integers) => integers.len(),
        }
    }
}

/// Most dimensions of a tensor.
pub(super) const MAX_RANK: usize = 8;

/// The product of `dims`, if it is a number.
pub(super) fn elements(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1_usize, |a, &b| a.checked_mul(b))
}

fn floats(proto: &TensorProto) -> Option<Vec<f32>> {
    match &proto.raw_data {
        Some(raw) => {
            let raw = raw.borrow();
            let (chunks, rest) = raw.as_chunks();
            let read = |chunk: &[u8; 4]| f32::from_le_bytes(*chunk);
            rest.is_empty().then(|| chunks.iter().map(read).collect())
        }
        None => Some(proto.float_data.clone()),
    }
}

fn integers(proto: &TensorProto) -> Option<Vec<i64>> {
    match &proto.raw_data {
        Some(raw) => {
            let raw = raw.borrow();
            let (chunks, rest) = raw.as_chunks();
            let read = |chunk: &[u8; 8]| i64::from_le_bytes(*chunk);
            rest.is_empty().then(|| chunks.iter().map(read).collect())
        }
        None => Some(proto.int64_data.clone()),
    }
}
