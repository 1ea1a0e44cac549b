//! The operators: one integer formula each (docs/spec/model.md, 3).

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
}

impl Operator {
    /// How many values the operator takes.
    #[must_use]
    pub const fn arity(&self) -> usize {
        match self {
            Self::Add { .. } => 2,
            _ => 1,
        }
    }
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
