//! The canonical encoding of graphs and of their shapes (docs/spec/model.md, 4).
//!
//! A graph has one encoding, and bytes are the encoding of at most one graph. Big-endian. Decoding
//! reads hostile bytes: nothing is allocated that the bytes do not hold.

#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::fmt;

use crate::{
    Accumulator, Conv, Graph, GraphError, InputType, MAX_NODES, MAX_PARAMETERS, Node, Operator,
    Select, Split, Tree, TreeEnsemble, ValueId, Weights, Window,
};

/// Longest encoding that is read: every parameter at its widest, and every node.
pub const MAX_ENCODED_LEN: usize = 4 * MAX_PARAMETERS + 64 * MAX_NODES;

impl Graph {
    /// The canonical encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.write(GRAPH_MAGIC, Part::Everything)
    }

    /// The canonical encoding of the shape: operators, sizes, widths, shifts and clamps, without
    /// the parameters. Graphs that one verifying key serves have the same.
    #[must_use]
    pub fn encode_shape(&self) -> Vec<u8> {
        self.write(SHAPE_MAGIC, Part::Shape)
    }

    /// Reads what [`Graph::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeGraphError`] if `bytes` are not the encoding of a sound graph.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeGraphError> {
        if bytes.len() > MAX_ENCODED_LEN {
            return Err(DecodeGraphError::TooLong);
        }
        let mut reader = Reader(bytes);
        if reader.array()? != GRAPH_MAGIC {
            return Err(DecodeGraphError::UnknownTag);
        }
        let input = InputType {
            elements: reader.u32()?,
            lo: reader.i32()?,
            hi: reader.i32()?,
        };
        let count = reader.size()?;
        if count > MAX_NODES {
            return Err(DecodeGraphError::TooLong);
        }
        // Grown node by node: a claimed count allocates nothing before its bytes are there.
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(reader.node()?);
        }
        if !reader.0.is_empty() {
            return Err(DecodeGraphError::Trailing);
        }
        Self::new(input, nodes).map_err(DecodeGraphError::Unsound)
    }

    fn write(&self, magic: [u8; 5], part: Part) -> Vec<u8> {
        let mut writer = Writer {
            bytes: Vec::new(),
            part,
        };
        writer.bytes.extend_from_slice(&magic);
        writer.u32(self.input().elements);
        writer.i32(self.input().lo);
        writer.i32(self.input().hi);
        writer.size(self.nodes().len());
        for node in self.nodes() {
            writer.node(node, self.elements(node_input(node)));
        }
        writer.bytes
    }
}

/// Why bytes are not a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeGraphError {
    /// The bytes end before the graph does.
    Short,
    /// Bytes follow the graph.
    Trailing,
    /// A count is above its bound, or the whole.
    TooLong,
    /// The bytes are of another format or version, or name an operator that is not known.
    UnknownTag,
    /// A tree is not as deep as its encoding says.
    WrongDepth,
    /// The nodes are not a sound graph.
    Unsound(GraphError),
}

impl fmt::Display for DecodeGraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("bytes end too early"),
            Self::Trailing => f.write_str("bytes follow the graph"),
            Self::TooLong => f.write_str("a count is above its bound"),
            Self::UnknownTag => f.write_str("unknown format, version or operator"),
            Self::WrongDepth => f.write_str("a tree is not as deep as it claims"),
            Self::Unsound(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DecodeGraphError {}

/// Format and version; the version is the last byte.
const GRAPH_MAGIC: [u8; 5] = *b"SRGR\x01";
const SHAPE_MAGIC: [u8; 5] = *b"SRSH\x01";

const DENSE: u8 = 1;
const REQUANTISE: u8 = 2;
const ADD: u8 = 3;
const CLAMP: u8 = 4;
const ARG_MAX: u8 = 5;
const CONV: u8 = 6;
const MAX_POOL: u8 = 7;
const SUM_POOL: u8 = 8;
const SELECT: u8 = 9;
const TABLE: u8 = 10;
const SLOPES: u8 = 11;
const MULTIPLY: u8 = 12;
const TREE_ENSEMBLE: u8 = 32;
const DISTANCES: u8 = 33;
const EXPONENTIAL: u8 = 34;

fn node_input(node: &Node) -> ValueId {
    *node.inputs.first().expect("every operator takes an input")
}

/// What of a graph is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Everything,
    Shape,
}

struct Writer {
    bytes: Vec<u8>,
    part: Part,
}

