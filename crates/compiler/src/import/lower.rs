//! From ONNX's nodes to float nodes: names resolved, shapes inferred, constants folded.
//!
//! The batch is one question: a leading dimension that is free becomes 1, so that every shape is
//! known and the subgraphs that compute shapes fold into constants. Only nodes that the wanted
//! output needs are read. What a node becomes, `operators` says.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use graph::{MAX_ELEMENTS, MAX_NODES, MAX_PARAMETERS};
use rten_onnx::onnx::{DataType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

use super::budget::{Budget, Work};
use super::float::{FloatGraph, FloatNode, FloatOperator};
use super::node::OnnxNode;
use super::tensor::{Content, Tensor, elements};
use super::value::{Float, Kind, Value};
use super::{ImportError, Label, Unsupported, operators};

/// A float model, and what its file says beside it.
pub(super) struct Lowered {
    pub(super) float: FloatGraph,
    /// What the classes are called, if the file says.
    pub(super) labels: Vec<String>,
    /// What stands for missing numbers, one an element, if the file says.
    pub(super) missing: Vec<f32>,
}

/// Reads the graph of `model` as far as `wanted` needs it.
pub(super) fn lower(
    model: &ModelProto,
    wanted: Option<&str>,
    budget: &mut Budget,
    work: &Work,
) -> Result<Lowered, ImportError> {
    let graph = model.graph.as_ref().ok_or(ImportError::NoGraph)?;
    let output = output(graph, wanted)?;
    let makers = makers(graph)?;
    let mut names = Names::new(graph, &makers)?;
    let needed = needed(graph, &makers, output);
    if needed.len() > MAX_NODES {
        return Err(ImportError::TooManyParts);
    }
    let mut lowering = Lowering::new(names.input.1.clone(), budget, work);
    for place in needed {
        names.admit(&mut lowering, opset(model), place)?;
    }
    let count = graph.output.len();
    let mut lowered = names.finish(lowering, output)?;
    // A classifier's two outputs are its label and its scores. Who does not choose gets the scores
    // that the label is made of.
    if wanted.is_none() && count > 1 {
        lowered.float.output = judged(&lowered.float).ok_or(ImportError::OutputCount { count })?;
    }
    Ok(lowered)
}

/// The scores of which the output is the first of the largest.
fn judged(float: &FloatGraph) -> Option<usize> {
    let mut place = float.output;
    loop {
        let node = float.nodes.get(place.checked_sub(1)?)?;
        match &node.operator {
            FloatOperator::ArgMax => return node.inputs.first().copied(),
            // A class in another shape.
            FloatOperator::Select(select) if select.is_identity(1) => place = node.inputs[0],
            _ => return None,
        }
    }
}

/// The version of the operators without a domain.
fn opset(model: &ModelProto) -> i64 {
    let plain = |domain: &Option<String>| matches!(domain.as_deref(), None | Some("" | "ai.onnx"));
    let mut sets = model.opset_import.iter();
    let set = sets.find(|set| plain(&set.domain));
    set.and_then(|set| set.version).unwrap_or(17)
}

/// The name of the wanted output.
fn output<'a>(graph: &'a GraphProto, wanted: Option<&str>) -> Result<&'a str, ImportError> {
    let names: Vec<&str> = graph.output.iter().map(name).collect();
    match (wanted, names.as_slice()) {
        (None, [name] | [name, _]) => Ok(name),
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

/// What each name of the file stands for, so far.
struct Names<'a> {
    graph: &'a GraphProto,
    makers: &'a BTreeMap<&'a str, usize>,
    /// Constants that no node has asked for yet.
    unread: BTreeMap<&'a str, &'a TensorProto>,
    values: BTreeMap<&'a str, Value>,
    input: (&'a str, Vec<usize>),
    /// Names that a node takes, or the file gives out.
    taken: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn new(graph: &'a GraphProto, makers: &'a BTreeMap<&str, usize>) -> Result<Self, ImportError> {
        let mut unread = BTreeMap::new();
        for proto in &graph.initializer {
            let name = proto.name.as_deref().unwrap_or_default();
            if makers.contains_key(name) || unread.insert(name, proto).is_some() {
                let name = Label::new(name);
                return Err(ImportError::DuplicateName { name });
            }
        }
        // Old files list constants among the inputs too.
        let inputs = graph.input.iter();
        let inputs: Vec<_> = inputs.filter(|i| !unread.contains_key(name(i))).collect();
        let [input] = inputs.as_slice() else {
            let count = inputs.len();
            return Err(ImportError::InputCount { count });
        };
        let label = || Label::new(name(input));
        let dims = input_dims(input).ok_or_else(|| ImportError::BadInput { name: label() })?;
        if makers.contains_key(name(input)) {
            return Err(ImportError::DuplicateName { name: label() });
        }
        let input = (name(input), dims.clone());
        let float = Float {
            place: 0,
            dims,
            kind: Kind::Real,
        };
        let taken = graph.node.iter().flat_map(|node| &node.input);
        let given = graph.output.iter().map(name);
        Ok(Self {
            graph,
            makers,
            unread,
            values: BTreeMap::from([(input.0, Value::Float(float))]),
            input,
            taken: taken.map(String::as_str).chain(given).collect(),
        })
    }

    fn admit(
        &mut self,
        lowering: &mut Lowering<'_>,
        opset: i64,
        place: usize,
    ) -> Result<(), ImportError> {
        let proto = &self.graph.node[place];
        let label = label(place, proto);
        let mut inputs = Vec::new();
        for input in &proto.input {
            inputs.push(self.value(&label, input, lowering.budget)?);
        }
        let node = OnnxNode::new(proto, label.clone(), inputs, opset);
        let made = lowering.node(&node)?;
        for (output, made) in proto.output.iter().zip(&made) {
            if !output.is_empty() && self.values.insert(output, made.clone()).is_some() {
                let name = Label::new(output);
                return Err(ImportError::DuplicateName { name });
            }
        }
        let mut further = proto.output.iter().skip(made.len());
        if made.is_empty() || further.any(|output| self.taken.contains(output.as_str())) {
            let why = Unsupported::Arity;
            return Err(ImportError::Unsupported { node: label, why });
        }
        Ok(())
    }

    /// What `name` stands for; `None` for an input that is left out.
    fn value(
        &mut self,
        node: &Label,
        name: &'a str,
        budget: &mut Budget,
    ) -> Result<Option<Value>, ImportError> {
        if name.is_empty() {
            return Ok(None);
        }
        if let Some(proto) = self.unread.remove(name) {
            let tensor = Rc::new(Tensor::read(proto, budget)?);
            self.values.insert(name, Value::Constant(tensor));
        }
        if let Some(value) = self.values.get(name) {
            return Ok(Some(value.clone()));
        }
        let (node, value) = (node.clone(), Label::new(name));
        Err(if self.makers.contains_key(name) {
            ImportError::Cycle { node, value }
        } else {
            ImportError::UnknownValue { node, value }
        })
    }

    fn finish(self, lowering: Lowering<'_>, output: &str) -> Result<Lowered, ImportError> {
        let Some(Value::Float(float)) = self.values.get(output) else {
            let name = Label::new(output);
            return Err(ImportError::UnknownOutput { name });
        };
        if float.place == 0 {
            return Err(ImportError::NoGraph);
        }
        // What stands in for missing numbers stands in for all that use the input.
        if let Some(imputed) = lowering.imputed {
            let mut nodes = lowering.float.nodes.iter().zip(1..);
            let other = nodes.find(|(node, place)| node.inputs.contains(&0) && *place != imputed);
            if let Some((node, _)) = other {
                let (node, why) = (node.name.clone(), Unsupported::Imputer);
                return Err(ImportError::Unsupported { node, why });
            }
        }
        let mut graph = lowering.float;
        graph.output = float.place;
        Ok(Lowered {
            float: graph,
            labels: lowering.labels,
            missing: lowering.missing,
        })
    }
}

/// A node's name, or its place if it has none.
fn label(place: usize, node: &NodeProto) -> Label {
    match node.name.as_deref() {
        None | Some("") => Label::new(&format!("#{place}")),
        Some(name) => Label::new(name),
    }
}

/// The input's dimensions, with 1 for a batch: all others known, not too many elements.
fn input_dims(input: &ValueInfoProto) -> Option<Vec<usize>> {
    let tensor = input.r#type.as_ref()?.tensor_type.as_ref()?;
    if !matches!(tensor.elem_type, Some(DataType::FLOAT | DataType::DOUBLE)) {
        return None;
    }
    let (first, rest) = tensor.shape.as_ref()?.dim.split_first()?;
    let batch = match first.dim_value {
        None | Some(-1..=1) => 1,
        Some(count) if rest.is_empty() => usize::try_from(count).ok()?,
        Some(_) => return None,
    };
    let known = |d: &rten_onnx::onnx::Dimension| usize::try_from(d.dim_value?).ok();
    let rest: Option<Vec<usize>> = rest.iter().map(known).collect();
    let dims = [vec![batch], rest?].concat();
    let count = elements(&dims)?;
    let known = dims.len() > 1 || batch > 1;
    (known && dims.len() <= super::tensor::MAX_RANK && (1..=MAX_ELEMENTS).contains(&count))
        .then_some(dims)
}

/// The float model, as it grows node by node. What `operators` write into.
pub(super) struct Lowering<'b> {
    pub(super) float: FloatGraph,
    pub(super) budget: &'b mut Budget,
    pub(super) work: &'b Work,
    /// What the classes are called.
    pub(super) labels: Vec<String>,
    /// What stands for missing numbers, one an element.
    pub(super) missing: Vec<f32>,
    /// The value that is the input with the stand-ins in it.
    pub(super) imputed: Option<usize>,
    /// Weights of all layers so far: one constant may be used by many.
    parameters: usize,
    /// Elements of all values so far.
    elements: usize,
    /// Multiplications of one run so far.
    products: usize,
    name: Label,
}

