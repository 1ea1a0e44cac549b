//! From ONNX to the integer graph.

use graph::Graph;
use thiserror::Error;

use crate::{InputSchema, OutputSchema};

/// What the importer may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOptions {
    /// Which of the file's outputs is wanted; needed if there is more than one.
    pub output: Option<String>,
    /// Bits of the input's integers, 2 to 16.
    pub input_bits: u8,
    /// Bits of the integers between layers, 2 to 16.
    pub activation_bits: u8,
    /// Bits of weights, 2 to 16; up to 8 are kept in a byte.
    pub weight_bits: u8,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            output: None,
            input_bits: 8,
            activation_bits: 8,
            weight_bits: 8,
        }
    }
}

/// A model as integers.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The model.
    pub graph: Graph,
    /// How numbers become its input.
    pub input: InputSchema,
    /// What its output means; without labels.
    pub output: OutputSchema,
}

/// How far the integers agree with the floats, over some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// How many samples were compared.
    pub samples: usize,
    /// How many got the same class from both.
    pub same_class: usize,
    /// The largest difference of an output, in the float model's units.
    pub largest_error: f64,
}

/// Why a file is not imported.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ImportError {}

/// Reads an ONNX file and quantises it by what it does to `calibration`, which are inputs as the
/// model will see them.
///
/// # Errors
/// [`ImportError`], naming the node.
pub fn import_onnx(
    onnx: &[u8],
    calibration: &[Vec<f32>],
    options: &ImportOptions,
) -> Result<Imported, ImportError> {
    let _ = (onnx, calibration, options);
    todo!()
}
