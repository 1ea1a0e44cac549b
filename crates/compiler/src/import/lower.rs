//! From ONNX's nodes to float nodes: names resolved, shapes inferred, views dropped.
//!
//! Values are flat vectors here; the leading dimension of ONNX, the batch, is one question and
//! falls away. Only nodes that the wanted output needs are read.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use graph::{MAX_ELEMENTS, MAX_NODES, MAX_PARAMETERS};
use rten_onnx::onnx::{DataType, GraphProto, ModelProto, NodeProto, ValueInfoProto};

use super::float::{Dense, FloatGraph, FloatNode};
use super::tensor::{Content, Tensor, elements};
use super::value::Value;
use super::{ImportError, Label, Unsupported};

/// Reads the graph of `model` as far as `wanted` needs it.
pub(super) fn lower(model: &ModelProto, wanted: Option<&str>) -> Result<FloatGraph, ImportError> {
    let graph = model.graph.as_ref().ok_or(ImportError::NoGraph)?;
    let output = output(graph, wanted)?;
    let makers = makers(graph)?;
    let mut lowering = Lowering::new(graph, &makers)?;
    let needed = needed(graph, &makers, output);
    if needed.len() > MAX_NODES {
        return Err(ImportError::TooManyParts);
    }
    for place in needed {
        let node = &graph.node[place];
        lowering.admit(place, node)?;
    }
    lowering.finish(output)
}

/// The name of the wanted output.
fn output<'a>(graph: &'a GraphProto, wanted: Option<&str>) -> Result<&'a str, ImportError> {
    let names: Vec<&str> = graph.output.iter().map(name).collect();
    match (wanted, names.as_slice()) {
        (None, [name]) => Ok(name),
        (None, names) => Err(ImportError::OutputCount { count: names.len() }),
        (Some(wanted), names) => {
            let found = names.iter().find(|name| **name == wanted);
            found.copied().ok_or_else(|| ImportError::UnknownOutput {
                name: Label::new(wanted),
            })
        }
    }
}

fn name(value: &ValueInfoProto) -> &str {
    value.name.as_deref().unwrap_or_default()
}

/// Which node makes each value.
fn makers(graph: &GraphProto) -> Result<BTreeMap<&str, usize>, ImportError> {
    let mut makers = BTreeMap::new();
    for (place, node) in graph.node.iter().enumerate() {
        // An empty name is an output that is not wanted.
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if makers.insert(output.as_str(), place).is_some() {
                let name = Label::new(output);
                return Err(ImportError::DuplicateName { name });
            }
        }
    }
    Ok(makers)
}

/// The nodes that `output` needs, in the file's order.
fn needed(graph: &GraphProto, makers: &BTreeMap<&str, usize>, output: &str) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    let mut open = vec![output];
    while let Some(value) = open.pop() {
        if let Some(&place) = makers.get(value)
            && needed.insert(place)
        {
            open.extend(graph.node[place].input.iter().map(String::as_str));
        }
    }
    needed
}

struct Lowering<'a> {
    makers: &'a BTreeMap<&'a str, usize>,
    values: BTreeMap<&'a str, Value>,
    float: FloatGraph,
    /// How often each name is taken by a node or given out.
    uses: BTreeMap<&'a str, usize>,
    /// Weights of all layers so far: one constant may be used by many.
    parameters: usize,
}

/// The error of a node.
type Refused = Result<Value, Unsupported>;

impl<'a> Lowering<'a> {
    fn new(graph: &'a GraphProto, makers: &'a BTreeMap<&str, usize>) -> Result<Self, ImportError> {
        let mut values = BTreeMap::new();
        for proto in &graph.initializer {
            let name = proto.name.as_deref().unwrap_or_default();
            let value = Value::Constant(Rc::new(Tensor::read(proto)?));
            if makers.contains_key(name) || values.insert(name, value).is_some() {
                let name = Label::new(name);
                return Err(ImportError::DuplicateName { name });
            }
        }
        // Old files list constants among the inputs too.
        let inputs = graph.input.iter();
        let inputs: Vec<_> = inputs.filter(|i| !values.contains_key(name(i))).collect();
        let [input] = inputs.as_slice() else {
            let count = inputs.len();
            return Err(ImportError::InputCount { count });
        };
        let dims = input_dims(input).ok_or_else(|| ImportError::BadInput {
            name: Label::new(name(input)),
        })?;
        if makers.contains_key(name(input)) {
            let name = Label::new(name(input));
            return Err(ImportError::DuplicateName { name });
        }
        let float = FloatGraph {
            input: elements(&dims).unwrap_or(0),
            nodes: Vec::new(),
            output: 0,
        };
        values.insert(name(input), Value::Float { place: 0, dims });
        let mut uses = BTreeMap::new();
        let taken = graph.node.iter().flat_map(|node| &node.input);
        let given = graph.output.iter().map(name);
        for name in taken.map(String::as_str).chain(given) {
            *uses.entry(name).or_insert(0) += 1;
        }
        Ok(Self {
            makers,
            values,
            float,
            uses,
            parameters: 0,
        })
    }

