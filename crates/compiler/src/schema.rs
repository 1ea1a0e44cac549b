//! What stands between a client's floats and a graph's integers (docs/spec/model.md, 6).

use thiserror::Error;

/// How a client's numbers become the graph's input.
///
/// Quantising is a step of the client, outside the graph: `q_i = clamp(round((x_i - zero_i) /
/// scale_i), lo, hi)`.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSchema {
    /// How many numbers the model takes.
    pub elements: u32,
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

impl InputSchema {
    /// The integers for `numbers`: quotient in `f64`, halves away from zero.
    ///
    /// # Errors
    /// [`QuantiseError`] if there are too many or too few, or one is infinite or not a number.
    pub fn quantise(&self, numbers: &[f32]) -> Result<Vec<i32>, QuantiseError> {
        let expected = self.elements as usize;
        if numbers.len() != expected {
            let got = numbers.len();
            return Err(QuantiseError::WrongLength { expected, got });
        }
        let quantise = |(element, number): (usize, &f32)| {
            if !number.is_finite() {
                return Err(QuantiseError::NotFinite { element });
            }
            let steps =
                (f64::from(*number) - pick(&self.zero, element)) / pick(&self.scale, element);
            Ok(steps.round().clamp(self.lo.into(), self.hi.into()) as i32)
        };
        numbers.iter().enumerate().map(quantise).collect()
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
    pub(crate) fn place(&self, output: &[i32]) -> Option<usize> {
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
