//! The models that ship with the project, inside the binary.

use crate::{Model, ModelError};

/// A model that ships with the project.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    /// Its name: `tumour` or `digits`.
    pub name: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// The classes, in the order of the logits.
    pub labels: &'static [&'static str],
    /// The ONNX file.
    pub onnx: &'static [u8],
    calibration: &'static str,
    samples: &'static str,
}

/// A held-out question with its true answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The numbers.
    pub input: Vec<f32>,
    /// The true class, a place in the labels.
    pub class: usize,
}

/// Every model that ships with the project.
#[must_use]
pub fn shipped() -> &'static [Shipped] {
    todo!()
}

impl Shipped {
    /// The model, imported and compiled.
    ///
    /// # Errors
    /// Never for a release: a test builds every one.
    pub fn model(&self) -> Result<Model, ModelError> {
        todo!()
    }

    /// What the importer calibrates with; disjoint from the samples.
    #[must_use]
    pub fn calibration(&self) -> Vec<Vec<f32>> {
        let _ = self.calibration;
        todo!()
    }

    /// Questions that were neither trained nor calibrated with.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let _ = self.samples;
        todo!()
    }
}
