//! Where everything is in a module's memory: parameters first, then values on pages of their own.

pub(super) mod forest;
mod planes;

use graph::{Accumulator, Graph, Operator, POWERS, ValueId, Weights};

use forest::Forest;
pub(super) use planes::{group_bytes, padded_len};

use super::CompileError;

/// Rows of weights that a kernel reads side by side.
pub(super) const ROWS: usize = 8;

/// Vectors of eight columns that a kernel reads in one turn: more make fewer turns, and more that
/// only fill the last.
pub(super) fn vectors(columns: usize) -> usize {
    let all = columns.div_ceil(8);
    let cost = |&each: &usize| (all.div_ceil(each) * (each + 1), MOST_VECTORS - each);
    (1..=MOST_VECTORS).min_by_key(cost).unwrap_or(1)
}

/// As many as stay in registers beside as many weights.
const MOST_VECTORS: usize = 6;

/// Columns of whole turns.
pub(super) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(8 * vectors(columns))
}

/// Bytes of the sums of a group of rows: a vector each.
const SUMS_LEN: usize = 16 * ROWS;

/// Most memory of a module, in bytes.
const MAX_MEMORY: u32 = 64 << 20;

const PAGE: u32 = 1 << 16;
/// What addresses are aligned to.
pub(super) const LINE: u32 = 64;

/// How an element is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    Short,
    Word,
    Long,
}

impl Storage {
    /// Bytes an element.
    pub(super) const fn bytes(self) -> u32 {
        match self {
            Self::Short => 2,
            Self::Word => 4,
            Self::Long => 8,
        }
    }
}

/// A value in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) address: u32,
    pub(super) storage: Storage,
    pub(super) elements: u32,
}

/// The addresses of a module.
pub(super) struct Layout {
    /// Parameters of each node: weights or multipliers, then biases.
    parameters: Vec<[Segment; 2]>,
    values: Vec<Place>,
    /// Where each node may keep what it needs while it runs.
    scratch: Vec<u32>,
    sums: u32,
    input: u32,
    output: u32,
    /// Where values begin.
    base: u32,
    end: u32,
}

struct Segment {
    address: u32,
    bytes: Vec<u8>,
}

impl Layout {
    pub(super) fn new(graph: &Graph) -> Result<Self, CompileError> {
        let memory = Memory::new(graph)?;
        let mut free = Free(LINE);
        let mut parameters = Vec::new();
        for (place, node) in graph.nodes().iter().enumerate() {
            let columns = graph.elements(node.inputs[0]);
            if packed_len(&node.operator, columns) > MAX_MEMORY as usize {
                return Err(CompileError::TooLarge { max: MAX_MEMORY });
            }
            let [first, second] = match &node.operator {
                Operator::Select(select) => [
                    planes::addresses(graph, node, select, &memory, place),
                    Vec::new(),
                ],
                operator => pack(graph, operator, node.inputs[0]),
            };
            parameters.push([free.segment(first)?, free.segment(second)?]);
        }
        free.turn_page();
        let base = free.0;
        let end = base.checked_add(memory.end);
        let end = end.filter(|&end| end <= MAX_MEMORY - PAGE);
        let moved = |place: Place| Place {
            address: base + place.address,
            ..place
        };
        Ok(Self {
            parameters,
            end: end.ok_or(CompileError::TooLarge { max: MAX_MEMORY })?,
            values: memory.values.into_iter().map(moved).collect(),
            scratch: memory.scratch.iter().map(|at| base + at).collect(),
            sums: base + memory.sums,
            input: base + memory.input,
            output: base + memory.output,
            base,
        })
    }

    /// Where values begin: what addresses in data count from.
    pub(super) const fn base(&self) -> u32 {
        self.base
    }

    /// The value's place.
    pub(super) fn value(&self, value: ValueId) -> Place {
        self.values[value.0 as usize]
    }

    /// Addresses of a node's weights or multipliers, and of its biases.
    pub(super) fn parameters(&self, node: usize) -> [u32; 2] {
        let [first, second] = &self.parameters[node];
        [first.address, second.address]
    }

    /// Where the node may write while it runs.
    pub(super) fn scratch(&self, node: usize) -> u32 {
        self.scratch[node]
    }

