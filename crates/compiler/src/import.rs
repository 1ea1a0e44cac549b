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
mod report;
mod scan;
mod tensor;
#[cfg(test)]
mod tests;
mod value;

use graph::Graph;
use rten_onnx::onnx::ModelProto;

use budget::{Budget, Work};
pub use error::{BadSample, ImportError, Label, Unsupported};
use float::FloatGraph;
use quantise::{Calibration, Quantised};
pub use report::{ErrorReport, LayerReport, NodeReport, Report};

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
    /// Of how many calibration samples in a thousand the integers must say what the floats say;
    /// layers are widened until they do, or all are wide.
    pub agreement_permille: u16,
    /// Most bytes that reading the file may take, beside the file itself.
    pub memory: usize,
    /// Most operations that reading, calibrating and quantising may take: a multiplication, a
    /// comparison or an element moved is one, and a thousand million of them take about a second or
    /// two. The same file and samples take the same number everywhere.
    pub work: u64,
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
            agreement_permille: 990,
            memory: 256 << 20,
            work: 1 << 40,
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
    /// What its output means; with the labels of the file.
    pub output: OutputSchema,
    /// What the import did, layer by layer.
    pub report: Report,
    float: FloatGraph,
}

/// How far the integers agree with the floats, over some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// How many samples were compared.
    pub samples: usize,
    /// How many got the same class from both; of models that give one number, which is no index:
    /// a number that is off by at most a 64th of the largest.
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
    let work = Work::new(options.work);
    scan::scan(onnx, &mut budget)?;
    let lowered = {
        let model = ModelProto::parse_buf(onnx).map_err(|_| ImportError::Malformed)?;
        lower::lower(&model, options.output.as_deref(), &mut budget, &work)?
    };
    let float = normal::normalise(lowered.float, &work)?;
    if float.output == 0 {
        return Err(ImportError::NoGraph);
    }
    let calibration = Calibration::new(&float, lowered.missing, calibration, options, &work)?;
    let (mut quantised, widths, agreement) = quantise::widen::narrowest(&calibration)?;
    quantised.output.labels = lowered.labels;
    let report = Report::new(&calibration, &quantised, &widths, agreement)?;
    Ok(Imported {
        graph: quantised.graph,
        input: quantised.input,
        output: quantised.output,
        report,
        float,
    })
}

/// Runs floats and integers side by side.
fn compare(
    float: &FloatGraph,
    quantised: &Quantised,
    samples: &[Vec<f32>],
    work: &Work,
) -> Result<Agreement, ImportError> {
    let Quantised {
        graph,
        input,
        output,
        ..
    } = quantised;
    agreement(float, graph, input, output, samples, work)
}

impl Imported {
    /// Runs floats and integers side by side. What that takes, the caller bounds by how many samples
    /// it gives.
    ///
    /// # Errors
    /// [`ImportError::BadSample`] if a sample does not fit the model.
    pub fn agreement(&self, samples: &[Vec<f32>]) -> Result<Agreement, ImportError> {
        let (input, output) = (&self.input, &self.output);
        let work = Work::new(u64::MAX);
        agreement(&self.float, &self.graph, input, output, samples, &work)
    }

    /// What the float model says of `sample`: what the integers are compared with. `None` if the
    /// sample does not fit.
    #[must_use]
    pub fn float(&self, sample: &[f32]) -> Option<Vec<f64>> {
        self.input.quantise(sample).ok()?;
        Some(self.float.run(sample))
    }

    /// The class that the float model gives `sample`: what the integers are compared with.
    /// `None` if the sample does not fit.
    #[must_use]
    pub fn float_class(&self, sample: &[f32]) -> Option<usize> {
        self.input.quantise(sample).ok()?;
        let meant = self.float.run(&self.input.imputed(sample));
        place_of_largest(&meant, meant.len())
    }
}

fn agreement(
    float: &FloatGraph,
    graph: &Graph,
    input: &InputSchema,
    output: &OutputSchema,
    samples: &[Vec<f32>],
    work: &Work,
) -> Result<Agreement, ImportError> {
    let both = float.cost().saturating_mul(2);
    let mut agreement = Agreement {
        samples: samples.len(),
        same_class: 0,
        largest_error: 0.0,
    };
    let scale = f64::from(output.scale);
    let mut runs = Vec::new();
    for (place, sample) in samples.iter().enumerate() {
        let bad = |why| ImportError::BadSample { place, why };
        work.spend(both)?;
        let integers = input.quantise(sample).map_err(|e| bad(e.into()))?;
        let said = graph.run(&integers).map_err(|e| bad(e.into()))?;
        runs.push((said, float.run(&input.imputed(sample))));
    }
    let reach = runs.iter().flat_map(|(_, meant)| meant);
    let reach = reach.fold(0.0_f64, |reach, y| reach.max(y.abs()));
    for (said, meant) in &runs {
        let errors = said.iter().zip(meant);
        let errors = errors.map(|(said, meant)| (f64::from(*said) * scale - meant).abs());
        let error = errors.fold(0.0, f64::max);
        let same = if meant.len() > 1 || float.gives_index() {
            place_of_largest(meant, said.len()) == output.place(said)
        } else {
            // One number is no class: near enough is the same.
            error <= NEAR * reach
        };
        agreement.same_class += usize::from(same);
        agreement.largest_error = agreement.largest_error.max(error);
    }
    Ok(agreement)
}

/// How far one number may be off, by the largest that there is.
const NEAR: f64 = 1.0 / 64.0;

/// The first place of the largest value; of one value, the value itself.
fn place_of_largest(values: &[f64], count: usize) -> Option<usize> {
    if count == 1 {
        return values.first().map(|&index| index as usize);
    }
    let better = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).reduce(better)
}
