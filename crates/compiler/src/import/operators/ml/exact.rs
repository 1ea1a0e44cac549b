//! Features that were changed one by one before they are compared, and thresholds that undo it.
//!
//! Adding, multiplying and clamping a number are monotone even with the rounding of floats. So a
//! comparison of what they make is a comparison of the number itself with some other threshold,
//! which is found by trying: exact on every number.

use graph::ordered;

use super::super::super::float::FloatOperator;
use super::super::super::float::Select;
use super::super::super::lower::Lowering;

/// An element of the model's input and what becomes of it before it is compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Feature {
    pub(super) element: u32,
    steps: Vec<Step>,
}

/// One operation of the file, in `f32`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Add(f32),
    Multiply(f32),
    Max(f32),
    Min(f32),
}

/// `x <= key` as [`ordered`] has it is one side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Where the comparison holds.
    Holds(i32),
    /// Where it does not.
    Fails(i32),
}

impl Lowering<'_> {
    /// Where element `element` of value `place` comes from; `None` if it is not the number of one
    /// element of the input, changed step by step in a way that rounds as the file does.
    pub(super) fn feature(&self, mut place: usize, mut element: usize) -> Option<Feature> {
        let mut steps = Vec::new();
        let input = self.imputed.unwrap_or(0);
        while place != input {
            let node = self.float.nodes.get(place.checked_sub(1)?)?;
            match &node.operator {
                FloatOperator::Affine(affine) => match affine.at(element) {
                    (1.0, shift) => steps.push(Step::Add(single(shift)?)),
                    (scale, 0.0) if scale != 0.0 => steps.push(Step::Multiply(single(scale)?)),
                    _ => return None,
                },
                FloatOperator::Clamp { lo, hi } => {
                    steps.extend([Step::Min(single(*hi)?), Step::Max(single(*lo)?)]);
                }
                FloatOperator::Select(select) => {
                    (place, element) = self.selected(&node.inputs, select, element)?;
                    continue;
                }
                _ => return None,
            }
            if steps.len() > MAX_STEPS {
                return None;
            }
            place = node.inputs[0];
        }
        steps.reverse();
        let element = u32::try_from(element).ok()?;
        Some(Feature { element, steps })
    }

    /// Which element of which value a view shows.
    fn selected(
        &self,
        inputs: &[usize],
        select: &Select,
        element: usize,
    ) -> Option<(usize, usize)> {
        let mut at = *select.indices.get(element)? as usize;
        for &input in inputs {
            let count = self.float.elements(input);
            if at < count {
                return Some((input, at));
            }
            at -= count;
        }
        None
    }
}

/// More than any exporter writes.
const MAX_STEPS: usize = 64;

/// The number, if `f32` has it.
fn single(number: f64) -> Option<f32> {
    let single = number as f32;
    (f64::from(single) == number).then_some(single)
}

impl Feature {
    fn at(&self, x: f32) -> f32 {
        self.steps.iter().fold(x, |x, step| match *step {
            Step::Add(shift) => x + shift,
            Step::Multiply(scale) => x * scale,
            Step::Max(lo) => x.max(lo),
            Step::Min(hi) => x.min(hi),
        })
    }

    fn falls(&self) -> bool {
        let flips = |step: &&Step| matches!(step, Step::Multiply(scale) if *scale < 0.0);
        self.steps.iter().filter(flips).count() % 2 == 1
    }

    /// Where `test` of the changed number holds, for a test that no larger number passes after a
    /// smaller one failed it.
    pub(super) fn side(&self, test: impl Fn(f64) -> bool) -> Side {
        let passes = |key: i32| test(self.at(number(key)).into());
        if self.falls() {
            Side::Fails(last(|key| !passes(key)))
        } else {
            Side::Holds(last(passes))
        }
    }
}

/// The number whose [`ordered`] integer is `key`.
const fn number(key: i32) -> f32 {
    let bits = if key < 0 { key ^ i32::MAX } else { key };
    f32::from_bits(bits.cast_unsigned())
}

/// The last number that passes a test which all numbers before it pass, and none behind it; one
/// before the first number if none does.
fn last(passes: impl Fn(i32) -> bool) -> i32 {
    let (mut passed, mut failed) = (
        i64::from(ordered(f32::NEG_INFINITY)) - 1,
        i64::from(ordered(f32::INFINITY)) + 1,
    );
    while failed - passed > 1 {
        let middle = (passed + failed).div_euclid(2);
        let key = i32::try_from(middle).expect("between two integers of 32 bits");
        if passes(key) {
            passed = middle;
        } else {
            failed = middle;
        }
    }
    i32::try_from(passed).expect("the first is above -2^31")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(steps: &[Step]) -> Feature {
        Feature {
            element: 0,
            steps: steps.to_vec(),
        }
    }

    #[test]
    fn keys_and_numbers_are_each_others_inverse() {
        for bits in (0..=u32::MAX).step_by(65_521) {
            let x = f32::from_bits(bits);
            if !x.is_nan() {
                assert_eq!(number(ordered(x)), x);
            }
        }
    }

    #[test]
    fn a_threshold_of_plain_numbers_is_its_own_key() {
        for t in [-3.5, -0.0, 0.0, 1e-45, 7.25, f32::INFINITY] {
            let side = feature(&[]).side(|x| x <= f64::from(t));
            assert_eq!(side, Side::Holds(ordered(t)));
        }
        // Between two numbers: the one below.
        let side = feature(&[]).side(|x| x <= 1.000_000_01);
        assert_eq!(side, Side::Holds(ordered(1.0)));
        let below = feature(&[]).side(|x| x < 0.0);
        // -0.0 has no key of its own; nothing is at -1.
        assert!(matches!(below, Side::Holds(-1 | -2)));
    }

    #[test]
    fn a_comparison_behind_steps_is_one_of_the_number_itself() {
        let chains: [&[Step]; 4] = [
            &[Step::Add(-5.843_333), Step::Multiply(1.211_678_7)],
            &[Step::Multiply(-0.1), Step::Add(1.0e-3)],
            &[
                Step::Multiply(3.0e38),
                Step::Add(-7.0),
                Step::Min(1.0),
                Step::Max(0.0),
            ],
            &[
                Step::Add(1.0e9),
                Step::Multiply(-1.0e-30),
                Step::Multiply(-1.0e-30),
            ],
        ];
        bolero::check!()
            .with_type::<(u32, u32, u8)>()
            .for_each(|&(x, t, chain)| {
                let feature = feature(chains[usize::from(chain % 4)]);
                let x = f32::from_bits(x);
                // A threshold that some number comes to, so that equality is met.
                let near = feature.at(f32::from_bits(t));
                for t in [near, feature.at(x), f32::from_bits(t)] {
                    if x.is_nan() || t.is_nan() {
                        continue;
                    }
                    let t = f64::from(t);
                    let meant = f64::from(feature.at(x)) <= t;
                    let said = match feature.side(|y| y <= t) {
                        Side::Holds(key) => ordered(x) <= key,
                        Side::Fails(key) => ordered(x) > key,
                    };
                    assert_eq!(said, meant, "{x} {t}");
                }
            });
    }
}
