//! Operators on elements one by one: order, tables, slopes, products. Which are sound, and what
//! they compute.

use crate::graph::{MAX_ELEMENTS, ValueType, narrow};
use crate::operator::MAX_ENTRIES;
use crate::range::NARROW_BOUND;
use crate::{GraphError, Range, Select};

pub(crate) fn select(
    node: usize,
    inputs: &[ValueType],
    select: &Select,
) -> Result<ValueType, GraphError> {
    let all: usize = inputs.iter().map(|input| input.elements).sum();
    if select.indices.is_empty() || select.indices.len() > MAX_ELEMENTS {
        return Err(GraphError::WrongSize { node });
    }
    let known = |&index: &u32| index == Select::FILL || (index as usize) < all;
    if !select.indices.iter().all(known) {
        return Err(GraphError::BadParameter { node });
    }
    let fill = i64::from(select.fill);
    let (mut lo, mut hi) = (fill, fill);
    for input in inputs {
        let range = narrow(node, *input)?.range;
        (lo, hi) = (lo.min(range.lo()), hi.max(range.hi()));
    }
    Ok(ValueType {
        elements: select.indices.len(),
        range: Range::new(lo, hi).expect("all are i32"),
    })
}

pub(crate) fn table(
    node: usize,
    input: ValueType,
    lo: i32,
    entries: &[i16],
) -> Result<ValueType, GraphError> {
    let (Some(&low), Some(&high)) = (entries.iter().min(), entries.iter().max()) else {
        return Err(GraphError::BadParameter { node });
    };
    if entries.len() > MAX_ENTRIES {
        return Err(GraphError::BadParameter { node });
    }
    let end = i64::from(lo) + i64::try_from(entries.len()).unwrap_or(i64::MAX);
    if input.range.lo() < i64::from(lo) || input.range.hi() >= end {
        return Err(GraphError::InputTooWide { node });
    }
    Ok(ValueType {
        range: Range::new(low.into(), high.into()).expect("both are i16"),
        ..input
    })
}

pub(crate) fn slopes(
    node: usize,
    input: ValueType,
    below: i16,
    above: i16,
) -> Result<ValueType, GraphError> {
    let range = narrow(node, input)?.range;
    let at = |x: i64| x * i64::from(if x < 0 { below } else { above });
    let (lo, hi) = (at(range.lo()), at(range.hi()));
    // Both slopes start at zero, which may be inside.
    let zero = (range.lo() <= 0 && range.hi() >= 0).then_some(0);
    let low = lo.min(hi).min(zero.unwrap_or(lo));
    let high = lo.max(hi).max(zero.unwrap_or(hi));
    let range = Range::new(low, high).ok_or(GraphError::AccumulatorOverflow { node })?;
    Ok(ValueType { range, ..input })
}

pub(crate) fn multiply(node: usize, a: ValueType, b: ValueType) -> Result<ValueType, GraphError> {
    if a.elements != b.elements {
        return Err(GraphError::WrongSize { node });
    }
    let (left, right) = (narrow(node, a)?.range, narrow(node, b)?.range);
    if left.magnitude() * right.magnitude() >= NARROW_BOUND {
        return Err(GraphError::AccumulatorOverflow { node });
    }
    let range = Range::below(NARROW_BOUND);
    Ok(ValueType { range, ..a })
}

pub(crate) fn run_select(select: &Select, inputs: &[&[i64]]) -> Vec<i64> {
    let all = inputs.concat();
    let element = |&index: &u32| match all.get(index as usize) {
        Some(&x) => x,
        None => select.fill.into(),
    };
    select.indices.iter().map(element).collect()
}
