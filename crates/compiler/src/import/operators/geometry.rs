//! Attributes of windows: kernel, strides, dilations, padding.

use graph::{MAX_ELEMENTS, Window};

use super::super::Unsupported;
use super::super::node::OnnxNode;

/// A window and how the file's attributes round its positions.
pub(super) struct Geometry {
    pub(super) window: Window,
    /// The padding before positions were rounded up: what an average may count.
    pub(super) pads: [u32; 4],
    /// 1 for signals, 2 for planes.
    pub(super) axes: usize,
}

impl Geometry {
    /// The window of `node` over a value of dimensions `dims`, of the kernel's dimensions.
    pub(super) fn read(
        node: &OnnxNode<'_>,
        dims: &[usize],
        kernel: &[usize],
    ) -> Result<Self, Unsupported> {
        let (channels, extents) = match dims {
            [1, channels, extents @ ..] if (1..=2).contains(&extents.len()) => (channels, extents),
            _ => return Err(Unsupported::Shape),
        };
        let axes = extents.len();
        if kernel.len() != axes {
            return Err(Unsupported::Shape);
        }
        let [height, width] = two(extents, 1)?;
        let steps = |name| match node.ints(name) {
            None | Some([]) => Ok([1, 1]),
            Some(ints) if ints.len() == axes => two(ints, 1),
            Some(_) => Err(Unsupported::Attribute),
        };
        let mut window = Window {
            channels: size(*channels)?,
            height,
            width,
            kernel: two(kernel, 1)?,
            stride: steps("strides")?,
            dilation: steps("dilations")?,
            pads: [0; 4],
        };
        let sizes = [window.kernel, window.stride, window.dilation];
        if sizes.iter().flatten().any(|&n| n == 0 || n > MAX_STEP) {
            return Err(Unsupported::Attribute);
        }
        let pads = match node.text("auto_pad") {
            None | Some("NOTSET" | "") => explicit(node, axes)?,
            Some("VALID") => [0; 4],
            Some("SAME_UPPER") => same(&window, false),
            Some("SAME_LOWER") => same(&window, true),
            Some(_) => return Err(Unsupported::Attribute),
        };
        window.pads = pads;
        match node.int("ceil_mode", 0)? {
            0 => {}
            1 => round_up(&mut window),
            _ => return Err(Unsupported::Attribute),
        }
        let padded = u128::from(window.padded_height()) * u128::from(window.padded_width());
        if padded * u128::from(window.channels) > MAX_ELEMENTS as u128 {
            return Err(Unsupported::TooLarge);
        }
        if window.positions() == 0 {
            return Err(Unsupported::Shape);
        }
        Ok(Self { window, pads, axes })
    }

    /// Dimensions of `channels` planes of the window's positions.
    pub(super) fn dims(&self, channels: usize) -> Vec<usize> {
        let (height, width) = (self.window.output_height(), self.window.output_width());
        let mut dims = vec![1, channels];
        if self.axes == 2 {
            dims.push(height as usize);
        }
        dims.push(width as usize);
        dims
    }
}

/// Largest kernel, stride, dilation or padding.
const MAX_STEP: u32 = 1 << 16;

fn size<T: TryInto<u32>>(n: T) -> Result<u32, Unsupported> {
    n.try_into().map_err(|_| Unsupported::Attribute)
}

/// One number an axis, of planes: signals have one row.
fn two<T: TryInto<u32> + Copy>(numbers: &[T], row: u32) -> Result<[u32; 2], Unsupported> {
    match numbers {
        [width] => Ok([row, size(*width)?]),
        [height, width] => Ok([size(*height)?, size(*width)?]),
        _ => Err(Unsupported::Shape),
    }
}

fn explicit(node: &OnnxNode<'_>, axes: usize) -> Result<[u32; 4], Unsupported> {
    let pads = match node.ints("pads") {
        None | Some([]) => return Ok([0; 4]),
        Some(pads) if pads.len() == 2 * axes => pads,
        Some(_) => return Err(Unsupported::Attribute),
    };
    let ([top, left], [bottom, right]) = (two(&pads[..axes], 0)?, two(&pads[axes..], 0)?);
    let pads = [top, left, bottom, right];
    if pads.iter().any(|&pad| pad > MAX_STEP) {
        return Err(Unsupported::Attribute);
    }
    Ok(pads)
}

/// Padding that leaves `ceil(extent / stride)` positions; an odd one more below and right, or above
/// and left.
fn same(window: &Window, lower: bool) -> [u32; 4] {
    let axis = |axis: usize, extent: u32| {
        let stride = window.stride[axis];
        let spread = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
        let needed = (extent.div_ceil(stride) - 1) * stride + spread;
        let total = needed.saturating_sub(extent);
        let small = total / 2;
        if lower {
            (total - small, small)
        } else {
            (small, total - small)
        }
    };
    let ((top, bottom), (left, right)) = (axis(0, window.height), axis(1, window.width));
    [top, left, bottom, right]
}

/// More padding below and right, so that a last position that fits in part counts, unless it
/// would begin in the padding.
fn round_up(window: &mut Window) {
    let extents = [window.height, window.width];
    for (axis, extent) in extents.into_iter().enumerate() {
        let stride = u64::from(window.stride[axis]);
        let spread = u64::from(window.kernel[axis] - 1) * u64::from(window.dilation[axis]) + 1;
        let (before, after) = (
            u64::from(window.pads[axis]),
            u64::from(window.pads[axis + 2]),
        );
        let padded = u64::from(extent) + before + after;
        let Some(room) = padded.checked_sub(spread) else {
            continue;
        };
        let last = room.div_ceil(stride) * stride;
        if !room.is_multiple_of(stride) && last < u64::from(extent) + before {
            let more = last + spread - padded;
            window.pads[axis + 2] = u32::try_from(after + more).unwrap_or(u32::MAX);
        }
    }
}