    /// Where a group of rows keeps its sums.
    pub(super) const fn sums(&self) -> u32 {
        self.sums
    }

    /// Where the caller writes the input, as `i32`.
    pub(super) const fn input(&self) -> u32 {
        self.input
    }

    /// Where the caller reads the output, as `i32`.
    pub(super) const fn output(&self) -> u32 {
        self.output
    }

    pub(super) const fn pages(&self) -> u32 {
        self.end.div_ceil(PAGE)
    }

    /// The exported constants, by name.
    pub(super) fn constants(&self) -> [(&'static str, u32); 4] {
        let output = self.values.len() - 1;
        [
            ("input_ptr", self.input),
            ("input_len", self.values[0].elements),
            ("output_ptr", self.output),
            ("output_len", self.values[output].elements),
        ]
    }

    /// The data segments: address and bytes.
    pub(super) fn segments(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let segments = self.parameters.iter().flatten();
        segments
            .filter(|segment| !segment.bytes.is_empty())
            .map(|segment| (segment.address, segment.bytes.as_slice()))
    }
}

/// What a run writes, counted from where values begin.
struct Memory {
    values: Vec<Place>,
    scratch: Vec<u32>,
    sums: u32,
    input: u32,
    output: u32,
    end: u32,
}

impl Memory {
    fn new(graph: &Graph) -> Result<Self, CompileError> {
        let mut free = Free(0);
        let mut values = Vec::new();
        for value in (0..=graph.output().0).map(ValueId) {
            values.push(place(graph, value, &mut free)?);
        }
        let mut scratch = Vec::new();
        for (place, node) in graph.nodes().iter().enumerate() {
            let bytes = match &node.operator {
                Operator::Select(_) => planes::copies_len(node, &values, values[place + 1]),
                operator => scratch_len(operator, graph.elements(node.inputs[0])),
            };
            scratch.push(free.take(1, bytes)?);
        }
        let sums = free.take(1, SUMS_LEN)?;
        let input = free.take(4, graph.elements(ValueId(0)))?;
        let output = free.take(4, graph.elements(graph.output()))?;
        // Kernels may read a little behind the last of the planes.
        free.take(1, planes::BEHIND)?;
        Ok(Self {
            values,
            scratch,
            sums,
            input,
            output,
            end: free.0,
        })
    }
}

/// The first address that is not taken.
struct Free(u32);

impl Free {
    fn take(&mut self, bytes_each: u32, count: usize) -> Result<u32, CompileError> {
        let address = self.0;
        let end = u32::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(bytes_each))
            .and_then(|bytes| bytes.checked_add(address))
            .filter(|&end| end <= MAX_MEMORY - PAGE)
            .ok_or(CompileError::TooLarge { max: MAX_MEMORY })?;
        self.0 = end.next_multiple_of(LINE);
        Ok(address)
    }

    fn segment(&mut self, bytes: Vec<u8>) -> Result<Segment, CompileError> {
        let address = self.take(1, bytes.len())?;
        Ok(Segment { address, bytes })
    }

    fn turn_page(&mut self) {
        self.0 = self.0.next_multiple_of(PAGE);
    }
}

/// How the value's elements are kept.
fn storage(graph: &Graph, value: ValueId) -> Storage {
    let range = graph.range(value).expect("the value is one of the graph's");
    match range {
        range if range.fits_i16() => Storage::Short,
        range if range.fits_i32() => Storage::Word,
        _ => Storage::Long,
    }
}

fn place(graph: &Graph, value: ValueId, free: &mut Free) -> Result<Place, CompileError> {
    let storage = storage(graph, value);
    let elements = graph.elements(value);
    // Kernels read whole turns of columns and write whole groups of rows, and vectors of eight from
    // any element on.
    let room = padded(elements).max(elements + 7);
    Ok(Place {
        address: free.take(storage.bytes(), room)?,
        storage,
        elements: u32::try_from(elements).expect("a graph has at most MAX_ELEMENTS"),
    })
}

