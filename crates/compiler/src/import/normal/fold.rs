//! Constants, factors and shifts, views.

use super::super::float::{Affine, Conv, Dense, FloatGraph, FloatNode, FloatOperator, Select};
use super::Rewrite;

/// One round of folding, front to back.
pub(super) fn fold(graph: FloatGraph) -> FloatGraph {
    let uses = graph.uses();
    let mut rewrite = Rewrite::new(graph.input.clone());
    for node in graph.nodes {
        let used = node.inputs.first().map_or(0, |&input| uses[input]);
        let mut node = rewrite.moved(node);
        constants(&rewrite, &mut node);
        views(&rewrite, &mut node);
        forward(&rewrite, &mut node);
        chain(&rewrite, &mut node);
        if let Some(place) = nothing(&rewrite, &node) {
            rewrite.alias(place);
        } else if let Some(place) = backward(&mut rewrite, &node, used) {
            rewrite.alias(place);
        } else {
            rewrite.keep(node);
        }
    }
    rewrite.finish(graph.output)
}

fn constant(rewrite: &Rewrite, place: usize) -> Option<&[f64]> {
    match &rewrite.maker(place)?.operator {
        FloatOperator::Constant(value) => Some(value),
        _ => None,
    }
}

/// Runs a node over constants; makes a factor or a shift of one constant operand.
fn constants(rewrite: &Rewrite, node: &mut FloatNode) {
    let known = |place: usize| constant(rewrite, node.inputs[place]);
    if !node.inputs.is_empty() && (0..node.inputs.len()).all(|i| known(i).is_some()) {
        let values: Vec<Vec<f64>> = (0..node.inputs.len())
            .filter_map(|i| known(i).map(<[f64]>::to_vec))
            .collect();
        node.inputs = (0..values.len()).collect();
        node.operator = FloatOperator::Constant(node.run(&values));
        node.inputs.clear();
        return;
    }
    let [a, b] = node.inputs.as_slice() else {
        return;
    };
    let (value, other, first) = match (known(0), known(1)) {
        (None, Some(value)) => (value, *a, true),
        (Some(value), None) => (value, *b, false),
        _ => return,
    };
    let (scale, shift) = match node.operator {
        FloatOperator::Add { left, right } => {
            let (own, its) = if first { (left, right) } else { (right, left) };
            let shift = value.iter().map(|c| c * its).collect();
            (vec![own; value.len()], shift)
        }
        FloatOperator::Multiply => (value.to_vec(), vec![0.0; value.len()]),
        _ => return,
    };
    let same = |numbers: &[f64]| numbers.windows(2).all(|pair| pair[0] == pair[1]);
    node.operator = FloatOperator::Affine(if same(&scale) && same(&shift) {
        Affine::uniform(scale[0], shift[0])
    } else {
        let inner = 1;
        Affine {
            scale,
            shift,
            inner,
        }
    });
    node.inputs = vec![other];
}

/// Joins a view with the views that it takes from, and fills in constants of one number.
fn views(rewrite: &Rewrite, node: &mut FloatNode) {
    let FloatOperator::Select(outer) = &mut node.operator else {
        return;
    };
    let mut inputs: Vec<usize> = Vec::new();
    let mut table: Vec<Vec<u32>> = Vec::new();
    let mut offset = 0_usize;
    let mut fill = outer.fills().then_some(outer.fill);
    for &input in &node.inputs {
        let count = rewrite.graph.elements(input);
        let inner = match rewrite.maker(input).map(|maker| (maker, &maker.operator)) {
            Some((maker, FloatOperator::Select(inner)))
                if !inner.fills() || fill.is_none_or(|fill| fill == inner.fill) =>
            {
                if inner.fills() {
                    fill = Some(inner.fill);
                }
                inputs.extend(&maker.inputs);
                let width: usize = maker
                    .inputs
                    .iter()
                    .map(|&i| rewrite.graph.elements(i))
                    .sum();
                let moved = |&i: &u32| moved(i, offset);
                let indices = inner.indices.iter().map(moved).collect();
                offset += width;
                table.push(indices);
                continue;
            }
            Some((_, FloatOperator::Constant(value)))
                if value
                    .iter()
                    .all(|c| *c == value[0] && fill.is_none_or(|fill| fill == *c)) =>
            {
                fill = Some(value[0]);
                vec![Select::FILL; count]
            }
            _ => {
                inputs.push(input);
                let indices = (0..count).map(|i| moved(i as u32, offset)).collect();
                offset += count;
                indices
            }
        };
        table.push(inner);
    }
    if inputs.is_empty() {
        return;
    }
    let all = table.concat();
    for index in &mut outer.indices {
        *index = all.get(*index as usize).copied().unwrap_or(Select::FILL);
    }
    outer.fill = fill.unwrap_or(0.0);
    node.inputs = inputs;
}