impl<'b> Lowering<'b> {
    fn new(input: Vec<usize>, budget: &'b mut Budget, work: &'b Work) -> Self {
        let elements = input.iter().product();
        let float = FloatGraph {
            input,
            nodes: Vec::new(),
            output: 0,
        };
        Self {
            float,
            budget,
            work,
            labels: Vec::new(),
            missing: Vec::new(),
            imputed: None,
            parameters: 0,
            elements,
            products: 0,
            name: Label::new(""),
        }
    }

    /// What the outputs of `node` stand for. Nodes over constants alone become constants.
    fn node(&mut self, node: &OnnxNode<'_>) -> Result<Vec<Value>, ImportError> {
        let handler = operators::handler(node.domain(), node.operator());
        let handler = handler.ok_or_else(|| ImportError::UnknownOperator {
            node: node.name.clone(),
            operator: Label::new(node.operator()),
        })?;
        if node.is_before_broadcasting() {
            let (node, why) = (node.name.clone(), Unsupported::Attribute);
            return Err(ImportError::Unsupported { node, why });
        }
        self.name = node.name.clone();
        let refused = |why| match why {
            Refused::Unsupported(why) => ImportError::Unsupported {
                node: node.name.clone(),
                why,
            },
            Refused::Import(error) => error,
        };
        let before = (self.float.nodes.len(), self.elements, self.products);
        let mut made = handler(self, node).map_err(refused)?;
        if node
            .inputs
            .iter()
            .flatten()
            .any(|v| matches!(v, Value::Float(_)))
        {
            return Ok(made);
        }
        self.fold(before.0, &mut made).map_err(refused)?;
        (self.elements, self.products) = (before.1, before.2);
        Ok(made)
    }

