//! One pass over the protocol buffers, before a parser that trusts lengths and recurses sees them.
//!
//! Follows exactly the messages that the parser follows: every length inside its message, every
//! packed list whole, counts bounded. The messages that could hold themselves (graphs in nodes, types in
//! types) are refused, so that nothing read afterwards recurses.

#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use super::ImportError;
use super::budget::Budget;

/// Longest file that is read.
const MAX_BYTES: usize = 64 << 20;

/// Most messages: each costs the parser some hundred bytes.
const MAX_MESSAGES: usize = 1 << 16;

/// Most fields and packed numbers.
const MAX_FIELDS: usize = 1 << 22;

/// What the parser takes for each message, and for each field or packed number, at most.
const MESSAGE_BYTES: usize = 512;
const FIELD_BYTES: usize = 24;

/// The messages of ONNX that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    Sequence,
    Item,
    TensorType,
    Shape,
    Leaf,
}

/// What a field of a message holds.
enum Field {
    Message(Message),
    Varints,
    Fixed(usize),
    Opaque,
    Refused(&'static str),
}

fn field(message: Message, number: u64) -> Field {
    use Message as M;
    match (message, number) {
        (M::Model, 7) => Field::Message(M::Graph),
        (M::Model, 8 | 14) => Field::Message(M::Leaf),
        (M::Model, 20) => Field::Refused("training steps"),
        (M::Model, 25) => Field::Refused("functions"),
        (M::Graph, 1) => Field::Message(M::Node),
        (M::Graph, 5) | (M::Attribute, 5) => Field::Message(M::Tensor),
        (M::Graph, 11..=13) => Field::Message(M::ValueInfo),
        (M::Graph, 15) => Field::Refused("sparse tensors"),
        (M::Node, 5) => Field::Message(M::Attribute),
        (M::Attribute, 6 | 11) => Field::Refused("graphs inside nodes"),
        (M::Attribute, 22 | 23) => Field::Refused("sparse tensors"),
        (M::Tensor, 1 | 5 | 7) => Field::Varints,
        (M::Tensor, 4) => Field::Fixed(4),
        (M::Tensor, 10) => Field::Fixed(8),
        (M::Tensor, 13) => Field::Message(M::Leaf),
        (M::ValueInfo, 2) => Field::Message(M::Type),
        (M::Type, 1) => Field::Message(M::TensorType),
        // Maps of classes to scores: read only as far as an output's type.
        (M::Type, 4) => Field::Message(M::Sequence),
        (M::Sequence, 1) => Field::Message(M::Item),
        (M::Item, 4) => Field::Refused("sequences of sequences"),
        (M::Item, 1) => Field::Message(M::TensorType),
        (M::TensorType, 2) => Field::Message(M::Shape),
        (M::Shape, 1) => Field::Message(M::Leaf),
        _ => Field::Opaque,
    }
}

/// Checks that `bytes` can be given to the parser.
///
/// What the parser will take is taken from `budget`: the bytes again, and its own structures.
pub(super) fn scan(bytes: &[u8], budget: &mut Budget) -> Result<(), ImportError> {
    if bytes.len() > MAX_BYTES {
        return Err(ImportError::TooLong { max: MAX_BYTES });
    }
    let mut scanner = Scanner {
        messages: 0,
        fields: 0,
        open: vec![(Message::Model, bytes)],
    };
    while scanner.step()? {}
    let parsed = bytes.len() + scanner.messages * MESSAGE_BYTES + scanner.fields * FIELD_BYTES;
    if budget.take(parsed) {
        Ok(())
    } else {
        Err(ImportError::TooManyParts)
    }
}

struct Scanner<'a> {
    messages: usize,
    fields: usize,
    /// The messages around the next field, innermost last: what is left of each.
    open: Vec<(Message, &'a [u8])>,
}

impl Scanner<'_> {
    /// Reads one field, or closes a message; `false` when nothing is left.
    fn step(&mut self) -> Result<bool, ImportError> {
        let Some((message, rest)) = self.open.last_mut() else {
            return Ok(false);
        };
        if rest.is_empty() {
            self.open.pop();
            return Ok(true);
        }
        self.fields += 1;
        let tag = varint(rest)?;
        let kind = field(*message, tag >> 3);
        if let Field::Refused(what) = kind {
            return Err(ImportError::NotSupported { what });
        }
        match tag & 7 {
            0 => drop(varint(rest)?),
            1 => drop(take(rest, 8)?),
            5 => drop(take(rest, 4)?),
            2 => {
                let length = usize::try_from(varint(rest)?).map_err(|_| ImportError::Malformed)?;
                let content = take(rest, length)?;
                match kind {
                    Field::Message(message) => {
                        self.messages += 1;
                        self.open.push((message, content));
                    }
                    Field::Varints => self.fields += varints(content)?,
                    Field::Fixed(size) if !content.len().is_multiple_of(size) => {
                        return Err(ImportError::Malformed);
                    }
                    _ => {}
                }
            }
            _ => return Err(ImportError::Malformed),
        }
        if self.messages > MAX_MESSAGES || self.fields > MAX_FIELDS {
            return Err(ImportError::TooManyParts);
        }
        Ok(true)
    }
}

fn varints(mut bytes: &[u8]) -> Result<usize, ImportError> {
    let mut count = 0;
    while !bytes.is_empty() {
        varint(&mut bytes)?;
        count += 1;
    }
    Ok(count)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, ImportError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(ImportError::Malformed)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(ImportError::Malformed)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], ImportError> {
    let (head, tail) = bytes
        .split_at_checked(length)
        .ok_or(ImportError::Malformed)?;
    *bytes = tail;
    Ok(head)
}
