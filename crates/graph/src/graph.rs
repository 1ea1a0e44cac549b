//! The graph: a list of nodes that was checked once, so that nothing after it checks again.

use crate::exponential::ONE;
use crate::operator::MAX_SHIFT;
use crate::range::{NARROW_BOUND, WIDE_BOUND};
use crate::{
    Accumulator, GraphError, MAX_COORDINATE, Operator, Range, TreeEnsemble, Weights, elements,
    planes,
};

/// A model: integers in, integers out, one meaning everywhere.
///
/// Value 0 is the input; node `n` makes value `n + 1` from values before it; the last value is the
/// output. A graph that exists is sound: sizes fit, no accumulator can reach its bound on any
/// input, every value is used, the output is `i32`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    input: InputType,
    nodes: Vec<Node>,
    values: Vec<ValueType>,
}

/// What a graph takes: `elements` integers between `lo` and `hi`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputType {
    /// How many.
    pub elements: u32,
    /// The smallest allowed.
    pub lo: i32,
    /// The largest allowed.
    pub hi: i32,
}

/// A value of a graph, counted from the input, which is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub u32);

/// An operator and the values it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What is computed.
    pub operator: Operator,
    /// From what.
    pub inputs: Vec<ValueId>,
}

impl Node {
    /// A node of one input.
    #[must_use]
    pub fn unary(operator: Operator, input: ValueId) -> Self {
        let inputs = vec![input];
        Self { operator, inputs }
    }
}

/// What is known of a value before any input is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ValueType {
    pub(crate) elements: usize,
    pub(crate) range: Range,
}

impl Graph {
    /// Checks `nodes`, and keeps them.
    ///
    /// # Errors
    /// [`GraphError`], naming the first node that does not fit.
    pub fn new(input: InputType, nodes: Vec<Node>) -> Result<Self, GraphError> {
        if nodes.is_empty() {
            return Err(GraphError::Empty);
        }
        if nodes.len() > MAX_NODES {
            return Err(GraphError::TooManyNodes);
        }
        let mut checker = Checker::new(input)?;
        for (place, node) in nodes.iter().enumerate() {
            checker.admit(place, node)?;
        }
        let values = checker.finish()?;
        Ok(Self {
            input,
            nodes,
            values,
        })
    }

    /// What the graph takes.
    #[must_use]
    pub const fn input(&self) -> InputType {
        self.input
    }

    /// The nodes, in order; node `n` makes value `n + 1`.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The output: the last value.
    ///
    /// # Panics
    /// Never: a graph that exists has at most [`MAX_NODES`] nodes.
    #[must_use]
    pub fn output(&self) -> ValueId {
        ValueId(u32::try_from(self.nodes.len()).expect("a graph has at most MAX_NODES nodes"))
    }

    /// How many elements `value` has; 0 if there is no such value.
    #[must_use]
    pub fn elements(&self, value: ValueId) -> usize {
        self.value(value).map_or(0, |value| value.elements)
    }

    /// The interval proven for the elements of `value`; `None` if there is no such value.
    #[must_use]
    pub fn range(&self, value: ValueId) -> Option<Range> {
        self.value(value).map(|value| value.range)
    }

    /// How many weights, biases and multipliers there are.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.nodes.iter().map(|n| parameters(&n.operator)).sum()
    }

    fn value(&self, value: ValueId) -> Option<ValueType> {
        self.values.get(usize::try_from(value.0).ok()?).copied()
    }
}

/// Most nodes in a graph.
pub const MAX_NODES: usize = 1 << 12;

/// Most elements of all values of a graph together.
pub const MAX_ELEMENTS: usize = 1 << 22;

/// Most parameters of all nodes of a graph together.
pub const MAX_PARAMETERS: usize = 1 << 26;

/// Most steps under windows of one run: products of convolutions, elements of pools.
pub const MAX_PRODUCTS: usize = 1 << 32;