/// Bytes that packing will take at most, before it takes them: few columns are padded to many.
fn packed_len(operator: &Operator, columns: usize) -> usize {
    match operator {
        Operator::Dense { weights, bias, .. } => {
            let rows = bias.len().next_multiple_of(ROWS);
            rows.saturating_mul(padded(columns) * weight_bytes(weights) + 4)
        }
        Operator::Requantise { multipliers, .. } => 2 * multipliers.len(),
        Operator::TreeEnsemble(ensemble) => Forest::len(ensemble),
        Operator::Distances { vectors } => 2 * vectors.len(),
        Operator::Conv(conv) => planes::packed_len(conv),
        Operator::Select(select) => 4 * select.indices.len(),
        Operator::Table { entries, .. } => 2 * entries.len(),
        _ => 0,
    }
}

/// Bytes that a kernel needs beside its input and output.
fn scratch_len(operator: &Operator, elements: usize) -> usize {
    match operator {
        Operator::TreeEnsemble(ensemble) if forest::heeds_missing(ensemble) => 8 * elements,
        Operator::Conv(conv) => padded_len(&conv.window) + planes::patch_len(conv),
        Operator::MaxPool(window) | Operator::SumPool { window, .. } => padded_len(window),
        _ => 0,
    }
}

/// A node's parameters as its kernel reads them.
fn pack(graph: &Graph, operator: &Operator, input: ValueId) -> [Vec<u8>; 2] {
    let columns = graph.elements(input);
    match operator {
        Operator::Dense {
            weights,
            bias,
            accumulator,
        } => {
            let rows = bias.len();
            let packed = match accumulator {
                Accumulator::Narrow => interleave(weights, rows, columns),
                Accumulator::Wide => (0..rows * columns)
                    .flat_map(|place| bytes(weights, place))
                    .collect(),
            };
            let mut biases: Vec<u8> = bias.iter().flat_map(|b| b.to_le_bytes()).collect();
            biases.resize(rows.next_multiple_of(ROWS) * 4, 0);
            [packed, biases]
        }
        Operator::Requantise { multipliers, .. } => {
            let bytes = multipliers.iter().flat_map(|m| m.to_le_bytes());
            [bytes.collect(), Vec::new()]
        }
        Operator::TreeEnsemble(ensemble) => {
            Forest::new(ensemble, storage(graph, input), columns).pack(ensemble)
        }
        Operator::Distances { vectors } => {
            let bytes = vectors.iter().flat_map(|v| v.to_le_bytes());
            [bytes.collect(), Vec::new()]
        }
        Operator::Exponential { multiplier, .. } => {
            let powers = POWERS.iter().flat_map(|power| power.to_le_bytes());
            [multiplier.to_le_bytes().to_vec(), powers.collect()]
        }
        Operator::Conv(conv) => planes::pack(conv),
        Operator::Table { entries, .. } => {
            let bytes = entries.iter().flat_map(|entry| entry.to_le_bytes());
            [bytes.collect(), Vec::new()]
        }
        _ => [Vec::new(), Vec::new()],
    }
}

/// Eight rows side by side, eight columns of each at a time; zeros where the matrix has none.
fn interleave(weights: &Weights, rows: usize, columns: usize) -> Vec<u8> {
    interleave_from(weights, 0, rows, columns)
}

/// As [`interleave`], of the rows from `first` on.
fn interleave_from(weights: &Weights, first: usize, rows: usize, columns: usize) -> Vec<u8> {
    let mut packed = Vec::new();
    let together = 8 * vectors(columns);
    for group in (0..rows).step_by(ROWS) {
        for turn in (0..columns).step_by(together) {
            for row in group..group + ROWS {
                for column in turn..turn + together {
                    if row < rows && column < columns {
                        packed.extend(bytes(weights, (first + row) * columns + column));
                    } else {
                        packed.extend(std::iter::repeat_n(0, weight_bytes(weights)));
                    }
                }
            }
        }
    }
    packed
}

fn bytes(weights: &Weights, place: usize) -> impl Iterator<Item = u8> {
    let weight = weights.at(place).to_le_bytes();
    weight.into_iter().take(weight_bytes(weights))
}

/// Bytes a weight.
pub(super) const fn weight_bytes(weights: &Weights) -> usize {
    match weights {
        Weights::Narrow(_) => 1,
        Weights::Wide(_) => 2,
    }
}