    /// Runs the nodes from `first` on, which stand on constants alone, and takes them out again.
    fn fold(&mut self, first: usize, made: &mut [Value]) -> Result<(), Refused> {
        if self.float.nodes.len() == first {
            return Ok(());
        }
        let mut values = vec![Vec::new(); first + 1];
        for node in &self.float.nodes[first..] {
            self.work.spend(self.float.node_cost(node))?;
            let value = node.run(&values);
            values.push(value);
        }
        for value in made {
            let Value::Float(float) = value else {
                continue;
            };
            let numbers = &values[float.place];
            if numbers.iter().any(|x| x.is_nan()) {
                return Err(Unsupported::NotFinite.into());
            }
            if !self.budget.take(numbers.len().saturating_mul(8)) {
                return Err(Unsupported::TooLarge.into());
            }
            let content = match float.kind {
                Kind::Whole => Content::Integers(numbers.iter().map(|&x| x as i64).collect()),
                _ => Content::Floats(numbers.iter().map(|&x| x as f32).collect()),
            };
            let dims = float.dims.clone();
            *value = Value::Constant(Rc::new(Tensor::new(dims, content)));
        }
        self.float.nodes.truncate(first);
        Ok(())
    }

    /// Adds a float node; its value has dimensions `dims`.
    pub(super) fn push(
        &mut self,
        operator: FloatOperator,
        inputs: &[&Float],
        dims: Vec<usize>,
    ) -> Result<Float, Unsupported> {
        let count = elements(&dims)
            .filter(|&n| n > 0)
            .ok_or(Unsupported::Shape)?;
        self.elements = self.elements.saturating_add(count);
        let room = self.budget.take(count.saturating_mul(ELEMENT_BYTES));
        if self.elements > MAX_VALUES || self.float.nodes.len() >= MAX_FLOAT_NODES || !room {
            return Err(Unsupported::TooLarge);
        }
        self.float.nodes.push(FloatNode {
            operator,
            inputs: inputs.iter().map(|input| input.place).collect(),
            dims: dims.clone(),
            name: self.name.clone(),
        });
        let (place, kind) = (self.float.nodes.len(), Kind::Real);
        Ok(Float { place, dims, kind })
    }

