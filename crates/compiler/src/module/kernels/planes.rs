//! Windows over planes: convolutions and pools.
//!
//! Padded planes are copied first, so that every tap reads memory and nothing asks where it is.
//! Eight neighbours of a row are computed at a time. What a last vector computes too much lies
//! where the next row is written after it, or behind the value.

use graph::{Conv, Window};
use wasm_encoder::{Instruction as I, MemArg};

use super::{add_across, dot, splat};
use crate::module::body::{
    BESIDE, Body, CURSORS, FROM, LANES, Local, MORE_LANES, OUTER, SUMS, TO, WEIGHTS, X, Y, Z, at,
};
use crate::module::layout::{Place, ROWS, group_bytes, padded_len};

/// What a pool makes of the elements under its window.
#[derive(Clone, Copy)]
pub(super) enum Pool {
    Max,
    Sum(i32),
}

/// Whether the kernel gathers what lies under the window, and multiplies eight rows with it: where
/// an element has several rows to meet. Else it goes over the taps of one row.
pub(in crate::module) const fn patches(conv: &Conv) -> bool {
    conv.outputs() >= 4 || conv.window.stride[1] > 2
}

/// Counters, outermost first, and addresses.
const GROUP: Local = CURSORS[0];
const ROW: Local = CURSORS[1];
const COLUMN: Local = CURSORS[2];
const DEPTH: Local = CURSORS[3];
const TAP_ROW: Local = CURSORS[4];
const TAP: Local = CURSORS[5];
const BIASES: Local = CURSORS[6];
const START: Local = CURSORS[7];

/// Planes as a kernel reads them: bytes from row to row, and from plane to plane.
struct Planes {
    address: u32,
    row: u32,
    plane: u32,
}

/// The planes of `from`, with padding of `fill` if the window has any.
fn planes(body: &mut Body, from: Place, window: &Window, scratch: u32, fill: i16) -> Planes {
    let size = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let (height, width) = (size(window.padded_height()), size(window.padded_width()));
    let (row, plane) = (2 * width, 2 * width * height);
    if window.pads == [0; 4] {
        let address = from.address;
        return Planes {
            address,
            row,
            plane,
        };
    }
    if fill != 0 {
        // Zeros are there from the beginning, and nothing else is ever written on them.
        let vectors = (plane * window.channels).div_ceil(16);
        body.point(TO, scratch).repeat(vectors, COLUMN, |body| {
            body.get(TO).op(I::V128Const(splat(fill)));
            body.op(I::V128Store(at(0, 1))).advance(TO, 16);
        });
    }
    let [top, left, ..] = window.pads;
    body.point(FROM, from.address)
        .point(TO, scratch + top * row + 2 * left)
        .repeat(window.channels, GROUP, |body| {
            body.repeat(window.height, ROW, |body| {
                body.repeat(window.width / 4, COLUMN, |body| {
                    body.get(TO).get(FROM).op(I::I64Load(at(0, 1)));
                    body.op(I::I64Store(at(0, 1)));
                    body.advance(FROM, 8).advance(TO, 8);
                });
                for place in 0..window.width % 4 {
                    body.get(TO).get(FROM).op(I::I32Load16U(at(2 * place, 1)));
                    body.op(I::I32Store16(at(2 * place, 1)));
                }
                let rest = 2 * (window.width % 4);
                body.advance(FROM, rest)
                    .advance(TO, row - 2 * window.width + rest);
            });
            body.advance(TO, plane - window.height * row);
        });
    Planes {
        address: scratch,
        row,
        plane,
    }
}

/// One tap: where it reads, and which it is, unless taps are gone through in a loop.
struct Tap {
    address: Local,
    offset: u32,
    index: Option<u32>,
}

/// Goes over the taps of the window whose first element is at `base`. Few are written out.
fn taps(
    body: &mut Body,
    window: &Window,
    planes: &Planes,
    base: Local,
    each: impl Fn(&mut Body, &Tap),
) {
    let ([rows, columns], [down, right]) = (window.kernel, window.dilation);
    // Where there is one tap, its distance to the next may be anything.
    let (down, right) = (down.wrapping_mul(planes.row), right.wrapping_mul(2));
    if window.taps() <= MOST_WRITTEN_OUT {
        for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            let tap = Tap {
                address: base,
                offset: row * down + column * right,
                index: Some(row * columns + column),
            };
            each(body, &tap);
        }
        return;
    }
    body.get(base).set(X);
    body.repeat(rows, TAP_ROW, |body| {
        body.repeat(columns, TAP, |body| {
            let tap = Tap {
                address: X,
                offset: 0,
                index: None,
            };
            each(body, &tap);
            body.advance(X, right);
        });
        body.advance(X, down.wrapping_sub(columns.wrapping_mul(right)));
    });
}