/// Infers the type of each value as its node is admitted.
struct Checker {
    values: Vec<ValueType>,
    used: Vec<bool>,
    elements: usize,
    parameters: usize,
    products: usize,
}

impl Checker {
    fn new(input: InputType) -> Result<Self, GraphError> {
        let range = Range::new(input.lo.into(), input.hi.into()).ok_or(GraphError::BadInputType)?;
        let elements = usize::try_from(input.elements).map_err(|_| GraphError::BadInputType)?;
        if elements == 0 || elements > MAX_ELEMENTS {
            return Err(GraphError::BadInputType);
        }
        Ok(Self {
            values: vec![ValueType { elements, range }],
            used: vec![false],
            elements,
            parameters: 0,
            products: 0,
        })
    }

    fn admit(&mut self, place: usize, node: &Node) -> Result<(), GraphError> {
        let inputs = self.inputs(place, node)?;
        self.parameters = self
            .parameters
            .checked_add(parameters(&node.operator))
            .filter(|&total| total <= MAX_PARAMETERS)
            .ok_or(GraphError::TooManyParameters)?;
        let value = output(place, &node.operator, &inputs)?;
        self.products = self
            .products
            .checked_add(planes::products(&node.operator))
            .filter(|&total| total <= MAX_PRODUCTS)
            .ok_or(GraphError::TooManyProducts)?;
        self.elements = self
            .elements
            .checked_add(value.elements)
            .filter(|&total| total <= MAX_ELEMENTS)
            .ok_or(GraphError::TooManyElements)?;
        self.values.push(value);
        self.used.push(false);
        Ok(())
    }

    fn inputs(&mut self, node: usize, of: &Node) -> Result<Vec<ValueType>, GraphError> {
        if !of.operator.takes(of.inputs.len()) {
            return Err(GraphError::WrongArity { node });
        }
        let mut inputs = Vec::with_capacity(of.inputs.len());
        for value in &of.inputs {
            let place = usize::try_from(value.0).unwrap_or(usize::MAX);
            let known = self.values.get(place);
            inputs.push(*known.ok_or(GraphError::UnknownValue { node })?);
            self.used[place] = true;
        }
        Ok(inputs)
    }

    fn finish(self) -> Result<Vec<ValueType>, GraphError> {
        let last = self.values.len() - 1;
        if let Some(value) = self.used[..last].iter().position(|used| !used) {
            return Err(GraphError::Unused { value });
        }
        if !self.values[last].range.fits_i32() {
            return Err(GraphError::WideOutput);
        }
        Ok(self.values)
    }
}

fn parameters(operator: &Operator) -> usize {
    match operator {
        Operator::Dense { weights, bias, .. } => weights.len().saturating_add(bias.len()),
        Operator::Requantise { multipliers, .. } => multipliers.len(),
        Operator::Add { .. } => 2,
        Operator::Conv(conv) => conv.weights.len().saturating_add(conv.bias.len()),
        Operator::SumPool { .. } => 1,
        Operator::TreeEnsemble(ensemble) => ensemble.parameters(),
        Operator::Distances { vectors } => vectors.len(),
        Operator::Exponential { .. } => 1,
        _ => 0,
    }
}

