//! The operators: one integer formula each (docs/spec/model.md, 3).

use crate::{TreeEnsemble, Window};

/// What a node computes from its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operator {
    /// `y_o = bias_o + sum_k weight_{o,k} * x_k`; one input, whose elements are `i16`.
    Dense {
        /// `W`, a row an output.
        weights: Weights,
        /// `b`, one an output.
        bias: Vec<i32>,
        /// How large `y` may become.
        accumulator: Accumulator,
    },
    /// `y_i = clamp(floor(x_i * m_c / 2^shift), lo, hi)`, `c` the channel of `i`; one input.
    ///
    /// Channels are consecutive and of one size: `c = floor(i * channels / elements)`.
    Requantise {
        /// `m`, one a channel; their count divides the count of elements.
        multipliers: Vec<u16>,
        /// `S`, at most 46.
        shift: u8,
        /// Lower end of the clamp.
        lo: i16,
        /// Upper end of the clamp.
        hi: i16,
    },
    /// `y_i = left * a_i + right * b_i`; two inputs of one size.
    Add {
        /// Factor of the first input.
        left: u16,
        /// Factor of the second input.
        right: u16,
    },
    /// `y_i = clamp(x_i, lo, hi)`; one input. ReLU is `lo = 0`.
    Clamp {
        /// Lower end.
        lo: i32,
        /// Upper end.
        hi: i32,
    },
    /// `y = min { i : x_i = max_j x_j }`; one input, one element out.
    ArgMax,
    /// A window of weights over planes; one input, whose elements are `i16`.
    Conv(Conv),
    /// `y_p = max x_i` over the elements under the window at `p`; one input, whose elements are
    /// `i16`. Padding never counts, and the window always covers something else.
    MaxPool(Window),
    /// `y_p = bias + sum x_i` over the elements under the window at `p`; one input, whose elements
    /// are `i16`. Padding is zero.
    SumPool {
        /// The window.
        window: Window,
        /// `b`, one for all.
        bias: i32,
    },
    /// `y_i` is element `indices_i` of the inputs one after the other, or `fill`; any inputs.
    Select(Select),
    /// `y_i = entries_{x_i - lo}`; one input, whose interval the table covers.
    Table {
        /// The first element that the table knows.
        lo: i32,
        /// What it says of each from there on; at most 65,536.
        entries: Vec<i16>,
    },
    /// `y_i = below * x_i` where `x_i < 0`, else `above * x_i`; one input.
    Slopes {
        /// Factor below zero.
        below: i16,
        /// Factor from zero on.
        above: i16,
    },
    /// `y_i = a_i * b_i`; two inputs of one size.
    Multiply,
    /// `y_o = bias_o + sum over the trees of what their leaves add to o`; one input.
    TreeEnsemble(TreeEnsemble),
    /// `y_j = sum_k (x_k - v_{j,k})^2`; one input, whose elements and vectors are at most
    /// [`MAX_COORDINATE`] in magnitude.
    Distances {
        /// `v`, one after the other.
        vectors: Vec<i16>,
    },
    /// `y_i = 32767 * 2^(-z / 65536)`, nearly, with `z = floor(x_i * multiplier / 2^shift)`; one
    /// input, whose elements are not negative. docs/spec/model.md, 3.3 says exactly.
    Exponential {
        /// `m`, one for all.
        multiplier: u16,
        /// `S`, at most 46.
        shift: u8,
    },
}

/// Largest magnitude of a coordinate in [`Operator::Distances`]: the difference of two is an `i16`.
pub const MAX_COORDINATE: i16 = (1 << 14) - 1;

impl Operator {
    /// Whether the operator takes `count` values.
    #[must_use]
    pub const fn takes(&self, count: usize) -> bool {
        match self {
            Self::Add { .. } | Self::Multiply => count == 2,
            Self::Select(_) => count > 0,
            _ => count == 1,
        }
    }
}

/// `y_{o,p} = bias_o + sum weight_{o,i,t} * x_{g,i,p,t}`: over the channels `i` of the group `g` of
/// `o`, and the taps `t` of the window at position `p`. Padding is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv {
    /// The window over the input's planes.
    pub window: Window,
    /// Groups of channels; an output sees the channels of its group. Divides the channels of the
    /// input and of the output.
    pub groups: u32,
    /// Output channels times channels of a group times rows times columns of the window.
    pub weights: Weights,
    /// `b`, one an output channel.
    pub bias: Vec<i32>,
}

impl Conv {
    /// Weights of one output channel: channels of a group times taps.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.depth().saturating_mul(self.window.taps())
    }

    /// Channels that one output channel sees; 0 if there are no groups.
    #[must_use]
    pub const fn depth(&self) -> usize {
        match self.window.channels.checked_div(self.groups) {
            Some(depth) => depth as usize,
            None => 0,
        }
    }

    /// Output channels that share a group; 0 if there are no groups.
    #[must_use]
    pub const fn outputs(&self) -> usize {
        match self.bias.len().checked_div(self.groups as usize) {
            Some(outputs) => outputs,
            None => 0,
        }
    }
}

/// Elements of the inputs in another order: transposing, slicing, joining, padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// For each element of the output, which element of the inputs one after the other it is, or
    /// [`Select::FILL`].
    pub indices: Vec<u32>,
    /// What stands where the index says so.
    pub fill: i32,
}

impl Select {
    /// The index of the filling.
    pub const FILL: u32 = u32::MAX;
}

/// A weight matrix, row-major, a row an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weights {
    /// Weights of 8 bits.
    Narrow(Vec<i8>),
    /// Weights of 16 bits.
    Wide(Vec<i16>),
}

impl Weights {
    /// How many weights there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Narrow(weights) => weights.len(),
            Self::Wide(weights) => weights.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The weight at `place`; 0 behind the end.
    #[must_use]
    pub fn at(&self, place: usize) -> i16 {
        match self {
            Self::Narrow(weights) => weights.get(place).map_or(0, |&w| w.into()),
            Self::Wide(weights) => weights.get(place).map_or(0, |&w| w),
        }
    }
}

/// The declared size of a sum of products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accumulator {
    /// Below `2^30` in magnitude: 32-bit arithmetic.
    Narrow,
    /// Below `2^46` in magnitude: 64-bit arithmetic.
    Wide,
}

/// Largest `shift` of [`Operator::Requantise`].
pub(crate) const MAX_SHIFT: u8 = 46;

/// Most entries of [`Operator::Table`].
pub(crate) const MAX_ENTRIES: usize = 1 << 16;
