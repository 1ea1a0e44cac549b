//! What stands between a client's floats and a graph's integers (docs/spec/model.md, 6).

use graph::ordered;
use thiserror::Error;

/// How a client's numbers become the graph's input: a step of the client, outside the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSchema {
    /// How many numbers the model takes.
    pub elements: u32,
    /// What an integer says of a number.
    pub encoding: Encoding,
    /// What stands for a number that the asker does not know (not a number): one an element. If
    /// there are none, such a number is refused, unless the encoding has an integer for it.
    pub missing: Vec<f32>,
    /// What one step of an integer is worth: one for all elements, or one an element. Finite,
    /// above zero.
    pub scale: Vec<f32>,
    /// What integer 0 stands for: one for all elements, or one an element. Finite.
    pub zero: Vec<f32>,
    /// Smallest integer.
    pub lo: i32,
    /// Largest integer.
    pub hi: i32,
}

/// What the integers of an input say of its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `q_i = clamp(round((x_i - zero_i) / scale_i), lo, hi)`.
    Scaled,
    /// The number itself, as the integer that [`graph::ordered`] makes of its bits. No scale, no zero.
    Ordered,
}

impl InputSchema {
    /// The integers for `numbers`: if scaled, quotient in `f64`, halves away from zero.
    ///
    /// # Errors
    /// [`QuantiseError`] if there are too many or too few, one is not a number where that has no
    /// integer, or one is infinite where numbers are scaled.
    pub fn quantise(&self, numbers: &[f32]) -> Result<Vec<i32>, QuantiseError> {
        let expected = self.elements as usize;
        if numbers.len() != expected {
            let got = numbers.len();
            return Err(QuantiseError::WrongLength { expected, got });
        }
        let quantise = |(element, number): (usize, &f32)| {
            if self.encoding == Encoding::Ordered {
                let integer = ordered(*number);
                let known = (self.lo..=self.hi).contains(&integer);
                return known
                    .then_some(integer)
                    .ok_or(QuantiseError::NotFinite { element });
            }
            if !number.is_finite() {
                return Err(QuantiseError::NotFinite { element });
            }
            let steps =
                (f64::from(*number) - pick(&self.zero, element)) / pick(&self.scale, element);
            Ok(steps.round().clamp(self.lo.into(), self.hi.into()) as i32)
        };
        let numbers = self.imputed(numbers);
        numbers.iter().enumerate().map(quantise).collect()
    }

    /// `numbers` with the stand-ins of those that are missing.
    pub(crate) fn imputed(&self, numbers: &[f32]) -> Vec<f32> {
        let known = |(element, number): (usize, &f32)| match self.missing.get(element) {
            Some(stand_in) if number.is_nan() => *stand_in,
            _ => *number,
        };
        numbers.iter().enumerate().map(known).collect()
    }
}

fn pick(values: &[f32], element: usize) -> f64 {
    let place = if values.len() == 1 { 0 } else { element };
    values.get(place).copied().unwrap_or(f32::NAN).into()
}

/// What a graph's output means.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputSchema {
    /// How many integers come out.
    pub elements: u32,
    /// What one step of an integer is worth, in the float model's units.
    pub scale: f32,
    /// The classes: one a logit, or one a value of the one index that comes out. Empty if the
    /// model is not a classifier.
    pub labels: Vec<String>,
}

impl OutputSchema {
    /// The class that `output` names: of the largest logit (ties: the first), or at the index.
    #[must_use]
    pub fn class(&self, output: &[i32]) -> Option<usize> {
        self.place(output)
            .filter(|&place| place < self.labels.len())
    }

    /// As [`OutputSchema::class`], for models without labels too.
    #[must_use]
    pub fn place(&self, output: &[i32]) -> Option<usize> {
        match output {
            [] => None,
            [index] => usize::try_from(*index).ok(),
            logits => {
                let better =
                    |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
                (0..logits.len()).reduce(better)
            }
        }
    }

    /// The label of [`OutputSchema::class`].
    #[must_use]
    pub fn label(&self, output: &[i32]) -> Option<&str> {
        self.labels.get(self.class(output)?).map(String::as_str)
    }
}

