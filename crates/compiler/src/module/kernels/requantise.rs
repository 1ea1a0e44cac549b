//! Requantising: sums become activations again, eight a turn; sums of 64 bits one by one.

use graph::Range;
use wasm_encoder::Instruction as I;

use super::{load_wide, splat, splat_word, store, words};
use crate::module::body::{
    Body, FROM, INNER, LANES, Local, MORE_LANES, OUTER, SUMS, TO, WEIGHTS, WIDE, at,
};
use crate::module::layout::{Place, Storage};

/// What the operator says, beside its multipliers.
pub(super) struct Scaling {
    pub(super) channels: u32,
    pub(super) shift: u8,
    pub(super) lo: i16,
    pub(super) hi: i16,
}

/// The multipliers of eight elements, as words.
const FIRST_FOUR: Local = SUMS[0];
const LAST_FOUR: Local = SUMS[1];

pub(super) fn requantise(
    from: Place,
    range: Range,
    to: Place,
    multipliers: u32,
    scaling: &Scaling,
) -> Body {
    let mut body = Body::default();
    body.point(FROM, from.address)
        .point(WEIGHTS, multipliers)
        .point(TO, to.address);
    let bound = Bound::needed(range, scaling.shift);
    if from.storage == Storage::Long {
        one_by_one(&mut body, from, to, scaling);
    } else if scaling.channels == from.elements {
        body.repeat(from.elements.div_ceil(8), OUTER, |body| {
            body.get(WEIGHTS).op(I::V128Load(at(0, 1))).set(LANES);
            body.get(LANES).op(I::I32x4ExtendLowI16x8U).set(FIRST_FOUR);
            body.get(LANES).op(I::I32x4ExtendHighI16x8U).set(LAST_FOUR);
            eight(body, from.storage, bound, scaling);
            body.advance(WEIGHTS, 16);
        });
    } else {
        channel_by_channel(&mut body, from, to, bound, scaling);
    }
    body
}

/// What a channel's last vector computes too much, the next channel writes over, or lies behind the
/// value.
fn channel_by_channel(
    body: &mut Body,
    from: Place,
    to: Place,
    bound: Option<Bound>,
    scaling: &Scaling,
) {
    let each = from.elements / scaling.channels;
    let turns = each.div_ceil(8);
    let beyond = 8 * turns - each;
    body.repeat(scaling.channels, OUTER, |body| {
        body.get(WEIGHTS).op(I::V128Load16Splat(at(0, 1)));
        body.op(I::I32x4ExtendLowI16x8U).set(FIRST_FOUR);
        body.get(FIRST_FOUR).set(LAST_FOUR);
        body.repeat(turns, INNER, |body| {
            eight(body, from.storage, bound, scaling);
        });
        body.advance(FROM, (beyond * from.storage.bytes()).wrapping_neg())
            .advance(TO, (beyond * to.storage.bytes()).wrapping_neg())
            .advance(WEIGHTS, 2);
    });
}

/// Eight elements from `FROM` to `TO`; moves both behind them.
fn eight(body: &mut Body, from: Storage, bound: Option<Bound>, scaling: &Scaling) {
    body.get(TO);
    for (multipliers, half) in [(FIRST_FOUR, 0), (LAST_FOUR, 1)] {
        body.get(FROM).op(match from {
            Storage::Short => I::V128Load16x4S(at(8 * half, 1)),
            Storage::Word | Storage::Long => I::V128Load(at(16 * half, 2)),
        });
        if let Some(Bound(bound)) = bound {
            body.op(I::V128Const(splat_word(-bound))).op(I::I32x4MaxS);
            body.op(I::V128Const(splat_word(bound))).op(I::I32x4MinS);
        }
        body.set(LANES);
        four(body, multipliers, scaling.shift.into());
    }
    body.op(I::I16x8NarrowI32x4S);
    body.op(I::V128Const(splat(scaling.lo))).op(I::I16x8MaxS);
    body.op(I::V128Const(splat(scaling.hi))).op(I::I16x8MinS);
    body.op(I::V128Store(at(0, 1)));
    body.advance(FROM, 8 * from.bytes()).advance(TO, 16);
}

/// Leaves `floor(x m / 2^shift)` of the words in `LANES` on the stack: 32 bits of products of 64,
/// from bit `shift` on, which is all that there is of them.
fn four(body: &mut Body, multipliers: Local, shift: i32) {
    let products = [I::I64x2ExtMulLowI32x4S, I::I64x2ExtMulHighI32x4S];
    for (product, to) in products.into_iter().zip([MORE_LANES, LANES]) {
        body.get(LANES).get(multipliers).op(product);
        if (1..32).contains(&shift) {
            body.constant(shift).op(I::I64x2ShrU);
        }
        body.set(to);
    }
    body.get(MORE_LANES).get(LANES);
    if shift < 32 {
        body.op(words([0, 2, 4, 6]));
    } else {
        body.op(words([1, 3, 5, 7]));
        body.constant(shift - 32).op(I::I32x4ShrS);
    }
}

/// Where elements are clamped before they are multiplied: beyond it every result is clamped anyway,
/// and within it none has more than 32 bits.
#[derive(Clone, Copy)]
struct Bound(i32);

impl Bound {
    /// `None` if nothing in `range` is beyond it. With 16 bits of shift a product of 32 and 16 bits
    /// is short enough whatever it is.
    fn needed(range: Range, shift: u8) -> Option<Self> {
        let bound = 1_i32.checked_shl(15 + u32::from(shift));
        let bound = bound.filter(|&bound| bound > 0)?;
        (range.magnitude() > bound.unsigned_abs().into()).then_some(Self(bound))
    }
}

fn one_by_one(body: &mut Body, from: Place, to: Place, scaling: &Scaling) {
    body.repeat(scaling.channels, OUTER, |body| {
        body.repeat(from.elements / scaling.channels, INNER, |body| {
            load_wide(body, FROM, from.storage);
            body.get(WEIGHTS).op(I::I64Load16U(at(0, 1)));
            body.op(I::I64Mul).op(I::I64Const(scaling.shift.into()));
            body.op(I::I64ShrS).set(WIDE);
            for (bound, keep) in [(scaling.lo, I::I64GtS), (scaling.hi, I::I64LtS)] {
                body.get(WIDE).op(I::I64Const(bound.into()));
                body.get(WIDE).op(I::I64Const(bound.into())).op(keep);
                body.op(I::Select).set(WIDE);
            }
            body.get(TO).get(WIDE).op(I::I32WrapI64);
            store(body, to.storage);
            body.advance(FROM, from.storage.bytes())
                .advance(TO, to.storage.bytes());
        });
        body.advance(WEIGHTS, 2);
    });
}
