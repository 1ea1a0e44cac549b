//! Classes and what they are called. Inside the model a class is its place; its name stands in the
//! model's schema.

use std::collections::BTreeMap;

use super::super::super::Unsupported;
use super::super::super::float::FloatOperator;
use super::super::super::lower::{Lowering, Refused};
use super::super::super::node::OnnxNode;
use super::super::super::tensor::Content;
use super::super::super::value::{Float, Kind, Value};
use super::super::broadcast::index;
use super::{Made, one};

impl Lowering<'_> {
    /// Reads the names of the classes; how many there are.
    pub(super) fn classes(
        &mut self,
        node: &OnnxNode<'_>,
        [whole, text]: [&str; 2],
    ) -> Result<usize, Unsupported> {
        let labels = match (node.ints(whole), node.texts(text)) {
            (Some(whole), None | Some([])) => whole.iter().map(ToString::to_string).collect(),
            (None | Some([]), Some(text)) => text.to_vec(),
            _ => return Err(Unsupported::Labels),
        };
        self.name_classes(labels)
    }

    /// Keeps the names of the classes; how many there are.
    fn name_classes(&mut self, labels: Vec<String>) -> Result<usize, Unsupported> {
        let plain = |label: &String| {
            !label.is_empty() && label.len() <= MAX_LABEL && !label.chars().any(char::is_control)
        };
        let fit = (2..=MAX_CLASSES).contains(&labels.len()) && labels.iter().all(plain);
        if !fit {
            return Err(Unsupported::Labels);
        }
        let classes = labels.len();
        self.labels = labels;
        Ok(classes)
    }

    /// What a classifier makes of its scores: the class of the first of the largest, and they.
    pub(super) fn judged(&mut self, scores: Float) -> Made {
        let class = self.push(FloatOperator::ArgMax, &[&scores], vec![1])?;
        let kind = Kind::Class;
        let class = Float { kind, ..class };
        Ok(vec![Value::Float(class), Value::Float(scores)])
    }
}

/// Columns of a value; or the names of classes, by the class.
pub(super) fn extractor(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let [from, places] = node.two()?;
    match (from, places) {
        (Value::Constant(names), Value::Float(class)) if class.dims.iter().all(|&d| d == 1) => {
            let names = match &names.content {
                Content::Integers(names) => names.iter().map(ToString::to_string).collect(),
                Content::Floats(names) => names.iter().map(ToString::to_string).collect(),
            };
            lowering.name_classes(names)?;
            match class.kind {
                Kind::Whole | Kind::Class => one(Float {
                    kind: Kind::Class,
                    ..class.clone()
                }),
                _ => Err(Unsupported::Operand.into()),
            }
        }
        (from, Value::Constant(_)) => {
            let x = lowering.float(from)?;
            let columns = x.dims.last().copied().unwrap_or(0);
            if x.dims.iter().product::<usize>() != columns {
                return Err(Unsupported::Shape.into());
            }
            let inside = |&place: &i64| usize::try_from(place).ok().filter(|&p| p < columns);
            let places: Option<Vec<usize>> = places.integers()?.iter().map(inside).collect();
            let places = places.ok_or(Unsupported::Shape)?;
            let dims = vec![1, places.len()];
            let kind = x.kind;
            let chosen = lowering.select(&[&x], dims, places.into_iter().map(index), 0.0)?;
            one(Float { kind, ..chosen })
        }
        _ => Err(Unsupported::Operand.into()),
    }
}

/// Other names for the classes.
pub(super) fn encoder(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let value = node.one()?;
    let Value::Float(Float {
        kind: Kind::Class, ..
    }) = value
    else {
        return Err(Unsupported::Operand.into());
    };
    let (keys, values) = (names(node, "keys")?, names(node, "values")?);
    if keys.len() != values.len() {
        return Err(Unsupported::Lengths.into());
    }
    let table: BTreeMap<String, String> = keys.into_iter().zip(values).collect();
    let renamed: Option<Vec<String>> = lowering
        .labels
        .iter()
        .map(|label| table.get(label).cloned())
        .collect();
    lowering.name_classes(renamed.ok_or(Unsupported::Labels)?)?;
    Ok(vec![value.clone()])
}

/// One of the three lists that hold keys or values.
fn names(node: &OnnxNode<'_>, which: &str) -> Result<Vec<String>, Refused> {
    let name = |kind| format!("{which}_{kind}");
    if let Some(whole) = node.ints(&name("int64s")) {
        return Ok(whole.iter().map(ToString::to_string).collect());
    }
    if let Some(floats) = node.numbers(&name("floats")) {
        return Ok(floats.iter().map(ToString::to_string).collect());
    }
    let text = node.texts(&name("strings"));
    Ok(text.ok_or(Unsupported::Labels)?.to_vec())
}

/// Scores with their classes' names: the scores.
pub(super) fn zip_map(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let scores = node.one()?;
    let classes = lowering.classes(node, ["classlabels_int64s", "classlabels_strings"])?;
    if scores.elements() != classes {
        return Err(Unsupported::Lengths.into());
    }
    Ok(vec![scores.clone()])
}

/// Most classes.
const MAX_CLASSES: usize = 1024;

/// Longest name of a class, in bytes.
const MAX_LABEL: usize = 128;