    fn admit(&mut self, place: usize, node: &'a NodeProto) -> Result<(), ImportError> {
        let label = || label(place, node);
        let mut inputs = Vec::new();
        for input in &node.input {
            match self.values.get(input.as_str()) {
                Some(value) => inputs.push(value.clone()),
                None => return Err(self.missing(label(), input)),
            }
        }
        let operator = node.op_type.as_deref().unwrap_or_default();
        let unknown = || ImportError::UnknownOperator {
            node: label(),
            operator: Label::new(operator),
        };
        if !matches!(node.domain.as_deref(), None | Some("" | "ai.onnx")) {
            return Err(unknown());
        }
        let made = match operator {
            "Gemm" => self.gemm(node, &inputs),
            "MatMul" => self.matmul(&inputs),
            "Add" => self.add(node, &inputs),
            "Relu" => self.unary(&inputs, FloatNode::Relu),
            "Softmax" => self.softmax(node, &inputs),
            "ArgMax" => self.arg_max(node, &inputs),
            "Identity" => one(&inputs).cloned(),
            "Cast" => cast(node, &inputs, &self.float),
            "Flatten" => flatten(node, &inputs),
            "Reshape" => reshape(node, &inputs),
            "Constant" => constant(node, &inputs)?,
            _ => return Err(unknown()),
        };
        let made = made.map_err(|why| ImportError::Unsupported { node: label(), why })?;
        let [output] = node.output.as_slice() else {
            let why = Unsupported::Arity;
            return Err(ImportError::Unsupported { node: label(), why });
        };
        if self.values.insert(output, made).is_some() {
            let name = Label::new(output);
            return Err(ImportError::DuplicateName { name });
        }
        Ok(())
    }

    fn missing(&self, node: Label, value: &str) -> ImportError {
        let made_later = self.makers.contains_key(value);
        let value = Label::new(value);
        if made_later {
            ImportError::Cycle { node, value }
        } else {
            ImportError::UnknownValue { node, value }
        }
    }

    fn finish(mut self, output: &str) -> Result<FloatGraph, ImportError> {
        let Some(Value::Float { place, .. }) = self.values.get(output) else {
            let name = Label::new(output);
            return Err(ImportError::UnknownOutput { name });
        };
        self.float.output = *place;
        if *place == 0 {
            return Err(ImportError::NoGraph);
        }
        Ok(self.float)
    }

    fn push(&mut self, node: FloatNode, dims: Vec<usize>) -> Value {
        self.float.nodes.push(node);
        let place = self.float.nodes.len();
        Value::Float { place, dims }
    }

    fn unary(&mut self, inputs: &[Value], node: impl Fn(usize) -> FloatNode) -> Refused {
        let (place, dims) = one(inputs)?.float()?;
        Ok(self.push(node(place), dims.to_vec()))
    }

    fn matmul(&mut self, inputs: &[Value]) -> Refused {
        let [x, weights] = inputs else {
            return Err(Unsupported::Arity);
        };
        let (floats, dims) = weights.matrix()?;
        self.reserve(floats.len())?;
        let bias = vec![0.0; dims[1]];
        self.dense(x, transpose(floats, dims), bias)
    }

    fn gemm(&mut self, node: &NodeProto, inputs: &[Value]) -> Refused {
        let (x, weights, bias) = match inputs {
            [x, weights] => (x, weights, None),
            [x, weights, bias] => (x, weights, Some(bias)),
            _ => return Err(Unsupported::Arity),
        };
        let attribute = |name| find(node, name);
        let scale = |name| attribute(name).map_or(Some(1.0), |a| a.f);
        let flag = |name| attribute(name).map_or(Some(0), |a| a.i);
        let (Some(alpha), Some(beta)) = (scale("alpha"), scale("beta")) else {
            return Err(Unsupported::Attribute);
        };
        let scales_fit = alpha.is_finite() && beta.is_finite();
        let (Some(0), Some(flip @ (0 | 1)), true) = (flag("transA"), flag("transB"), scales_fit)
        else {
            return Err(Unsupported::Attribute);
        };
        let (floats, dims) = weights.matrix()?;
        self.reserve(floats.len())?;
        let (mut rows, count) = if flip == 1 {
            (floats.to_vec(), dims[0])
        } else {
            (transpose(floats, dims), dims[1])
        };
        rows.iter_mut().for_each(|w| *w *= alpha);
        let mut biases = vec![0.0; count];
        if let Some(bias) = bias {
            let given = bias.vector(count)?;
            biases = given.iter().map(|b| b * beta).collect();
        }
        self.dense(x, rows, biases)
    }

