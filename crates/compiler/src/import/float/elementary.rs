//! Elementary functions from additions, multiplications and divisions alone, so that every machine
//! makes the same tables. A system's own differ in their last bits.

use std::f64::consts::{LN_2, PI};

/// `e^x`: halved until small, a Taylor series, squared back.
pub(super) fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x > 709.0 {
        return f64::INFINITY;
    }
    if x < -745.0 {
        return 0.0;
    }
    let halvings = (x / LN_2).round();
    let rest = x - halvings * LN_2;
    let series = (1..20)
        .rev()
        .fold(1.0, |sum, n| 1.0 + sum * rest / f64::from(n));
    let power = scale(series, halvings as i32 / 2);
    scale(power, halvings as i32 - halvings as i32 / 2)
}

/// `x * 2^n`, for `n` within the exponents of `f64`.
fn scale(x: f64, n: i32) -> f64 {
    let exponent = u64::try_from(1023 + n).unwrap_or(0);
    x * f64::from_bits(exponent << 52)
}

/// The natural logarithm: infinite at zero, not a number below it.
pub(super) fn ln(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x.is_infinite() {
        return x;
    }
    let (mut mantissa, mut twos) = (x, 0.0);
    while mantissa > 1.5 {
        (mantissa, twos) = (mantissa / 2.0, twos + 1.0);
    }
    while mantissa < 0.75 {
        (mantissa, twos) = (mantissa * 2.0, twos - 1.0);
    }
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let series = (0..25)
        .rev()
        .fold(0.0, |sum, n| sum * z * z + 1.0 / f64::from(2 * n + 1));
    2.0 * z * series + twos * LN_2
}

/// `a^b`: exact products for small whole exponents, of any sign of `a`.
pub(super) fn power(a: f64, b: f64) -> f64 {
    if b == b.trunc() && b.abs() <= 64.0 {
        let product = (0..b.abs() as u32).fold(1.0, |product, _| product * a);
        return if b < 0.0 { 1.0 / product } else { product };
    }
    if a == 0.0 {
        return if b > 0.0 { 0.0 } else { f64::INFINITY };
    }
    if b == 0.5 { a.sqrt() } else { exp(b * ln(a)) }
}

/// The error function: Taylor's series near zero, a continued fraction away from it.
pub(super) fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a > 6.0 {
        return x.signum();
    }
    if a < 2.5 {
        let (mut term, mut sum) = (a, a);
        for n in 1..80 {
            term *= -a * a / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return (sum * 2.0 / PI.sqrt()).copysign(x);
    }
    let below = |tail: f64, n: i32| f64::from(n) / 2.0 / (a + tail);
    let rest = exp(-a * a) / PI.sqrt() / (a + (1..80).rev().fold(0.0, below));
    (1.0 - rest).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elementary_functions_agree_with_the_systems() {
        for i in -2000..2000 {
            let x = f64::from(i) / 50.0;
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-13 * b.abs().max(1e-300);
            assert!(near(exp(x), x.exp()), "exp {x}");
            let positive = x.exp();
            assert!((ln(positive) - x).abs() < 1e-12, "ln {x}");
            if x > 0.0 {
                assert!(near(power(x, 0.3), x.powf(0.3)), "power {x}");
            }
            assert!((power(x, 3.0) - x * x * x).abs() < 1e-9);
        }
        // Abramowitz and Stegun, table 7.1.
        for (x, value) in [
            (0.5, 0.520_499_877_8),
            (1.0, 0.842_700_792_9),
            (2.0, 0.995_322_265_0),
            (3.0, 0.999_977_909_5),
        ] {
            assert!((erf(x) - value).abs() < 1e-10 && (erf(-x) + value).abs() < 1e-10);
        }
        assert_eq!((exp(-1e9), exp(1e9), erf(9.0)), (0.0, f64::INFINITY, 1.0));
    }
}
