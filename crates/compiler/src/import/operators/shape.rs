//! Shapes and places: what changes no number, only where it stands; and constants.

use std::rc::Rc;

use graph::MAX_ELEMENTS;

use super::super::Unsupported;
use super::super::float::{Function, Select, Unary};
use super::super::lower::{Lowering, Refused};
use super::super::node::{OnnxNode, axis};
use super::super::tensor::{Content, MAX_RANK, Tensor, elements};
use super::super::value::{Float, Kind, Value};
use super::broadcast::{coordinates, index, place, strides};
use super::{Handler, Made, one};

/// The handler of an operator of this family.
pub(super) fn handler(operator: &str) -> Option<Handler> {
    Some(match operator {
        "Identity" => identity,
        "Dropout" => dropout,
        "Cast" => cast,
        "Constant" => constant,
        "ConstantOfShape" => constant_of_shape,
        "Range" => range,
        "Shape" => shape,
        "Size" => size,
        "Reshape" => reshape,
        "Flatten" => flatten,
        "Squeeze" => squeeze,
        "Unsqueeze" => unsqueeze,
        "Transpose" => transpose,
        "Concat" => concat,
        "Slice" => slice,
        "Split" => split,
        "Expand" => expand,
        "Pad" => pad,
        "Gather" => gather,
        _ => return None,
    })
}

fn identity(_: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    Ok(vec![node.one()?.clone()])
}

/// The mask, if something wants it, is refused: it has no use where nothing is trained.
fn dropout(_: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    if let Some(training) = node.optional(2)
        && training.scalar()? != 0.0
    {
        return Err(Unsupported::Attribute.into());
    }
    Ok(vec![node.input(0)?.clone()])
}

/// Floats may stay floats and whole numbers whole; floats that become whole are cut off.
fn cast(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let value = node.one()?;
    if let Value::Float(Float {
        kind: Kind::Class, ..
    }) = value
    {
        return Ok(vec![value.clone()]);
    }
    let float = lowering.real(value)?;
    match node.int("to", 0)? {
        // Float, half, double, bfloat16.
        1 | 10 | 11 | 16 => one(Float {
            kind: Kind::Real,
            ..float
        }),
        // Integers.
        2..=7 | 12 | 13 if float.kind == Kind::Whole => one(float),
        2..=7 | 12 | 13 => {
            one(lowering.apply(&float, Function::unary(Unary::Truncate), Kind::Whole)?)
        }
        // Truth values.
        9 => {
            let nonzero = Function::unary(Unary::Abs).then(Unary::Above);
            one(lowering.apply(&float, nonzero, Kind::Whole)?)
        }
        _ => Err(Unsupported::Attribute.into()),
    }
}

fn constant(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let tensor = if let Some(proto) = node.tensor("value") {
        Tensor::read(proto, lowering.budget)?
    } else if node.has("value_float") {
        Tensor::new(
            vec![],
            Content::Floats(vec![node.number("value_float", 0.0)?]),
        )
    } else if node.has("value_int") {
        Tensor::new(vec![], Content::Integers(vec![node.int("value_int", 0)?]))
    } else if let Some(floats) = node.numbers("value_floats") {
        super::dense::finite(floats)?;
        Tensor::new(vec![floats.len()], Content::Floats(floats.to_vec()))
    } else if let Some(ints) = node.ints("value_ints") {
        Tensor::new(vec![ints.len()], Content::Integers(ints.to_vec()))
    } else {
        return Err(Unsupported::Attribute.into());
    };
    Ok(vec![Value::Constant(Rc::new(tensor))])
}

/// Whole numbers as dimensions; all of them together within bounds.
fn dims(integers: &[i64]) -> Result<Vec<usize>, Unsupported> {
    let dims: Option<Vec<usize>> = integers.iter().map(|&d| d.try_into().ok()).collect();
    let dims = dims.filter(|dims| dims.len() <= MAX_RANK);
    let dims = dims.ok_or(Unsupported::Shape)?;
    match elements(&dims) {
        Some(count) if count <= MAX_ELEMENTS => Ok(dims),
        _ => Err(Unsupported::TooLarge),
    }
}

