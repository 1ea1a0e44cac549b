//! The model as floats: what calibration runs, and what the integers are compared with.
//!
//! Values are flat, row-major, with the dimensions of the file; the batch is one question. An
//! operator here is what is left of many of ONNX's: `operators/` says which become what.

mod elementary;
mod forest;
mod function;
mod linear;
mod machine;
mod select;

use graph::Window;

pub(super) use forest::{FloatTree, Forest};
pub(super) use function::{Binary, Function, Unary};
pub(super) use linear::{Affine, Conv, Dense};
pub(super) use machine::{Machine, pairs};
pub(super) use select::Select;

use super::Label;

/// A float model; value 0 is the input, node `n` makes value `n + 1`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FloatGraph {
    /// The input's dimensions, the batch first if it has one.
    pub(super) input: Vec<usize>,
    pub(super) nodes: Vec<FloatNode>,
    pub(super) output: usize,
}

/// An operator over floats, the values that it takes, and the dimensions of what it makes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FloatNode {
    pub(super) operator: FloatOperator,
    pub(super) inputs: Vec<usize>,
    pub(super) dims: Vec<usize>,
    /// The node of the file that it came from.
    pub(super) name: Label,
}

/// What a node computes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum FloatOperator {
    /// A constant that a node takes as if it were a value. Gone before quantising.
    Constant(Vec<f64>),
    /// `y = W x + b`.
    Dense(Dense),
    /// A window of weights over planes.
    Conv(Conv),
    /// `y_i = scale_c x_i + shift_c`.
    Affine(Affine),
    /// `y_i = left a_i + right b_i`.
    Add { left: f64, right: f64 },
    /// `y_i = a_i b_i`.
    Multiply,
    /// `y_i = min(max(x_i, lo), hi)`; the ends may be infinite.
    Clamp { lo: f64, hi: f64 },
    /// `y_i = below x_i` under zero, `above x_i` from it.
    Slopes { below: f64, above: f64 },
    /// Any function of one number, for each element.
    Function(Function),
    /// The largest under the window; padding never counts.
    MaxPool(Window),
    /// `factor` times the sum under the window; padding is zero.
    SumPool { window: Window, factor: f64 },
    /// Elements of the inputs, in another order.
    Select(Select),
    /// Trees over the model's input.
    Forest(Forest),
    /// A support vector machine.
    Machine(Machine),
    /// How many of the pairs of so many classes each class wins, by a decision a pair.
    Votes(usize),
    /// Kept only where leaving it out changes no order: evaluated as its argument.
    Softmax,
    /// The place of the first of the largest.
    ArgMax,
}

impl FloatGraph {
    /// How many numbers the model takes.
    pub(super) fn input_elements(&self) -> usize {
        self.input.iter().product()
    }

    /// Dimensions of value `place`.
    pub(super) fn dims(&self, place: usize) -> &[usize] {
        match place.checked_sub(1) {
            None => &self.input,
            Some(node) => &self.nodes[node].dims,
        }
    }

    /// Elements of value `place`.
    pub(super) fn elements(&self, place: usize) -> usize {
        self.dims(place).iter().product()
    }

    /// The output for `input`, which has the right length.
    pub(super) fn run(&self, input: &[f32]) -> Vec<f64> {
        self.values(input).swap_remove(self.output)
    }

    /// Operations of one run: of floats, and as many of the integers that become of them.
    pub(super) fn cost(&self) -> u64 {
        let nodes = self.nodes.iter().map(|node| self.node_cost(node));
        nodes.fold(0, u64::saturating_add)
    }

    /// What `node` adds to [`FloatGraph::cost`].
    pub(super) fn node_cost(&self, node: &FloatNode) -> u64 {
        let moved = node.inputs.iter().map(|&input| self.elements(input));
        let moved = moved.fold(node.dims.iter().product(), usize::saturating_add);
        let cost = moved.saturating_add(node.operations());
        u64::try_from(cost).unwrap_or(u64::MAX)
    }

