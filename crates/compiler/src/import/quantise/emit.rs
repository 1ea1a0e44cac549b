//! Writes integer nodes, in the order of the float nodes.

mod classic;

use graph::{Accumulator, Conv, Node, Operator, Select, ValueId, Window};

use super::layer::{self, Row, Rows, Wanted, fitting};
use super::plan::{Activation, Form, Plan, Target};
use super::widen::Widths;
use super::{Calibration, largest};
use crate::import::float::{self, FloatNode, FloatOperator, Function};
use crate::import::{ImportError, Unsupported};

/// A float value as integers: `float = integer * scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::import) struct Made {
    pub(in crate::import) value: ValueId,
    pub(in crate::import) scale: f64,
    /// Smallest and largest integer, of activations.
    pub(in crate::import) ends: Option<[i32; 2]>,
}

/// A layer with weights, as it was quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) struct Layer {
    /// The float node that it says.
    pub(in crate::import) node: usize,
    /// Its sums.
    pub(in crate::import) sums: ValueId,
    /// Bits of the largest weight.
    pub(in crate::import) bits: u8,
    /// The largest magnitude that any of its sums can have, for any input.
    pub(in crate::import) bound: i64,
}

pub(super) struct Emitter<'a> {
    calibration: &'a Calibration<'a>,
    widths: &'a Widths,
    plan: Plan<'a>,
    nodes: Vec<Node>,
    /// What each float value became; those that were taken in with one before it, early.
    made: Vec<Option<Made>>,
    layers: Vec<Layer>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(calibration: &'a Calibration<'a>, widths: &'a Widths) -> Self {
        let input = &calibration.input;
        let mut made = vec![None; calibration.float.nodes.len() + 1];
        made[0] = Some(Made {
            value: ValueId(0),
            scale: match input.scale.as_slice() {
                [scale] => f64::from(*scale),
                _ => 1.0,
            },
            ends: Some([input.lo, input.hi]),
        });
        Self {
            calibration,
            widths,
            plan: Plan::new(calibration, widths),
            nodes: Vec::new(),
            made,
            layers: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> (Vec<Node>, Vec<Made>, Vec<Layer>) {
        let made = self.made.into_iter().flatten().collect();
        (self.nodes, made, self.layers)
    }

    /// Writes float node `place`, unless it was taken in with one before it.
    pub(super) fn node(&mut self, place: usize) -> Result<(), ImportError> {
        if self.made[place + 1].is_some() {
            return Ok(());
        }
        let node = &self.calibration.float.nodes[place];
        let written = self.write(place, node);
        written.map_err(|refused| match refused {
            Refused::NoScale => ImportError::NoScale {
                node: node.name.clone(),
            },
            Refused::Unsupported(why) => ImportError::Unsupported {
                node: node.name.clone(),
                why,
            },
        })
    }

    fn write(&mut self, place: usize, node: &FloatNode) -> Result<(), Refused> {
        let from = self.input(node, 0)?;
        match &node.operator {
            FloatOperator::Dense(dense) => self.dense(place, from, dense),
            FloatOperator::Conv(conv) => self.conv(place, from, conv),
            FloatOperator::Add { left, right } => {
                let other = self.input(node, 1)?;
                self.add(place, [(from, *left), (other, *right)])
            }
            FloatOperator::Multiply => {
                let other = self.input(node, 1)?;
                let inputs = vec![from.value, other.value];
                let products = self.push(Operator::Multiply, inputs);
                let bits = self.widths.activation(place + 1);
                self.bring(place, products, from.scale * other.scale, 12 + bits)
            }
            FloatOperator::SumPool { window, factor } => {
                self.sum_pool(place, from, window, *factor)
            }
            FloatOperator::MaxPool(window) => {
                let value = self.push(Operator::MaxPool(*window), vec![from.value]);
                self.made(place, Made { value, ..from })
            }
            FloatOperator::Clamp { lo, hi } => self.clamp(place, from, [*lo, *hi]),
            FloatOperator::Slopes { below, above } => {
                let (operator, halvings) = slopes(*below, *above);
                let value = self.push(operator, vec![from.value]);
                let unit = from.scale / f64::from(halvings).exp2();
                self.bring(place, value, unit, SCALE_SHIFT + halvings)
            }
            FloatOperator::Function(function) => self.table(place, from, function),
            FloatOperator::Select(select) => self.select(place, node, select),
            FloatOperator::Forest(forest) => self.forest(place, from, forest),
            FloatOperator::Machine(machine) => self.machine(place, from, machine),
            FloatOperator::Votes(classes) => self.votes(place, from, *classes),
            FloatOperator::Softmax if self.plan.is_last(place + 1) => self.made(place, from),
            FloatOperator::Softmax => Err(Unsupported::NotAtEnd.into()),
            FloatOperator::ArgMax => {
                let value = self.push(Operator::ArgMax, vec![from.value]);
                let (scale, ends) = (1.0, None);
                self.made(place, Made { value, scale, ends })
            }
            FloatOperator::Affine(_) | FloatOperator::Constant(_) => {
                Err(Unsupported::NoIntegers.into())
            }
        }
    }

    fn input(&self, node: &FloatNode, place: usize) -> Result<Made, Refused> {
        let made = node.inputs.get(place).and_then(|&value| self.made[value]);
        made.ok_or(Refused::Unsupported(Unsupported::NoIntegers))
    }

    fn push(&mut self, operator: Operator, inputs: Vec<ValueId>) -> ValueId {
        self.nodes.push(Node { operator, inputs });
        ValueId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX))
    }

    fn made(&mut self, place: usize, made: Made) -> Result<(), Refused> {
        self.made[place + 1] = Some(made);
        Ok(())
    }

    /// `sums`, of which a step is worth `unit`, become what the plan says. `shift` is what the
    /// architecture has.
    fn bring(&mut self, place: usize, sums: ValueId, unit: f64, shift: u8) -> Result<(), Refused> {
        let target = self.plan.target(place + 1);
        let Form::Activation(to) = target.form else {
            let made = Made {
                value: sums,
                scale: unit,
                ends: None,
            };
            return self.made(place, made);
        };
        let (sums, grown) = self.grow(sums, target);
        let ratio = unit / to.scale;
        let shift = fitting(ratio, shift).ok_or(Refused::NoScale)?;
        let multiplier = (ratio * f64::from(shift).exp2()).round().max(1.0);
        let multipliers = vec![multiplier.min(u16::MAX.into()) as u16];
        let value = self.requantise(sums, multipliers, shift + grown, to);
        self.settle(place, target, value, to)
    }

    /// Applies the slopes that the target took in: its sums, and by how many bits they grew.
    fn grow(&mut self, sums: ValueId, target: Target) -> (ValueId, u8) {
        match target.slopes {
            None => (sums, 0),
            Some((below, above)) => {
                let (operator, halvings) = slopes(below, above);
                (self.push(operator, vec![sums]), halvings)
            }
        }
    }

    fn requantise(
        &mut self,
        sums: ValueId,
        multipliers: Vec<u16>,
        shift: u8,
        to: Activation,
    ) -> ValueId {
        let Activation { lo, hi, .. } = to;
        let operator = Operator::Requantise {
            multipliers,
            shift,
            lo,
            hi,
        };
        self.push(operator, vec![sums])
    }

    /// The value of `place`, and those that were taken in with it, are `value`.
    fn settle(
        &mut self,
        place: usize,
        target: Target,
        value: ValueId,
        to: Activation,
    ) -> Result<(), Refused> {
        let made = Made {
            value,
            scale: to.scale,
            ends: Some([to.lo.into(), to.hi.into()]),
        };
        // Those between have no form of their own; nothing else asks for them.
        self.made[place + 1] = Some(made);
        let mut end = target.value;
        while end > place + 1 {
            self.made[end] = Some(made);
            end = self.calibration.float.nodes[end - 1].inputs[0];
        }
        Ok(())
    }

    fn wanted(&self, place: usize, from: Made, target: Target) -> Wanted {
        let bits = self.widths.weights(place);
        let taken = self
            .widths
            .activation(self.calibration.float.nodes[place].inputs[0]);
        let given = self.widths.activation(target.value);
        let grown = match target.slopes {
            Some((below, above)) => slopes(below, above).1,
            None => 0,
        };
        let most = from.ends.map_or(1 << 15, |[lo, hi]| {
            i64::from(lo).abs().max(i64::from(hi).abs())
        });
        Wanted {
            scale: from.scale,
            most,
            bits,
            shift: SCALE_SHIFT + bits + taken - given.min(taken + bits) + grown,
            to: match target.form {
                Form::Sums => None,
                Form::Activation(to) => Some(to),
            },
            grown,
        }
    }

    fn layer(
        &mut self,
        place: usize,
        from: Made,
        rows: &[Row],
        operator: impl FnOnce(&mut Rows) -> Operator,
    ) -> Result<(), Refused> {
        let target = self.plan.target(place + 1);
        let wanted = self.wanted(place, from, target);
        let mut rows = layer::quantise(rows, wanted).ok_or(Refused::NoScale)?;
        let operator = operator(&mut rows);
        let sums = self.push(operator, vec![from.value]);
        self.layers.push(Layer {
            node: place,
            sums,
            bits: rows.bits,
            bound: rows.bound,
        });
        let (Some(requantise), Form::Activation(to)) = (rows.requantise, target.form) else {
            let made = Made {
                value: sums,
                scale: rows.units.first().copied().unwrap_or(1.0),
                ends: None,
            };
            return self.made(place, made);
        };
        let (sums, _) = self.grow(sums, target);
        let value = self.requantise(sums, requantise.multipliers, requantise.shift, to);
        self.settle(place, target, value, to)
    }

    fn dense(&mut self, place: usize, from: Made, dense: &float::Dense) -> Result<(), Refused> {
        let rows = dense.bias.iter().enumerate();
        let rows = rows.map(|(row, bias)| self.row(from, dense.row(row), *bias));
        let rows: Vec<Row> = rows.collect();
        self.layer(place, from, &rows, |rows| Operator::Dense {
            weights: rows.weights.clone(),
            bias: std::mem::take(&mut rows.bias),
            accumulator: Accumulator::Narrow,
        })
    }

    fn conv(&mut self, place: usize, from: Made, conv: &float::Conv) -> Result<(), Refused> {
        let rows = conv.bias.iter().enumerate();
        let rows = rows.map(|(row, bias)| self.row(from, conv.row(row), *bias));
        let rows: Vec<Row> = rows.collect();
        let groups = u32::try_from(conv.groups).unwrap_or(u32::MAX);
        self.layer(place, from, &rows, |rows| {
            Operator::Conv(Conv {
                window: conv.window,
                groups,
                weights: rows.weights.clone(),
                bias: std::mem::take(&mut rows.bias),
            })
        })
    }

    /// A row over the integers of its input: offsets and scales of the model's input move into
    /// weights and biases.
    fn row(&self, from: Made, weights: &[f32], bias: f32) -> Row {
        let mut row = Row {
            weights: weights.iter().map(|&w| w.into()).collect(),
            bias: bias.into(),
        };
        if from.value == ValueId(0) {
            let (zero, scale) = (&self.calibration.input.zero, &self.calibration.input.scale);
            for (column, w) in row.weights.iter_mut().enumerate() {
                row.bias += *w * f64::from(zero[column.min(zero.len() - 1)]);
                if scale.len() > 1 {
                    *w *= f64::from(scale[column]);
                }
            }
        }
        row
    }

    fn add(&mut self, place: usize, inputs: [(Made, f64); 2]) -> Result<(), Refused> {
        let worth = inputs.map(|(made, factor)| made.scale * factor.abs());
        let grid = worth[0].max(worth[1]) / ADD_FACTOR;
        let mut values = Vec::new();
        for (made, factor) in inputs {
            // Factors of a sum are above zero.
            let negated = Operator::Slopes {
                below: -1,
                above: -1,
            };
            values.push(if factor < 0.0 {
                self.push(negated, vec![made.value])
            } else {
                made.value
            });
        }
        let [left, right] = worth.map(|worth| (worth / grid).round().max(1.0) as u16);
        let sums = self.push(Operator::Add { left, right }, values);
        self.bring(place, sums, grid, SCALE_SHIFT + 13)
    }

    fn sum_pool(
        &mut self,
        place: usize,
        from: Made,
        window: &Window,
        factor: f64,
    ) -> Result<(), Refused> {
        let unit = from.scale * factor;
        if unit.is_nan() || unit <= 0.0 {
            return Err(Unsupported::NoIntegers.into());
        }
        let taps = window.taps().max(1);
        let shift = SCALE_SHIFT + u8::try_from(taps.next_power_of_two().ilog2()).unwrap_or(0);
        let target = self.plan.target(place + 1);
        let bias = match target.form {
            Form::Sums => 0.0,
            Form::Activation(to) => to.scale / unit / 2.0,
        };
        let bias = bias.round().min(f64::from(1 << 24)) as i32;
        let window = *window;
        let sums = self.push(Operator::SumPool { window, bias }, vec![from.value]);
        self.bring(place, sums, unit, shift)
    }

    fn clamp(&mut self, place: usize, from: Made, ends: [f64; 2]) -> Result<(), Refused> {
        let steps = |end: f64| (end / from.scale).round();
        let [lo, hi] = ends.map(|end| steps(end).clamp(i32::MIN.into(), i32::MAX.into()) as i32);
        let value = self.push(Operator::Clamp { lo, hi }, vec![from.value]);
        let ends = from.ends.map(|ends| ends.map(|end| end.clamp(lo, hi)));
        self.made(
            place,
            Made {
                value,
                ends,
                ..from
            },
        )
    }

    fn table(&mut self, place: usize, from: Made, function: &Function) -> Result<(), Refused> {
        let [lo, hi] = from.ends.ok_or(Unsupported::NoIntegers)?;
        if i64::from(hi) - i64::from(lo) >= 1 << 16 {
            return Err(Unsupported::NoIntegers.into());
        }
        let last = self.plan.is_last(place + 1);
        let target = self.plan.activation(place + 1, None);
        let results: Vec<f64> = (lo..=hi)
            .map(|x| function.at(f64::from(x) * from.scale))
            .collect();
        let (scale, ends) = if last {
            let finite = results.iter().filter(|y| y.is_finite());
            let most = finite.fold(0.0_f64, |most, y| most.max(y.abs()));
            let scale = if most > 0.0 {
                most / f64::from(largest(16))
            } else {
                1.0
            };
            (scale, [i16::MIN, i16::MAX])
        } else {
            (target.scale, [target.lo, target.hi])
        };
        let [low, high] = ends.map(f64::from);
        let entry = |y: &f64| {
            // What is not a number lies outside of what the function was made for.
            let steps = if y.is_nan() { 0.0 } else { (y / scale).round() };
            steps.clamp(low, high) as i16
        };
        let entries: Vec<i16> = results.iter().map(entry).collect();
        let ends = entries.iter().min().zip(entries.iter().max());
        let ends = ends.map(|(&lo, &hi)| [lo.into(), hi.into()]);
        let value = self.push(Operator::Table { lo, entries }, vec![from.value]);
        self.made(place, Made { value, scale, ends })
    }

    /// Inputs of several scales are brought to the largest of them.
    fn select(
        &mut self,
        place: usize,
        node: &FloatNode,
        select: &float::Select,
    ) -> Result<(), Refused> {
        let mut inputs = Vec::new();
        for input in 0..node.inputs.len() {
            inputs.push(self.input(node, input)?);
        }
        let scale = inputs.iter().map(|made| made.scale).fold(0.0, f64::max);
        let mut values = Vec::new();
        let mut ends: Option<[i32; 2]> = None;
        for made in &inputs {
            let (value, own) = if made.scale == scale {
                (made.value, made.ends)
            } else {
                self.rescale(*made, scale)?
            };
            values.push(value);
            let join = |[lo, hi]: [i32; 2]| {
                ends.map_or([lo, hi], |[low, high]| [low.min(lo), high.max(hi)])
            };
            ends = own.map(join);
        }
        let fill = (select.fill / scale).round();
        let fill = fill.clamp(i16::MIN.into(), i16::MAX.into()) as i32;
        let indices = select.indices.clone();
        let value = self.push(Operator::Select(Select { indices, fill }), values);
        let ends = ends.map(|[lo, hi]| [lo.min(fill), hi.max(fill)]);
        self.made(place, Made { value, scale, ends })
    }

    fn rescale(&mut self, made: Made, scale: f64) -> Result<(ValueId, Option<[i32; 2]>), Refused> {
        let ratio = made.scale / scale;
        let shift = fitting(ratio, SCALE_SHIFT).ok_or(Refused::NoScale)?;
        let multiplier = (ratio * f64::from(shift).exp2()).round().max(1.0);
        let [lo, hi] = [i16::MIN, i16::MAX];
        let to = Activation { scale, lo, hi };
        let multipliers = vec![multiplier.min(u16::MAX.into()) as u16];
        let value = self.requantise(made.value, multipliers, shift, to);
        Ok((value, Some([lo.into(), hi.into()])))
    }
}

/// Factors as integers, and how many bits they hold behind the point.
fn slopes(below: f64, above: f64) -> (Operator, u8) {
    let most = below.abs().max(above.abs());
    let mut bits = SLOPE_BITS;
    while bits > 0 && most * f64::from(bits).exp2() > f64::from(i16::MAX) {
        bits -= 1;
    }
    let integer = |slope: f64| {
        let steps = (slope * f64::from(bits).exp2()).round();
        steps.clamp(i16::MIN.into(), i16::MAX.into()) as i16
    };
    let operator = Operator::Slopes {
        below: integer(below),
        above: integer(above),
    };
    (operator, bits)
}

/// Why a node has no integers.
enum Refused {
    NoScale,
    Unsupported(Unsupported),
}

impl From<Unsupported> for Refused {
    fn from(why: Unsupported) -> Self {
        Self::Unsupported(why)
    }
}

/// Digits that a multiplier has where all scales are alike.
const SCALE_SHIFT: u8 = 12;

/// Digits of a slope behind the point.
const SLOPE_BITS: u8 = 14;

/// The larger factor of an addition: fine enough, and two 16-bit values times it stay below 2^30.
const ADD_FACTOR: f64 = 8192.0;
