//! Why a file is not imported.

use std::fmt;

use graph::{GraphError, InputError};
use thiserror::Error;

use crate::QuantiseError;

/// Why a file is not imported.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// An option is out of its range.
    #[error("bits are 2 to 16")]
    BadOptions,
    /// Longer than is read.
    #[error("the file is longer than {} MiB", max >> 20)]
    TooLong {
        /// The bound, in bytes.
        max: usize,
    },
    /// Not protocol buffers, or not ONNX.
    #[error("the file is not ONNX")]
    Malformed,
    /// More messages or numbers than a model needs.
    #[error("the file has too many parts")]
    TooManyParts,
    /// Something that this importer does not read: functions, sparse tensors, training.
    #[error("the file has {what}, which are not supported")]
    NotSupported {
        /// What.
        what: &'static str,
    },
    /// There is no graph.
    #[error("the file has no graph")]
    NoGraph,
    /// Two things have one name.
    #[error("two values are named {name}")]
    DuplicateName {
        /// The name.
        name: Label,
    },
    /// Not exactly one input that is not a constant.
    #[error("the model has {count} inputs; one is supported")]
    InputCount {
        /// How many.
        count: usize,
    },
    /// The input is not a vector of floats of known size.
    #[error("input {name}: not floats of a known size")]
    BadInput {
        /// The input.
        name: Label,
    },
    /// Several outputs, and none was chosen, or none at all.
    #[error("the model has {count} outputs; choose one")]
    OutputCount {
        /// How many.
        count: usize,
    },
    /// The chosen output is not there.
    #[error("the model has no output {name}")]
    UnknownOutput {
        /// The name asked for.
        name: Label,
    },
    /// A node whose operator is not known.
    #[error("node {node}: operator {operator} is not supported")]
    UnknownOperator {
        /// The node.
        node: Label,
        /// Its operator.
        operator: Label,
    },
    /// A node whose operator is known, but not in this use.
    #[error("node {node}: {why}")]
    Unsupported {
        /// The node.
        node: Label,
        /// Why not.
        why: Unsupported,
    },
    /// A node takes a value that nothing makes.
    #[error("node {node}: there is no value {value}")]
    UnknownValue {
        /// The node.
        node: Label,
        /// The value.
        value: Label,
    },
    /// A node takes a value that it, or a node behind it, makes.
    #[error("node {node}: {value} is made later: a cycle, or nodes out of order")]
    Cycle {
        /// The node.
        node: Label,
        /// The value.
        value: Label,
    },
    /// A tensor that refers to another file.
    #[error("tensor {tensor}: external data is not read")]
    ExternalData {
        /// The tensor.
        tensor: Label,
    },
    /// A tensor whose dimensions, type and bytes do not fit each other, or too large.
    #[error("tensor {tensor}: dimensions, type and bytes do not fit")]
    BadTensor {
        /// The tensor.
        tensor: Label,
    },
    /// A tensor with an infinite element, or one that is not a number.
    #[error("tensor {tensor}: an element is not finite")]
    NotFinite {
        /// The tensor.
        tensor: Label,
    },
    /// A tensor that would take more memory than the options allow.
    #[error("tensor {name}: the import needs more memory than it may take")]
    OverBudget {
        /// The tensor.
        name: Label,
    },
    /// The model or the samples ask for more work than the options allow.
    #[error("the import needs more than the {most} operations that it may take")]
    OverWork {
        /// The bound.
        most: u64,
    },
    /// There is nothing to calibrate with.
    #[error("calibration needs at least one sample")]
    NoCalibration,
    /// A sample does not fit the model.
    #[error("sample {}: {why}", place + 1)]
    BadSample {
        /// Which, counted from 0.
        place: usize,
        /// Why not.
        why: BadSample,
    },
    /// A node's numbers are too large or too small for any scale.
    #[error("node {node}: no scale fits its numbers")]
    NoScale {
        /// The node.
        node: Label,
    },
    /// What came out is not a sound graph.
    #[error("the quantised model: {0}")]
    Graph(#[from] GraphError),
}

/// Why a sample does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadSample {
    /// Its numbers cannot be quantised.
    #[error(transparent)]
    Quantise(#[from] QuantiseError),
    /// The graph refuses it.
    #[error(transparent)]
    Input(#[from] InputError),
}

/// Why a known operator is not supported as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// Too few or too many inputs or outputs.
    #[error("wrong number of inputs or outputs")]
    Arity,
    /// An operand must be a constant and is none, or the reverse.
    #[error("an operand must be a constant, or must not be one")]
    Operand,
    /// Shapes do not fit each other.
    #[error("shapes do not fit")]
    Shape,
    /// Values, weights or products are too many, or need more memory than the options allow.
    #[error("too large")]
    TooLarge,
    /// Weights or biases overflow once their factors are applied.
    #[error("a weight or bias is not finite")]
    NotFinite,
    /// An attribute has a value that is not supported.
    #[error("an attribute's value is not supported")]
    Attribute,
    /// No integer operator says this.
    #[error("no integer operator says this")]
    NoIntegers,
    /// Lists of attributes that belong together do not fit in length.
    #[error("attribute lists do not fit each other in length")]
    Lengths,
    /// Classes without names, too many, or names that are none.
    #[error("the classes' names do not fit")]
    Labels,
    /// A tree names a node twice, or a node, feature or output that is not there.
    #[error("a tree names a node twice, or a node, feature or output that is not there")]
    TreeNode,
    /// A tree has a cycle, a node with two parents, more than one root, or is too deep.
    #[error("a tree has a cycle, a node with two parents, no one root, or is too deep")]
    TreeShape,
    /// A threshold is not a number.
    #[error("a threshold is not a number")]
    Threshold,
    /// What trees compare is not the model's input, or was changed in a way that cannot be undone
    /// exactly.
    #[error("trees need the model's own numbers, or these added to, multiplied or clamped")]
    TreeInput,
    /// Two classes with a score each: runtimes do not agree on what decides.
    #[error("trees for two classes need one score, not two")]
    TwoScores,
    /// The smallest or largest leaf instead of a sum.
    #[error("leaves can only be added or averaged")]
    Aggregate,
    /// A kernel that is neither linear nor radial.
    #[error("the kernel must be linear or radial")]
    Kernel,
    /// Classes decided by probabilities of pairs.
    #[error("probabilities of pairs are not supported; export without them")]
    Probabilities,
    /// An imputer that is not the first of all, or takes a number for missing.
    #[error("an imputer must be first, once, and for what is not a number")]
    Imputer,
    /// Softmax is supported at the end, or before ArgMax.
    #[error("supported only at the end of a model, or before ArgMax")]
    NotAtEnd,
}

/// A name from a file: at most 64 characters, nothing that moves a cursor.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    const MAX_CHARS: usize = 64;

    pub(super) fn new(name: &str) -> Self {
        let printable = |c: char| if c.is_ascii_graphic() { c } else { '?' };
        Self(name.chars().take(Self::MAX_CHARS).map(printable).collect())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