fn constant_of_shape(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let dims = dims(node.one()?.integers()?)?;
    let count = elements(&dims).unwrap_or(0);
    if !lowering.budget.take(count.saturating_mul(8)) {
        return Err(Unsupported::TooLarge.into());
    }
    let content = match node.tensor("value") {
        None => Content::Floats(vec![0.0; count]),
        Some(proto) => match Tensor::read(proto, lowering.budget)?.content {
            Content::Floats(one) if one.len() == 1 => Content::Floats(vec![one[0]; count]),
            Content::Integers(one) if one.len() == 1 => Content::Integers(vec![one[0]; count]),
            _ => return Err(Unsupported::Shape.into()),
        },
    };
    Ok(vec![Value::Constant(Rc::new(Tensor::new(dims, content)))])
}

fn range(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let whole = |place: usize| match node.input(place)?.integers()? {
        [number] => Ok(*number),
        _ => Err(Unsupported::Shape),
    };
    let (start, limit, step) = (whole(0)?, whole(1)?, whole(2)?);
    let mut numbers = Vec::new();
    let mut next = start;
    while step != 0 && (if step > 0 { next < limit } else { next > limit }) {
        if numbers.len() >= MAX_ELEMENTS {
            return Err(Unsupported::TooLarge.into());
        }
        numbers.push(next);
        next = next.checked_add(step).ok_or(Unsupported::TooLarge)?;
    }
    if step == 0 || !lowering.budget.take(numbers.len().saturating_mul(8)) {
        return Err(Unsupported::TooLarge.into());
    }
    let tensor = Tensor::new(vec![numbers.len()], Content::Integers(numbers));
    Ok(vec![Value::Constant(Rc::new(tensor))])
}

fn integers(numbers: Vec<i64>, dims: Vec<usize>) -> Made {
    let tensor = Tensor::new(dims, Content::Integers(numbers));
    Ok(vec![Value::Constant(Rc::new(tensor))])
}

fn whole(n: usize) -> Result<i64, Unsupported> {
    i64::try_from(n).map_err(|_| Unsupported::TooLarge)
}

fn shape(_: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let dims = node.one()?.dims();
    let rank = whole(dims.len())?;
    let end = |name, default| -> Result<usize, Unsupported> {
        let at = node.int(name, default)?;
        let at = if at < 0 { at.saturating_add(rank) } else { at };
        Ok(usize::try_from(at.clamp(0, rank)).unwrap_or(0))
    };
    let (start, end) = (end("start", 0)?, end("end", rank)?);
    let dims = dims.get(start..end.max(start)).unwrap_or_default();
    let numbers: Result<Vec<i64>, Unsupported> = dims.iter().map(|&d| whole(d)).collect();
    integers(numbers?, vec![dims.len()])
}

fn size(_: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    integers(vec![whole(node.one()?.elements())?], vec![])
}

/// The same elements under other dimensions.
fn view(lowering: &mut Lowering<'_>, value: &Value, dims: Vec<usize>) -> Made {
    let float = lowering.float(value)?;
    if elements(&dims) != elements(&float.dims) || dims.len() > MAX_RANK {
        return Err(Unsupported::Shape.into());
    }
    one(Float { dims, ..float })
}

fn reshape(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let (value, wanted) = (node.input(0)?, node.input(1)?.integers()?);
    let keep_zero = node.int("allowzero", 0)? == 0;
    let own = value.dims();
    let mut dims = Vec::new();
    let mut free = None;
    for (place, &dim) in wanted.iter().enumerate() {
        dims.push(match dim {
            0 if keep_zero => *own.get(place).ok_or(Unsupported::Shape)?,
            -1 if free.is_none() => {
                free = Some(place);
                1
            }
            dim => usize::try_from(dim).map_err(|_| Unsupported::Shape)?,
        });
    }
    if let Some(free) = free {
        let rest = elements(&dims)
            .filter(|&n| n > 0)
            .ok_or(Unsupported::Shape)?;
        dims[free] = value.elements() / rest;
    }
    view(lowering, value, dims)
}

