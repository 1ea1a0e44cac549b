//! One kernel an operator. Addresses, counts and clamps are constants in the code.

mod distances;
mod elements;
mod planes;
mod requantise;
mod trees;

use graph::{Accumulator, Graph, Operator, ValueId, Weights};
use wasm_encoder::Instruction as I;

use super::CompileError;
use super::body::{
    BESIDE, Body, FROM, INNER, LANES, Local, MORE_LANES, OUTER, SUMS, TO, WEIGHTS, WIDE, X, Y, Z,
    at,
};
use super::layout::{Layout, Place, ROWS, Storage, vectors, weight_bytes};
pub(super) use planes::patches;

/// Moves the caller's input to where the first node reads it. Leaves the status on the stack: 0 if
/// every element is in its interval, else 1; the rest runs either way.
pub(super) fn admit_input(graph: &Graph, layout: &Layout) -> Body {
    let input = layout.value(ValueId(0));
    let lo = graph.input().lo;
    let width = graph.input().hi.wrapping_sub(lo);
    let outside = SUMS[0];
    let mut body = Body::default();
    body.point(FROM, layout.input())
        .point(TO, input.address)
        .op(I::V128Const(0))
        .set(outside)
        .repeat(input.elements / 8, OUTER, |body| {
            for (four, half) in [LANES, MORE_LANES].into_iter().zip(0..) {
                body.get(FROM).op(I::V128Load(at(16 * half, 2))).set(four);
                // Unsigned, an x below lo is far above the width of the interval.
                body.get(four).op(I::V128Const(splat_word(lo)));
                body.op(I::I32x4Sub).op(I::V128Const(splat_word(width)));
                body.op(I::I32x4GtU).get(outside).op(I::V128Or).set(outside);
            }
            body.get(TO).get(LANES);
            if input.storage == Storage::Short {
                body.get(MORE_LANES).op(I::I16x8NarrowI32x4S);
                body.op(I::V128Store(at(0, 1)));
            } else {
                body.op(I::V128Store(at(0, 2))).get(TO).get(MORE_LANES);
                body.op(I::V128Store(at(16, 2)));
            }
            body.advance(FROM, 32)
                .advance(TO, 8 * input.storage.bytes());
        })
        .get(outside)
        .op(I::V128AnyTrue)
        .set(Z)
        .repeat(input.elements % 8, OUTER, |body| {
            body.get(FROM).op(I::I32Load(at(0, 2))).set(X);
            body.get(X)
                .constant(lo)
                .op(I::I32Sub)
                .constant(width)
                .op(I::I32GtU)
                .get(Z)
                .op(I::I32Or)
                .set(Z);
            body.get(TO).get(X);
            store(body, input.storage);
            body.advance(FROM, 4).advance(TO, input.storage.bytes());
        })
        .get(Z);
    body
}

/// Widens the last value to the `i32`s that the caller reads.
pub(super) fn give_output(graph: &Graph, layout: &Layout) -> Body {
    let output = layout.value(graph.output());
    let mut body = Body::default();
    body.point(FROM, output.address)
        .point(TO, layout.output())
        .repeat(output.elements, OUTER, |body| {
            body.get(TO);
            load(body, FROM, output.storage);
            store(body, Storage::Word);
            body.advance(FROM, output.storage.bytes()).advance(TO, 4);
        });
    body
}

/// The kernel of node `node`.
pub(super) fn node(graph: &Graph, layout: &Layout, node: usize) -> Result<Body, CompileError> {
    let this = &graph.nodes()[node];
    let to = layout.value(ValueId(
        u32::try_from(node + 1).expect("at most MAX_NODES nodes"),
    ));
    let from = layout.value(this.inputs[0]);
    let parameters = layout.parameters(node);
    Ok(match &this.operator {
        Operator::Dense {
            weights,
            accumulator: Accumulator::Narrow,
            ..
        } => dense(from, to, weights, parameters, layout.sums()),
        Operator::Dense { weights, .. } => dense_wide(from, to, weights, parameters),
        Operator::Requantise {
            multipliers,
            shift,
            lo,
            hi,
        } => {
            let scaling = requantise::Scaling {
                channels: u32::try_from(multipliers.len()).expect("at most MAX_PARAMETERS"),
                shift: *shift,
                lo: *lo,
                hi: *hi,
            };
            let range = graph.range(this.inputs[0]);
            let range = range.expect("the value is one of the graph's");
            requantise::requantise(from, range, to, parameters[0], &scaling)
        }
        Operator::Add { left, right } => {
            add(from, layout.value(this.inputs[1]), to, [*left, *right])
        }
        Operator::Clamp { lo, hi } => clamp(from, to, *lo, *hi),
        Operator::ArgMax => arg_max(from, to),
        Operator::TreeEnsemble(ensemble) => {
            trees::trees(from, to, ensemble, parameters, layout.scratch(node))
        }
        Operator::Distances { .. } => distances::distances(from, to, parameters[0]),
        Operator::Exponential { shift, .. } => distances::exponential(from, to, *shift, parameters),
        Operator::Conv(conv) => {
            let (scratch, sums) = (layout.scratch(node), layout.sums());
            planes::conv(from, to, conv, parameters, scratch, sums)
        }
        Operator::MaxPool(window) => {
            planes::pool(from, to, window, planes::Pool::Max, layout.scratch(node))
        }
        Operator::SumPool { window, bias } => {
            let pool = planes::Pool::Sum(*bias);
            planes::pool(from, to, window, pool, layout.scratch(node))
        }
        Operator::Select(select) => {
            let inputs = this.inputs.iter().map(|&input| layout.value(input));
            let inputs: Vec<Place> = inputs.collect();
            elements::select(
                &inputs,
                to,
                select.fill,
                parameters[0],
                layout.scratch(node),
                layout.base(),
            )
        }
        Operator::Table { lo, .. } => elements::table(from, to, *lo, parameters[0]),
        Operator::Slopes { below, above } => elements::slopes(from, to, [*below, *above]),
        Operator::Multiply => elements::multiply(from, layout.value(this.inputs[1]), to),
        _ => return Err(CompileError::NoKernel { node }),
    })
}