fn moved(index: u32, offset: usize) -> u32 {
    match index {
        Select::FILL => index,
        _ => index.saturating_add(u32::try_from(offset).unwrap_or(u32::MAX)),
    }
}

/// Moves factors and shifts of a layer's input into the layer.
fn forward(rewrite: &Rewrite, node: &mut FloatNode) {
    let &[input] = node.inputs.as_slice() else {
        return;
    };
    let Some(maker) = rewrite.maker(input) else {
        return;
    };
    let FloatOperator::Affine(affine) = &maker.operator else {
        return;
    };
    let taken = match &mut node.operator {
        FloatOperator::Dense(dense) => {
            into_columns(dense, affine);
            true
        }
        FloatOperator::Conv(conv) => into_channels(conv, affine),
        _ => false,
    };
    if taken {
        node.inputs = maker.inputs.clone();
    }
}

fn into_columns(dense: &mut Dense, affine: &Affine) {
    let columns = dense.weights.len() / dense.bias.len();
    for (row, bias) in dense.weights.chunks_mut(columns).zip(&mut dense.bias) {
        let mut sum = f64::from(*bias);
        for (column, weight) in row.iter_mut().enumerate() {
            let (scale, shift) = affine.at(column);
            sum += f64::from(*weight) * shift;
            *weight = (f64::from(*weight) * scale) as f32;
        }
        *bias = sum as f32;
    }
}

/// Factor and shift of each plane, if they are the same all over it.
fn planes(affine: &Affine, channels: usize, plane: usize) -> Option<Vec<(f64, f64)>> {
    let whole = affine.scale.len() == 1 || affine.inner.is_multiple_of(plane);
    whole.then(|| (0..channels).map(|c| affine.at(c * plane)).collect())
}

/// `false` if the factors differ within a plane, or a shift would have to reach the padding.
fn into_channels(conv: &mut Conv, affine: &Affine) -> bool {
    let window = &conv.window;
    let plane = window.height as usize * window.width as usize;
    let Some(planes) = planes(affine, window.channels as usize, plane) else {
        return false;
    };
    let shifted = planes.iter().any(|&(_, shift)| shift != 0.0);
    if shifted && window.pads != [0; 4] {
        return false;
    }
    let taps = window.taps();
    let depth = planes.len() / conv.groups;
    let outputs = conv.bias.len() / conv.groups;
    for (channel, bias) in conv.bias.iter_mut().enumerate() {
        let own = &planes[channel / outputs * depth..][..depth];
        let row = &mut conv.weights[channel * depth * taps..][..depth * taps];
        let mut sum = f64::from(*bias);
        for (weights, &(scale, shift)) in row.chunks_mut(taps).zip(own) {
            for weight in weights {
                sum += f64::from(*weight) * shift;
                *weight = (f64::from(*weight) * scale) as f32;
            }
        }
        *bias = sum as f32;
    }
    true
}

