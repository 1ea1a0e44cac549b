//! Calibrated quantisation: floats to integers, layer by layer (docs/spec/model.md, 7).
//!
//! Every scale comes from what the calibration samples did. `plan` says what each value becomes,
//! `emit` writes the integer nodes, a layer's weights in `layer`. Shifts depend on the options
//! alone, so that models of one form share an architecture, unless a multiplier would not fit.

mod emit;
mod layer;
mod machine;
mod plan;
pub(super) mod widen;

use graph::{Graph, InputType, ordered};

use super::budget::Work;
use super::float::{FloatGraph, FloatOperator};
use super::{ImportError, ImportOptions, InputScale, Unsupported};
use crate::{Encoding, InputSchema, OutputSchema};
use emit::Emitter;
pub(super) use emit::{Layer, Made};
use machine::Grid;
pub(super) use widen::Widths;

/// A float model as integers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quantised {
    pub(super) graph: Graph,
    pub(super) input: InputSchema,
    pub(super) output: OutputSchema,
    /// What each float value became.
    pub(super) made: Vec<Made>,
    /// Layers with weights, in order.
    pub(super) layers: Vec<Layer>,
}

/// What calibration found: the same for all widths.
pub(super) struct Calibration<'a> {
    pub(super) float: &'a FloatGraph,
    /// With stand-ins for what is missing.
    pub(super) samples: Vec<Vec<f32>>,
    /// The largest magnitude that each value took over the samples.
    pub(super) reach: Vec<f64>,
    pub(super) options: &'a ImportOptions,
    pub(super) work: &'a Work,
    input: InputSchema,
    /// How the machine that takes the input measures distances.
    grid: Option<Grid>,
}

impl<'a> Calibration<'a> {
    /// Runs the float model over the samples.
    pub(super) fn new(
        float: &'a FloatGraph,
        missing: Vec<f32>,
        samples: &[Vec<f32>],
        options: &'a ImportOptions,
        work: &'a Work,
    ) -> Result<Self, ImportError> {
        let bits = [
            options.input_bits,
            options.activation_bits,
            options.weight_bits,
        ];
        if bits.iter().any(|bits| !(2..=16).contains(bits)) {
            return Err(ImportError::BadOptions);
        }
        let (input, grid) = input_schema(float, missing, samples, options)?;
        let samples: Vec<Vec<f32>> = samples.iter().map(|s| input.imputed(s)).collect();
        let reach = reach(float, &samples, work)?;
        if let Some(place) = reach.iter().skip(1).position(|reach| !reach.is_finite()) {
            let node = float.nodes[place].name.clone();
            return Err(ImportError::NoScale { node });
        }
        Ok(Self {
            float,
            samples,
            reach,
            options,
            work,
            input,
            grid,
        })
    }

    /// The integers, with layers as wide as `widths` says.
    pub(super) fn quantise(&self, widths: &Widths) -> Result<Quantised, ImportError> {
        self.work.spend(writing(self.float))?;
        let mut emitter = Emitter::new(self, widths);
        for place in 0..self.float.nodes.len() {
            emitter.node(place)?;
        }
        let (nodes, made, layers) = emitter.finish();
        let end = made[self.float.output];
        if !(end.scale as f32).is_normal() {
            let node = self.float.nodes[self.float.output - 1].name.clone();
            return Err(ImportError::NoScale { node });
        }
        let input = InputType {
            elements: self.input.elements,
            lo: self.input.lo,
            hi: self.input.hi,
        };
        let graph = Graph::new(input, nodes)?;
        let output = OutputSchema {
            elements: u32::try_from(graph.elements(graph.output())).expect("at most MAX_ELEMENTS"),
            scale: end.scale as f32,
            labels: Vec::new(),
        };
        Ok(Quantised {
            graph,
            input: self.input.clone(),
            output,
            made,
            layers,
        })
    }
}

/// Who takes the input, and so how it may be scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takers {
    /// Dense layers: any scales, any zeros.
    Dense,
    /// Layers of weights without padding: one scale, any zero.
    Layers,
    /// Others: one scale, and zero is zero.
    Others,
}

/// Bits of the input and of weights, at least, where nothing stands between them: a model of one
/// layer has no other rounding.
const LINEAR_BITS: u8 = 12;

/// Bits of the input of such a model, at least: its span is twice as wide, since a number outside
/// of it would be its largest error.
const LINEAR_INPUT_BITS: u8 = 14;

/// Whether nothing stands between the input and the one layer or machine that decides.
fn linear(float: &FloatGraph) -> bool {
    float.nodes.iter().all(|node| match &node.operator {
        FloatOperator::Dense(_) => node.inputs == [0],
        FloatOperator::Machine(_)
        | FloatOperator::ArgMax
        | FloatOperator::Votes(_)
        | FloatOperator::Softmax => true,
        _ => false,
    })
}

fn takers(float: &FloatGraph) -> Takers {
    let takers = float.nodes.iter().filter(|node| node.inputs.contains(&0));
    let each = takers.map(|node| match &node.operator {
        FloatOperator::Dense(_) => Takers::Dense,
        FloatOperator::Conv(conv) if conv.window.pads == [0; 4] => Takers::Layers,
        _ => Takers::Others,
    });
    each.fold(Takers::Dense, |all, one| match (all, one) {
        (Takers::Others, _) | (_, Takers::Others) => Takers::Others,
        (Takers::Layers, _) | (_, Takers::Layers) => Takers::Layers,
        (Takers::Dense, Takers::Dense) => Takers::Dense,
    })
}

