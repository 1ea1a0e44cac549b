//! Functions of one number, as exporters compose them: a short straight-line program.

use super::elementary;

/// A function of one number: each step takes results of steps before it; the last is the value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::import) struct Function {
    steps: Vec<Step>,
}

/// One step of a [`Function`].
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Input,
    Constant(f64),
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
}

/// Operations on one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) enum Unary {
    Abs,
    Sqrt,
    Exp,
    Log,
    Reciprocal,
    Sigmoid,
    Tanh,
    Erf,
    Softplus,
    Floor,
    Ceil,
    Round,
    Truncate,
    /// 1 above zero, else 0.
    Above,
    /// 1 at zero, else 0.
    Zero,
}

/// Operations on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) enum Binary {
    Add,
    Multiply,
    Power,
    Min,
    Max,
}

impl Unary {
    /// The operation at `x`.
    pub(in crate::import) fn at(self, x: f64) -> f64 {
        match self {
            Self::Abs => x.abs(),
            Self::Sqrt => x.sqrt(),
            Self::Exp => elementary::exp(x),
            Self::Log => elementary::ln(x),
            Self::Reciprocal => x.recip(),
            Self::Sigmoid => 1.0 / (1.0 + elementary::exp(-x)),
            Self::Tanh => 2.0 / (1.0 + elementary::exp(-2.0 * x)) - 1.0,
            Self::Erf => elementary::erf(x),
            Self::Softplus => x.max(0.0) + elementary::ln(1.0 + elementary::exp(-x.abs())),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Round => x.round_ties_even(),
            Self::Truncate => x.trunc(),
            Self::Above => f64::from(u8::from(x > 0.0)),
            Self::Zero => f64::from(u8::from(x == 0.0)),
        }
    }
}

impl Function {
    /// The input itself.
    pub(in crate::import) fn input() -> Self {
        let steps = vec![Step::Input];
        Self { steps }
    }

    /// One operation on the input.
    pub(in crate::import) fn unary(operation: Unary) -> Self {
        Self::input().then(operation)
    }

    /// The value at `x`.
    pub(in crate::import) fn at(&self, x: f64) -> f64 {
        let mut results: Vec<f64> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let result = match *step {
                Step::Input => x,
                Step::Constant(c) => c,
                Step::Unary(operation, a) => operation.at(results[a]),
                Step::Binary(operation, a, b) => {
                    let (a, b) = (results[a], results[b]);
                    match operation {
                        Binary::Add => a + b,
                        Binary::Multiply => a * b,
                        Binary::Power => elementary::power(a, b),
                        Binary::Min => a.min(b),
                        Binary::Max => a.max(b),
                    }
                }
            };
            results.push(result);
        }
        results.last().copied().unwrap_or(f64::NAN)
    }

    /// How many steps there are.
    pub(in crate::import) fn len(&self) -> usize {
        self.steps.len()
    }

    /// One more operation on the value.
    pub(in crate::import) fn then(mut self, operation: Unary) -> Self {
        let last = self.steps.len() - 1;
        self.steps.push(Step::Unary(operation, last));
        self
    }

    /// An operation on the value and a constant.
    pub(in crate::import) fn with(mut self, operation: Binary, constant: f64) -> Self {
        let last = self.steps.len() - 1;
        self.steps.push(Step::Constant(constant));
        self.steps.push(Step::Binary(operation, last, last + 1));
        self
    }

    /// `operation` on the values of two functions of the same number.
    pub(in crate::import) fn join(self, operation: Binary, other: &Self) -> Self {
        let (mut joined, first) = (self, other);
        let left = joined.steps.len() - 1;
        let right = joined.append(first, None);
        joined.steps.push(Step::Binary(operation, left, right));
        joined
    }

    /// `outer` of this function.
    pub(in crate::import) fn compose(mut self, outer: &Self) -> Self {
        let inner = self.steps.len() - 1;
        let last = self.append(outer, Some(inner));
        if last + 1 != self.steps.len() {
            // The value must be the last step.
            self.steps.push(Step::Constant(0.0));
            let zero = self.steps.len() - 1;
            self.steps.push(Step::Binary(Binary::Add, last, zero));
        }
        self
    }

    /// Appends the steps of `other`, of which equal ones are shared; its input is `input`, or the
    /// input. Returns where its value is.
    fn append(&mut self, other: &Self, input: Option<usize>) -> usize {
        let mut moved = Vec::with_capacity(other.steps.len());
        for step in &other.steps {
            let step = match (*step, input) {
                (Step::Input, Some(inner)) => {
                    moved.push(inner);
                    continue;
                }
                (Step::Unary(operation, a), _) => Step::Unary(operation, moved[a]),
                (Step::Binary(operation, a, b), _) => Step::Binary(operation, moved[a], moved[b]),
                (step, _) => step,
            };
            let known = self.steps.iter().position(|known| *known == step);
            moved.push(known.unwrap_or_else(|| {
                self.steps.push(step);
                self.steps.len() - 1
            }));
        }
        moved.last().copied().unwrap_or(0)
    }

    /// The slopes below and above zero, if the function is nothing else: `f(a x) = a f(x)` for
    /// every `a` above zero follows from its steps.
    pub(in crate::import) fn slopes(&self) -> Option<(f64, f64)> {
        let mut degrees: Vec<Degree> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let degree = match *step {
                Step::Input => Degree::Exactly(1),
                Step::Constant(0.0) => Degree::Any,
                Step::Constant(_) => Degree::Exactly(0),
                Step::Unary(Unary::Abs, a) => degrees[a],
                Step::Unary(Unary::Above | Unary::Zero, _) => Degree::Exactly(0),
                Step::Unary(..) => return None,
                Step::Binary(Binary::Multiply, a, b) => degrees[a].times(degrees[b]),
                Step::Binary(Binary::Power, ..) => return None,
                Step::Binary(_, a, b) => degrees[a].same(degrees[b])?,
            };
            degrees.push(degree);
        }
        let linear = matches!(degrees.last(), Some(Degree::Exactly(1)));
        linear.then(|| (-self.at(-1.0), self.at(1.0)))
    }
}

/// How a value grows when the input is multiplied by a number above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Degree {
    /// It is zero.
    Any,
    Exactly(u8),
}

impl Degree {
    const fn times(self, other: Self) -> Self {
        match (self, other) {
            (Self::Exactly(a), Self::Exactly(b)) => Self::Exactly(a.saturating_add(b)),
            _ => Self::Any,
        }
    }

    fn same(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, degree) | (degree, Self::Any) => Some(degree),
            (a, b) => (a == b).then_some(a),
        }
    }
}