fn flatten(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let value = node.one()?;
    let rank = value.dims().len();
    let at = match node.int("axis", 1)? {
        end if end == whole(rank)? => rank,
        at => axis(at, rank)?,
    };
    let (before, after) = value.dims().split_at(at);
    let dims = vec![before.iter().product(), after.iter().product()];
    view(lowering, value, dims)
}

/// The axes that a node names as an input or, in old files, as an attribute.
fn named<'a>(node: &'a OnnxNode<'_>, input: usize) -> Result<Option<&'a [i64]>, Unsupported> {
    match node.optional(input) {
        Some(axes) => axes.integers().map(Some),
        None => Ok(node.ints("axes")),
    }
}

fn squeeze(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let value = node.input(0)?;
    let own = value.dims();
    let mut gone = Vec::new();
    match named(node, 1)? {
        Some(axes) => {
            for &name in axes {
                let axis = axis(name, own.len())?;
                if own[axis] != 1 {
                    return Err(Unsupported::Shape.into());
                }
                gone.push(axis);
            }
        }
        None => gone.extend((0..own.len()).filter(|&axis| own[axis] == 1)),
    }
    let kept = (0..own.len()).filter(|axis| !gone.contains(axis));
    let dims = kept.map(|axis| own[axis]).collect();
    view(lowering, value, dims)
}

fn unsqueeze(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let value = node.input(0)?;
    let axes = named(node, 1)?.ok_or(Unsupported::Arity)?;
    let rank = value.dims().len() + axes.len();
    if rank > MAX_RANK {
        return Err(Unsupported::Shape.into());
    }
    let mut new = Vec::new();
    for &name in axes {
        new.push(axis(name, rank)?);
    }
    let mut own = value.dims().iter();
    let mut dims = Vec::new();
    for axis in 0..rank {
        let dim = if new.contains(&axis) {
            Some(&1)
        } else {
            own.next()
        };
        dims.push(*dim.ok_or(Unsupported::Shape)?);
    }
    view(lowering, value, dims)
}

fn transpose(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let float = lowering.float(node.one()?)?;
    let rank = float.dims.len();
    let mut order = Vec::new();
    match node.ints("perm") {
        None => order.extend((0..rank).rev()),
        Some(names) => {
            for &name in names {
                order.push(axis(name, rank)?);
            }
        }
    }
    if order.len() != rank || (0..rank).any(|a| !order.contains(&a)) {
        return Err(Unsupported::Attribute.into());
    }
    one(lowering.permute(&float, &order)?)
}

fn concat(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let mut parts = Vec::new();
    for value in node.all()? {
        // Parts without elements are no parts.
        if value.elements() > 0 {
            parts.push(lowering.float(value)?);
        }
    }
    let first = parts.first().ok_or(Unsupported::Shape)?.clone();
    let at = axis(node.int("axis", 0)?, first.dims.len())?;
    let mut dims = first.dims.clone();
    dims[at] = 0;
    for part in &parts {
        let same = |a: usize| a == at || part.dims.get(a) == Some(&dims[a]);
        if part.dims.len() != dims.len() || !(0..dims.len()).all(same) {
            return Err(Unsupported::Shape.into());
        }
        dims[at] += part.dims[at];
    }
    if let [only] = parts.as_slice() {
        return one(only.clone());
    }
    let outer: usize = dims[..at].iter().product();
    let inner: usize = dims[at + 1..].iter().product();
    let mut rows = Vec::new();
    let mut before = 0;
    for part in &parts {
        let run = part.dims[at] * inner;
        rows.push((before, run));
        before += outer * run;
    }
    let row = |o: usize| {
        let runs = rows
            .iter()
            .map(move |&(before, run)| before + o * run..before + (o + 1) * run);
        runs.flatten().map(index)
    };
    let indices: Vec<u32> = (0..outer).flat_map(row).collect();
    let parts: Vec<&Float> = parts.iter().collect();
    one(lowering.select(&parts, dims, indices.into_iter(), 0.0)?)
}

/// What a slice takes along one axis.
struct Cut {
    axis: usize,
    start: i64,
    step: i64,
    count: usize,
}

