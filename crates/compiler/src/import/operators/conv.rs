//! Convolutions over signals and planes, and normalisation of a batch with fixed statistics.

use super::super::Unsupported;
use super::super::float::{Conv, FloatOperator};
use super::super::lower::Lowering;
use super::super::node::OnnxNode;
use super::super::tensor::Content;
use super::super::value::{Float, Value};
use super::dense::finite;
use super::geometry::Geometry;
use super::{Handler, Made, one};

/// The handler of an operator of this family.
pub(super) fn handler(operator: &str) -> Option<Handler> {
    match operator {
        "Conv" => Some(conv),
        "BatchNormalization" => Some(batch_normalization),
        _ => None,
    }
}

fn conv(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let (x, weights, bias) = (node.input(0)?, node.input(1)?, node.optional(2));
    let x = lowering.real(x)?;
    let tensor = weights.constant()?;
    let Content::Floats(weights) = &tensor.content else {
        return Err(Unsupported::Operand.into());
    };
    let bias = |count| bias.map_or(Ok(vec![0.0; count]), |bias| bias.vector(count));
    one(lowering.convolve(node, &x, &tensor.dims, weights, bias)?)
}

impl Lowering<'_> {
    /// The convolution of `x` that `node` describes, with these weights.
    pub(super) fn convolve(
        &mut self,
        node: &OnnxNode<'_>,
        x: &Float,
        dims: &[usize],
        weights: &[f32],
        bias: impl Fn(usize) -> Result<Vec<f32>, Unsupported>,
    ) -> Result<Float, Unsupported> {
        let [outputs, depth, kernel @ ..] = dims else {
            return Err(Unsupported::Shape);
        };
        if let Some(shape) = node.ints("kernel_shape")
            && !shape
                .iter()
                .map(|&k| usize::try_from(k).ok())
                .eq(kernel.iter().map(|&k| Some(k)))
        {
            return Err(Unsupported::Shape);
        }
        let geometry = Geometry::read(node, &x.dims, kernel)?;
        let groups = usize::try_from(node.int("group", 1)?).unwrap_or(0);
        let channels = geometry.window.channels as usize;
        let fits = groups > 0
            && *outputs > 0
            && outputs.is_multiple_of(groups)
            && depth.checked_mul(groups) == Some(channels);
        if !fits {
            return Err(Unsupported::Shape);
        }
        self.reserve(weights.len(), geometry.window.positions())?;
        let conv = Conv {
            window: geometry.window,
            groups,
            weights: weights.to_vec(),
            bias: bias(*outputs)?,
        };
        self.conv(x, conv, geometry.dims(*outputs))
    }

    /// A convolution, whose weights are reserved.
    pub(super) fn conv(
        &mut self,
        x: &Float,
        conv: Conv,
        dims: Vec<usize>,
    ) -> Result<Float, Unsupported> {
        finite(&conv.weights)?;
        finite(&conv.bias)?;
        self.push(FloatOperator::Conv(conv), &[x], dims)
    }
}

/// `scale (x - mean) / sqrt(variance + epsilon) + bias`, a channel at a time.
fn batch_normalization(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let x = lowering.real(node.input(0)?)?;
    let [_, channels, rest @ ..] = x.dims.as_slice() else {
        return Err(Unsupported::Shape.into());
    };
    let plain = node.int("training_mode", 0)? == 0 && node.int("spatial", 1)? == 1;
    if !plain || node.inputs.len() != 5 {
        return Err(Unsupported::Attribute.into());
    }
    let vector = |place: usize| -> Result<Vec<f64>, Unsupported> {
        let numbers = node.input(place).and_then(Value::constant)?.numbers();
        if numbers.len() == *channels {
            Ok(numbers)
        } else {
            Err(Unsupported::Shape)
        }
    };
    let (gamma, beta, mean, variance) = (vector(1)?, vector(2)?, vector(3)?, vector(4)?);
    let epsilon = f64::from(node.number("epsilon", 1e-5)?);
    let scale: Vec<f64> = gamma
        .iter()
        .zip(&variance)
        .map(|(gamma, variance)| gamma / (variance + epsilon).sqrt())
        .collect();
    let shift = beta.iter().zip(&mean).zip(&scale);
    let shift = shift
        .map(|((beta, mean), scale)| beta - mean * scale)
        .collect();
    let dims = [vec![*channels], vec![1; rest.len()]].concat();
    one(lowering.affine(&x.clone(), &dims, scale, shift)?)
}