/// Joins a factor and shift with those before, a clamp with the clamp before.
fn chain(rewrite: &Rewrite, node: &mut FloatNode) {
    let &[input] = node.inputs.as_slice() else {
        return;
    };
    let Some(maker) = rewrite.maker(input) else {
        return;
    };
    match (&maker.operator, &mut node.operator) {
        (FloatOperator::Affine(inner), FloatOperator::Affine(outer)) => {
            let alike = inner.scale.len() == outer.scale.len() && inner.inner == outer.inner;
            let joined = if alike || inner.as_uniform().is_some() {
                outer.clone()
            } else if outer.as_uniform().is_some() {
                let (scale, shift) = outer.at(0);
                Affine {
                    scale: vec![scale; inner.scale.len()],
                    shift: vec![shift; inner.scale.len()],
                    inner: inner.inner,
                }
            } else {
                return;
            };
            *outer = joined;
            for (place, scale) in outer.scale.iter_mut().enumerate() {
                let place_of = place % inner.scale.len();
                outer.shift[place] += *scale * inner.shift[place_of];
                *scale *= inner.scale[place_of];
            }
        }
        (FloatOperator::Clamp { lo, hi }, FloatOperator::Clamp { lo: low, hi: high }) => {
            let clamp = |x: f64| x.max(*low).min(*high);
            (*low, *high) = (clamp(*lo), clamp(*hi));
        }
        _ => return,
    }
    node.inputs = maker.inputs.clone();
}

/// The value that the node only repeats.
fn nothing(rewrite: &Rewrite, node: &FloatNode) -> Option<usize> {
    let &[input] = node.inputs.as_slice() else {
        return None;
    };
    let same = match &node.operator {
        FloatOperator::Select(select) => select.is_identity(rewrite.graph.elements(input)),
        FloatOperator::Affine(affine) => {
            affine.scale.iter().all(|&scale| scale == 1.0)
                && affine.shift.iter().all(|&shift| shift == 0.0)
        }
        FloatOperator::Clamp { lo, hi } => *lo == f64::NEG_INFINITY && *hi == f64::INFINITY,
        FloatOperator::Slopes { below, above } => *below == 1.0 && *above == 1.0,
        FloatOperator::SumPool { window, factor } => {
            window.taps() == 1 && plain(window) && *factor == 1.0
        }
        FloatOperator::MaxPool(window) => window.taps() == 1 && plain(window),
        _ => false,
    };
    same.then_some(input)
}

/// Whether a window of one element visits every element once, in order.
fn plain(window: &graph::Window) -> bool {
    window.stride == [1, 1] && window.pads == [0; 4]
}

/// Moves factors and shifts into the layer before, if nothing else uses it: its new place.
fn backward(rewrite: &mut Rewrite, node: &FloatNode, uses: usize) -> Option<usize> {
    let &[input] = node.inputs.as_slice() else {
        return None;
    };
    let FloatOperator::Affine(affine) = &node.operator else {
        return None;
    };
    let maker = rewrite.own(input, uses)?;
    match &mut maker.operator {
        FloatOperator::Dense(dense) => {
            let each: Vec<(f64, f64)> = (0..dense.bias.len()).map(|row| affine.at(row)).collect();
            scale_rows(&mut dense.weights, &mut dense.bias, &each);
        }
        FloatOperator::Conv(conv) => {
            let each = planes(affine, conv.bias.len(), conv.window.positions())?;
            scale_rows(&mut conv.weights, &mut conv.bias, &each);
        }
        FloatOperator::SumPool { factor, .. } => {
            let (scale, shift) = affine.as_uniform()?;
            if shift != 0.0 {
                return None;
            }
            *factor *= scale;
        }
        FloatOperator::Add { left, right } => {
            let (scale, shift) = affine.as_uniform()?;
            if shift != 0.0 {
                return None;
            }
            (*left, *right) = (*left * scale, *right * scale);
        }
        _ => return None,
    }
    Some(input)
}

fn scale_rows(weights: &mut [f32], bias: &mut [f32], each: &[(f64, f64)]) {
    let columns = weights.len() / bias.len();
    let rows = weights.chunks_mut(columns).zip(bias).zip(each);
    for ((row, bias), (scale, shift)) in rows {
        row.iter_mut()
            .for_each(|w| *w = (f64::from(*w) * scale) as f32);
        *bias = (f64::from(*bias) * scale + shift) as f32;
    }
}
