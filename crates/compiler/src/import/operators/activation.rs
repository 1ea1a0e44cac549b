//! Activations and heads: functions of one number, Softmax, ArgMax.

use super::super::Unsupported;
use super::super::float::{Binary, FloatOperator, Function, Unary};
use super::super::lower::Lowering;
use super::super::node::{OnnxNode, axis};
use super::super::value::{Float, Kind, Value};
use super::broadcast::broadcast;
use super::{Handler, Made, one};

/// The handler of an operator of this family.
pub(super) fn handler(operator: &str) -> Option<Handler> {
    Some(match operator {
        "Relu" => |lowering, node| {
            let x = lowering.real(node.one()?)?;
            one(lowering.rectified(&x)?)
        },
        "LeakyRelu" => leaky_relu,
        "PRelu" => parametric_relu,
        "Clip" => clip,
        "Neg" => |lowering, node| {
            let x = lowering.real(node.one()?)?;
            one(lowering.uniform(&x, -1.0, 0.0)?)
        },
        "Abs" => |lowering, node| apply(lowering, node, Function::unary(Unary::Abs)),
        "Sqrt" => |lowering, node| apply(lowering, node, Function::unary(Unary::Sqrt)),
        "Exp" => |lowering, node| apply(lowering, node, Function::unary(Unary::Exp)),
        "Log" => |lowering, node| apply(lowering, node, Function::unary(Unary::Log)),
        "Reciprocal" => |lowering, node| apply(lowering, node, Function::unary(Unary::Reciprocal)),
        "Sigmoid" => |lowering, node| apply(lowering, node, Function::unary(Unary::Sigmoid)),
        "Tanh" => |lowering, node| apply(lowering, node, Function::unary(Unary::Tanh)),
        "Erf" => |lowering, node| apply(lowering, node, Function::unary(Unary::Erf)),
        "Softplus" => |lowering, node| apply(lowering, node, Function::unary(Unary::Softplus)),
        "Floor" => |lowering, node| apply(lowering, node, Function::unary(Unary::Floor)),
        "Ceil" => |lowering, node| apply(lowering, node, Function::unary(Unary::Ceil)),
        "Round" => |lowering, node| apply(lowering, node, Function::unary(Unary::Round)),
        "HardSigmoid" => |lowering, node| {
            let (slope, middle) = (node.number("alpha", 0.2)?, node.number("beta", 0.5)?);
            apply(lowering, node, hard_sigmoid(slope.into(), middle.into()))
        },
        "HardSwish" => |lowering, node| {
            let gate = hard_sigmoid(1.0 / 6.0, 0.5);
            apply(
                lowering,
                node,
                Function::input().join(Binary::Multiply, &gate),
            )
        },
        "Elu" => |lowering, node| {
            let alpha = node.number("alpha", 1.0)?;
            apply(lowering, node, exponential(alpha.into(), 1.0))
        },
        "Selu" => |lowering, node| {
            let alpha = f64::from(node.number("alpha", 1.673_263_2)?);
            let gamma = f64::from(node.number("gamma", 1.050_701)?);
            apply(lowering, node, exponential(alpha * gamma, gamma))
        },
        "Gelu" => gelu,
        "Mish" => |lowering, node| {
            let gate = Function::unary(Unary::Softplus).then(Unary::Tanh);
            apply(
                lowering,
                node,
                Function::input().join(Binary::Multiply, &gate),
            )
        },
        "Softmax" | "LogSoftmax" => softmax,
        "ArgMax" => arg_max,
        _ => return None,
    })
}

fn apply(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>, function: Function) -> Made {
    let x = lowering.real(node.one()?)?;
    one(lowering.apply(&x, function, Kind::Real)?)
}

/// `min(max(slope x + middle, 0), 1)`.
fn hard_sigmoid(slope: f64, middle: f64) -> Function {
    Function::input()
        .with(Binary::Multiply, slope)
        .with(Binary::Add, middle)
        .with(Binary::Max, 0.0)
        .with(Binary::Min, 1.0)
}

/// `slope x` above zero, `alpha (e^x - 1)` below.
fn exponential(alpha: f64, slope: f64) -> Function {
    let below = Function::input()
        .with(Binary::Min, 0.0)
        .then(Unary::Exp)
        .with(Binary::Add, -1.0)
        .with(Binary::Multiply, alpha);
    Function::input()
        .with(Binary::Max, 0.0)
        .with(Binary::Multiply, slope)
        .join(Binary::Add, &below)
}