/// Eight rows a turn of the outer loop.
fn dense(from: Place, to: Place, weights: &Weights, [packed, biases]: [u32; 2], sums: u32) -> Body {
    let groups = to.elements.div_ceil(ROWS as u32);
    let mut body = Body::default();
    body.point(WEIGHTS, packed)
        .point(BESIDE, biases)
        .point(TO, to.address)
        .repeat(groups, OUTER, |body| {
            body.point(FROM, from.address);
            dot(body, FROM, from.elements as usize, weights, sums);
            for (four, half) in SUMS.as_chunks::<4>().0.iter().zip(0..) {
                body.get(TO);
                add_across(body, four);
                body.get(BESIDE)
                    .op(I::V128Load(at(16 * half, 4)))
                    .op(I::I32x4Add)
                    .op(I::V128Store(at(16 * half, 4)));
            }
            body.advance(BESIDE, 32).advance(TO, 32);
        });
    body
}

/// Eight rows of weights times the elements at `from`: a sum a row, in lanes that are still to be
/// added. Moves `from` and `WEIGHTS` behind what they read.
///
/// A turn takes a few vectors of elements, and row by row as many of weights. Sums stand in memory
/// in between: a compiler reads all weights of a turn before it multiplies any, unless a row is
/// written before the next is read; and as fuel may run out at every turn, which is a call, no
/// vector stays in a register from one turn to the next anyway.
fn dot(body: &mut Body, from: Local, columns: usize, weights: &Weights, sums: u32) {
    let block = 8 * weight_bytes(weights) as u32;
    let vectors = vectors(columns);
    let turns = columns.div_ceil(8 * vectors);
    let rows = || SUMS.into_iter().zip((sums..).step_by(16));
    if turns > 1 {
        for (_, sum) in rows() {
            body.constant(0).op(I::V128Const(0));
            body.op(I::V128Store(at(sum, 4)));
        }
    }
    body.repeat(turns as u32, INNER, |body| {
        let elements = || SUMS.into_iter().take(vectors).zip(0..);
        for (element, place) in elements() {
            body.get(from).op(I::V128Load(at(16 * place, 1)));
            body.set(element);
        }
        let mut weight = 0;
        for (_, sum) in rows() {
            body.constant(0);
            for (element, place) in elements() {
                body.get(WEIGHTS).op(match weights {
                    Weights::Narrow(_) => I::V128Load8x8S(at(weight, 3)),
                    Weights::Wide(_) => I::V128Load(at(weight, 3)),
                });
                body.get(element).op(I::I32x4DotI16x8S);
                if place > 0 {
                    body.op(I::I32x4Add);
                }
                weight += block;
            }
            if turns > 1 {
                body.constant(0).op(I::V128Load(at(sum, 4)));
                body.op(I::I32x4Add);
            }
            body.op(I::V128Store(at(sum, 4)));
        }
        body.advance(from, 16 * vectors as u32)
            .advance(WEIGHTS, weight);
    });
    for (row, sum) in rows() {
        body.constant(0).op(I::V128Load(at(sum, 4))).set(row);
    }
}

/// Leaves one vector on the stack: the sums of the lanes of four.
fn add_across(body: &mut Body, [a, b, c, d]: &[Local; 4]) {
    for (left, right, to) in [(a, b, LANES), (c, d, MORE_LANES)] {
        body.get(*left).get(*right).op(words([0, 4, 1, 5]));
        body.get(*left).get(*right).op(words([2, 6, 3, 7]));
        body.op(I::I32x4Add).set(to);
    }
    body.get(LANES).get(MORE_LANES).op(words([0, 1, 4, 5]));
    body.get(LANES).get(MORE_LANES).op(words([2, 3, 6, 7]));
    body.op(I::I32x4Add);
}

/// The shuffle that takes these four words of eight.
fn words(words: [u8; 4]) -> I<'static> {
    let mut lanes = [0; 16];
    for (bytes, word) in lanes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        for (lane, byte) in bytes.iter_mut().zip(0..) {
            *lane = 4 * word + byte;
        }
    }
    I::I8x16Shuffle(lanes)
}