/// Taps that are written out, not gone through in a loop.
const MOST_WRITTEN_OUT: usize = 49;

/// Leaves on the stack the elements of eight neighbouring positions under a tap.
fn eight(body: &mut Body, tap: &Tap, stride: u32) {
    body.get(tap.address).op(I::V128Load(at(tap.offset, 1)));
    if stride == 2 {
        body.get(tap.address)
            .op(I::V128Load(at(tap.offset + 16, 1)));
        let even = [0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29];
        body.op(I::I8x16Shuffle(even));
    }
}

/// Positions that are computed at a time: one where neighbours lie too far apart to be read at once.
const fn together(window: &Window) -> u32 {
    if window.stride[1] <= 2 { 8 } else { 1 }
}

/// Goes over the positions of the window in one plane: `FROM` reads, `TO` writes elements of
/// `bytes`. Leaves `TO` behind the plane, and `FROM` somewhere.
fn positions(
    body: &mut Body,
    window: &Window,
    planes: &Planes,
    bytes: u32,
    each: impl FnOnce(&mut Body),
) {
    let (height, width) = (window.output_height(), window.output_width());
    let [down, right] = window.stride;
    let lanes = together(window);
    let blocks = width.div_ceil(lanes);
    let block = right.wrapping_mul(2 * lanes);
    body.repeat(height, ROW, |body| {
        body.repeat(blocks, COLUMN, |body| {
            each(body);
            body.advance(FROM, block).advance(TO, lanes * bytes);
        });
        let below = down.wrapping_mul(planes.row);
        body.advance(FROM, below.wrapping_sub(block.wrapping_mul(blocks)))
            .advance(TO, width.wrapping_sub(blocks * lanes).wrapping_mul(bytes));
    });
}

pub(super) fn pool(from: Place, to: Place, window: &Window, pool: Pool, scratch: u32) -> Body {
    let mut body = Body::default();
    let fill = match pool {
        Pool::Max => i16::MIN,
        Pool::Sum(_) => 0,
    };
    let planes = planes(&mut body, from, window, scratch, fill);
    body.point(START, planes.address).point(TO, to.address);
    let whole = window.kernel == [window.height, window.width] && window.pads == [0; 4];
    if let (Pool::Sum(bias), true) = (pool, whole && window.dilation == [1, 1]) {
        body.point(FROM, planes.address);
        sum_planes(&mut body, window, bias);
        return body;
    }
    let vectors = together(window) == 8;
    let stride = window.stride[1];
    body.repeat(window.channels, GROUP, |body| {
        body.get(START).set(FROM);
        positions(
            body,
            window,
            &planes,
            to.storage.bytes(),
            |body| match pool {
                Pool::Max if vectors => {
                    body.op(I::V128Const(splat(i16::MIN))).set(LANES);
                    taps(body, window, &planes, FROM, |body, tap| {
                        body.get(LANES);
                        eight(body, tap, stride);
                        body.op(I::I16x8MaxS).set(LANES);
                    });
                    body.get(TO).get(LANES).op(I::V128Store(at(0, 1)));
                }
                Pool::Max => {
                    body.constant(i16::MIN.into()).set(Y);
                    taps(body, window, &planes, FROM, |body, tap| {
                        body.get(tap.address).op(I::I32Load16S(at(tap.offset, 1)));
                        body.set(Z).get(Z).get(Y);
                        body.get(Z).get(Y).op(I::I32GtS).op(I::Select).set(Y);
                    });
                    body.get(TO).get(Y).op(I::I32Store16(at(0, 1)));
                }
                Pool::Sum(bias) if vectors => {
                    for sum in &SUMS[..2] {
                        body.constant(bias).op(I::I32x4Splat).set(*sum);
                    }
                    taps(body, window, &planes, FROM, |body, tap| {
                        eight(body, tap, stride);
                        body.set(LANES);
                        body.get(SUMS[0]).get(LANES).op(I::I32x4ExtendLowI16x8S);
                        body.op(I::I32x4Add).set(SUMS[0]);
                        body.get(SUMS[1]).get(LANES).op(I::I32x4ExtendHighI16x8S);
                        body.op(I::I32x4Add).set(SUMS[1]);
                    });
                    store_eight_sums(body);
                }
                Pool::Sum(bias) => {
                    body.constant(bias).set(Y);
                    taps(body, window, &planes, FROM, |body, tap| {
                        body.get(tap.address).op(I::I32Load16S(at(tap.offset, 1)));
                        body.get(Y).op(I::I32Add).set(Y);
                    });
                    body.get(TO).get(Y).op(I::I32Store(at(0, 2)));
                }
            },
        );
        body.advance(START, planes.plane);
    });
    body
}

