//! Calibrated quantisation: floats to integers, layer by layer (docs/spec/model.md, 7).
//!
//! Every scale comes from what the calibration samples did. A layer's multipliers are chosen first
//! and its weights' grid after them, so that requantising adds no error of its own; rounding is
//! folded into biases. Shifts depend on the options alone: models of one form share an architecture.

use graph::{Accumulator, Graph, InputType, Node, Operator, ValueId, Weights};

use super::float::{Dense, FloatGraph, FloatOperator};
use super::{ImportError, ImportOptions, InputScale, Unsupported};
use crate::{InputSchema, OutputSchema};

/// The graph, and the schemas of its ends.
pub(super) fn quantise(
    float: &FloatGraph,
    calibration: &[Vec<f32>],
    options: &ImportOptions,
) -> Result<(Graph, InputSchema, OutputSchema), ImportError> {
    let bits = [
        options.input_bits,
        options.activation_bits,
        options.weight_bits,
    ];
    if bits.iter().any(|bits| !(2..=16).contains(bits)) {
        return Err(ImportError::BadOptions);
    }
    let input = input_schema(float, calibration, options)?;
    let reach = reach(float, calibration);
    if let Some(place) = reach.iter().skip(1).position(|reach| !reach.is_finite()) {
        let node = float.nodes[place].name.clone();
        return Err(ImportError::NoScale { node });
    }
    let mut quantiser = Quantiser::new(float, &reach, &input, options);
    for place in 0..float.nodes.len() {
        quantiser.node(place)?;
    }
    let end = quantiser.made[float.output];
    if !(end.scale as f32).is_normal() {
        let node = float.nodes[float.output - 1].name.clone();
        return Err(ImportError::NoScale { node });
    }
    let graph_input = InputType {
        elements: input.elements,
        lo: input.lo,
        hi: input.hi,
    };
    let graph = Graph::new(graph_input, quantiser.nodes)?;
    let output = OutputSchema {
        elements: u32::try_from(graph.elements(graph.output())).expect("at most MAX_ELEMENTS"),
        scale: end.scale as f32,
        labels: Vec::new(),
    };
    Ok((graph, input, output))
}

/// Scales and zeros from the span of each element, or of all, over the samples.
fn input_schema(
    float: &FloatGraph,
    calibration: &[Vec<f32>],
    options: &ImportOptions,
) -> Result<InputSchema, ImportError> {
    let hi = largest(options.input_bits);
    let mut schema = InputSchema {
        elements: u32::try_from(float.input_elements()).expect("at most MAX_ELEMENTS"),
        scale: vec![1.0],
        zero: vec![0.0],
        lo: -hi,
        hi,
    };
    if calibration.is_empty() {
        return Err(ImportError::NoCalibration);
    }
    for (place, sample) in calibration.iter().enumerate() {
        if let Err(why) = schema.quantise(sample) {
            let why = why.into();
            return Err(ImportError::BadSample { place, why });
        }
    }
    let span = |element: usize| {
        let values = calibration.iter().map(|sample| f64::from(sample[element]));
        values.fold((f64::MAX, f64::MIN), |(lo, hi), x| (lo.min(x), hi.max(x)))
    };
    let mut spans: Vec<(f64, f64)> = (0..float.input_elements()).map(span).collect();
    // What an element did not do in calibration, it may do a little of later.
    if options.input_scale == InputScale::PerElement {
        let widest = spans.iter().map(|(lo, hi)| hi - lo).fold(0.0, f64::max);
        for (lo, hi) in &mut spans {
            let margin = if lo == hi {
                widest.max(1.0)
            } else {
                (*hi - *lo) / 8.0
            };
            (*lo, *hi) = (*lo - margin, *hi + margin);
        }
    } else {
        let fold = |a: (f64, f64), b: &(f64, f64)| (a.0.min(b.0), a.1.max(b.1));
        spans = vec![spans.iter().fold((f64::MAX, f64::MIN), fold)];
    }
    // Only a dense layer can take an offset into its biases.
    let feeds_dense_alone = float
        .nodes
        .iter()
        .all(|node| matches!(node.operator, FloatOperator::Dense(_)) || !node.inputs.contains(&0));
    if !feeds_dense_alone {
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
    Ok(schema)
}

/// The largest magnitude that each value took over the samples.
fn reach(float: &FloatGraph, calibration: &[Vec<f32>]) -> Vec<f64> {
    let mut reach = vec![0.0_f64; float.nodes.len() + 1];
    for sample in calibration {
        for (reach, value) in reach.iter_mut().zip(float.values(sample)) {
            *reach = value.iter().fold(*reach, |reach, x| larger(reach, x.abs()));
        }
    }
    reach
}

/// As `f64::max`, but what is not a number stays.
fn larger(a: f64, b: f64) -> f64 {
    if a >= b { a } else { b }
}

/// Largest integer of so many bits, with a sign.
const fn largest(bits: u8) -> i32 {
    (1 << (bits - 1)) - 1
}

/// A float value as integers: `float = integer * scale`.
#[derive(Debug, Clone, Copy)]
struct Made {
    value: ValueId,
    scale: f64,
}

struct Quantiser<'a> {
    float: &'a FloatGraph,
    reach: &'a [f64],
    input: &'a InputSchema,
    options: &'a ImportOptions,
    fates: Vec<Fate>,
    nodes: Vec<Node>,
    /// What each float value became.
    made: Vec<Made>,
}

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It ends the model, or only its order counts: accumulators are left as they are.
    Final,
    /// Relu is all that uses it: clamped as it is requantised.
    Rectified,
    /// Layers use it.
    Hidden,
}