/// The vector of eight times `x`.
fn splat(x: i16) -> i128 {
    let bytes = x.to_le_bytes();
    i128::from_le_bytes(std::array::from_fn(|byte| bytes[byte % 2]))
}

/// The vector of four times `x`.
fn splat_word(x: i32) -> i128 {
    let bytes = x.to_le_bytes();
    i128::from_le_bytes(std::array::from_fn(|byte| bytes[byte % 4]))
}

/// A row at a time, in 64 bits.
fn dense_wide(from: Place, to: Place, weights: &Weights, [rows, biases]: [u32; 2]) -> Body {
    let mut body = Body::default();
    body.point(WEIGHTS, rows)
        .point(BESIDE, biases)
        .point(TO, to.address)
        .repeat(to.elements, OUTER, |body| {
            body.point(FROM, from.address);
            body.get(BESIDE).op(I::I64Load32S(at(0, 2))).set(WIDE);
            body.repeat(from.elements, INNER, |body| {
                body.get(WIDE);
                load_wide(body, FROM, from.storage);
                body.get(WEIGHTS).op(match weights {
                    Weights::Narrow(_) => I::I64Load8S(at(0, 0)),
                    Weights::Wide(_) => I::I64Load16S(at(0, 1)),
                });
                body.op(I::I64Mul).op(I::I64Add).set(WIDE);
                body.advance(FROM, from.storage.bytes())
                    .advance(WEIGHTS, weight_bytes(weights) as u32);
            });
            body.get(TO).get(WIDE).op(I::I64Store(at(0, 3)));
            body.advance(BESIDE, 4).advance(TO, 8);
        });
    body
}

fn add(from: Place, beside: Place, to: Place, [left, right]: [u16; 2]) -> Body {
    let mut body = Body::default();
    body.point(FROM, from.address)
        .point(BESIDE, beside.address)
        .point(TO, to.address)
        .repeat(to.elements, OUTER, |body| {
            body.get(TO);
            load(body, FROM, from.storage);
            body.constant(left.into()).op(I::I32Mul);
            load(body, BESIDE, beside.storage);
            body.constant(right.into()).op(I::I32Mul).op(I::I32Add);
            store(body, to.storage);
            body.advance(FROM, from.storage.bytes())
                .advance(BESIDE, beside.storage.bytes())
                .advance(TO, to.storage.bytes());
        });
    body
}

fn clamp(from: Place, to: Place, lo: i32, hi: i32) -> Body {
    let mut body = Body::default();
    body.point(FROM, from.address)
        .point(TO, to.address)
        .repeat(to.elements, OUTER, |body| {
            load_wide(body, FROM, from.storage);
            body.set(WIDE);
            for (bound, keep) in [(lo, I::I64GtS), (hi, I::I64LtS)] {
                body.get(WIDE).op(I::I64Const(bound.into()));
                body.get(WIDE).op(I::I64Const(bound.into())).op(keep);
                body.op(I::Select).set(WIDE);
            }
            body.get(TO).get(WIDE).op(I::I32WrapI64);
            store(body, to.storage);
            body.advance(FROM, from.storage.bytes())
                .advance(TO, to.storage.bytes());
        });
    body
}

/// The best so far in `WIDE`, its place in `Y`, the place looked at in `Z`.
fn arg_max(from: Place, to: Place) -> Body {
    let mut body = Body::default();
    body.point(FROM, from.address).point(Y, 0).point(Z, 0);
    load_wide(&mut body, FROM, from.storage);
    body.set(WIDE);
    body.repeat(from.elements, OUTER, |body| {
        // Strictly above: the first of equals stays.
        body.get(Z).get(Y);
        load_wide(body, FROM, from.storage);
        body.get(WIDE).op(I::I64GtS).op(I::Select).set(Y);
        load_wide(body, FROM, from.storage);
        body.get(WIDE);
        load_wide(body, FROM, from.storage);
        body.get(WIDE).op(I::I64GtS).op(I::Select).set(WIDE);
        body.advance(FROM, from.storage.bytes()).advance(Z, 1);
    });
    body.point(TO, to.address).get(TO).get(Y);
    store(&mut body, to.storage);
    body
}

/// The element at `address` as an `i32`; never asked for one that is wider.
fn load(body: &mut Body, address: Local, storage: Storage) {
    body.get(address).op(match storage {
        Storage::Short => I::I32Load16S(at(0, 1)),
        Storage::Word | Storage::Long => I::I32Load(at(0, 2)),
    });
}

/// The element at `address` as an `i64`.
fn load_wide(body: &mut Body, address: Local, storage: Storage) {
    body.get(address).op(match storage {
        Storage::Short => I::I64Load16S(at(0, 1)),
        Storage::Word => I::I64Load32S(at(0, 2)),
        Storage::Long => I::I64Load(at(0, 3)),
    });
}

/// Stores the `i32` on the stack at the address below it; never asked for a wider place.
fn store(body: &mut Body, storage: Storage) {
    body.op(match storage {
        Storage::Short => I::I32Store16(at(0, 1)),
        Storage::Word | Storage::Long => I::I32Store(at(0, 2)),
    });
}