impl Writer {
    fn node(&mut self, node: &Node, elements: usize) {
        self.u8(match node.operator {
            Operator::Dense { .. } => DENSE,
            Operator::Requantise { .. } => REQUANTISE,
            Operator::Add { .. } => ADD,
            Operator::Clamp { .. } => CLAMP,
            Operator::ArgMax => ARG_MAX,
            Operator::Conv(_) => CONV,
            Operator::MaxPool(_) => MAX_POOL,
            Operator::SumPool { .. } => SUM_POOL,
            Operator::Select(_) => SELECT,
            Operator::Table { .. } => TABLE,
            Operator::Slopes { .. } => SLOPES,
            Operator::Multiply => MULTIPLY,
            Operator::TreeEnsemble(_) => TREE_ENSEMBLE,
            Operator::Distances { .. } => DISTANCES,
            Operator::Exponential { .. } => EXPONENTIAL,
        });
        if matches!(node.operator, Operator::Select(_)) {
            self.size(node.inputs.len());
        }
        for input in &node.inputs {
            self.u32(input.0);
        }
        match &node.operator {
            Operator::Dense {
                weights,
                bias,
                accumulator,
            } => self.dense(elements, weights, bias, *accumulator),
            Operator::Requantise {
                multipliers,
                shift,
                lo,
                hi,
            } => {
                self.u8(*shift);
                self.i16(*lo);
                self.i16(*hi);
                self.size(multipliers.len());
                self.parameters(multipliers.iter().map(|m| m.to_be_bytes()));
            }
            Operator::Add { left, right } => {
                self.parameters([left.to_be_bytes(), right.to_be_bytes()]);
            }
            Operator::Clamp { lo, hi } => {
                self.i32(*lo);
                self.i32(*hi);
            }
            Operator::ArgMax | Operator::Multiply => {}
            Operator::Conv(conv) => self.conv(conv),
            Operator::MaxPool(window) => self.window(window),
            Operator::SumPool { window, bias } => {
                self.window(window);
                self.parameters([bias.to_be_bytes()]);
            }
            Operator::Select(select) => {
                self.i32(select.fill);
                self.size(select.indices.len());
                select.indices.iter().for_each(|&index| self.u32(index));
            }
            Operator::Table { lo, entries } => {
                self.i32(*lo);
                self.size(entries.len());
                entries.iter().for_each(|&entry| self.i16(entry));
            }
            Operator::Slopes { below, above } => {
                self.i16(*below);
                self.i16(*above);
            }
            Operator::TreeEnsemble(ensemble) => self.trees(ensemble),
            Operator::Distances { vectors } => {
                self.size(vectors.len());
                self.parameters(vectors.iter().map(|v| v.to_be_bytes()));
            }
            Operator::Exponential { multiplier, shift } => {
                self.u8(*shift);
                self.parameters([multiplier.to_be_bytes()]);
            }
        }
    }

    fn window(&mut self, window: &Window) {
        let Window {
            channels,
            height,
            width,
            kernel,
            stride,
            dilation,
            pads,
        } = window;
        let sizes = [channels, height, width].into_iter();
        let steps = [kernel, stride, dilation].into_iter().flatten();
        sizes.chain(steps).chain(pads).for_each(|&n| self.u32(n));
    }

    fn conv(&mut self, conv: &Conv) {
        self.window(&conv.window);
        self.u32(conv.groups);
        self.size(conv.bias.len());
        self.width(&conv.weights);
        self.parameters(conv.bias.iter().map(|b| b.to_be_bytes()));
        self.weights(&conv.weights);
    }

    fn width(&mut self, weights: &Weights) {
        self.u8(match weights {
            Weights::Narrow(_) => 1,
            Weights::Wide(_) => 2,
        });
    }

    fn weights(&mut self, weights: &Weights) {
        match weights {
            Weights::Narrow(weights) => self.parameters(weights.iter().map(|w| w.to_be_bytes())),
            Weights::Wide(weights) => self.parameters(weights.iter().map(|w| w.to_be_bytes())),
        }
    }

    fn dense(
        &mut self,
        elements: usize,
        weights: &Weights,
        bias: &[i32],
        accumulator: Accumulator,
    ) {
        self.size(bias.len());
        self.size(elements);
        self.width(weights);
        self.accumulator(accumulator);
        self.parameters(bias.iter().map(|b| b.to_be_bytes()));
        self.weights(weights);
    }

    fn trees(&mut self, ensemble: &TreeEnsemble) {
        self.size(ensemble.bias.len());
        self.u32(ensemble.width);
        self.accumulator(ensemble.accumulator);
        self.size(ensemble.trees.len());
        for tree in &ensemble.trees {
            self.u32(tree.first);
            self.size(tree.splits.len());
            self.size(tree.leaves.len() / ensemble.width as usize);
            self.size(tree.depth());
        }
        self.parameters(ensemble.bias.iter().map(|b| b.to_be_bytes()));
        for tree in &ensemble.trees {
            for split in &tree.splits {
                self.parameters([split.feature.to_be_bytes()]);
                self.parameters([split.threshold.to_be_bytes()]);
                self.parameters([[u8::from(split.missing)]]);
                self.parameters([split.yes.to_be_bytes(), split.no.to_be_bytes()]);
            }
            self.parameters(tree.leaves.iter().map(|leaf| leaf.to_be_bytes()));
        }
    }