/// Why numbers are not an input of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuantiseError {
    /// Too many or too few.
    #[error("expected {expected} numbers, got {got}")]
    WrongLength {
        /// What the model takes.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// An element is infinite or not a number.
    #[error("number {} is not finite", element + 1)]
    NotFinite {
        /// Which, counted from 0.
        element: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(scale: &[f32], zero: &[f32]) -> InputSchema {
        InputSchema {
            elements: 3,
            encoding: Encoding::Scaled,
            missing: vec![],
            scale: scale.to_vec(),
            zero: zero.to_vec(),
            lo: -100,
            hi: 100,
        }
    }

    #[test]
    fn quantising_rounds_halves_away_from_zero_and_clamps() {
        let halves = schema(&[2.0], &[0.0]).quantise(&[1.0, -1.0, 3.0]);
        assert_eq!(halves, Ok(vec![1, -1, 2]));
        let outside = schema(&[1.0], &[0.0]).quantise(&[f32::MAX, f32::MIN, -0.49]);
        assert_eq!(outside, Ok(vec![100, -100, 0]));
    }

    #[test]
    fn each_element_has_its_own_scale_and_zero() {
        let each = schema(&[1.0, 0.5, 0.25], &[10.0, 0.0, -1.0]).quantise(&[12.0, 2.0, 1.0]);
        assert_eq!(each, Ok(vec![2, 4, 8]));
    }

    #[test]
    fn numbers_that_are_no_input_are_refused_with_their_place() {
        let schema = schema(&[1.0], &[0.0]);
        let short = schema.quantise(&[1.0]).unwrap_err();
        assert_eq!(short.to_string(), "expected 3 numbers, got 1");
        for bad in [f32::NAN, f32::INFINITY] {
            let error = schema.quantise(&[0.0, bad, 0.0]).unwrap_err();
            assert_eq!(error, QuantiseError::NotFinite { element: 1 });
        }
    }

    #[test]
    fn an_ordered_input_takes_what_its_interval_takes() {
        let to = |hi: f32, missing: &[f32]| InputSchema {
            encoding: Encoding::Ordered,
            missing: missing.to_vec(),
            lo: ordered(f32::NEG_INFINITY),
            hi: ordered(hi),
            ..schema(&[1.0], &[0.0])
        };
        let numbers = [f32::INFINITY, -1e-45, f32::NAN];
        let known = [2_139_095_040, -2];
        let element = 2;
        let refused = to(f32::INFINITY, &[]).quantise(&numbers);
        assert_eq!(refused, Err(QuantiseError::NotFinite { element }));
        let missing = to(f32::NAN, &[]).quantise(&numbers);
        assert_eq!(missing, Ok(vec![known[0], known[1], i32::MAX]));
        let stands_in = to(f32::INFINITY, &[7.0, 8.0, 0.0]).quantise(&numbers);
        assert_eq!(stands_in, Ok(vec![known[0], known[1], 0]));
    }

    #[test]
    fn what_is_missing_is_scaled_as_its_stand_in() {
        let schema = InputSchema {
            missing: vec![5.0, 6.0, 7.0],
            ..schema(&[2.0], &[1.0])
        };
        assert_eq!(
            schema.quantise(&[f32::NAN, 3.0, f32::NAN]),
            Ok(vec![2, 1, 3])
        );
        assert!(schema.quantise(&[f32::INFINITY, 3.0, 3.0]).is_err());
    }

    #[test]
    fn a_class_is_the_first_of_the_largest_logits_or_the_index() {
        let output = OutputSchema {
            elements: 3,
            scale: 1.0,
            labels: ["a", "b", "c"].map(str::to_owned).to_vec(),
        };
        assert_eq!(output.label(&[5, 9, 9]), Some("b"));
        assert_eq!(output.label(&[2]), Some("c"));
        assert_eq!(output.label(&[3]), None);
        assert_eq!(output.label(&[-1]), None);
        assert_eq!(output.label(&[]), None);
    }
}
