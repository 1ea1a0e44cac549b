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