    fn accumulator(&mut self, accumulator: Accumulator) {
        self.u8(match accumulator {
            Accumulator::Narrow => 0,
            Accumulator::Wide => 1,
        });
    }

    fn parameters<const N: usize>(&mut self, parameters: impl IntoIterator<Item = [u8; N]>) {
        if self.part == Part::Everything {
            self.bytes.extend(parameters.into_iter().flatten());
        }
    }

    fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    fn i16(&mut self, value: i16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn size(&mut self, size: usize) {
        self.u32(u32::try_from(size).expect("sizes in a graph are at most MAX_PARAMETERS"));
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn node(&mut self) -> Result<Node, DecodeGraphError> {
        let tag = self.u8()?;
        if tag == SELECT {
            return self.select();
        }
        let first = ValueId(self.u32()?);
        let operator = match tag {
            DENSE => self.dense()?,
            REQUANTISE => Operator::Requantise {
                shift: self.u8()?,
                lo: self.i16()?,
                hi: self.i16()?,
                multipliers: {
                    let channels = self.size()?;
                    self.parameters(channels, u16::from_be_bytes)?
                },
            },
            MULTIPLY => {
                let inputs = vec![first, ValueId(self.u32()?)];
                let operator = Operator::Multiply;
                return Ok(Node { operator, inputs });
            }
            ADD => {
                let second = ValueId(self.u32()?);
                let operator = Operator::Add {
                    left: u16::from_be_bytes(self.array()?),
                    right: u16::from_be_bytes(self.array()?),
                };
                let inputs = vec![first, second];
                return Ok(Node { operator, inputs });
            }
            CLAMP => Operator::Clamp {
                lo: self.i32()?,
                hi: self.i32()?,
            },
            ARG_MAX => Operator::ArgMax,
            CONV => Operator::Conv(self.conv()?),
            MAX_POOL => Operator::MaxPool(self.window()?),
            SUM_POOL => Operator::SumPool {
                window: self.window()?,
                bias: self.i32()?,
            },
            TABLE => Operator::Table {
                lo: self.i32()?,
                entries: {
                    let count = self.size()?;
                    self.parameters(count, i16::from_be_bytes)?
                },
            },
            SLOPES => Operator::Slopes {
                below: self.i16()?,
                above: self.i16()?,
            },
            TREE_ENSEMBLE => Operator::TreeEnsemble(self.trees()?),
            DISTANCES => {
                let count = self.size()?;
                let vectors = self.parameters(count, i16::from_be_bytes)?;
                Operator::Distances { vectors }
            }
            EXPONENTIAL => Operator::Exponential {
                shift: self.u8()?,
                multiplier: u16::from_be_bytes(self.array()?),
            },
            _ => return Err(DecodeGraphError::UnknownTag),
        };
        Ok(Node::unary(operator, first))
    }

    fn dense(&mut self) -> Result<Operator, DecodeGraphError> {
        let rows = self.size()?;
        let columns = self.size()?;
        let width = self.u8()?;
        let accumulator = self.accumulator()?;
        let bias = self.parameters(rows, i32::from_be_bytes)?;
        let count = rows.checked_mul(columns).ok_or(DecodeGraphError::TooLong)?;
        let weights = self.weights(width, count)?;
        Ok(Operator::Dense {
            weights,
            bias,
            accumulator,
        })
    }

    fn weights(&mut self, width: u8, count: usize) -> Result<Weights, DecodeGraphError> {
        match width {
            1 => Ok(Weights::Narrow(self.parameters(count, i8::from_be_bytes)?)),
            2 => Ok(Weights::Wide(self.parameters(count, i16::from_be_bytes)?)),
            _ => Err(DecodeGraphError::UnknownTag),
        }
    }

    fn trees(&mut self) -> Result<TreeEnsemble, DecodeGraphError> {
        let outputs = self.size()?;
        let width = self.u32()?;
        let accumulator = self.accumulator()?;
        let count = self.size()?;
        // Grown head by head: a claimed count allocates nothing before its bytes are there.
        let mut heads = Vec::new();
        for _ in 0..count {
            heads.push((self.u32()?, self.size()?, self.size()?, self.size()?));
        }
        let bias = self.parameters(outputs, i32::from_be_bytes)?;
        let mut trees = Vec::new();
        for (first, splits, leaves, depth) in heads {
            let splits = self.splits(splits)?;
            let each = usize::try_from(width).map_err(|_| DecodeGraphError::TooLong)?;
            let numbers = leaves.checked_mul(each).ok_or(DecodeGraphError::TooLong)?;
            let leaves = self.parameters(numbers, i32::from_be_bytes)?;
            let tree = Tree {
                first,
                splits,
                leaves,
            };
            // Children before their parents count for nothing here; the graph refuses them.
            if tree.depth() != depth {
                return Err(DecodeGraphError::WrongDepth);
            }
            trees.push(tree);
        }
        Ok(TreeEnsemble {
            trees,
            width,
            bias,
            accumulator,
        })
    }

    fn splits(&mut self, count: usize) -> Result<Vec<Split>, DecodeGraphError> {
        let mut splits = Vec::new();
        for _ in 0..count {
            splits.push(Split {
                feature: self.u32()?,
                threshold: self.i32()?,
                missing: match self.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(DecodeGraphError::UnknownTag),
                },
                yes: self.u32()?,
                no: self.u32()?,
            });
        }
        Ok(splits)
    }

    fn accumulator(&mut self) -> Result<Accumulator, DecodeGraphError> {
        match self.u8()? {
            0 => Ok(Accumulator::Narrow),
            1 => Ok(Accumulator::Wide),
            _ => Err(DecodeGraphError::UnknownTag),
        }
    }

    fn window(&mut self) -> Result<Window, DecodeGraphError> {
        let mut next = || self.u32();
        Ok(Window {
            channels: next()?,
            height: next()?,
            width: next()?,
            kernel: [next()?, next()?],
            stride: [next()?, next()?],
            dilation: [next()?, next()?],
            pads: [next()?, next()?, next()?, next()?],
        })
    }

    fn conv(&mut self) -> Result<Conv, DecodeGraphError> {
        let window = self.window()?;
        let groups = self.u32()?;
        let outputs = self.size()?;
        let width = self.u8()?;
        let mut conv = Conv {
            window,
            groups,
            weights: Weights::Narrow(Vec::new()),
            bias: self.parameters(outputs, i32::from_be_bytes)?,
        };
        let count = outputs.checked_mul(conv.columns());
        conv.weights = self.weights(width, count.ok_or(DecodeGraphError::TooLong)?)?;
        Ok(conv)
    }

    fn select(&mut self) -> Result<Node, DecodeGraphError> {
        let count = self.size()?;
        let inputs = self.parameters(count, u32::from_be_bytes)?;
        let fill = self.i32()?;
        let count = self.size()?;
        let indices = self.parameters(count, u32::from_be_bytes)?;
        let operator = Operator::Select(Select { indices, fill });
        let inputs = inputs.into_iter().map(ValueId).collect();
        Ok(Node { operator, inputs })
    }

    fn parameters<T, const N: usize>(
        &mut self,
        count: usize,
        read: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, DecodeGraphError> {
        if count > MAX_PARAMETERS {
            return Err(DecodeGraphError::TooLong);
        }
        let (head, tail) = self
            .0
            .split_at_checked(count * N)
            .ok_or(DecodeGraphError::Short)?;
        self.0 = tail;
        let (parameters, _) = head.as_chunks::<N>();
        Ok(parameters.iter().map(|bytes| read(*bytes)).collect())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeGraphError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(DecodeGraphError::Short)?;
        self.0 = tail;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, DecodeGraphError> {
        self.array().map(u8::from_be_bytes)
    }

    fn i16(&mut self) -> Result<i16, DecodeGraphError> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, DecodeGraphError> {
        self.array().map(i32::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeGraphError> {
        self.array().map(u32::from_be_bytes)
    }

    fn size(&mut self) -> Result<usize, DecodeGraphError> {
        usize::try_from(self.u32()?).map_err(|_| DecodeGraphError::TooLong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_inverts_encoding_or_refuses() {
        bolero::check!().for_each(|bytes: &[u8]| {
            // Behind a true head, so that more than the head is reached.
            let head = [
                &GRAPH_MAGIC[..],
                &[0, 0, 0, 2, 255, 255, 255, 0, 0, 0, 1, 0],
            ]
            .concat();
            for bytes in [bytes.to_vec(), [&head[..], bytes].concat()] {
                if let Ok(graph) = Graph::decode(&bytes) {
                    assert_eq!(graph.encode(), bytes);
                }
            }
        });
    }

    #[test]
    fn a_shape_is_no_graph() {
        let clamp = Operator::Clamp { lo: 0, hi: 1 };
        let input = InputType {
            elements: 1,
            lo: 0,
            hi: 9,
        };
        let graph = Graph::new(input, vec![Node::unary(clamp, ValueId(0))]).expect("sound");
        let shape = Graph::decode(&graph.encode_shape());
        assert_eq!(shape, Err(DecodeGraphError::UnknownTag));
    }
}
