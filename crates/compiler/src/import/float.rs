//! The model as floats: what calibration runs, and what the integers are compared with.

/// A float model over flat vectors; value 0 is the input, node `n` makes value `n + 1`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FloatGraph {
    pub(super) input: usize,
    pub(super) nodes: Vec<FloatNode>,
    pub(super) output: usize,
}

/// An operator over floats, and the values that it takes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum FloatNode {
    Dense(Dense),
    Relu(usize),
    Add(usize, usize),
    /// Kept only where leaving it out changes no class: evaluated as its argument.
    Softmax(usize),
    ArgMax(usize),
}

/// `y = W x + b`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dense {
    pub(super) from: usize,
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl FloatNode {
    /// The values that the node takes.
    pub(super) fn inputs(&self) -> impl Iterator<Item = usize> {
        let (first, second) = match self {
            Self::Dense(dense) => (dense.from, None),
            Self::Relu(a) | Self::Softmax(a) | Self::ArgMax(a) => (*a, None),
            Self::Add(a, b) => (*a, Some(*b)),
        };
        std::iter::once(first).chain(second)
    }
}

impl FloatGraph {
    /// The output for `input`, which has the right length.
    pub(super) fn run(&self, input: &[f32]) -> Vec<f64> {
        self.values(input).swap_remove(self.output)
    }

    /// Every value for `input`, which has the right length.
    pub(super) fn values(&self, input: &[f32]) -> Vec<Vec<f64>> {
        let mut values: Vec<Vec<f64>> = vec![input.iter().map(|&x| x.into()).collect()];
        for node in &self.nodes {
            let value = match node {
                FloatNode::Dense(dense) => dense.run(&values[dense.from]),
                FloatNode::Relu(a) => values[*a].iter().map(|x| x.max(0.0)).collect(),
                FloatNode::Add(a, b) => {
                    let pairs = values[*a].iter().zip(&values[*b]);
                    pairs.map(|(a, b)| a + b).collect()
                }
                FloatNode::Softmax(a) => values[*a].clone(),
                FloatNode::ArgMax(a) => {
                    let x = &values[*a];
                    let better = |best: usize, i: usize| if x[i] > x[best] { i } else { best };
                    vec![(0..x.len()).reduce(better).unwrap_or(0) as f64]
                }
            };
            values.push(value);
        }
        values
    }

    /// How often each value is used; the output is used once more.
    pub(super) fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len() + 1];
        for input in self.nodes.iter().flat_map(FloatNode::inputs) {
            uses[input] += 1;
        }
        uses[self.output] += 1;
        uses
    }
}

impl Dense {
    /// The weights of output `row`.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        let columns = self.weights.len() / self.bias.len();
        &self.weights[row * columns..(row + 1) * columns]
    }

    fn run(&self, x: &[f64]) -> Vec<f64> {
        let output = |(row, bias): (usize, &f32)| {
            let products = self.row(row).iter().zip(x).map(|(w, x)| f64::from(*w) * x);
            f64::from(*bias) + products.sum::<f64>()
        };
        self.bias.iter().enumerate().map(output).collect()
    }
}
