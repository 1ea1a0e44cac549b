//! Pools over windows, and reductions over axes.

use graph::Window;

use super::super::Unsupported;
use super::super::float::FloatOperator;
use super::super::lower::{Lowering, Refused};
use super::super::node::{OnnxNode, axis};
use super::super::value::{Float, Kind};
use super::broadcast::{coordinates, index, place, strides};
use super::geometry::Geometry;
use super::{Handler, Made, one};

/// The handler of an operator of this family.
pub(super) fn handler(operator: &str) -> Option<Handler> {
    match operator {
        "MaxPool" => Some(max_pool),
        "AveragePool" => Some(average_pool),
        "GlobalAveragePool" => Some(|lowering, node| global(lowering, node, Fold::Mean)),
        "GlobalMaxPool" => Some(|lowering, node| global(lowering, node, Fold::Max)),
        "ReduceMean" => Some(|lowering, node| reduce(lowering, node, Fold::Mean)),
        "ReduceSum" => Some(|lowering, node| reduce(lowering, node, Fold::Sum)),
        "ReduceMax" => Some(|lowering, node| reduce(lowering, node, Fold::Max)),
        _ => None,
    }
}

/// What becomes of many elements.
#[derive(Clone, Copy)]
enum Fold {
    Sum,
    Mean,
    Max,
}

impl Fold {
    fn operator(self, window: Window) -> FloatOperator {
        let count = window.taps() as f64;
        match self {
            Self::Max => FloatOperator::MaxPool(window),
            Self::Sum => FloatOperator::SumPool {
                window,
                factor: 1.0,
            },
            Self::Mean => FloatOperator::SumPool {
                window,
                factor: 1.0 / count,
            },
        }
    }
}

fn geometry(node: &OnnxNode<'_>, x: &Float) -> Result<Geometry, Unsupported> {
    let kernel = node.ints("kernel_shape").ok_or(Unsupported::Attribute)?;
    let kernel: Option<Vec<usize>> = kernel.iter().map(|&k| k.try_into().ok()).collect();
    Geometry::read(node, &x.dims, &kernel.ok_or(Unsupported::Attribute)?)
}

fn max_pool(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let x = lowering.float(node.one()?)?;
    let geometry = geometry(node, &x)?;
    let window = geometry.window;
    if node.int("storage_order", 0)? != 0 {
        return Err(Unsupported::Attribute.into());
    }
    // A window over padding alone has no largest element.
    let empty = (0..4).any(|side| window.pads[side] >= spread(&window, side % 2));
    if empty {
        return Err(Unsupported::Attribute.into());
    }
    let dims = geometry.dims(window.channels as usize);
    let y = lowering.push(FloatOperator::MaxPool(window), &[&x], dims)?;
    let kind = x.kind;
    one(Float { kind, ..y })
}

/// Elements that the window spans along an axis.
const fn spread(window: &Window, axis: usize) -> u32 {
    (window.kernel[axis] - 1) * window.dilation[axis] + 1
}

fn average_pool(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let x = lowering.real(node.one()?)?;
    let geometry = geometry(node, &x)?;
    let window = geometry.window;
    let dims = geometry.dims(window.channels as usize);
    let counts = counts(&geometry, node.int("count_include_pad", 0)? == 1);
    if counts.contains(&0) {
        return Err(Unsupported::Attribute.into());
    }
    if counts.iter().all(|&count| count == counts[0]) {
        let factor = 1.0 / counts[0] as f64;
        let pool = FloatOperator::SumPool { window, factor };
        return one(lowering.push(pool, &[&x], dims)?);
    }
    let pool = FloatOperator::SumPool {
        window,
        factor: 1.0,
    };
    let sums = lowering.push(pool, &[&x], dims.clone())?;
    let scale: Vec<f64> = counts.iter().map(|&count| 1.0 / count as f64).collect();
    let shift = vec![0.0; scale.len()];
    one(lowering.affine(&sums, &dims[2..], scale, shift)?)
}

