//! The reference: docs/spec/model.md, 3, as code. Every other execution is compared with this one.

use std::fmt;

use crate::exponential::exponential;
use crate::{Graph, Node, Operator, ValueId, Weights, elements, planes};

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
        let output = self.trace(input)?.pop().expect("a graph has a node");
        let narrow = |y| i32::try_from(y).expect("a graph's output is i32");
        Ok(output.into_iter().map(narrow).collect())
    }

    /// Every value that [`Graph::run`] goes through, the input first.
    ///
    /// # Errors
    /// [`InputError`] if `input` is not what [`Graph::input`] describes.
    pub fn trace(&self, input: &[i32]) -> Result<Vec<Vec<i64>>, InputError> {
        self.check(input)?;
        let mut values: Vec<Vec<i64>> = vec![input.iter().map(|&x| x.into()).collect()];
        for node in self.nodes() {
            values.push(evaluate(node, &values));
        }
        Ok(values)
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
        Operator::Conv(conv) => planes::run_conv(conv, x),
        Operator::MaxPool(window) => planes::run_pool(window, x, i64::MIN, i64::max),
        Operator::SumPool { window, bias } => {
            planes::run_pool(window, x, (*bias).into(), |sum, x| sum + x)
        }
        Operator::Select(select) => {
            let inputs = (0..node.inputs.len()).map(input);
            elements::run_select(select, &inputs.collect::<Vec<_>>())
        }
        Operator::Table { lo, entries } => {
            let entry = |x: &i64| entries[usize::try_from(x - i64::from(*lo)).unwrap_or(0)].into();
            x.iter().map(entry).collect()
        }
        Operator::Slopes { below, above } => {
            let slope = |x: &i64| x * i64::from(if *x < 0 { *below } else { *above });
            x.iter().map(slope).collect()
        }
        Operator::Multiply => x.iter().zip(input(1)).map(|(a, b)| a * b).collect(),
        Operator::TreeEnsemble(ensemble) => ensemble.run(x),
        Operator::Distances { vectors } => {
            let square = |(x, v): (&i64, &i16)| (x - i64::from(*v)) * (x - i64::from(*v));
            let distance = |vector: &[i16]| x.iter().zip(vector).map(square).sum();
            vectors.chunks_exact(x.len()).map(distance).collect()
        }
        Operator::Exponential { multiplier, shift } => {
            let power = |x: &i64| exponential((x * i64::from(*multiplier)) >> shift);
            x.iter().map(power).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InputType;

    fn run(operator: Operator, input: &[i32]) -> Vec<i32> {
        let ty = InputType {
            elements: u32::try_from(input.len()).unwrap(),
            lo: i32::MIN,
            hi: i32::MAX,
        };
        let graph = Graph::new(ty, vec![Node::unary(operator, ValueId(0))]).unwrap();
        graph.run(input).unwrap()
    }

    #[test]
    fn requantising_rounds_down_below_zero_too() {
        let halve = Operator::Requantise {
            multipliers: vec![1],
            shift: 1,
            lo: -100,
            hi: 2,
        };
        assert_eq!(
            run(halve, &[-3, -1, 1, 3, 9, i32::MIN]),
            [-2, -1, 0, 1, 2, -100]
        );
    }

    #[test]
    fn channels_are_consecutive() {
        let scale = Operator::Requantise {
            multipliers: vec![1, 10, 100],
            shift: 0,
            lo: i16::MIN,
            hi: i16::MAX,
        };
        assert_eq!(run(scale, &[1, 2, 3, 4, 5, 6]), [1, 2, 30, 40, 500, 600]);
    }

    #[test]
    fn the_first_of_equals_wins() {
        assert_eq!(run(Operator::ArgMax, &[-7, 3, 3, -7]), [1]);
        assert_eq!(run(Operator::ArgMax, &[i32::MIN; 3]), [0]);
    }

    #[test]
    fn an_input_that_does_not_fit_is_refused() {
        let ty = InputType {
            elements: 2,
            lo: -5,
            hi: 5,
        };
        let nodes = vec![Node::unary(Operator::ArgMax, ValueId(0))];
        let graph = Graph::new(ty, nodes).unwrap();
        let short = graph.run(&[1]).unwrap_err();
        assert_eq!(short.to_string(), "expected 2 numbers, got 1");
        let outside = Err(InputError::OutOfRange { element: 1 });
        assert_eq!(graph.run(&[5, 6]), outside);
        assert_eq!(graph.run(&[-5, -6]), outside);
    }
}
