//! What an import did to a model: layer by layer, and as a whole.

use graph::{Operator, ValueId};

use super::float::FloatGraph;
use super::quantise::{Calibration, Quantised, Widths};
use super::{Agreement, BadSample, ImportError};

/// What an import did to a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The integer operators, in order.
    pub nodes: Vec<NodeReport>,
    /// Integers against floats, over the calibration samples.
    pub agreement: Agreement,
    /// The agreement that was asked for, in thousandths of the samples.
    pub wanted_permille: u16,
    /// Whether it was reached.
    pub reached: bool,
}

/// One integer operator.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeReport {
    /// The node of the file that it comes from: printable, at most 64 characters.
    pub name: String,
    /// The operator.
    pub operator: &'static str,
    /// How many integers it makes.
    pub elements: usize,
    /// The smallest and largest integer that it can make, for any input.
    pub interval: [i64; 2],
    /// What one step of an integer is worth, if it is the same for all.
    pub scale: Option<f64>,
    /// Of a layer with weights: how it was quantised.
    pub layer: Option<LayerReport>,
    /// Against the floats, over the calibration samples; `None` inside a layer.
    pub error: Option<ErrorReport>,
}

/// A layer with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerReport {
    /// Bits of the largest weight.
    pub weight_bits: u8,
    /// Whether the layer was made wider than the options say, to reach the agreement.
    pub widened: bool,
    /// The largest magnitude that any of its sums can have, for any input; always below 2^30.
    pub accumulator: i64,
}

/// How far integers are from floats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ErrorReport {
    /// The largest magnitude of the floats.
    pub reach: f64,
    /// The largest difference.
    pub largest: f64,
    /// The root of the mean square of the differences.
    pub typical: f64,
}

impl Report {
    /// What quantising made of the float model.
    pub(super) fn new(
        calibration: &Calibration<'_>,
        quantised: &Quantised,
        widths: &Widths,
        agreement: Agreement,
    ) -> Result<Self, ImportError> {
        let differences = differences(calibration, quantised)?;
        let graph = &quantised.graph;
        let mut nodes = Vec::new();
        for (place, node) in graph.nodes().iter().enumerate() {
            let value = ValueId(u32::try_from(place + 1).expect("at most MAX_NODES"));
            let range = graph.range(value).expect("the value is the graph's");
            let layer = quantised.layers.iter().find(|layer| layer.sums == value);
            let made = quantised.made.iter().rposition(|made| made.value == value);
            // Inside a layer: the first float value that is made from here on.
            let of = quantised
                .made
                .iter()
                .skip(1)
                .position(|made| made.value >= value);
            let float = &calibration.float.nodes;
            nodes.push(NodeReport {
                name: of.map_or_else(String::new, |of| float[of].name.as_str().to_owned()),
                operator: name(&node.operator),
                elements: graph.elements(value),
                interval: [range.lo(), range.hi()],
                scale: made.map(|made| quantised.made[made].scale),
                layer: layer.map(|layer| LayerReport {
                    weight_bits: layer.bits,
                    widened: widths.wide.contains(&layer.node),
                    accumulator: layer.bound,
                }),
                error: made.map(|made| ErrorReport {
                    reach: calibration.reach[made],
                    largest: differences[made].0,
                    typical: differences[made].1,
                }),
            });
        }
        let wanted_permille = calibration.options.agreement_permille;
        let reached =
            agreement.same_class * 1000 >= agreement.samples * usize::from(wanted_permille);
        Ok(Self {
            nodes,
            agreement,
            wanted_permille,
            reached,
        })
    }

    /// The names of the layers that were made wider than the options say.
    pub fn widened(&self) -> impl Iterator<Item = &str> {
        let widened = |node: &&NodeReport| node.layer.is_some_and(|layer| layer.widened);
        self.nodes
            .iter()
            .filter(widened)
            .map(|node| node.name.as_str())
    }
}

fn name(operator: &Operator) -> &'static str {
    match operator {
        Operator::Dense { .. } => "Dense",
        Operator::Requantise { .. } => "Requantise",
        Operator::Add { .. } => "Add",
        Operator::Clamp { .. } => "Clamp",
        Operator::ArgMax => "ArgMax",
        Operator::Conv(_) => "Conv",
        Operator::MaxPool(_) => "MaxPool",
        Operator::SumPool { .. } => "SumPool",
        Operator::Select(_) => "Select",
        Operator::Table { .. } => "Table",
        Operator::Slopes { .. } => "Slopes",
        Operator::Multiply => "Multiply",
        Operator::TreeEnsemble(_) => "TreeEnsemble",
        Operator::Distances { .. } => "Distances",
        Operator::Exponential { .. } => "Exponential",
        _ => "other",
    }
}

/// For each float value: how far its integers are from it, by the value's reach.
pub(super) fn errors(
    calibration: &Calibration<'_>,
    quantised: &Quantised,
) -> Result<Vec<f64>, ImportError> {
    let differences = differences(calibration, quantised)?;
    let last = |place: usize| {
        let value = quantised.made[place].value;
        let mut made = quantised.made.iter();
        made.rposition(|made| made.value == value).unwrap_or(place)
    };
    let each = (0..differences.len()).map(|place| {
        let place = last(place);
        let reach = calibration.reach[place];
        if reach > 0.0 {
            differences[place].1 / reach
        } else {
            0.0
        }
    });
    Ok(each.collect())
}

/// For each float value: the largest difference, and the root of the mean square.
fn differences(
    calibration: &Calibration<'_>,
    quantised: &Quantised,
) -> Result<Vec<(f64, f64)>, ImportError> {
    let float: &FloatGraph = calibration.float;
    let mut sums = vec![(0.0_f64, 0.0_f64, 0_usize); float.nodes.len() + 1];
    let both = float.cost().saturating_mul(2);
    // Enough to see which layers are bad.
    for (place, sample) in calibration.samples.iter().take(MAX_SAMPLES).enumerate() {
        let bad = |why: BadSample| ImportError::BadSample { place, why };
        calibration.work.spend(both)?;
        let input = quantised.input.quantise(sample);
        let input = input.map_err(|why| bad(why.into()))?;
        let integers = quantised
            .graph
            .trace(&input)
            .map_err(|why| bad(why.into()))?;
        let floats = float.values(sample);
        for ((made, meant), sum) in quantised.made.iter().zip(&floats).zip(&mut sums).skip(1) {
            let said = &integers[made.value.0 as usize];
            for (said, meant) in said.iter().zip(meant) {
                let error = (*said as f64 * made.scale - meant).abs();
                *sum = (sum.0.max(error), sum.1 + error * error, sum.2 + 1);
            }
        }
    }
    let mean = |(largest, squares, count): &(f64, f64, usize)| {
        (*largest, (squares / (*count).max(1) as f64).sqrt())
    };
    Ok(sums.iter().map(mean).collect())
}

/// Samples that the report compares value by value.
const MAX_SAMPLES: usize = 64;