fn slice(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let value = node.input(0)?;
    let own = value.dims().to_vec();
    let list = |input: usize, name: &str| match node.optional(input) {
        Some(list) => list.integers().map(|list| Some(list.to_vec())),
        None => Ok(node.ints(name).map(<[i64]>::to_vec)),
    };
    let starts = list(1, "starts")?.ok_or(Unsupported::Arity)?;
    let ends = list(2, "ends")?.ok_or(Unsupported::Arity)?;
    let axes = list(3, "axes")?.unwrap_or_else(|| (0..).take(starts.len()).collect());
    let steps = list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(Unsupported::Arity.into());
    }
    let mut cuts: Vec<Cut> = Vec::new();
    for (((start, end), name), step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let axis = axis(*name, own.len())?;
        cuts.push(cut(axis, whole(own[axis])?, [*start, *end, *step])?);
    }
    let strides = strides(&own);
    let mut dims = own;
    for cut in &cuts {
        dims[cut.axis] = cut.count;
    }
    if dims.contains(&0) {
        // Nothing is left: a constant, so that joining it changes nothing.
        return integers(Vec::new(), dims);
    }
    let float = lowering.float(value)?;
    let at = |coordinates: Vec<usize>| {
        let mut source = coordinates;
        for cut in &cuts {
            let moved = cut.start + cut.step * source[cut.axis] as i64;
            source[cut.axis] = usize::try_from(moved).unwrap_or(usize::MAX);
        }
        index(place(&source, &strides))
    };
    let indices: Vec<u32> = coordinates(&dims).map(at).collect();
    one(lowering.select(&[&float], dims, indices.into_iter(), 0.0)?)
}

fn cut(axis: usize, extent: i64, [start, end, step]: [i64; 3]) -> Result<Cut, Unsupported> {
    let from_end = |at: i64| {
        if at < 0 {
            at.saturating_add(extent)
        } else {
            at
        }
    };
    let (low, high) = if step > 0 {
        (0, extent)
    } else {
        (-1, extent - 1)
    };
    let start = from_end(start).clamp(low.max(0), high);
    let end = from_end(end).clamp(low, high);
    let count = match step {
        0 | i64::MIN => return Err(Unsupported::Attribute),
        1.. => steps(end - start, step),
        _ => steps(start - end, -step),
    };
    Ok(Cut {
        axis,
        start,
        step,
        count,
    })
}

/// How many steps reach over `distance`.
fn steps(distance: i64, step: i64) -> usize {
    usize::try_from(distance).map_or(0, |distance| {
        distance.div_ceil(usize::try_from(step).unwrap_or(usize::MAX))
    })
}

fn split(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let float = lowering.float(node.input(0)?)?;
    let at = axis(node.int("axis", 0)?, float.dims.len())?;
    let extent = float.dims[at];
    let parts = match (node.optional(1), node.ints("split")) {
        (Some(parts), _) => dims(parts.integers()?)?,
        (None, Some(parts)) => dims(parts)?,
        (None, None) => {
            let each = extent.div_ceil(node.outputs().max(1)).max(1);
            let last = |place: usize| each.min(extent.saturating_sub(place * each));
            (0..node.outputs()).map(last).collect()
        }
    };
    if parts.iter().sum::<usize>() != extent || parts.contains(&0) {
        return Err(Unsupported::Shape.into());
    }
    let outer: usize = float.dims[..at].iter().product();
    let inner: usize = float.dims[at + 1..].iter().product();
    let mut made = Vec::new();
    let mut before = 0;
    for part in parts {
        let mut dims = float.dims.clone();
        dims[at] = part;
        let row = |o: usize| {
            let start = (o * extent + before) * inner;
            (start..start + part * inner).map(index)
        };
        let indices: Vec<u32> = (0..outer).flat_map(row).collect();
        let part_of = lowering.select(&[&float], dims, indices.into_iter(), 0.0)?;
        made.push(Value::Float(part_of));
        before += part;
    }
    Ok(made)
}

fn expand(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let [value, wanted] = node.two()?;
    let wanted = dims(wanted.integers()?)?;
    let float = lowering.float(value)?;
    one(lowering.expand(&float, &wanted)?)
}