/// What becomes of each value. Backwards, so that a Softmax knows its own fate first.
fn fates(float: &FloatGraph) -> Vec<Fate> {
    let mut fates = vec![Fate::Final; float.nodes.len() + 1];
    let mut used = vec![false; float.nodes.len() + 1];
    for (place, node) in float.nodes.iter().enumerate().rev() {
        let of_node = match &node.operator {
            FloatOperator::ArgMax => Fate::Final,
            FloatOperator::Softmax if fates[place + 1] == Fate::Final => Fate::Final,
            FloatOperator::Clamp { .. } => Fate::Rectified,
            _ => Fate::Hidden,
        };
        for &input in &node.inputs {
            // Users that do not agree need plain activations.
            let first = !std::mem::replace(&mut used[input], true);
            fates[input] = match fates[input] {
                _ if first && input != float.output => of_node,
                same if same == of_node => same,
                _ => Fate::Hidden,
            };
        }
    }
    fates
}

impl<'a> Quantiser<'a> {
    fn new(
        float: &'a FloatGraph,
        reach: &'a [f64],
        input: &'a InputSchema,
        options: &'a ImportOptions,
    ) -> Self {
        let scale = if input.scale.len() == 1 {
            input.scale[0].into()
        } else {
            1.0
        };
        let value = ValueId(0);
        Self {
            float,
            reach,
            input,
            options,
            fates: fates(float),
            nodes: Vec::new(),
            made: vec![Made { value, scale }],
        }
    }

    fn node(&mut self, place: usize) -> Result<(), ImportError> {
        let value = place + 1;
        let node = &self.float.nodes[place];
        let refused = |why| ImportError::Unsupported {
            node: node.name.clone(),
            why,
        };
        let input = |place: usize| self.made[node.inputs[place]];
        let made = match &node.operator {
            FloatOperator::Dense(dense) => self.dense(place, dense)?,
            FloatOperator::Add {
                left: 1.0,
                right: 1.0,
            } => self.add(place, input(0), input(1))?,
            FloatOperator::Clamp { lo: 0.0, hi } if *hi == f64::INFINITY => {
                self.relu(node.inputs[0])
            }
            FloatOperator::Softmax if self.fates[value] == Fate::Final => input(0),
            FloatOperator::Softmax => return Err(refused(Unsupported::NotAtEnd)),
            FloatOperator::ArgMax => {
                let from = input(0).value;
                let value = self.push(Operator::ArgMax, vec![from]);
                Made { value, scale: 1.0 }
            }
            _ => return Err(refused(Unsupported::NoIntegers)),
        };
        self.made.push(made);
        Ok(())
    }