/// The type of what `operator` makes of `inputs`, whose number is its arity.
fn output(node: usize, operator: &Operator, inputs: &[ValueType]) -> Result<ValueType, GraphError> {
    let input = inputs[0];
    match operator {
        Operator::Dense {
            weights,
            bias,
            accumulator,
        } => dense(node, input, weights, bias, *accumulator),
        Operator::Requantise {
            multipliers,
            shift,
            lo,
            hi,
        } => {
            let channels = multipliers.len();
            if channels == 0 || lo > hi || *shift > MAX_SHIFT {
                return Err(GraphError::BadParameter { node });
            }
            if !input.elements.is_multiple_of(channels) {
                return Err(GraphError::WrongSize { node });
            }
            let range = Range::new((*lo).into(), (*hi).into()).expect("lo <= hi, both i16");
            Ok(ValueType { range, ..input })
        }
        Operator::Add { left, right } => add(node, input, inputs[1], *left, *right),
        Operator::Clamp { lo, hi } => {
            if lo > hi {
                return Err(GraphError::BadParameter { node });
            }
            let range = input.range.clamped(*lo, *hi);
            Ok(ValueType { range, ..input })
        }
        Operator::ArgMax => {
            let last =
                i64::try_from(input.elements - 1).expect("elements are at most MAX_ELEMENTS");
            Ok(ValueType {
                elements: 1,
                range: Range::new(0, last).expect("0 <= last < 2^46"),
            })
        }
        Operator::Conv(conv) => planes::conv(node, input, conv),
        Operator::MaxPool(window) => planes::max_pool(node, input, window),
        Operator::SumPool { window, bias } => planes::sum_pool(node, input, window, *bias),
        Operator::Select(select) => elements::select(node, inputs, select),
        Operator::Table { lo, entries } => elements::table(node, input, *lo, entries),
        Operator::Slopes { below, above } => elements::slopes(node, input, *below, *above),
        Operator::Multiply => elements::multiply(node, input, inputs[1]),
        Operator::TreeEnsemble(ensemble) => trees(node, input, ensemble),
        Operator::Distances { vectors } => distances(node, input, vectors),
        Operator::Exponential { shift, .. } => {
            if *shift > MAX_SHIFT {
                return Err(GraphError::BadParameter { node });
            }
            if input.range.lo() < 0 {
                return Err(GraphError::InputTooWide { node });
            }
            let range = Range::new(0, ONE).expect("0 < 2^46");
            Ok(ValueType { range, ..input })
        }
    }
}

pub(crate) fn narrow(node: usize, input: ValueType) -> Result<ValueType, GraphError> {
    if input.range.fits_i32() {
        Ok(input)
    } else {
        Err(GraphError::InputTooWide { node })
    }
}

fn dense(
    node: usize,
    input: ValueType,
    weights: &Weights,
    bias: &[i32],
    accumulator: Accumulator,
) -> Result<ValueType, GraphError> {
    if bias.is_empty() || input.elements.checked_mul(bias.len()) != Some(weights.len()) {
        return Err(GraphError::WrongSize { node });
    }
    if !input.range.fits_i16() {
        return Err(GraphError::InputTooWide { node });
    }
    let bound = bound(accumulator);
    // |b| + max|x| * sum|w| bounds every partial sum too, in whatever order it is made.
    // At most 2^31 + 2^15 * 2^22 * 2^15: no overflow here.
    let reach = |(row, bias): (usize, &i32)| {
        let row = row * input.elements..(row + 1) * input.elements;
        let norm: i64 = row.map(|place| i64::from(weights.at(place)).abs()).sum();
        i64::from(*bias).abs() + input.range.magnitude() * norm
    };
    if bias
        .iter()
        .enumerate()
        .map(reach)
        .any(|reach| reach >= bound)
    {
        return Err(GraphError::AccumulatorOverflow { node });
    }
    Ok(ValueType {
        elements: bias.len(),
        // The declared bound, not the one found: shapes do not depend on weights.
        range: Range::below(bound),
    })
}

/// Magnitudes of sums stay below this.
const fn bound(accumulator: Accumulator) -> i64 {
    match accumulator {
        Accumulator::Narrow => NARROW_BOUND,
        Accumulator::Wide => WIDE_BOUND,
    }
}

fn trees(node: usize, input: ValueType, ensemble: &TreeEnsemble) -> Result<ValueType, GraphError> {
    let input = narrow(node, input)?;
    ensemble.check(node, input.elements)?;
    let bound = bound(ensemble.accumulator);
    if ensemble.reach() >= bound {
        return Err(GraphError::AccumulatorOverflow { node });
    }
    Ok(ValueType {
        elements: ensemble.bias.len(),
        range: Range::below(bound),
    })
}

