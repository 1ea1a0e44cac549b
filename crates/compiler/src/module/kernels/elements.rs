//! Elements one by one: orders, tables, slopes, products.

use wasm_encoder::Instruction as I;

use super::{load, load_wide, store};
use crate::module::body::{BESIDE, Body, FROM, OUTER, TO, WEIGHTS, WIDE, at};
use crate::module::layout::{LINE, Place, Storage};

/// Reads each element where `addresses` says, counted from `base`. Which they are is the model's
/// shape, no secret and the same for every input.
pub(super) fn select(
    inputs: &[Place],
    to: Place,
    fill: i32,
    addresses: u32,
    scratch: u32,
    base: u32,
) -> Body {
    let mut body = Body::default();
    body.point(TO, scratch).get(TO).constant(fill);
    store(&mut body, to.storage);
    let mut free = scratch + LINE;
    for from in inputs.iter().filter(|from| from.storage != to.storage) {
        body.point(FROM, from.address).point(TO, free);
        body.repeat(from.elements, OUTER, |body| {
            body.get(TO);
            load(body, FROM, from.storage);
            store(body, to.storage);
            body.advance(FROM, from.storage.bytes())
                .advance(TO, to.storage.bytes());
        });
        free += (from.elements * to.storage.bytes()).next_multiple_of(LINE);
    }
    body.point(WEIGHTS, addresses).point(TO, to.address);
    body.repeat(to.elements, OUTER, |body| {
        body.get(TO).get(WEIGHTS).op(I::I32Load(at(0, 2)));
        body.op(match to.storage {
            Storage::Short => I::I32Load16S(at(base, 1)),
            Storage::Word | Storage::Long => I::I32Load(at(base, 2)),
        });
        store(body, to.storage);
        body.advance(WEIGHTS, 4).advance(TO, to.storage.bytes());
    });
    body
}

/// Entry `x - lo`, two bytes each.
pub(super) fn table(from: Place, to: Place, lo: i32, entries: u32) -> Body {
    let first = entries.cast_signed().wrapping_sub(lo.wrapping_mul(2));
    let mut body = Body::default();
    body.point(FROM, from.address)
        .point(TO, to.address)
        .repeat(to.elements, OUTER, |body| {
            body.get(TO);
            load(body, FROM, from.storage);
            body.constant(1).op(I::I32Shl);
            body.constant(first).op(I::I32Add);
            body.op(I::I32Load16S(at(0, 1)));
            store(body, to.storage);
            body.advance(FROM, from.storage.bytes())
                .advance(TO, to.storage.bytes());
        });
    body
}

pub(super) fn slopes(from: Place, to: Place, [below, above]: [i16; 2]) -> Body {
    let mut body = Body::default();
    body.point(FROM, from.address)
        .point(TO, to.address)
        .repeat(to.elements, OUTER, |body| {
            load_wide(body, FROM, from.storage);
            body.set(WIDE).get(TO).get(WIDE);
            body.op(I::I64Const(below.into()));
            body.op(I::I64Const(above.into()));
            body.get(WIDE).op(I::I64Const(0)).op(I::I64LtS);
            body.op(I::Select).op(I::I64Mul);
            if to.storage == Storage::Long {
                body.op(I::I64Store(at(0, 3)));
            } else {
                body.op(I::I32WrapI64);
                store(body, to.storage);
            }
            body.advance(FROM, from.storage.bytes())
                .advance(TO, to.storage.bytes());
        });
    body
}

pub(super) fn multiply(from: Place, beside: Place, to: Place) -> Body {
    let mut body = Body::default();
    body.point(FROM, from.address)
        .point(BESIDE, beside.address)
        .point(TO, to.address)
        .repeat(to.elements, OUTER, |body| {
            body.get(TO);
            load(body, FROM, from.storage);
            load(body, BESIDE, beside.storage);
            body.op(I::I32Mul);
            store(body, to.storage);
            body.advance(FROM, from.storage.bytes())
                .advance(BESIDE, beside.storage.bytes())
                .advance(TO, to.storage.bytes());
        });
    body
}