fn pad(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let float = lowering.real(node.input(0)?)?;
    let rank = float.dims.len();
    let pads = match node.optional(1) {
        Some(pads) => pads.integers()?,
        None => node.ints("pads").ok_or(Unsupported::Arity)?,
    };
    let fill = match node.optional(2) {
        Some(fill) => fill.scalar()?,
        None => f64::from(node.number("value", 0.0)?),
    };
    let mut sides = vec![(0, 0); rank];
    let axes: Vec<i64> = match node.optional(3) {
        Some(axes) => axes.integers()?.to_vec(),
        None => (0..whole(rank)?).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(Unsupported::Attribute.into());
    }
    for (name, (&before, &after)) in axes.iter().zip(pads.iter().zip(&pads[axes.len()..])) {
        sides[axis(*name, rank)?] = (before, after);
    }
    let mode = Edge::named(node.text("mode"))?;
    let mut padded = Vec::new();
    for (&dim, (before, after)) in float.dims.iter().zip(&sides) {
        let extent = whole(dim)?
            .checked_add(*before)
            .and_then(|n| n.checked_add(*after));
        padded.push(extent.filter(|&n| n > 0).ok_or(Unsupported::Shape)?);
    }
    let dims = dims(&padded)?;
    let strides = strides(&float.dims);
    let source = |coordinates: Vec<usize>| {
        let mut at = 0;
        for (axis, (coordinate, (before, _))) in coordinates.iter().zip(&sides).enumerate() {
            let moved = *coordinate as i64 - before;
            match mode.inside(moved, float.dims[axis] as i64) {
                Some(inside) => at += inside * strides[axis],
                None => return Select::FILL,
            }
        }
        index(at)
    };
    let indices: Vec<u32> = coordinates(&dims).map(source).collect();
    one(lowering.select(&[&float], dims, indices.into_iter(), fill)?)
}

/// What stands beyond an edge.
#[derive(Clone, Copy)]
enum Edge {
    Constant,
    Reflect,
    Repeat,
}

impl Edge {
    fn named(mode: Option<&str>) -> Result<Self, Unsupported> {
        match mode {
            None | Some("constant") => Ok(Self::Constant),
            Some("reflect") => Ok(Self::Reflect),
            Some("edge") => Ok(Self::Repeat),
            Some(_) => Err(Unsupported::Attribute),
        }
    }

    /// The place inside that `at` stands for, if it stands for one.
    fn inside(self, at: i64, extent: i64) -> Option<usize> {
        let inside = match self {
            Self::Repeat => at.clamp(0, extent - 1),
            Self::Reflect if at < 0 => -at,
            Self::Reflect if at >= extent => 2 * (extent - 1) - at,
            Self::Constant | Self::Reflect => at,
        };
        (0..extent).contains(&inside).then_some(inside as usize)
    }
}

fn gather(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let [value, indices] = node.two()?;
    let own = value.dims().to_vec();
    let at = axis(node.int("axis", 0)?, own.len())?;
    let extent = whole(own[at])?;
    let mut places = Vec::new();
    for &name in indices.integers()? {
        let from_start = if name < 0 {
            name.saturating_add(extent)
        } else {
            name
        };
        let inside = (0..extent).contains(&from_start);
        let place = usize::try_from(from_start).ok().filter(|_| inside);
        places.push(place.ok_or(Unsupported::Shape)?);
    }
    let float = lowering.float(value)?;
    let dims = [&own[..at], indices.dims(), &own[at + 1..]].concat();
    if dims.len() > MAX_RANK {
        return Err(Unsupported::Shape.into());
    }
    let outer: usize = own[..at].iter().product();
    let inner: usize = own[at + 1..].iter().product();
    let count = outer.saturating_mul(inner).saturating_mul(places.len());
    if count > MAX_ELEMENTS {
        return Err(Refused::from(Unsupported::TooLarge));
    }
    let along = own[at];
    let row = |o: usize| {
        let places = places.iter();
        let runs = places.map(move |p| (o * along + p) * inner);
        runs.flat_map(|start| start..start + inner).map(index)
    };
    let indices: Vec<u32> = (0..outer).flat_map(row).collect();
    one(lowering.select(&[&float], dims, indices.into_iter(), 0.0)?)
}