    /// Makes room for a layer's weights, before they are copied.
    fn reserve(&mut self, weights: usize) -> Result<(), Unsupported> {
        self.parameters += weights;
        if self.parameters > MAX_PARAMETERS {
            return Err(Unsupported::TooLarge);
        }
        Ok(())
    }

    fn dense(&mut self, x: &Value, weights: Vec<f32>, bias: Vec<f32>) -> Refused {
        let (from, dims) = x.float()?;
        let [columns] = dims else {
            return Err(Unsupported::Shape);
        };
        if columns.checked_mul(bias.len()) != Some(weights.len()) || bias.is_empty() {
            return Err(Unsupported::Shape);
        }
        finite(&weights)?;
        finite(&bias)?;
        let rows = vec![bias.len()];
        let dense = Dense {
            from,
            weights,
            bias,
        };
        Ok(self.push(FloatNode::Dense(dense), rows))
    }

    fn add(&mut self, node: &NodeProto, inputs: &[Value]) -> Refused {
        let [a, b] = inputs else {
            return Err(Unsupported::Arity);
        };
        match (a, b) {
            (Value::Float { .. }, Value::Float { .. }) => {
                let ((left, dims), (right, other)) = (a.float()?, b.float()?);
                if dims != other {
                    return Err(Unsupported::Shape);
                }
                Ok(self.push(FloatNode::Add(left, right), dims.to_vec()))
            }
            (x @ Value::Float { .. }, constant) => self.add_bias(&node.input[0], x, constant),
            (constant, x @ Value::Float { .. }) => self.add_bias(&node.input[1], x, constant),
            _ => Err(Unsupported::Operand),
        }
    }

    /// Adds a constant to the biases of the layer before, which nothing else may use.
    fn add_bias(&mut self, name: &str, x: &Value, constant: &Value) -> Refused {
        let (place, _) = x.float()?;
        let layer = place.checked_sub(1).ok_or(Unsupported::ConstantAdd)?;
        let alone = self.uses.get(name) == Some(&1) && self.float.uses()[place] == 0;
        match self.float.nodes.get_mut(layer) {
            Some(FloatNode::Dense(dense)) if alone => {
                let given = constant.vector(dense.bias.len())?;
                let biases = dense.bias.iter_mut().zip(given);
                biases.for_each(|(bias, given)| *bias += given);
                finite(&dense.bias)?;
                Ok(x.clone())
            }
            _ => Err(Unsupported::ConstantAdd),
        }
    }

    fn softmax(&mut self, node: &NodeProto, inputs: &[Value]) -> Refused {
        last_axis(node, "axis", -1, one(inputs)?)?;
        self.unary(inputs, FloatNode::Softmax)
    }

    fn arg_max(&mut self, node: &NodeProto, inputs: &[Value]) -> Refused {
        let (place, _) = last_axis(node, "axis", 0, one(inputs)?)?;
        if find(node, "select_last_index").is_some_and(|a| a.i != Some(0)) {
            return Err(Unsupported::Attribute);
        }
        Ok(self.push(FloatNode::ArgMax(place), vec![1]))
    }
}

/// Products and sums of finite constants may not be.
fn finite(constants: &[f32]) -> Result<(), Unsupported> {
    if constants.iter().all(|x| x.is_finite()) {
        Ok(())
    } else {
        Err(Unsupported::NotFinite)
    }
}

/// A node's name, or its place if it has none.
fn label(place: usize, node: &NodeProto) -> Label {
    match node.name.as_deref() {
        None | Some("") => Label::new(&format!("#{place}")),
        Some(name) => Label::new(name),
    }
}

fn one(inputs: &[Value]) -> Result<&Value, Unsupported> {
    match inputs {
        [input] => Ok(input),
        _ => Err(Unsupported::Arity),
    }
}