    fn push(&mut self, operator: Operator, inputs: Vec<ValueId>) -> ValueId {
        self.nodes.push(Node { operator, inputs });
        let value = u32::try_from(self.nodes.len()).expect("a file has at most 2^16 nodes");
        ValueId(value)
    }

    /// Scale and clamp of value `value` as activations.
    fn activation(&self, value: usize, fate: Fate) -> (f64, i16, i16) {
        let hi = largest(self.options.activation_bits);
        let reach = match fate {
            // What Relu leaves of the value, not the value, must fit.
            Fate::Rectified => self.rectified_reach(value),
            _ => self.reach[value],
        };
        let reach = if reach > 0.0 { reach } else { 1.0 };
        let hi16 = i16::try_from(hi).expect("at most 16 bits");
        let lo = if fate == Fate::Rectified { 0 } else { -hi16 };
        (reach / f64::from(hi), lo, hi16)
    }

    fn rectified_reach(&self, value: usize) -> f64 {
        let nodes = self.float.nodes.iter().enumerate();
        let relu = nodes.filter(|(_, node)| {
            node.inputs == [value] && matches!(node.operator, FloatOperator::Clamp { .. })
        });
        relu.map(|(place, _)| self.reach[place + 1])
            .fold(0.0, f64::max)
    }

    fn dense(&mut self, place: usize, dense: &Dense) -> Result<Made, ImportError> {
        let (rows, from) = self.fold_input(place, dense);
        let no_scale = self.no_scale(place);
        let weight_max = f64::from(largest(self.options.weight_bits));
        let peak = |row: &Row| {
            row.weights
                .iter()
                .fold(0.0_f64, |peak, w| peak.max(w.abs()))
        };
        let fate = self.fates[place + 1];
        if fate == Fate::Final {
            // One grid for all rows: the order of the sums is the order of the floats.
            let peak = rows.iter().map(peak).fold(0.0, f64::max);
            let grid = if peak > 0.0 { peak / weight_max } else { 1.0 };
            let grids = vec![grid; rows.len()];
            let operator = self.integers(&rows, &grids, from.scale, &vec![0.0; rows.len()]);
            let operator = operator.ok_or(no_scale)?;
            let value = self.push(operator, vec![from.value]);
            let scale = grid * from.scale;
            return Ok(Made { value, scale });
        }
        let (scale, lo, hi) = self.activation(place + 1, fate);
        let shift = self.shift();
        let unit = f64::from(shift).exp2();
        let mut multipliers = Vec::new();
        let (mut grids, mut halves) = (Vec::new(), Vec::new());
        for row in &rows {
            // The multiplier first, rounded up; the grid of the weights is what then fits it.
            let ideal = peak(row) / weight_max * from.scale / scale * unit;
            let multiplier = ideal.ceil().max(1.0);
            if multiplier > f64::from(u16::MAX) {
                return Err(no_scale);
            }
            multipliers.push(multiplier as u16);
            grids.push(multiplier / unit * scale / from.scale);
            halves.push(unit / 2.0 / multiplier);
        }
        let operator = self.integers(&rows, &grids, from.scale, &halves);
        let sums = self.push(operator.ok_or(no_scale)?, vec![from.value]);
        let requantise = Operator::Requantise {
            multipliers,
            shift,
            lo,
            hi,
        };
        let value = self.push(requantise, vec![sums]);
        Ok(Made { value, scale })
    }

    /// Fixed by the options alone, so that it is a matter of the architecture.
    fn shift(&self) -> u8 {
        12 + self.options.weight_bits
    }

