//! Operators on one element of each input: sums, products, comparisons, choices.

use super::super::Unsupported;
use super::super::float::{Affine, Binary, FloatOperator, Function, Unary};
use super::super::lower::Lowering;
use super::super::node::OnnxNode;
use super::super::value::{Float, Kind, Value};
use super::broadcast::broadcast;
use super::{Handler, Made, one};

/// The handler of an operator of this family.
pub(super) fn handler(operator: &str) -> Option<Handler> {
    Some(match operator {
        "Add" => |lowering, node| {
            let [a, b] = node.two()?;
            one(lowering.sum(a, b, [1.0, 1.0])?)
        },
        "Sub" => |lowering, node| {
            let [a, b] = node.two()?;
            one(lowering.sum(a, b, [1.0, -1.0])?)
        },
        "Mul" => |lowering, node| {
            let [a, b] = node.two()?;
            one(lowering.product(a, b)?)
        },
        "Div" => divide,
        "Pow" => power,
        "Sum" => sum,
        "Mean" => mean,
        "Min" => |lowering, node| extreme(lowering, node, Extreme::Min),
        "Max" => |lowering, node| extreme(lowering, node, Extreme::Max),
        "Less" => |lowering, node| compare(lowering, node, [1, 0], Unary::Above),
        "Greater" => |lowering, node| compare(lowering, node, [0, 1], Unary::Above),
        "LessOrEqual" => |lowering, node| negated(lowering, node, [0, 1], Unary::Above),
        "GreaterOrEqual" => |lowering, node| negated(lowering, node, [1, 0], Unary::Above),
        "Equal" => |lowering, node| compare(lowering, node, [0, 1], Unary::Zero),
        "Not" => not,
        "And" => |lowering, node| {
            let [a, b] = node.two()?;
            one(lowering.product(a, b)?)
        },
        "Or" => or,
        "Where" => choose,
        _ => return None,
    })
}

/// `value` as an operand, which may then be named again.
fn operand(float: Float) -> Value {
    Value::Float(float)
}

fn both_whole(a: &Float, b: &Float) -> Kind {
    if a.kind == Kind::Whole && b.kind == Kind::Whole {
        Kind::Whole
    } else {
        Kind::Real
    }
}

impl Lowering<'_> {
    /// A function of each element.
    pub(super) fn apply(
        &mut self,
        x: &Float,
        function: Function,
        kind: Kind,
    ) -> Result<Float, Unsupported> {
        let operator = FloatOperator::Function(function);
        let y = self.push(operator, &[x], x.dims.clone())?;
        Ok(Float { kind, ..y })
    }

    /// `scale x + shift`, the same for all elements.
    pub(super) fn uniform(
        &mut self,
        x: &Float,
        scale: f64,
        shift: f64,
    ) -> Result<Float, Unsupported> {
        if !scale.is_finite() || !shift.is_finite() {
            return Err(Unsupported::NotFinite);
        }
        let affine = FloatOperator::Affine(Affine::uniform(scale, shift));
        let y = self.push(affine, &[x], x.dims.clone())?;
        let whole = scale == scale.trunc() && shift == shift.trunc();
        let kind = if whole { x.kind } else { Kind::Real };
        Ok(Float { kind, ..y })
    }

    /// `factors_0 a + factors_1 b`.
    pub(super) fn sum(
        &mut self,
        a: &Value,
        b: &Value,
        factors: [f64; 2],
    ) -> Result<Float, Unsupported> {
        let [left, right] = factors;
        match (a, b) {
            (Value::Float(_), Value::Constant(tensor)) => {
                let shift: Vec<f64> = tensor.numbers().iter().map(|c| right * c).collect();
                self.shifted(a, &tensor.dims, left, shift)
            }
            (Value::Constant(tensor), Value::Float(_)) => {
                let shift: Vec<f64> = tensor.numbers().iter().map(|c| left * c).collect();
                self.shifted(b, &tensor.dims, right, shift)
            }
            _ => {
                let (a, b) = (self.real(a)?, self.real(b)?);
                let dims = broadcast(&a.dims, &b.dims)?;
                let kind = both_whole(&a, &b);
                let (a, b) = (self.expand(&a, &dims)?, self.expand(&b, &dims)?);
                let y = self.push(FloatOperator::Add { left, right }, &[&a, &b], dims)?;
                Ok(Float { kind, ..y })
            }
        }
    }

    fn shifted(
        &mut self,
        x: &Value,
        dims: &[usize],
        scale: f64,
        shift: Vec<f64>,
    ) -> Result<Float, Unsupported> {
        let x = self.real(x)?;
        let whole = shift.iter().all(|c| *c == c.trunc());
        let y = self.affine(&x, dims, vec![scale; shift.len()], shift)?;
        let kind = if whole { x.kind } else { Kind::Real };
        Ok(Float { kind, ..y })
    }

    /// `a b`.
    pub(super) fn product(&mut self, a: &Value, b: &Value) -> Result<Float, Unsupported> {
        match (a, b) {
            (Value::Float(_), Value::Constant(tensor))
            | (Value::Constant(tensor), Value::Float(_)) => {
                let value = if matches!(a, Value::Float(_)) { a } else { b };
                let x = self.real(value)?;
                let scale = tensor.numbers();
                let whole = scale.iter().all(|c| *c == c.trunc());
                let shift = vec![0.0; scale.len()];
                let y = self.affine(&x, &tensor.dims, scale, shift)?;
                let kind = if whole { x.kind } else { Kind::Real };
                Ok(Float { kind, ..y })
            }
            _ => {
                let (a, b) = (self.real(a)?, self.real(b)?);
                let dims = broadcast(&a.dims, &b.dims)?;
                let kind = both_whole(&a, &b);
                let (a, b) = (self.expand(&a, &dims)?, self.expand(&b, &dims)?);
                let y = self.push(FloatOperator::Multiply, &[&a, &b], dims)?;
                Ok(Float { kind, ..y })
            }
        }
    }

    /// `x` with everything below zero left out.
    pub(super) fn rectified(&mut self, x: &Float) -> Result<Float, Unsupported> {
        self.clamped(x, 0.0, f64::INFINITY)
    }

    /// `x` between `lo` and `hi`.
    pub(super) fn clamped(&mut self, x: &Float, lo: f64, hi: f64) -> Result<Float, Unsupported> {
        let clamp = FloatOperator::Clamp { lo, hi };
        let y = self.push(clamp, &[x], x.dims.clone())?;
        let kind = x.kind;
        Ok(Float { kind, ..y })
    }
}