fn gelu(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let gate = match node.text("approximate") {
        None | Some("none") => Function::input()
            .with(Binary::Multiply, 0.5_f64.sqrt())
            .then(Unary::Erf),
        Some("tanh") => Function::input()
            .with(Binary::Power, 3.0)
            .with(Binary::Multiply, 0.044_715)
            .join(Binary::Add, &Function::input())
            .with(Binary::Multiply, (2.0 / std::f64::consts::PI).sqrt())
            .then(Unary::Tanh),
        Some(_) => return Err(Unsupported::Attribute.into()),
    };
    let gate = gate.with(Binary::Add, 1.0).with(Binary::Multiply, 0.5);
    apply(
        lowering,
        node,
        gate.join(Binary::Multiply, &Function::input()),
    )
}

impl Lowering<'_> {
    /// `below x` under zero, `above x` from it.
    pub(super) fn slopes(
        &mut self,
        x: &Float,
        below: f64,
        above: f64,
    ) -> Result<Float, Unsupported> {
        let slopes = FloatOperator::Slopes { below, above };
        self.push(slopes, &[x], x.dims.clone())
    }
}

fn leaky_relu(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let x = lowering.real(node.one()?)?;
    one(lowering.slopes(&x, node.number("alpha", 0.01)?.into(), 1.0)?)
}

/// `max(x, 0) + slope min(x, 0)`, each channel with its slope.
fn parametric_relu(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let [x, slope] = node.two()?;
    let (x, slopes) = (lowering.real(x)?, slope.constant()?.numbers());
    if let [slope] = slopes.as_slice() {
        return one(lowering.slopes(&x, *slope, 1.0)?);
    }
    let dims = broadcast(&x.dims, slope.dims())?;
    if dims != x.dims {
        return Err(Unsupported::Shape.into());
    }
    let above = lowering.rectified(&x)?;
    let below = lowering.clamped(&x, f64::NEG_INFINITY, 0.0)?;
    let below = lowering.product(&Value::Float(below), slope)?;
    one(lowering.sum(&Value::Float(above), &Value::Float(below), [1.0, 1.0])?)
}

/// The bounds are inputs, or attributes in old files; each may be left out.
fn clip(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let x = lowering.real(node.input(0)?)?;
    let bound = |place: usize, name: &str, open: f64| -> Result<f64, Unsupported> {
        match node.optional(place) {
            Some(bound) => bound.scalar(),
            None if node.has(name) => node.number(name, 0.0).map(f64::from),
            None => Ok(open),
        }
    };
    let lo = bound(1, "min", f64::NEG_INFINITY)?;
    let hi = bound(2, "max", f64::INFINITY)?;
    if lo > hi {
        return Err(Unsupported::Attribute.into());
    }
    one(lowering.clamped(&x, lo, hi)?)
}

/// The value, if all its elements lie along the axis that the attribute names.
fn vector(
    lowering: &mut Lowering<'_>,
    node: &OnnxNode<'_>,
    default: i64,
) -> Result<(Float, usize), Unsupported> {
    let x = lowering.float(node.one()?)?;
    let at = axis(node.int("axis", default)?, x.dims.len())?;
    if x.dims[at] == x.dims.iter().product() {
        Ok((x, at))
    } else {
        Err(Unsupported::Shape)
    }
}

/// Old files name the first of the axes that are taken together.
fn softmax(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let default = if node.opset < 13 { 1 } else { -1 };
    let (x, _) = vector(lowering, node, default)?;
    let dims = x.dims.clone();
    one(lowering.push(FloatOperator::Softmax, &[&x], dims)?)
}

fn arg_max(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let (x, at) = vector(lowering, node, 0)?;
    if node.int("select_last_index", 0)? != 0 {
        return Err(Unsupported::Attribute.into());
    }
    let mut dims = x.dims.clone();
    dims[at] = 1;
    if node.int("keepdims", 1)? == 0 {
        dims.remove(at);
    }
    let place = lowering.push(FloatOperator::ArgMax, &[&x], dims)?;
    let kind = Kind::Whole;
    one(Float { kind, ..place })
}
