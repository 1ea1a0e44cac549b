//! Powers of two below one, from a table of fixed content (docs/spec/model.md, 3.3).

/// `32767 * 2^(-z / 65536)` for `z >= 0`: between two entries of [`POWERS`] by a straight line,
/// halved as often as `z` holds 65,536.
///
/// Never above the true value by more than 0.9, nor below it by more than 2.0.
pub(crate) fn exponential(z: i64) -> i64 {
    let (halvings, place) = (z >> 16, z & 0xffff);
    let (entry, rest) = (place >> 10, place & 0x3ff);
    let entry = usize::try_from(entry).expect("six bits");
    let line = i64::from(POWERS[entry]) * (1024 - rest) + i64::from(POWERS[entry + 1]) * rest;
    line >> (10 + halvings.min(MOST_HALVINGS))
}

/// The value at 0, and the largest.
pub(crate) const ONE: i64 = 32_767;

/// After so many nothing is left of 25 bits.
const MOST_HALVINGS: i64 = 15;

/// `32767 * 2^(-i / 64)`, rounded to the nearest integer, for `i` from 0 to 64.
#[rustfmt::skip]
pub const POWERS: [u16; 65] = [
    32_767, 32_414, 32_065, 31_719, 31_378, 31_040, 30_705, 30_375, 30_047, 29_724,
    29_404, 29_087, 28_774, 28_464, 28_157, 27_854, 27_554, 27_257, 26_963, 26_673,
    26_385, 26_101, 25_820, 25_542, 25_267, 24_995, 24_725, 24_459, 24_196, 23_935,
    23_677, 23_422, 23_170, 22_920, 22_673, 22_429, 22_187, 21_948, 21_712, 21_478,
    21_247, 21_018, 20_791, 20_568, 20_346, 20_127, 19_910, 19_696, 19_483, 19_274,
    19_066, 18_861, 18_657, 18_456, 18_258, 18_061, 17_866, 17_674, 17_483, 17_295,
    17_109, 16_925, 16_742, 16_562, 16_384,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_stays_in_its_bound() {
        let mut worst = (0.0_f64, 0.0_f64);
        for z in 0..17 << 16 {
            let exact = 32_767.0 * (-(z as f64) / 65_536.0).exp2();
            let error = exponential(z) as f64 - exact;
            worst = (worst.0.min(error), worst.1.max(error));
        }
        assert!(worst.0 > -2.0 && worst.1 < 0.9, "{worst:?}");
    }

    #[test]
    fn it_falls_to_nothing_and_never_rises() {
        assert_eq!(exponential(0), ONE);
        let mut last = ONE;
        for z in 1..17 << 16 {
            let next = exponential(z);
            assert!((0..=last).contains(&next), "{z}");
            last = next;
        }
        assert_eq!((exponential(15 << 16), exponential(i64::MAX)), (0, 0));
    }
}