    /// The layer's rows over the integers of its input: offsets and scales of the model's input
    /// move into weights and biases.
    fn fold_input(&self, place: usize, dense: &Dense) -> (Vec<Row>, Made) {
        let source = self.float.nodes[place].inputs[0];
        let from = self.made[source];
        let row = |(row, bias): (usize, &f32)| Row {
            weights: dense.row(row).iter().map(|&w| w.into()).collect(),
            bias: (*bias).into(),
        };
        let mut rows: Vec<Row> = dense.bias.iter().enumerate().map(row).collect();
        if source == 0 {
            let (zero, scale) = (&self.input.zero, &self.input.scale);
            for row in &mut rows {
                for (column, w) in row.weights.iter_mut().enumerate() {
                    row.bias += *w * f64::from(zero[column.min(zero.len() - 1)]);
                    if scale.len() > 1 {
                        *w *= f64::from(scale[column]);
                    }
                }
            }
        }
        (rows, from)
    }

    /// Weights on their grids, biases in units of the sums, `halves` added for rounding.
    fn integers(
        &self,
        rows: &[Row],
        grids: &[f64],
        scale: f64,
        halves: &[f64],
    ) -> Option<Operator> {
        let mut bias = Vec::new();
        let mut weights: Vec<i16> = Vec::new();
        for ((row, grid), half) in rows.iter().zip(grids).zip(halves) {
            let sum = (row.bias / (grid * scale) + half).round();
            if sum.is_nan() || sum.abs() > f64::from(i32::MAX) {
                return None;
            }
            bias.push(sum as i32);
            weights.extend(row.weights.iter().map(|w| (w / grid).round() as i16));
        }
        let weights = if self.options.weight_bits <= 8 {
            Weights::Narrow(weights.into_iter().map(|w| w as i8).collect())
        } else {
            Weights::Wide(weights)
        };
        Some(Operator::Dense {
            weights,
            bias,
            accumulator: Accumulator::Narrow,
        })
    }

    fn add(&mut self, place: usize, a: Made, b: Made) -> Result<Made, ImportError> {
        let grid = a.scale.max(b.scale) / ADD_FACTOR;
        let factor = |made: Made| (made.scale / grid).round().max(1.0) as u16;
        let (left, right) = (factor(a), factor(b));
        let sum = self.push(Operator::Add { left, right }, vec![a.value, b.value]);
        let fate = self.fates[place + 1];
        if fate == Fate::Final {
            let scale = grid;
            return Ok(Made { value: sum, scale });
        }
        let (scale, lo, hi) = self.activation(place + 1, fate);
        let shift = self.shift();
        let multiplier = (grid / scale * f64::from(shift).exp2()).round();
        if !(1.0..=f64::from(u16::MAX)).contains(&multiplier) {
            return Err(self.no_scale(place));
        }
        let requantise = Operator::Requantise {
            multipliers: vec![multiplier as u16],
            shift,
            lo,
            hi,
        };
        let value = self.push(requantise, vec![sum]);
        Ok(Made { value, scale })
    }

    fn relu(&mut self, from: usize) -> Made {
        let made = self.made[from];
        // A value that only Relu uses was clamped when it was made.
        if from > 0 && self.fates[from] == Fate::Rectified && self.requantised(from) {
            return made;
        }
        let clamp = Operator::Clamp {
            lo: 0,
            hi: i32::MAX,
        };
        let value = self.push(clamp, vec![made.value]);
        Made { value, ..made }
    }

    /// Whether float value `value` was made by an operator that requantises.
    fn requantised(&self, value: usize) -> bool {
        let node = &self.float.nodes[value - 1];
        matches!(
            node.operator,
            FloatOperator::Dense(_) | FloatOperator::Add { .. }
        )
    }

    fn no_scale(&self, place: usize) -> ImportError {
        let node = self.float.nodes[place].name.clone();
        ImportError::NoScale { node }
    }
}

/// A row of a layer, in floats.
struct Row {
    weights: Vec<f64>,
    bias: f64,
}

/// The larger factor of an addition: fine enough, and two 16-bit values times it stay below 2^30.
const ADD_FACTOR: f64 = 8192.0;
