//! Squared distances to many vectors, and the powers that fall with them.

use wasm_encoder::Instruction as I;

use super::load_wide;
use crate::module::body::{Body, FROM, INNER, LANES, OUTER, SUMS, TO, WEIGHTS, WIDE, X, Y, Z, at};
use crate::module::layout::{Place, Storage};

/// Eight coordinates a turn; those that are left over one by one. A difference of two coordinates
/// is 16 bits, the sum of two squares 31.
pub(super) fn distances(from: Place, to: Place, vectors: u32) -> Body {
    let (turns, rest) = (from.elements / 8, from.elements % 8);
    let [sum, squares, ..] = SUMS;
    let mut body = Body::default();
    body.point(WEIGHTS, vectors)
        .point(TO, to.address)
        .repeat(to.elements, OUTER, |body| {
            body.point(FROM, from.address);
            body.op(I::V128Const(0)).set(sum);
            body.repeat(turns, INNER, |body| {
                body.get(FROM).op(I::V128Load(at(0, 1)));
                body.get(WEIGHTS).op(I::V128Load(at(0, 1)));
                body.op(I::I16x8Sub).set(LANES);
                body.get(LANES)
                    .get(LANES)
                    .op(I::I32x4DotI16x8S)
                    .set(squares);
                body.get(sum);
                body.get(squares)
                    .op(I::I64x2ExtendLowI32x4S)
                    .op(I::I64x2Add);
                body.get(squares)
                    .op(I::I64x2ExtendHighI32x4S)
                    .op(I::I64x2Add);
                body.set(sum);
                body.advance(FROM, 16).advance(WEIGHTS, 16);
            });
            body.get(sum).op(I::I64x2ExtractLane(0));
            body.get(sum).op(I::I64x2ExtractLane(1));
            body.op(I::I64Add).set(WIDE);
            for place in 0..rest {
                body.get(FROM).op(I::I32Load16S(at(2 * place, 1)));
                body.get(WEIGHTS).op(I::I32Load16S(at(2 * place, 1)));
                body.op(I::I32Sub).set(X);
                body.get(X).get(X).op(I::I32Mul).op(I::I64ExtendI32S);
                body.get(WIDE).op(I::I64Add).set(WIDE);
            }
            body.get(TO).get(WIDE);
            body.op(match to.storage {
                Storage::Long => I::I64Store(at(0, 3)),
                Storage::Word | Storage::Short => I::I64Store32(at(0, 2)),
            });
            body.advance(WEIGHTS, 2 * rest)
                .advance(TO, to.storage.bytes());
        });
    body
}

/// The line between two entries of the table, shifted by as many halvings as the exponent holds.
pub(super) fn exponential(
    from: Place,
    to: Place,
    shift: u8,
    [multiplier, powers]: [u32; 2],
) -> Body {
    let mut body = Body::default();
    body.point(FROM, from.address)
        .point(TO, to.address)
        .repeat(to.elements, OUTER, |body| {
            load_wide(body, FROM, from.storage);
            body.constant(0).op(I::I64Load16U(at(multiplier, 1)));
            body.op(I::I64Mul).op(I::I64Const(shift.into()));
            body.op(I::I64ShrS).set(WIDE);
            // Halvings; what is above the most leaves nothing, as the most does.
            body.get(WIDE).op(I::I64Const(16)).op(I::I64ShrS);
            body.op(I::I64Const(MOST_HALVINGS));
            body.get(WIDE)
                .op(I::I64Const(MOST_HALVINGS << 16))
                .op(I::I64LtS);
            body.op(I::Select).op(I::I32WrapI64).set(X);
            // Twice the entry's place, and the rest.
            body.get(WIDE).op(I::I32WrapI64).constant(9).op(I::I32ShrU);
            body.constant(0x7e).op(I::I32And).set(Y);
            body.get(WIDE)
                .op(I::I32WrapI64)
                .constant(0x3ff)
                .op(I::I32And)
                .set(Z);
            body.get(TO);
            body.get(Y).op(I::I32Load16U(at(powers, 1)));
            body.constant(1024).get(Z).op(I::I32Sub).op(I::I32Mul);
            body.get(Y).op(I::I32Load16U(at(powers + 2, 1)));
            body.get(Z).op(I::I32Mul).op(I::I32Add);
            body.get(X).constant(10).op(I::I32Add).op(I::I32ShrU);
            body.op(I::I32Store16(at(0, 1)));
            body.advance(FROM, from.storage.bytes())
                .advance(TO, to.storage.bytes());
        });
    body
}

/// After so many nothing is left of 25 bits.
const MOST_HALVINGS: i64 = 15;
