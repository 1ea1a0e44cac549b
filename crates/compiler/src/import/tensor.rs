//! Constants of a file: dimensions, type and bytes that fit each other.

use graph::MAX_PARAMETERS;
use rten_onnx::onnx::{DataLocation, DataType, TensorProto};

use super::budget::Budget;
use super::{ImportError, Label};

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) dims: Vec<usize>,
    pub(super) content: Content,
    /// The smallest and largest number of the file's type, if it has 8 or 16 bits.
    pub(super) span: Option<[i64; 2]>,
}

/// The elements of a constant, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Floats(Vec<f32>),
    /// Whole numbers of any type of the file, truth values among them.
    Integers(Vec<i64>),
}

impl Tensor {
    /// Reads a tensor.
    pub(super) fn read(proto: &TensorProto, budget: &mut Budget) -> Result<Self, ImportError> {
        let read = Self::read_any(proto, budget)?;
        if let Content::Floats(floats) = &read.content
            && floats.iter().any(|x| !x.is_finite())
        {
            let tensor = Label::new(proto.name.as_deref().unwrap_or_default());
            return Err(ImportError::NotFinite { tensor });
        }
        Ok(read)
    }

    /// Reads a tensor whose numbers need not be finite.
    pub(super) fn read_any(proto: &TensorProto, budget: &mut Budget) -> Result<Self, ImportError> {
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
        let kind = proto.data_type.and_then(kind).ok_or_else(bad)?;
        // Compared before anything is taken: a count is only a claim.
        if stored(proto, kind) != Some(count) {
            return Err(bad());
        }
        let bytes_each = if kind.whole() { 8 } else { 4 };
        if !budget.take(count.saturating_mul(bytes_each)) {
            return Err(ImportError::OverBudget { name: tensor });
        }
        let content = content(proto, kind);
        let span = kind.span();
        Ok(Self {
            dims,
            content,
            span,
        })
    }

    /// A constant that no file holds.
    pub(super) const fn new(dims: Vec<usize>, content: Content) -> Self {
        let span = None;
        Self {
            dims,
            content,
            span,
        }
    }

    /// The elements as numbers; whole ones beyond 2^53 are rounded.
    pub(super) fn numbers(&self) -> Vec<f64> {
        match &self.content {
            Content::Floats(floats) => floats.iter().map(|&x| x.into()).collect(),
            Content::Integers(integers) => integers.iter().map(|&x| x as f64).collect(),
        }
    }

    /// How many elements there are.
    pub(super) fn len(&self) -> usize {
        match &self.content {
            Content::Floats(floats) => floats.len(),
            Content::Integers(integers) => integers.len(),
        }
    }
}

/// Most dimensions of a tensor.
pub(super) const MAX_RANK: usize = 8;

/// The product of `dims`, if it is a number.
pub(super) fn elements(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1_usize, |a, &b| a.checked_mul(b))
}

/// How elements are stored: in raw bytes so many each, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Float,
    Half,
    Double,
    Signed(usize),
    Unsigned(usize),
}

impl Stored {
    const fn whole(self) -> bool {
        matches!(self, Self::Signed(_) | Self::Unsigned(_))
    }

    const fn span(self) -> Option<[i64; 2]> {
        Some(match self {
            Self::Signed(1) => [-128, 127],
            Self::Unsigned(1) => [0, 255],
            Self::Signed(2) => [-32_768, 32_767],
            Self::Unsigned(2) => [0, 65_535],
            _ => return None,
        })
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Half => 2,
            Self::Float => 4,
            Self::Double => 8,
            Self::Signed(bytes) | Self::Unsigned(bytes) => bytes,
        }
    }
}

fn kind(data_type: DataType) -> Option<Stored> {
    Some(match data_type {
        DataType::FLOAT => Stored::Float,
        DataType::FLOAT16 => Stored::Half,
        DataType::DOUBLE => Stored::Double,
        DataType::INT8 => Stored::Signed(1),
        DataType::INT16 => Stored::Signed(2),
        DataType::INT32 => Stored::Signed(4),
        DataType::INT64 => Stored::Signed(8),
        DataType::UINT8 | DataType::BOOL => Stored::Unsigned(1),
        DataType::UINT16 => Stored::Unsigned(2),
        DataType::UINT32 => Stored::Unsigned(4),
        _ => return None,
    })
}

/// How many elements the tensor has bytes for; `None` if they are no whole number of elements.
fn stored(proto: &TensorProto, kind: Stored) -> Option<usize> {
    match &proto.raw_data {
        Some(raw) => {
            let bytes = raw.borrow().len();
            bytes
                .is_multiple_of(kind.bytes())
                .then_some(bytes / kind.bytes())
        }
        None => Some(match kind {
            Stored::Float => proto.float_data.len(),
            Stored::Double => proto.double_data.len(),
            Stored::Signed(8) => proto.int64_data.len(),
            // Unsigned words stand in a field that the parser does not read.
            Stored::Unsigned(4) => return None,
            _ => proto.int32_data.len(),
        }),
    }
}

fn content(proto: &TensorProto, kind: Stored) -> Content {
    let Some(raw) = &proto.raw_data else {
        let small = proto.int32_data.iter();
        return match kind {
            Stored::Float => Content::Floats(proto.float_data.clone()),
            Stored::Double => {
                Content::Floats(proto.double_data.iter().map(|&x| x as f32).collect())
            }
            Stored::Half => Content::Floats(small.map(|&bits| half(bits as u16)).collect()),
            Stored::Signed(8) => Content::Integers(proto.int64_data.clone()),
            _ => Content::Integers(small.map(|&x| x.into()).collect()),
        };
    };
    let raw = raw.borrow();
    let chunks = raw.chunks_exact(kind.bytes());
    match kind {
        Stored::Float => Content::Floats(chunks.map(|c| f32::from_bits(word(c) as u32)).collect()),
        Stored::Half => Content::Floats(chunks.map(|c| half(word(c) as u16)).collect()),
        Stored::Double => Content::Floats(chunks.map(|c| f64::from_bits(word(c)) as f32).collect()),
        Stored::Unsigned(_) => Content::Integers(chunks.map(|c| word(c).cast_signed()).collect()),
        Stored::Signed(bytes) => {
            let unused = 64 - 8 * bytes as u32;
            let signed = |c| (word(c) << unused).cast_signed() >> unused;
            Content::Integers(chunks.map(signed).collect())
        }
    }
}

/// Up to eight little-endian bytes.
fn word(bytes: &[u8]) -> u64 {
    let push = |word: u64, &byte: &u8| word << 8 | u64::from(byte);
    bytes.iter().rev().fold(0, push)
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (bits >> 10 & 31, f32::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction / 16_777_216.0,
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2.0_f32.powi(i32::from(exponent) - 25),
    };
    if bits >> 15 == 1 {
        -magnitude
    } else {
        magnitude
    }
}
