//! Which 32 bytes are accepted as a point of Curve25519.
//!
//! These checks read public bytes and need no constant time.

use crate::geometry::ELEMENT_LEN;

/// Whether `u` is below 2^255 - 19, which makes it the one encoding of its point.
pub(crate) fn is_canonical(u: &[u8; ELEMENT_LEN]) -> bool {
    // Little-endian: the most significant byte is the last.
    u.iter().rev().lt(PRIME.iter().rev())
}

/// Whether `u`, which is canonical, is a point whose product with any secret says nothing of it.
pub(crate) fn is_low_order(u: &[u8; ELEMENT_LEN]) -> bool {
    LOW_ORDER.contains(u)
}

/// 2^255 - 19.
const PRIME: [u8; ELEMENT_LEN] = with_ends(0xed, 0xff, 0x7f);

/// Every canonical `u` whose order, on the curve or on its twist, divides 8.
const LOW_ORDER: [[u8; ELEMENT_LEN]; 5] = [
    with_ends(0, 0, 0),
    with_ends(1, 0, 0),
    // 2^255 - 20
    with_ends(0xec, 0xff, 0x7f),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
];

const fn with_ends(first: u8, middle: u8, last: u8) -> [u8; ELEMENT_LEN] {
    let mut bytes = [middle; ELEMENT_LEN];
    bytes[0] = first;
    bytes[ELEMENT_LEN - 1] = last;
    bytes
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;
    use curve25519_dalek::montgomery::MontgomeryPoint;
    use curve25519_dalek::scalar::Scalar;

    use super::*;

    #[test]
    fn names_every_point_of_the_curves_torsion() {
        for point in EIGHT_TORSION {
            assert!(is_low_order(&point.to_montgomery().0));
        }
    }

    #[test]
    fn eight_times_a_named_point_is_the_identity() {
        for u in LOW_ORDER {
            assert!(is_canonical(&u));
            assert_eq!((MontgomeryPoint(u) * Scalar::from(8_u8)).0, [0; 32]);
        }
    }

    #[test]
    fn takes_nothing_at_or_above_the_prime() {
        for first in 0xed..=0xff {
            assert!(!is_canonical(&with_ends(first, 0xff, 0x7f)));
        }
        assert!(is_canonical(&with_ends(0xec, 0xff, 0x7f)));
        assert!(is_canonical(&with_ends(0xff, 0xfe, 0x7f)));
        assert!(!is_canonical(&with_ends(9, 0, 0x80)));
    }
}
