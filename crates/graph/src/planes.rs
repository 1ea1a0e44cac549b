//! Operators under windows: which are sound, and what they compute.

use crate::graph::{MAX_ELEMENTS, ValueType};
use crate::range::NARROW_BOUND;
use crate::{Conv, GraphError, Operator, Range, Window};

/// Steps under windows of one run.
pub(crate) fn products(operator: &Operator) -> usize {
    match operator {
        Operator::Conv(conv) => conv.weights.len().saturating_mul(conv.window.positions()),
        Operator::MaxPool(window) | Operator::SumPool { window, .. } => {
            let places = (window.channels as usize).saturating_mul(window.positions());
            places.saturating_mul(window.taps())
        }
        _ => 0,
    }
}

/// What a window makes of `input`: its planes are all of it, its elements are `i16`.
fn planes(
    node: usize,
    input: ValueType,
    window: &Window,
    channels: usize,
) -> Result<usize, GraphError> {
    if !window.sound(MAX_ELEMENTS) {
        return Err(GraphError::BadParameter { node });
    }
    if window.elements() != input.elements {
        return Err(GraphError::WrongSize { node });
    }
    if !input.range.fits_i16() {
        return Err(GraphError::InputTooWide { node });
    }
    let elements = channels.checked_mul(window.positions());
    elements.ok_or(GraphError::TooManyElements)
}

pub(crate) fn conv(node: usize, input: ValueType, conv: &Conv) -> Result<ValueType, GraphError> {
    let elements = planes(node, input, &conv.window, conv.bias.len())?;
    let divides = |count: usize| count > 0 && count.is_multiple_of(conv.groups as usize);
    let (columns, channels) = (conv.columns(), conv.window.channels as usize);
    let groups = conv.groups > 0 && divides(conv.bias.len()) && divides(channels);
    if !groups || conv.bias.len().checked_mul(columns) != Some(conv.weights.len()) {
        return Err(GraphError::WrongSize { node });
    }
    // |b| + max|x| * sum|w| bounds every partial sum; padding adds nothing.
    let reach = |(row, bias): (usize, &i32)| {
        let row = row * columns..(row + 1) * columns;
        let norm: i64 = row
            .map(|place| i64::from(conv.weights.at(place)).abs())
            .sum();
        i64::from(*bias).abs() + input.range.magnitude() * norm
    };
    let mut reaches = conv.bias.iter().enumerate().map(reach);
    if reaches.any(|reach| reach >= NARROW_BOUND) {
        return Err(GraphError::AccumulatorOverflow { node });
    }
    let range = Range::below(NARROW_BOUND);
    Ok(ValueType { elements, range })
}

pub(crate) fn max_pool(
    node: usize,
    input: ValueType,
    window: &Window,
) -> Result<ValueType, GraphError> {
    let elements = planes(node, input, window, window.channels as usize)?;
    if !window.always_covers() {
        return Err(GraphError::BadParameter { node });
    }
    Ok(ValueType { elements, ..input })
}

pub(crate) fn sum_pool(
    node: usize,
    input: ValueType,
    window: &Window,
    bias: i32,
) -> Result<ValueType, GraphError> {
    let elements = planes(node, input, window, window.channels as usize)?;
    // At most 2^22 taps of 2^15 would be covered; the window's own count may be anything.
    let taps = i64::try_from(window.taps()).unwrap_or(i64::MAX);
    let reach = taps.saturating_mul(input.range.magnitude());
    if taps == 0 || reach.saturating_add(i64::from(bias).abs()) >= NARROW_BOUND {
        return Err(GraphError::AccumulatorOverflow { node });
    }
    let range = Range::below(NARROW_BOUND);
    Ok(ValueType { elements, range })
}

/// Each position of the window, row by row.
fn positions(window: &Window) -> impl Iterator<Item = [u32; 2]> {
    let columns = window.output_width();
    (0..window.output_height()).flat_map(move |row| (0..columns).map(move |column| [row, column]))
}

/// What lies under the window at `position` in one plane: tap by tap, `None` where it is padding.
fn under(window: &Window, position: [u32; 2]) -> impl Iterator<Item = Option<usize>> {
    let columns = window.kernel[1];
    let taps = (0..window.kernel[0]).flat_map(move |row| (0..columns).map(move |c| [row, c]));
    taps.map(move |tap| window.tap(position, tap))
}

pub(crate) fn run_conv(conv: &Conv, x: &[i64]) -> Vec<i64> {
    let window = &conv.window;
    let (plane, taps) = (
        window.height as usize * window.width as usize,
        window.taps(),
    );
    let mut y = Vec::new();
    for (o, bias) in conv.bias.iter().enumerate() {
        let first = o / conv.outputs() * conv.depth();
        for position in positions(window) {
            let mut sum = i64::from(*bias);
            for (tap, place) in under(window, position).enumerate() {
                for channel in place.map(|_| 0..conv.depth()).into_iter().flatten() {
                    let weight = conv.weights.at((o * conv.depth() + channel) * taps + tap);
                    let x = x[(first + channel) * plane + place.unwrap_or(0)];
                    sum += i64::from(weight) * x;
                }
            }
            y.push(sum);
        }
    }
    y
}

pub(crate) fn run_pool(
    window: &Window,
    x: &[i64],
    start: i64,
    fold: impl Fn(i64, i64) -> i64,
) -> Vec<i64> {
    let plane = window.height as usize * window.width as usize;
    let mut y = Vec::new();
    for plane in x.chunks(plane) {
        for position in positions(window) {
            let elements = under(window, position).flatten().map(|place| plane[place]);
            y.push(elements.fold(start, &fold));
        }
    }
    y
}