fn find<'a>(node: &'a NodeProto, name: &str) -> Option<&'a rten_onnx::onnx::AttributeProto> {
    let mut attributes = node.attribute.iter();
    attributes.find(|a| a.name.as_deref() == Some(name))
}

/// The value, if it is a vector and the attribute names its axis, which is the one after the batch.
fn last_axis<'a>(
    node: &NodeProto,
    name: &str,
    default: i64,
    value: &'a Value,
) -> Result<(usize, &'a [usize]), Unsupported> {
    let (place, dims) = value.float()?;
    let axis = find(node, name).map_or(Some(default), |a| a.i);
    match (dims, axis) {
        ([_], Some(1 | -1)) => Ok((place, dims)),
        ([_], _) => Err(Unsupported::Attribute),
        _ => Err(Unsupported::Shape),
    }
}

/// Floats may stay floats; what ArgMax made is whole, and may become anything.
fn cast(node: &NodeProto, inputs: &[Value], float: &FloatGraph) -> Refused {
    let value = one(inputs)?;
    let (place, _) = value.float()?;
    let to = find(node, "to").and_then(|a| a.i);
    let index = place > 0 && matches!(float.nodes[place - 1], FloatNode::ArgMax(_));
    match to {
        Some(1 | 11) => Ok(value.clone()),
        Some(6 | 7) if index => Ok(value.clone()),
        _ => Err(Unsupported::Attribute),
    }
}

fn flatten(node: &NodeProto, inputs: &[Value]) -> Refused {
    let (place, dims) = one(inputs)?.float()?;
    if find(node, "axis").map_or(Some(1), |a| a.i) != Some(1) {
        return Err(Unsupported::Attribute);
    }
    let dims = vec![elements(dims).ok_or(Unsupported::Shape)?];
    Ok(Value::Float { place, dims })
}

fn reshape(node: &NodeProto, inputs: &[Value]) -> Refused {
    let [x, shape] = inputs else {
        return Err(Unsupported::Arity);
    };
    let Value::Constant(shape) = shape else {
        return Err(Unsupported::Operand);
    };
    let Content::Integers(shape) = &shape.content else {
        return Err(Unsupported::Operand);
    };
    if find(node, "allowzero").is_some_and(|a| a.i != Some(0)) {
        return Err(Unsupported::Attribute);
    }
    let (place, from) = x.float()?;
    let count = elements(from).ok_or(Unsupported::Shape)?;
    // An index may be a vector of one: there the batch is the only dimension.
    if count == 1 && matches!(shape.as_slice(), [-1 | 1]) {
        return Ok(x.clone());
    }
    let [-1..=1, rest @ ..] = shape.as_slice() else {
        return Err(Unsupported::Shape);
    };
    let dims = match rest {
        [-1] => vec![count],
        rest => {
            let dims: Option<Vec<usize>> = rest.iter().map(|&d| d.try_into().ok()).collect();
            dims.ok_or(Unsupported::Shape)?
        }
    };
    if elements(&dims) != Some(count) {
        return Err(Unsupported::Shape);
    }
    Ok(Value::Float { place, dims })
}

fn constant(node: &NodeProto, inputs: &[Value]) -> Result<Refused, ImportError> {
    if !inputs.is_empty() {
        return Ok(Err(Unsupported::Arity));
    }
    match find(node, "value").and_then(|a| a.t.as_ref()) {
        Some(tensor) => Ok(Ok(Value::Constant(Rc::new(Tensor::read(tensor)?)))),
        None => Ok(Err(Unsupported::Attribute)),
    }
}

/// The input's dimensions without the batch: all known, not too many elements.
fn input_dims(input: &ValueInfoProto) -> Option<Vec<usize>> {
    let tensor = input.r#type.as_ref()?.tensor_type.as_ref()?;
    if tensor.elem_type != Some(DataType::FLOAT) {
        return None;
    }
    let (batch, dims) = tensor.shape.as_ref()?.dim.split_first()?;
    if !matches!(batch.dim_value, None | Some(-1..=1)) {
        return None;
    }
    let known = |d: &rten_onnx::onnx::Dimension| usize::try_from(d.dim_value?).ok();
    let dims: Option<Vec<usize>> = dims.iter().map(known).collect();
    dims.filter(|dims| !dims.is_empty())
        .filter(|dims| elements(dims).is_some_and(|n| (1..=MAX_ELEMENTS).contains(&n)))
}

fn transpose(floats: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let column = |c: usize| (0..rows).map(move |r| floats[r * columns + c]);
    (0..columns).flat_map(column).collect()
}