fn distances(node: usize, input: ValueType, vectors: &[i16]) -> Result<ValueType, GraphError> {
    if vectors.is_empty() || !vectors.len().is_multiple_of(input.elements) {
        return Err(GraphError::WrongSize { node });
    }
    let most = MAX_COORDINATE;
    if vectors.iter().any(|v| !(-most..=most).contains(v)) {
        return Err(GraphError::BadParameter { node });
    }
    if input.range.magnitude() > most.into() {
        return Err(GraphError::InputTooWide { node });
    }
    let difference = input.range.magnitude() + i64::from(most);
    // At most 2^30 * 2^22.
    let largest = difference * difference * i64::try_from(input.elements).unwrap_or(i64::MAX >> 30);
    let range = Range::new(0, largest).ok_or(GraphError::AccumulatorOverflow { node })?;
    Ok(ValueType {
        elements: vectors.len() / input.elements,
        range,
    })
}

fn add(
    node: usize,
    a: ValueType,
    b: ValueType,
    left: u16,
    right: u16,
) -> Result<ValueType, GraphError> {
    if a.elements != b.elements {
        return Err(GraphError::WrongSize { node });
    }
    let (a, b) = (narrow(node, a)?, narrow(node, b)?);
    let reach = i64::from(left) * a.range.magnitude() + i64::from(right) * b.range.magnitude();
    if reach >= NARROW_BOUND {
        return Err(GraphError::AccumulatorOverflow { node });
    }
    Ok(ValueType {
        range: Range::below(NARROW_BOUND),
        ..a
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: InputType = InputType {
        elements: 2,
        lo: -100,
        hi: 100,
    };

    fn dense(weights: &[i8], bias: &[i32]) -> Operator {
        Operator::Dense {
            weights: Weights::Narrow(weights.to_vec()),
            bias: bias.to_vec(),
            accumulator: Accumulator::Narrow,
        }
    }

    fn refused(nodes: Vec<Node>) -> GraphError {
        Graph::new(INPUT, nodes).unwrap_err()
    }

    fn on_input(operator: Operator) -> Vec<Node> {
        vec![Node::unary(operator, ValueId(0))]
    }

    #[test]
    fn an_accumulator_that_could_reach_its_bound_is_refused() {
        // 100 * (127 + 127) = 25_400.
        let bound = (1 << 30) - 25_400;
        let with_bias = |bias| Graph::new(INPUT, on_input(dense(&[127, -127], &[bias])));
        let node = 0;
        for bias in [bound, -bound, i32::MIN] {
            let refused = with_bias(bias);
            assert_eq!(refused, Err(GraphError::AccumulatorOverflow { node }));
        }
        let graph = with_bias(bound - 1).unwrap();
        assert_eq!(graph.run(&[100, -100]), Ok(vec![(1 << 30) - 1]));
    }

    #[test]
    fn a_sum_that_could_reach_the_bound_is_refused() {
        let sum = |left, right| Node {
            operator: Operator::Add { left, right },
            inputs: vec![ValueId(1), ValueId(0)],
        };
        let wide = Node::unary(dense(&[1, 0, 0, 1], &[16_000, 0]), ValueId(0));
        // Declared, not found: a layer's sums may be anything below 2^30.
        let refused = refused(vec![wide.clone(), sum(1, 1)]);
        assert_eq!(refused, GraphError::AccumulatorOverflow { node: 1 });
        let clamp = Node::unary(Operator::Clamp { lo: -9, hi: 9 }, ValueId(0));
        assert!(Graph::new(INPUT, vec![clamp, sum(65_535, 65_535)]).is_ok());
    }

    #[test]
    fn dense_takes_16_bit_elements_alone() {
        let input = InputType {
            elements: 2,
            lo: -32_769,
            hi: 0,
        };
        let refused = Graph::new(input, on_input(dense(&[1, 1], &[0])));
        assert_eq!(refused, Err(GraphError::InputTooWide { node: 0 }));
        let after_sums = vec![
            Node::unary(dense(&[1, 1], &[0]), ValueId(0)),
            Node::unary(dense(&[1], &[0]), ValueId(1)),
        ];
        assert_eq!(
            Graph::new(INPUT, after_sums),
            Err(GraphError::InputTooWide { node: 1 })
        );
    }

    #[test]
    fn weights_must_be_rows_times_columns() {
        for (weights, bias) in [(&[1, 2, 3][..], &[0][..]), (&[1, 2], &[0, 0]), (&[], &[])] {
            let refused = refused(on_input(dense(weights, bias)));
            assert_eq!(refused, GraphError::WrongSize { node: 0 });
        }
    }

    #[test]
    fn an_operator_takes_its_number_of_values() {
        let add = Operator::Add { left: 1, right: 1 };
        let refused = refused(on_input(add));
        assert_eq!(refused, GraphError::WrongArity { node: 0 });
    }

    #[test]
    fn budgets_hold() {
        let clamp = || Operator::Clamp { lo: -9, hi: 9 };
        let chain = (0..=MAX_NODES).map(|n| Node::unary(clamp(), ValueId(n as u32)));
        assert_eq!(refused(chain.collect()), GraphError::TooManyNodes);
        let large = InputType {
            elements: (MAX_ELEMENTS / 2 + 1) as u32,
            ..INPUT
        };
        let refused = Graph::new(large, on_input(clamp()));
        assert_eq!(refused, Err(GraphError::TooManyElements));
        let larger = InputType {
            elements: u32::MAX,
            ..INPUT
        };
        let refused = Graph::new(larger, on_input(clamp()));
        assert_eq!(refused, Err(GraphError::BadInputType));
    }

    #[test]
    fn wide_sums_may_be_clamped_or_compared() {
        let wide = Operator::Dense {
            weights: Weights::Wide(vec![32_767, 0, -32_767, 0]),
            bias: vec![i32::MAX, i32::MAX],
            accumulator: Accumulator::Wide,
        };
        let run = |operator, input| {
            let nodes = vec![
                Node::unary(wide.clone(), ValueId(0)),
                Node::unary(operator, ValueId(1)),
            ];
            Graph::new(INPUT, nodes).unwrap().run(input).unwrap()
        };
        // 2^31 - 1 + 32_767 * 100 is no i32.
        assert_eq!(run(Operator::ArgMax, &[-100, 0]), [1]);
        let all = Operator::Clamp {
            lo: i32::MIN,
            hi: i32::MAX,
        };
        let low = i32::MAX - 3_276_700;
        assert_eq!(run(all, &[-100, 0]), [low, i32::MAX]);
    }

    #[test]
    fn coordinates_are_of_15_bits() {
        let one = |hi, v| {
            let input = InputType {
                elements: 2,
                lo: 0,
                hi,
            };
            let vectors = vec![v, 0];
            Graph::new(input, on_input(Operator::Distances { vectors })).map(drop)
        };
        let most = MAX_COORDINATE;
        let node = 0;
        assert_eq!(one(most.into(), most), Ok(()));
        let outside = Err(GraphError::BadParameter { node });
        assert_eq!(one(most.into(), -most - 1), outside);
        assert_eq!(one(16_384, most), Err(GraphError::InputTooWide { node }));
    }

    #[test]
    fn an_exponent_is_not_negative() {
        let power = |shift| Operator::Exponential {
            multiplier: 1,
            shift,
        };
        let refused = refused(on_input(power(0)));
        assert_eq!(refused, GraphError::InputTooWide { node: 0 });
        let input = InputType { lo: 0, ..INPUT };
        let graph = Graph::new(input, on_input(power(47)));
        assert_eq!(graph, Err(GraphError::BadParameter { node: 0 }));
        assert!(Graph::new(input, on_input(power(46))).is_ok());
    }
}