    /// Every value for `input`, which has the right length.
    pub(super) fn values(&self, input: &[f32]) -> Vec<Vec<f64>> {
        let mut values: Vec<Vec<f64>> = vec![input.iter().map(|&x| x.into()).collect()];
        for node in &self.nodes {
            let value = node.run(&values);
            values.push(value);
        }
        values
    }

    /// Whether what comes out is the place of the largest.
    pub(super) fn gives_index(&self) -> bool {
        let maker = self.output.checked_sub(1).map(|node| &self.nodes[node]);
        maker.is_some_and(|node| node.operator == FloatOperator::ArgMax)
    }

    /// How often each value is used; the output is used once more.
    pub(super) fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len() + 1];
        for &input in self.nodes.iter().flat_map(|node| &node.inputs) {
            uses[input] += 1;
        }
        uses[self.output] += 1;
        uses
    }
}

impl FloatNode {
    /// Operations beside reading each element and making each.
    fn operations(&self) -> usize {
        let made: usize = self.dims.iter().product();
        match &self.operator {
            FloatOperator::Dense(dense) => dense.weights.len(),
            FloatOperator::Conv(conv) => {
                let positions = conv.window.positions();
                conv.weights.len().saturating_mul(positions)
            }
            FloatOperator::MaxPool(window) | FloatOperator::SumPool { window, .. } => {
                made.saturating_mul(window.taps())
            }
            FloatOperator::Function(function) => made.saturating_mul(function.len()),
            // A descent passes no split twice.
            FloatOperator::Forest(forest) => {
                let splits = forest.trees.iter().map(|tree| tree.splits.len());
                splits.sum::<usize>() + forest.trees.len() * forest.width
            }
            FloatOperator::Machine(machine) => {
                machine.vectors.len() + machine.decisions.weights.len()
            }
            FloatOperator::Votes(classes) => classes.saturating_mul(*classes),
            _ => 0,
        }
    }

    /// The value that the node makes of `values`.
    pub(super) fn run(&self, values: &[Vec<f64>]) -> Vec<f64> {
        let input = |place: usize| values[self.inputs[place]].as_slice();
        let each = |f: &dyn Fn(f64) -> f64| input(0).iter().map(|&x| f(x)).collect();
        let pairs = || input(0).iter().zip(input(1));
        match &self.operator {
            FloatOperator::Constant(value) => value.clone(),
            FloatOperator::Dense(dense) => dense.run(input(0)),
            FloatOperator::Conv(conv) => conv.run(input(0)),
            FloatOperator::Affine(affine) => affine.run(input(0)),
            FloatOperator::Add { left, right } => {
                pairs().map(|(a, b)| left * a + right * b).collect()
            }
            FloatOperator::Multiply => pairs().map(|(a, b)| a * b).collect(),
            FloatOperator::Clamp { lo, hi } => each(&|x| x.max(*lo).min(*hi)),
            FloatOperator::Slopes { below, above } => {
                each(&|x| if x < 0.0 { below * x } else { above * x })
            }
            FloatOperator::Function(function) => each(&|x| function.at(x)),
            FloatOperator::MaxPool(window) => {
                linear::pool(window, input(0), f64::NEG_INFINITY, f64::max)
            }
            FloatOperator::SumPool { window, factor } => {
                let sums = linear::pool(window, input(0), 0.0, |a, b| a + b);
                sums.into_iter().map(|sum| sum * factor).collect()
            }
            FloatOperator::Select(select) => {
                let inputs: Vec<&[f64]> = (0..self.inputs.len()).map(input).collect();
                select.run(&inputs)
            }
            FloatOperator::Forest(forest) => forest.run(input(0)),
            FloatOperator::Machine(machine) => machine.run(input(0)),
            FloatOperator::Votes(classes) => machine::votes(input(0), *classes),
            FloatOperator::Softmax => input(0).to_vec(),
            FloatOperator::ArgMax => {
                let x = input(0);
                let better = |best: usize, i: usize| if x[i] > x[best] { i } else { best };
                vec![(0..x.len()).reduce(better).unwrap_or(0) as f64]
            }
        }
    }
}