fn store_eight_sums(body: &mut Body) {
    body.get(TO).get(SUMS[0]).op(I::V128Store(at(0, 2)));
    body.get(TO).get(SUMS[1]).op(I::V128Store(at(16, 2)));
}

/// The sum of each whole plane, from `FROM` to `TO`.
fn sum_planes(body: &mut Body, window: &Window, bias: i32) {
    let count = window.height * window.width;
    body.repeat(window.channels, GROUP, |body| {
        body.op(I::V128Const(0)).set(LANES);
        body.repeat(count / 8, COLUMN, |body| {
            body.get(LANES).get(FROM).op(I::V128Load(at(0, 1)));
            body.op(I::I32x4ExtAddPairwiseI16x8S).op(I::I32x4Add);
            body.set(LANES).advance(FROM, 16);
        });
        body.get(TO).constant(bias);
        for lane in 0..4 {
            body.get(LANES).op(I::I32x4ExtractLane(lane)).op(I::I32Add);
        }
        for place in 0..count % 8 {
            body.get(FROM).op(I::I32Load16S(at(2 * place, 1)));
            body.op(I::I32Add);
        }
        body.op(I::I32Store(at(0, 2)));
        body.advance(FROM, 2 * (count % 8)).advance(TO, 4);
    });
}

pub(super) fn conv(
    from: Place,
    to: Place,
    conv: &Conv,
    [packed, biases]: [u32; 2],
    scratch: u32,
    sums: u32,
) -> Body {
    let mut body = Body::default();
    let planes = planes(&mut body, from, &conv.window, scratch, 0);
    body.point(TO, to.address).point(BIASES, biases);
    if patches(conv) {
        let padded = padded_len(&conv.window);
        let patch = scratch + u32::try_from(padded).unwrap_or(u32::MAX);
        body.point(FROM, planes.address).point(START, packed);
        by_patches(&mut body, conv, &planes, [patch, sums]);
    } else {
        body.point(START, planes.address).point(WEIGHTS, packed);
        by_taps(&mut body, conv, &planes);
    }
    body
}

/// A row of weights at a time, eight positions side by side.
fn by_taps(body: &mut Body, conv: &Conv, planes: &Planes) {
    let window = &conv.window;
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (depth, count) = (size(conv.depth()), size(window.taps()));
    let stride = window.stride[1];
    body.repeat(conv.groups, GROUP, |body| {
        body.repeat(size(conv.outputs()), OUTER, |body| {
            body.get(START).set(FROM);
            positions(body, window, planes, 4, |body| {
                for sum in &SUMS[..2] {
                    body.get(BIASES).op(I::V128Load32Splat(at(0, 2))).set(*sum);
                }
                body.get(FROM).set(BESIDE).get(WEIGHTS).set(Y);
                body.repeat(depth, DEPTH, |body| {
                    taps(body, window, planes, BESIDE, |body, tap| {
                        eight(body, tap, stride);
                        body.set(LANES);
                        let weight = at(2 * tap.index.unwrap_or(0), 1);
                        body.get(Y).op(I::V128Load16Splat(weight)).set(MORE_LANES);
                        body.get(SUMS[0]).get(LANES).get(MORE_LANES);
                        body.op(I::I32x4ExtMulLowI16x8S)
                            .op(I::I32x4Add)
                            .set(SUMS[0]);
                        body.get(SUMS[1]).get(LANES).get(MORE_LANES);
                        body.op(I::I32x4ExtMulHighI16x8S)
                            .op(I::I32x4Add)
                            .set(SUMS[1]);
                        if tap.index.is_none() {
                            body.advance(Y, 2);
                        }
                    });
                    if window.taps() <= MOST_WRITTEN_OUT {
                        body.advance(Y, 2 * count);
                    }
                    body.advance(BESIDE, planes.plane);
                });
                store_eight_sums(body);
            });
            body.advance(WEIGHTS, 2 * count * depth).advance(BIASES, 4);
        });
        body.advance(START, depth * planes.plane);
    });
}

