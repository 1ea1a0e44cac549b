//! One node of a file: its inputs resolved, its attributes by name and type.

use rten_onnx::onnx::{AttributeProto, NodeProto, TensorProto};

use super::value::Value;
use super::{Label, Unsupported};

/// A node of the file, ready to be lowered.
pub(super) struct OnnxNode<'a> {
    proto: &'a NodeProto,
    pub(super) name: Label,
    /// `None` where an input is left out.
    pub(super) inputs: Vec<Option<Value>>,
    /// The version of the operators without a domain.
    pub(super) opset: i64,
}

impl<'a> OnnxNode<'a> {
    pub(super) const fn new(
        proto: &'a NodeProto,
        name: Label,
        inputs: Vec<Option<Value>>,
        opset: i64,
    ) -> Self {
        Self {
            proto,
            name,
            inputs,
            opset,
        }
    }

    pub(super) fn domain(&self) -> &'a str {
        self.proto.domain.as_deref().unwrap_or_default()
    }

    pub(super) fn operator(&self) -> &'a str {
        self.proto.op_type.as_deref().unwrap_or_default()
    }

    /// Whether the node says how its inputs meet: files of versions before 7 do, and mean other
    /// things by it.
    pub(super) fn is_before_broadcasting(&self) -> bool {
        self.has("broadcast") || self.has("consumed_inputs")
    }

    /// How many outputs the file names.
    pub(super) fn outputs(&self) -> usize {
        self.proto.output.len()
    }

    /// Input `place`, which must be there.
    pub(super) fn input(&self, place: usize) -> Result<&Value, Unsupported> {
        self.optional(place).ok_or(Unsupported::Arity)
    }

    /// Input `place`, which may be left out.
    pub(super) fn optional(&self, place: usize) -> Option<&Value> {
        self.inputs.get(place)?.as_ref()
    }

    /// The one input.
    pub(super) fn one(&self) -> Result<&Value, Unsupported> {
        match self.inputs.as_slice() {
            [Some(input)] => Ok(input),
            _ => Err(Unsupported::Arity),
        }
    }

    /// The two inputs.
    pub(super) fn two(&self) -> Result<[&Value; 2], Unsupported> {
        match self.inputs.as_slice() {
            [Some(a), Some(b)] => Ok([a, b]),
            _ => Err(Unsupported::Arity),
        }
    }

    /// All inputs, of which none may be left out.
    pub(super) fn all(&self) -> Result<Vec<&Value>, Unsupported> {
        let all: Option<Vec<&Value>> = self.inputs.iter().map(Option::as_ref).collect();
        all.filter(|all| !all.is_empty()).ok_or(Unsupported::Arity)
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        let mut attributes = self.proto.attribute.iter();
        attributes.find(|a| a.name.as_deref() == Some(name))
    }

    /// Whether the file sets attribute `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// A whole number.
    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, Unsupported> {
        match self.attribute(name) {
            None => Ok(default),
            // The value 0 may be left out of the bytes.
            Some(attribute) => Ok(attribute.i.unwrap_or(0)),
        }
    }

    /// A finite number.
    pub(super) fn number(&self, name: &str, default: f32) -> Result<f32, Unsupported> {
        let number = match self.attribute(name) {
            None => default,
            Some(attribute) => attribute.f.unwrap_or(0.0),
        };
        if number.is_finite() {
            Ok(number)
        } else {
            Err(Unsupported::NotFinite)
        }
    }

    /// A number that need not be finite; `None` if it is not there.
    pub(super) fn raw_number(&self, name: &str) -> Option<f32> {
        self.attribute(name).map(|a| a.f.unwrap_or(0.0))
    }

    /// A list of whole numbers; `None` if it is not there.
    pub(super) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    /// A list of numbers; `None` if it is not there.
    pub(super) fn numbers(&self, name: &str) -> Option<&'a [f32]> {
        self.attribute(name).map(|a| a.floats.as_slice())
    }

    /// A word; `None` if it is not there.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.attribute(name)
            .map(|a| a.s.as_deref().unwrap_or_default())
    }

    /// A list of words; `None` if it is not there.
    pub(super) fn texts(&self, name: &str) -> Option<&'a [String]> {
        self.attribute(name).map(|a| a.strings.as_slice())
    }

    /// A constant; `None` if it is not there.
    pub(super) fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.attribute(name)?.t.as_ref()
    }
}

/// The axis that `axis` names among `rank`, counted from the end if below zero.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, Unsupported> {
    let rank = i64::try_from(rank).map_err(|_| Unsupported::Shape)?;
    let axis = if axis < 0 {
        axis.checked_add(rank)
    } else {
        Some(axis)
    };
    axis.filter(|axis| (0..rank).contains(axis))
        .and_then(|axis| usize::try_from(axis).ok())
        .ok_or(Unsupported::Shape)
}