/// By how many elements each position's sum is divided.
fn counts(geometry: &Geometry, padding: bool) -> Vec<usize> {
    let (window, pads) = (&geometry.window, geometry.pads);
    // What a position counts: the plane, or the plane and the padding that the file asked for.
    let counted = |axis: usize, extent: u32| {
        let after = if padding { pads[axis + 2] } else { 0 };
        let before = if padding { 0 } else { pads[axis] };
        let (first, end) = (
            u64::from(before),
            u64::from(extent) + u64::from(pads[axis]) + u64::from(after),
        );
        let steps = if axis == 0 {
            window.output_height()
        } else {
            window.output_width()
        };
        let (stride, dilation) = (
            u64::from(window.stride[axis]),
            u64::from(window.dilation[axis]),
        );
        (0..steps).map(move |at| {
            let taps = (0..u64::from(window.kernel[axis]))
                .map(move |tap| u64::from(at) * stride + tap * dilation);
            taps.filter(|moved| (first..end).contains(moved)).count()
        })
    };
    let columns: Vec<usize> = counted(1, window.width).collect();
    let row = |rows: usize| columns.iter().map(move |columns| rows * columns);
    counted(0, window.height).flat_map(row).collect()
}

fn global(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>, fold: Fold) -> Made {
    let x = lowering.real(node.one()?)?;
    let [1, channels, extents @ ..] = x.dims.as_slice() else {
        return Err(Unsupported::Shape.into());
    };
    let dims = [vec![1, *channels], vec![1; extents.len()]].concat();
    one(lowering.fold_rows(&x, *channels, fold, dims)?)
}

fn reduce(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>, fold: Fold) -> Made {
    let x = lowering.real(node.input(0)?)?;
    let rank = x.dims.len();
    let axes = axes(node, rank)?;
    let keep = node.int("keepdims", 1)? == 1;
    let kept: Vec<usize> = (0..rank).filter(|a| !axes.contains(a)).collect();
    let order = [kept.as_slice(), &axes].concat();
    let dims: Vec<usize> = (0..rank)
        .filter(|a| keep || kept.contains(a))
        .map(|a| if kept.contains(&a) { x.dims[a] } else { 1 })
        .collect();
    let rows = kept.iter().map(|&a| x.dims[a]).product();
    let moved = lowering.permute(&x, &order)?;
    one(lowering.fold_rows(&moved, rows, fold, dims)?)
}

/// The axes that a node names, in order: all if it names none.
fn axes(node: &OnnxNode<'_>, rank: usize) -> Result<Vec<usize>, Refused> {
    let named = match (node.optional(1), node.ints("axes")) {
        (Some(input), _) => input.integers()?,
        (None, Some(axes)) => axes,
        (None, None) => &[],
    };
    let mut axes = Vec::new();
    for &name in named {
        axes.push(axis(name, rank)?);
    }
    axes.sort_unstable();
    axes.dedup();
    if axes.is_empty() && node.int("noop_with_empty_axes", 0)? == 0 {
        axes = (0..rank).collect();
    }
    Ok(axes)
}

impl Lowering<'_> {
    /// Axes in another order.
    pub(super) fn permute(&mut self, x: &Float, order: &[usize]) -> Result<Float, Unsupported> {
        let dims: Vec<usize> = order.iter().map(|&a| x.dims[a]).collect();
        let own = strides(&x.dims);
        let steps: Vec<usize> = order.iter().map(|&a| own[a]).collect();
        // Axes of one element may move freely.
        let long = |axes: &mut dyn Iterator<Item = usize>| -> Vec<usize> {
            axes.filter(|&a| x.dims[a] > 1).collect()
        };
        if long(&mut order.iter().copied()) == long(&mut (0..order.len())) {
            let x = x.clone();
            return Ok(Float { dims, ..x });
        }
        let indices: Vec<u32> = coordinates(&dims)
            .map(|at| index(place(&at, &steps)))
            .collect();
        self.select(&[x], dims, indices.into_iter(), 0.0)
    }

    /// One element of each of `rows` rows.
    fn fold_rows(
        &mut self,
        x: &Float,
        rows: usize,
        fold: Fold,
        dims: Vec<usize>,
    ) -> Result<Float, Unsupported> {
        let count: usize = x.dims.iter().product();
        let size = |n: usize| u32::try_from(n).map_err(|_| Unsupported::TooLarge);
        let width = size(count / rows.max(1))?;
        let mut window = Window::point(size(rows)?, 1, width);
        window.kernel = [1, width];
        let y = self.push(fold.operator(window), &[x], dims)?;
        let kind = match fold {
            Fold::Mean => Kind::Real,
            Fold::Sum | Fold::Max => x.kind,
        };
        Ok(Float { kind, ..y })
    }
}