/// Scales and zeros from the span of each element, or of all, over the samples.
fn input_schema(
    float: &FloatGraph,
    missing: Vec<f32>,
    samples: &[Vec<f32>],
    options: &ImportOptions,
) -> Result<(InputSchema, Option<Grid>), ImportError> {
    let linear = linear(float);
    let bits = if linear {
        options.input_bits.max(LINEAR_INPUT_BITS)
    } else {
        options.input_bits
    };
    let hi = largest(bits);
    let mut schema = InputSchema {
        elements: u32::try_from(float.input_elements()).expect("at most MAX_ELEMENTS"),
        encoding: Encoding::Scaled,
        missing,
        scale: vec![1.0],
        zero: vec![0.0],
        lo: -hi,
        hi,
    };
    if let Some(missing) = forests(float)? {
        let end = if missing { f32::NAN } else { f32::INFINITY };
        schema.encoding = Encoding::Ordered;
        (schema.lo, schema.hi) = (ordered(f32::NEG_INFINITY), ordered(end));
    }
    if samples.is_empty() {
        return Err(ImportError::NoCalibration);
    }
    for (place, sample) in samples.iter().enumerate() {
        if let Err(why) = schema.quantise(sample) {
            let why = why.into();
            return Err(ImportError::BadSample { place, why });
        }
    }
    if schema.encoding == Encoding::Ordered {
        return Ok((schema, None));
    }
    let samples: Vec<Vec<f32>> = samples.iter().map(|s| schema.imputed(s)).collect();
    if let Some(grid) = Grid::of_input(float, &samples)? {
        grid.scale(&mut schema);
        return Ok((schema, Some(grid)));
    }
    let span = |element: usize| {
        let values = samples.iter().map(|sample| f64::from(sample[element]));
        values.fold((f64::MAX, f64::MIN), |(lo, hi), x| (lo.min(x), hi.max(x)))
    };
    let mut spans: Vec<(f64, f64)> = (0..float.input_elements()).map(span).collect();
    let takers = takers(float);
    if options.input_scale == InputScale::PerElement && takers == Takers::Dense {
        // What an element did not do in calibration, it may do a little of later.
        let widest = spans.iter().map(|(lo, hi)| hi - lo).fold(0.0, f64::max);
        for (lo, hi) in &mut spans {
            let margin = if lo == hi {
                widest.max(1.0)
            } else if linear {
                *hi - *lo
            } else {
                (*hi - *lo) / 8.0
            };
            (*lo, *hi) = (*lo - margin, *hi + margin);
        }
    } else {
        let fold = |a: (f64, f64), b: &(f64, f64)| (a.0.min(b.0), a.1.max(b.1));
        spans = vec![spans.iter().fold((f64::MAX, f64::MIN), fold)];
    }
    if takers == Takers::Others {
        let symmetric = |&(lo, hi): &(f64, f64)| f64::max(lo.abs(), hi.abs());
        let widest = spans.iter().map(symmetric).fold(0.0, f64::max);
        spans = vec![(-widest, widest)];
    }
    schema.zero = spans
        .iter()
        .map(|(lo, hi)| ((lo + hi) / 2.0) as f32)
        .collect();
    let scale = |(lo, hi): &(f64, f64)| {
        let scale = ((hi - lo) / f64::from(2 * schema.hi)) as f32;
        if scale.is_normal() { scale } else { 1.0 }
    };
    schema.scale = spans.iter().map(scale).collect();
    Ok((schema, None))
}

/// Whether trees take the input, and if so whether they say where missing numbers go.
fn forests(float: &FloatGraph) -> Result<Option<bool>, ImportError> {
    let mut missing = None;
    let mut others = None;
    for node in &float.nodes {
        match &node.operator {
            FloatOperator::Forest(forest) => {
                missing = Some(missing.unwrap_or(false) || forest.missing);
            }
            _ if node.inputs.contains(&0) => others = Some(node),
            _ => {}
        }
    }
    match (missing, others) {
        (Some(_), Some(node)) => Err(ImportError::Unsupported {
            node: node.name.clone(),
            why: Unsupported::TreeInput,
        }),
        _ => Ok(missing),
    }
}

/// The largest magnitude that each value took over the samples.
fn reach(float: &FloatGraph, samples: &[Vec<f32>], work: &Work) -> Result<Vec<f64>, ImportError> {
    let cost = float.cost();
    let mut reach = vec![0.0_f64; float.nodes.len() + 1];
    for sample in samples {
        work.spend(cost)?;
        for (reach, value) in reach.iter_mut().zip(float.values(sample)) {
            *reach = value.iter().fold(*reach, |reach, x| larger(reach, x.abs()));
        }
    }
    Ok(reach)
}

/// Operations of writing the integers once: each weight, and the entries of tables.
fn writing(float: &FloatGraph) -> u64 {
    let each = float.nodes.iter().map(|node| match &node.operator {
        FloatOperator::Dense(dense) => dense.weights.len(),
        FloatOperator::Conv(conv) => conv.weights.len(),
        FloatOperator::Function(function) => function.len() << 16,
        _ => node.dims.iter().product(),
    });
    let sum = each.fold(0, usize::saturating_add);
    u64::try_from(sum).unwrap_or(u64::MAX)
}

/// As `f64::max`, but what is not a number stays.
fn larger(a: f64, b: f64) -> f64 {
    if a >= b { a } else { b }
}

/// Largest integer of so many bits, with a sign.
pub(super) const fn largest(bits: u8) -> i32 {
    (1 << (bits - 1)) - 1
}