/// What lies under the window, gathered at `patch`, times eight rows of weights at a time.
fn by_patches(body: &mut Body, conv: &Conv, planes: &Planes, [patch, sums]: [u32; 2]) {
    let window = &conv.window;
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (outputs, depth) = (size(conv.outputs()), size(conv.depth()));
    let (height, width) = (window.output_height(), window.output_width());
    let out_plane = 4 * height * width;
    let [down, right] = window.stride;
    let rows = ROWS as u32;
    body.repeat(conv.groups, GROUP, |body| {
        body.repeat(height, ROW, |body| {
            body.repeat(width, COLUMN, |body| {
                gather(body, window, planes, depth, patch);
                body.get(START).set(WEIGHTS).get(BIASES).set(BESIDE);
                body.get(TO).set(Y);
                body.repeat(outputs / rows, OUTER, |body| {
                    eight_rows(body, conv, [patch, sums], out_plane, rows);
                });
                if !outputs.is_multiple_of(rows) {
                    eight_rows(body, conv, [patch, sums], out_plane, outputs % rows);
                }
                body.advance(FROM, right.wrapping_mul(2)).advance(TO, 4);
            });
            let read = right.wrapping_mul(2 * width);
            body.advance(FROM, down.wrapping_mul(planes.row).wrapping_sub(read));
        });
        let read = height.wrapping_mul(down).wrapping_mul(planes.row);
        body.advance(FROM, (depth * planes.plane).wrapping_sub(read))
            .advance(TO, (outputs - 1) * out_plane)
            .advance(START, size(group_bytes(conv)))
            .advance(BIASES, 4 * outputs.next_multiple_of(rows));
    });
}

/// Copies what lies under the window at `FROM`, channel by channel, to `patch`.
fn gather(body: &mut Body, window: &Window, planes: &Planes, depth: u32, patch: u32) {
    let ([rows, columns], [down, right]) = (window.kernel, window.dilation);
    let below = down.wrapping_mul(planes.row);
    body.get(FROM).set(BESIDE).point(X, patch);
    body.repeat(depth, DEPTH, |body| {
        body.repeat(rows, TAP_ROW, |body| {
            if right == 1 && columns <= LONGEST_WRITTEN_OUT {
                // Four at a time: what is too much, the next row writes over, or has no weight.
                for four in 0..columns.div_ceil(4) {
                    body.get(X).get(BESIDE).op(I::I64Load(at(8 * four, 1)));
                    body.op(I::I64Store(at(8 * four, 1)));
                }
                body.advance(X, 2 * columns).advance(BESIDE, below);
                return;
            }
            let right = right.wrapping_mul(2);
            body.repeat(columns, TAP, |body| {
                body.get(X).get(BESIDE).op(I::I32Load16U(at(0, 1)));
                body.op(I::I32Store16(at(0, 1)));
                body.advance(X, 2).advance(BESIDE, right);
            });
            let read = columns.wrapping_mul(right);
            body.advance(BESIDE, below.wrapping_sub(read));
        });
        let read = rows.wrapping_mul(below);
        body.advance(BESIDE, planes.plane.wrapping_sub(read));
    });
}

/// Elements of a row under the window that are copied without a loop.
const LONGEST_WRITTEN_OUT: u32 = 32;

/// Eight sums for one position, of which `count` are written, a plane apart.
fn eight_rows(body: &mut Body, conv: &Conv, [patch, sums]: [u32; 2], out_plane: u32, count: u32) {
    body.point(Z, patch);
    dot(body, Z, conv.columns(), &conv.weights, sums);
    for (four, half) in SUMS.as_chunks::<4>().0.iter().zip(0..) {
        add_across(body, four);
        body.get(BESIDE).op(I::V128Load(at(16 * half, 2)));
        body.op(I::I32x4Add).set(LANES);
        for lane in 0..4_u8 {
            let row = 4 * half + u32::from(lane);
            if row < count {
                let memarg: MemArg = at(row * out_plane, 2);
                body.get(Y)
                    .get(LANES)
                    .op(I::V128Store32Lane { memarg, lane });
            }
        }
    }
    let rows = ROWS as u32;
    body.advance(BESIDE, 4 * rows)
        .advance(Y, rows.wrapping_mul(out_plane));
}
