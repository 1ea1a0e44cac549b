//! Why nodes are not a graph.

use std::fmt;

/// Why nodes are not a graph. `node` counts from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphError {
    /// The input has no elements, too many, or an empty interval.
    BadInputType,
    /// There are no nodes.
    Empty,
    /// There are more than [`crate::MAX_NODES`] nodes.
    TooManyNodes,
    /// The values have more than [`crate::MAX_ELEMENTS`] elements together.
    TooManyElements,
    /// The nodes have more than [`crate::MAX_PARAMETERS`] parameters together.
    TooManyParameters,
    /// One run has more than [`crate::MAX_PRODUCTS`] steps under windows.
    TooManyProducts,
    /// A node takes another number of values than its operator does.
    WrongArity {
        /// The node.
        node: usize,
    },
    /// A node takes a value that is not there yet.
    UnknownValue {
        /// The node.
        node: usize,
    },
    /// Parameters and inputs do not fit each other in size.
    WrongSize {
        /// The node.
        node: usize,
    },
    /// A parameter is out of its range: a shift, an empty clamp, no channels.
    BadParameter {
        /// The node.
        node: usize,
    },
    /// The operator does not take elements as large as its input's may be.
    InputTooWide {
        /// The node.
        node: usize,
    },
    /// Some input could bring an accumulator to its bound.
    AccumulatorOverflow {
        /// The node.
        node: usize,
    },
    /// A tree is not one: a feature that the input does not have, a child that is not behind its
    /// parent, a split or leaf that nothing leads to, or too deep.
    BadTree {
        /// The node.
        node: usize,
        /// The tree, counted from 0.
        tree: usize,
    },
    /// A value is neither the last nor used by a later node. Value 0 is the input.
    Unused {
        /// The value.
        value: usize,
    },
    /// The last value's elements are not `i32`.
    WideOutput,
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadInputType => f.write_str("the input's size or interval is empty or too large"),
            Self::Empty => f.write_str("no nodes"),
            Self::TooManyNodes => f.write_str("too many nodes"),
            Self::TooManyElements => f.write_str("too many elements"),
            Self::TooManyParameters => f.write_str("too many parameters"),
            Self::TooManyProducts => f.write_str("too many products"),
            Self::WrongArity { node } => write!(f, "node {node}: wrong number of inputs"),
            Self::UnknownValue { node } => write!(f, "node {node}: input is not a value before it"),
            Self::WrongSize { node } => write!(f, "node {node}: sizes do not fit"),
            Self::BadParameter { node } => write!(f, "node {node}: parameter out of range"),
            Self::InputTooWide { node } => write!(f, "node {node}: input elements too large"),
            Self::AccumulatorOverflow { node } => {
                write!(f, "node {node}: an accumulator could reach its bound")
            }
            Self::BadTree { node, tree } => write!(
                f,
                "node {node}: tree {tree}: a feature, child or leaf is out of place"
            ),
            Self::Unused { value } => write!(f, "value {value} is not used"),
            Self::WideOutput => f.write_str("the output's elements are wider than 32 bits"),
        }
    }
}

impl std::error::Error for GraphError {}