    /// Makes room for a layer's weights before they are copied, and for their products.
    pub(super) fn reserve(&mut self, weights: usize, positions: usize) -> Result<(), Unsupported> {
        self.parameters = self.parameters.saturating_add(weights);
        self.products = self
            .products
            .saturating_add(weights.saturating_mul(positions));
        let room = self.budget.take(weights.saturating_mul(WEIGHT_BYTES));
        if self.parameters > MAX_PARAMETERS || self.products > MAX_PRODUCTS || !room {
            return Err(Unsupported::TooLarge);
        }
        Ok(())
    }

    /// `value` as a float value: constants too.
    pub(super) fn float(&mut self, value: &Value) -> Result<Float, Unsupported> {
        match value {
            Value::Float(float) => Ok(float.clone()),
            Value::Constant(tensor) => {
                if !self.budget.take(tensor.len().saturating_mul(8)) {
                    return Err(Unsupported::TooLarge);
                }
                let kind = match tensor.content {
                    Content::Floats(_) => Kind::Real,
                    Content::Integers(_) => Kind::Whole,
                };
                let constant = FloatOperator::Constant(tensor.numbers());
                let float = self.push(constant, &[], tensor.dims.clone())?;
                Ok(Float { kind, ..float })
            }
        }
    }

    /// As [`Lowering::float`], if its elements are the numbers themselves.
    pub(super) fn real(&mut self, value: &Value) -> Result<Float, Unsupported> {
        let float = self.float(value)?;
        match float.kind {
            Kind::Quantised { .. } | Kind::Class => Err(Unsupported::Operand),
            Kind::Real | Kind::Whole => Ok(float),
        }
    }
}

/// Why a node is not lowered.
#[derive(Debug)]
pub(super) enum Refused {
    /// The node asks for what is not supported.
    Unsupported(Unsupported),
    /// Something in it is bad in itself: a tensor.
    Import(ImportError),
}

impl From<Unsupported> for Refused {
    fn from(why: Unsupported) -> Self {
        Self::Unsupported(why)
    }
}

impl From<ImportError> for Refused {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

/// Most elements of all values before views are joined.
const MAX_VALUES: usize = 2 * MAX_ELEMENTS;

/// What a weight takes until it is an integer: the float, the float over integers, the integer.
const WEIGHT_BYTES: usize = 16;

/// What an element of a value takes while floats and integers run side by side.
const ELEMENT_BYTES: usize = 16;

/// Most float nodes: a node of a file may become several.
const MAX_FLOAT_NODES: usize = 4 * MAX_NODES;

/// Most multiplications of one run.
const MAX_PRODUCTS: usize = 1 << 32;
