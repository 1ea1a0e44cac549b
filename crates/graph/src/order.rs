//! Numbers as integers of the same order: how trees are asked of floats, exactly.

use crate::MISSING;

/// The order-preserving integer of a number: `ordered(a) <= ordered(b)` exactly if `a <= b`. Both
/// zeros are 0; what is not a number is [`MISSING`], above all numbers.
#[must_use]
pub const fn ordered(number: f32) -> i32 {
    if number.is_nan() {
        return MISSING;
    }
    let bits = number.to_bits().cast_signed();
    if number == 0.0 {
        0
    } else if bits < 0 {
        // The larger the magnitude below zero, the smaller the integer.
        bits ^ i32::MAX
    } else {
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_numbers_is_the_order_of_their_integers() {
        let numbers = [
            f32::NEG_INFINITY,
            f32::MIN,
            -1.0,
            -f32::MIN_POSITIVE,
            -f32::from_bits(1),
            0.0,
            f32::from_bits(1),
            f32::from_bits(0x007f_ffff),
            f32::MIN_POSITIVE,
            1.0,
            f32::MAX,
            f32::INFINITY,
        ];
        let integers = numbers.map(ordered);
        assert!(integers.is_sorted_by(|a, b| a < b), "{integers:?}");
        assert_eq!((ordered(-0.0), ordered(f32::from_bits(1))), (0, 1));
        assert_eq!(ordered(-f32::from_bits(1)), -2);
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
            assert_eq!(ordered(nan), i32::MAX);
        }
        bolero::check!()
            .with_type::<(u32, u32)>()
            .for_each(|&(a, b)| {
                let (a, b) = (f32::from_bits(a), f32::from_bits(b));
                if !a.is_nan() && !b.is_nan() {
                    assert_eq!(a.partial_cmp(&b), Some(ordered(a).cmp(&ordered(b))));
                }
            });
    }
}
