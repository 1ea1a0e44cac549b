//! What is asked: numbers as the asker has them, made integers by the model's own law.

use directory::{Encoding, Finite, InputSchema, ModelCard};
use graph::ordered;
use zeroize::Zeroizing;

use crate::QueryError;

/// A model's input. No `Debug`: a question is nobody's business.
pub enum Input {
    /// Measured numbers, to be quantised as the model's card says (docs/spec/model.md, 6).
    Floats(Zeroizing<Vec<f32>>),
    /// Integers as the model takes them.
    Integers(Zeroizing<Vec<i32>>),
}

impl Input {
    /// How many numbers it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Floats(numbers) => numbers.len(),
            Self::Integers(numbers) => numbers.len(),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The integers for the model of `card`.
    ///
    /// # Errors
    /// [`QueryError::BadInput`], [`QueryError::NotFinite`] or [`QueryError::OutOfRange`].
    pub fn quantise(&self, card: &ModelCard) -> Result<Zeroizing<Vec<i32>>, QueryError> {
        let model = || card.name.as_str().to_owned();
        let expected = usize::try_from(card.input.elements).unwrap_or(usize::MAX);
        let got = self.len();
        if got != expected {
            let model = model();
            return Err(QueryError::BadInput {
                model,
                expected,
                got,
            });
        }
        let schema = &card.input;
        let integers: Result<Vec<i32>, QueryError> = match self {
            Self::Floats(numbers) => (1..)
                .zip(numbers.iter())
                .map(|(place, number)| {
                    quantise(schema, place - 1, *number).ok_or_else(|| {
                        let model = model();
                        QueryError::NotFinite { model, place }
                    })
                })
                .collect(),
            Self::Integers(numbers) => (1..)
                .zip(numbers.iter())
                .map(|(place, number)| {
                    in_range(schema, *number).ok_or_else(|| QueryError::OutOfRange {
                        model: model(),
                        place,
                        lo: schema.lo,
                        hi: schema.hi,
                    })
                })
                .collect(),
        };
        integers.map(Zeroizing::new)
    }
}

impl From<Vec<f32>> for Input {
    fn from(numbers: Vec<f32>) -> Self {
        Self::Floats(Zeroizing::new(numbers))
    }
}

impl From<&[f32]> for Input {
    fn from(numbers: &[f32]) -> Self {
        Self::from(numbers.to_vec())
    }
}

impl<const N: usize> From<[f32; N]> for Input {
    fn from(numbers: [f32; N]) -> Self {
        Self::from(numbers.to_vec())
    }
}

impl From<&[f64]> for Input {
    /// Each number to the nearest `f32`, in which models are trained.
    fn from(numbers: &[f64]) -> Self {
        let narrowed: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
        Self::from(narrowed)
    }
}

impl From<Vec<i32>> for Input {
    fn from(numbers: Vec<i32>) -> Self {
        Self::Integers(Zeroizing::new(numbers))
    }
}

impl From<&[i32]> for Input {
    fn from(numbers: &[i32]) -> Self {
        Self::from(numbers.to_vec())
    }
}

impl<const N: usize> From<[i32; N]> for Input {
    fn from(numbers: [i32; N]) -> Self {
        Self::from(numbers.to_vec())
    }
}

/// The integer of `number`: its own in the order of floats, or `clamp(round((x - zero) / scale), lo,
/// hi)`, quotient in `f64`, halves away from zero (docs/spec/model.md, 6). `None` if there is none:
/// what is missing, or infinite.
fn quantise(schema: &InputSchema, element: usize, number: f32) -> Option<i32> {
    let stand_in = schema.missing.get(element).filter(|_| number.is_nan());
    let number = stand_in.map_or(number, |stand_in| stand_in.get());
    if schema.encoding == Encoding::Ordered {
        return in_range(schema, ordered(number));
    }
    let zero = f64::from(of_element(&schema.zero, element)?);
    let scale = f64::from(of_element(&schema.scale, element)?);
    let steps = (f64::from(number) - zero) / scale;
    let clamped = steps.round().clamp(schema.lo.into(), schema.hi.into());
    // Within `lo..=hi`, hence exact.
    number.is_finite().then_some(clamped as i32)
}

/// One for all elements, or one an element.
fn of_element(values: &[Finite], element: usize) -> Option<f32> {
    match values {
        [one] => Some(one.get()),
        each => each.get(element).map(|value| value.get()),
    }
}

fn in_range(schema: &InputSchema, number: i32) -> Option<i32> {
    (schema.lo..=schema.hi).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finite(numbers: &[f32]) -> Vec<Finite> {
        numbers.iter().map(|&x| Finite::new(x).unwrap()).collect()
    }

    fn schema(encoding: Encoding, missing: &[f32], hi: i32) -> InputSchema {
        InputSchema {
            elements: 2,
            encoding,
            missing: finite(missing),
            scale: finite(&[0.5]),
            zero: finite(&[1.0]),
            lo: -2_139_095_041,
            hi,
        }
    }

    #[test]
    fn ordered_numbers_are_their_own_integers() {
        let ordered = schema(Encoding::Ordered, &[], 2_139_095_040);
        let integers = [1.0, -0.0, -1e-45, f32::INFINITY, f32::NAN];
        let integers = integers.map(|x| quantise(&ordered, 0, x));
        let one = 0x3f80_0000;
        assert_eq!(
            integers,
            [Some(one), Some(0), Some(-2), Some(2_139_095_040), None]
        );
        let missing = schema(Encoding::Ordered, &[], i32::MAX);
        assert_eq!(quantise(&missing, 0, f32::NAN), Some(i32::MAX));
    }

    #[test]
    fn what_is_missing_is_its_stand_in() {
        let scaled = schema(Encoding::Scaled, &[2.0, 3.0], 100);
        assert_eq!(quantise(&scaled, 0, f32::NAN), Some(2));
        assert_eq!(quantise(&scaled, 1, f32::NAN), Some(4));
        assert_eq!(quantise(&scaled, 1, f32::INFINITY), None);
        let none = schema(Encoding::Scaled, &[], 100);
        assert_eq!(quantise(&none, 0, f32::NAN), None);
    }
}