fn divide(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let [a, b] = node.two()?;
    let (x, y) = (lowering.real(a)?, lowering.real(b)?);
    if both_whole(&x, &y) == Kind::Whole {
        let inverse = lowering.apply(&y, Function::unary(Unary::Reciprocal), Kind::Real)?;
        // A little more than the quotient, so that rounding does not lose a whole one.
        let quotient = lowering.product(&operand(x), &operand(inverse))?;
        let cut = Function::input()
            .with(Binary::Multiply, 1.0 + 1e-12)
            .then(Unary::Truncate);
        return one(lowering.apply(&quotient, cut, Kind::Whole)?);
    }
    if let (Value::Float(_), Value::Constant(tensor)) = (a, b) {
        let scale: Vec<f64> = tensor.numbers().iter().map(|c| 1.0 / c).collect();
        let shift = vec![0.0; scale.len()];
        return one(lowering.affine(&x, &tensor.dims, scale, shift)?);
    }
    let inverse = lowering.apply(&y, Function::unary(Unary::Reciprocal), Kind::Real)?;
    one(lowering.product(a, &operand(inverse))?)
}

fn power(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let [a, b] = node.two()?;
    let (x, exponent) = (lowering.real(a)?, b.scalar()?);
    if exponent == 1.0 {
        return one(x);
    }
    let kind = if exponent >= 0.0 && exponent == exponent.trunc() {
        x.kind
    } else {
        Kind::Real
    };
    one(lowering.apply(&x, Function::input().with(Binary::Power, exponent), kind)?)
}

fn sum(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let all = node.all()?;
    let mut sum = all[0].clone();
    for value in &all[1..] {
        sum = operand(lowering.sum(&sum, value, [1.0, 1.0])?);
    }
    Ok(vec![sum])
}

fn mean(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let count = node.inputs.len() as f64;
    let total = sum(lowering, node)?;
    let total = lowering.real(&total[0])?;
    one(lowering.uniform(&total, 1.0 / count, 0.0)?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Extreme {
    Min,
    Max,
}

/// `max(a, b) = b + max(a - b, 0)`, and the reverse.
fn extreme(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>, extreme: Extreme) -> Made {
    let all = node.all()?;
    let mut best = all[0].clone();
    for value in &all[1..] {
        let (a, b) = match (&best, *value) {
            (Value::Constant(_), Value::Float(_)) => (*value, &best),
            (best, value) => (best, value),
        };
        let next = match b {
            Value::Constant(tensor) if tensor.len() == 1 => {
                let (x, bound) = (lowering.real(a)?, b.scalar()?);
                let (lo, hi) = match extreme {
                    Extreme::Max => (bound, f64::INFINITY),
                    Extreme::Min => (f64::NEG_INFINITY, bound),
                };
                let y = lowering.clamped(&x, lo, hi)?;
                let dims = broadcast(&y.dims, &tensor.dims)?;
                Float { dims, ..y }
            }
            _ => {
                let apart = lowering.sum(a, b, [1.0, -1.0])?;
                let (lo, hi) = match extreme {
                    Extreme::Max => (0.0, f64::INFINITY),
                    Extreme::Min => (f64::NEG_INFINITY, 0.0),
                };
                let more = lowering.clamped(&apart, lo, hi)?;
                lowering.sum(b, &operand(more), [1.0, 1.0])?
            }
        };
        best = operand(next);
    }
    Ok(vec![best])
}

/// A test of what input `a` is above input `b`.
fn compare(
    lowering: &mut Lowering<'_>,
    node: &OnnxNode<'_>,
    [a, b]: [usize; 2],
    test: Unary,
) -> Made {
    let values = node.two()?;
    let apart = lowering.sum(values[a], values[b], [1.0, -1.0])?;
    one(lowering.apply(&apart, Function::unary(test), Kind::Whole)?)
}

fn negated(
    lowering: &mut Lowering<'_>,
    node: &OnnxNode<'_>,
    places: [usize; 2],
    test: Unary,
) -> Made {
    let tested = compare(lowering, node, places, test)?;
    let tested = lowering.real(&tested[0])?;
    one(lowering.uniform(&tested, -1.0, 1.0)?)
}

fn not(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let x = lowering.real(node.one()?)?;
    one(lowering.uniform(&x, -1.0, 1.0)?)
}

fn or(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let [a, b] = node.two()?;
    let both = lowering.sum(a, b, [1.0, 1.0])?;
    one(lowering.apply(&both, Function::unary(Unary::Above), Kind::Whole)?)
}

/// `b + c (a - b)` for `c` of 0 and 1.
fn choose(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let (c, a, b) = (node.input(0)?, node.input(1)?, node.input(2)?);
    let apart = operand(lowering.sum(a, b, [1.0, -1.0])?);
    let chosen = lowering.product(c, &apart)?;
    one(lowering.sum(b, &operand(chosen), [1.0, 1.0])?)
}
