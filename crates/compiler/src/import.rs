//! From ONNX to the integer graph: check the bytes, lower, normalise, calibrate, quantise.
//!
//! The file is hostile: it is bytes in memory (no file is opened, so external data is refused), its
//! nesting and its counts are checked before anything is built from it, what it makes the importer
//! allocate is counted before it is allocated, and whatever is not understood is refused by name.
//!
//! One file a stage: `scan` checks the bytes, `lower` resolves names and folds constants, asking
//! `operators` (one file a family) what each node becomes in the `float` model; `normal` brings that
//! into one form; `quantise` runs it over the calibration samples and writes integers. To add an
//! operator, begin in `operators`.

mod budget;
mod error;
mod float;
mod lower;
mod node;
mod normal;
mod operators;
mod quantise;
mod scan;
mod tensor;
#[cfg(test)]
mod tests;
mod value;

use graph::Graph;
use rten_onnx::onnx::ModelProto;

use budget::Budget;
pub use error::{BadSample, ImportError, Label, Unsupported};
use float::FloatGraph;

use crate::{InputSchema, OutputSchema};

/// What the importer may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOptions {
    /// Which of the file's outputs is wanted; needed if there is more than one.
    pub output: Option<String>,
    /// How the input's numbers are scaled.
    pub input_scale: InputScale,
    /// Bits of the input's integers, 2 to 16.
    pub input_bits: u8,
    /// Bits of the integers between layers, 2 to 16.
    pub activation_bits: u8,
    /// Bits of weights, 2 to 16; up to 8 are kept in a byte.
    pub weight_bits: u8,
    /// Most bytes that reading the file may take, beside the file itself.
    pub memory: usize,
}

/// How the input's numbers are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputScale {
    /// One scale for all: pixels, embeddings.
    Shared,
    /// One scale an element: features of different units. The input must feed dense layers only.
    PerElement,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            output: None,
            input_scale: InputScale::PerElement,
            input_bits: 8,
            activation_bits: 8,
            weight_bits: 8,
            memory: 256 << 20,
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
    float: FloatGraph,
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

/// Reads an ONNX file and quantises it by what it does to `calibration`, which are inputs as the
/// model will see them.
///
/// # Errors
/// [`ImportError`], naming the node or tensor.
pub fn import_onnx(
    onnx: &[u8],
    calibration: &[Vec<f32>],
    options: &ImportOptions,
) -> Result<Imported, ImportError> {
    let mut budget = Budget::new(options.memory);
    scan::scan(onnx, &mut budget)?;
    let model = ModelProto::parse_buf(onnx).map_err(|_| ImportError::Malformed)?;
    let float = lower::lower(&model, options.output.as_deref(), &mut budget)?;
    let float = normal::normalise(float);
    let (graph, input, output) = quantise::quantise(&float, calibration, options)?;
    Ok(Imported {
        graph,
        input,
        output,
        float,
    })
}

impl Imported {
    /// Runs floats and integers side by side.
    ///
    /// # Errors
    /// [`ImportError::BadSample`] if a sample does not fit the model.
    pub fn agreement(&self, samples: &[Vec<f32>]) -> Result<Agreement, ImportError> {
        let mut agreement = Agreement {
            samples: samples.len(),
            same_class: 0,
            largest_error: 0.0,
        };
        for (place, sample) in samples.iter().enumerate() {
            let bad = |why| ImportError::BadSample { place, why };
            let integers = self.input.quantise(sample).map_err(|e| bad(e.into()))?;
            let said = self.graph.run(&integers).map_err(|e| bad(e.into()))?;
            let meant = self.float.run(sample);
            let same = place_of_largest(&meant, said.len()) == self.output.place(&said);
            agreement.same_class += usize::from(same);
            let scale = f64::from(self.output.scale);
            for (said, meant) in said.iter().zip(&meant) {
                let error = (f64::from(*said) * scale - meant).abs();
                agreement.largest_error = agreement.largest_error.max(error);
            }
        }
        Ok(agreement)
    }

    /// The class that the float model gives `sample`: what the integers are compared with.
    /// `None` if the sample does not fit.
    #[must_use]
    pub fn float_class(&self, sample: &[f32]) -> Option<usize> {
        self.input.quantise(sample).ok()?;
        let meant = self.float.run(sample);
        place_of_largest(&meant, meant.len())
    }
}

/// The first place of the largest value; of one value, the value itself.
fn place_of_largest(values: &[f64], count: usize) -> Option<usize> {
    if count == 1 {
        return values.first().map(|&index| index as usize);
    }
    let better = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).reduce(better)
}
