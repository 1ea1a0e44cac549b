//! The reference: docs/spec/model.md, 3, as code. Every other execution is compared with this one.

use std::fmt;

use crate::{Graph, Node, Operator, ValueId, Weights};

/// Why integers are not an input of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputError {
    /// Too many or too few.
    WrongLength {
        /// What the graph takes.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// An element is outside the input's interval.
    OutOfRange {
        /// Which, counted from 0.
        element: usize,
    },
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength { expected, got } => {
                write!(f, "expected {expected} numbers, got {got}")
            }
            Self::OutOfRange { element } => write!(f, "number {element} is out of range"),
        }
    }
}

impl std::error::Error for InputError {}

impl Graph {
    /// What the model says of `input`.
    ///
    /// # Errors
    /// [`InputError`] if `input` is not what [`Graph::input`] describes.
    ///
    /// # Panics
    /// Never: a graph that exists has an `i32` for every element of its output.
    pub fn run(&self, input: &[i32]) -> Result<Vec<i32>, InputError> {
        self.check(input)?;
        let mut values: Vec<Vec<i64>> = vec![input.iter().map(|&x| x.into()).collect()];
        for node in self.nodes() {
            values.push(evaluate(node, &values));
        }
        let output = values.pop().expect("a graph has a node");
        let narrow = |y| i32::try_from(y).expect("a graph's output is i32");
        Ok(output.into_iter().map(narrow).collect())
    }

    fn check(&self, input: &[i32]) -> Result<(), InputError> {
        let expected = self.elements(ValueId(0));
        if input.len() != expected {
            let got = input.len();
            return Err(InputError::WrongLength { expected, got });
        }
        let allowed = self.input().lo..=self.input().hi;
        match input.iter().position(|x| !allowed.contains(x)) {
            Some(element) => Err(InputError::OutOfRange { element }),
            None => Ok(()),
        }
    }
}

fn evaluate(node: &Node, values: &[Vec<i64>]) -> Vec<i64> {
    let input = |place: usize| values[node.inputs[place].0 as usize].as_slice();
    let x = input(0);
    match &node.operator {
        Operator::Dense { weights, bias, .. } => dense(x, weights, bias),
        Operator::Requantise {
            multipliers,
            shift,
            lo,
            hi,
        } => {
            let a_channel = x.len() / multipliers.len();
            let scaled = |(i, x): (usize, &i64)| {
                // An arithmetic shift is the floor of the division.
                let scaled = (x * i64::from(multipliers[i / a_channel])) >> shift;
                scaled.clamp((*lo).into(), (*hi).into())
            };
            x.iter().enumerate().map(scaled).collect()
        }
        Operator::Add { left, right } => {
            let sum = |(a, b): (&i64, &i64)| i64::from(*left) * a + i64::from(*right) * b;
            x.iter().zip(input(1)).map(sum).collect()
        }
        Operator::Clamp { lo, hi } => {
            let clamp = |x: &i64| (*x).clamp((*lo).into(), (*hi).into());
            x.iter().map(clamp).collect()
        }
        Operator::ArgMax => {
            let better = |best: usize, i: usize| if x[i] > x[best] { i } else { best };
            let best = (0..x.len()).reduce(better).unwrap_or(0);
            vec![i64::try_from(best).expect("elements are at most MAX_ELEMENTS")]
        }
    }
}

fn dense(x: &[i64], weights: &Weights, bias: &[i32]) -> Vec<i64> {
    let row = x.len();
    let output = |(o, b): (usize, &i32)| {
        let product = |(k, x): (usize, &i64)| i64::from(weights.at(o * row + k)) * x;
        i64::from(*b) + x.iter().enumerate().map(product).sum::<i64>()
    };
    bias.iter().enumerate().map(output).collect()
}
