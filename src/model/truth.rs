//! What is true of each sample: classes by name or by number, or values.

use std::path::Path;

use crate::exit::Fault;
use crate::input;

/// What stands beside the samples, as text.
pub(super) struct Truth {
    texts: Vec<String>,
    origin: String,
}

impl Truth {
    /// Reads `count` labels: a line each of a `.csv` (a first line of names is left out), or the
    /// elements of a `.npy`.
    pub(super) fn read(path: &Path, count: usize) -> Result<Self, Fault> {
        let mut texts = input::texts(path).map_err(Fault::usage)?;
        if texts.len() == count + 1 && path.extension().is_some_and(|e| e == "csv") {
            texts.remove(0);
        }
        let origin = path.display().to_string();
        if texts.len() != count {
            return Err(Fault::usage(format!(
                "{origin}: {} labels for {count} samples; give one a sample, in their order",
                texts.len()
            )));
        }
        Ok(Self { texts, origin })
    }

    /// Which class each sample is of: a name among `labels`, or its number from 0.
    pub(super) fn classes(&self, labels: &[String]) -> Result<Vec<usize>, Fault> {
        let place = |(row, text): (usize, &String)| {
            let named = labels.iter().position(|label| label == text);
            let number = || {
                let number: usize = text.parse().ok()?;
                (labels.is_empty() || number < labels.len()).then_some(number)
            };
            named.or_else(number).ok_or_else(|| {
                let known = labels.join(", ");
                let origin = &self.origin;
                Fault::usage(format!(
                    "{origin}, row {}: {text:?} is no class; there are {known}",
                    row + 1
                ))
            })
        };
        self.texts.iter().enumerate().map(place).collect()
    }

    /// The value of each sample.
    pub(super) fn values(&self) -> Result<Vec<f64>, Fault> {
        let value = |(row, text): (usize, &String)| {
            let number = text.parse::<f64>().ok().filter(|x| x.is_finite());
            number.ok_or_else(|| {
                let origin = &self.origin;
                Fault::usage(format!("{origin}, row {}: {text:?} is no number", row + 1))
            })
        };
        self.texts.iter().enumerate().map(value).collect()
    }
}
