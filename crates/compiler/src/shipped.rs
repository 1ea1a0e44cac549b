//! The models that ship with the project, inside the binary. models/README.md says where they are
//! from.

use crate::{ImportOptions, InputScale, Model, ModelError, ModelSource};

/// A model that ships with the project.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    /// Its name: `tumour`, `digits`, `wine` or `digits-cnn`.
    pub name: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// The classes, in the order of the logits.
    pub labels: &'static [&'static str],
    /// The ONNX file.
    pub onnx: &'static [u8],
    input_scale: InputScale,
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
pub const fn shipped() -> &'static [Shipped] {
    &SHIPPED
}

static SHIPPED: [Shipped; 4] = [
    Shipped {
        name: "tumour",
        description: "Breast mass from 30 measurements of cell nuclei: malignant or benign.",
        labels: &["malignant", "benign"],
        onnx: include_bytes!("../../../models/tumour/model.onnx"),
        input_scale: InputScale::PerElement,
        calibration: include_str!("../../../models/tumour/calibration.csv"),
        samples: include_str!("../../../models/tumour/samples.csv"),
    },
    Shipped {
        name: "digits",
        description: "Handwritten digit from 8 x 8 grey pixels, 0 to 16.",
        labels: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        onnx: include_bytes!("../../../models/digits/model.onnx"),
        input_scale: InputScale::Shared,
        calibration: include_str!("../../../models/digits/calibration.csv"),
        samples: include_str!("../../../models/digits/samples.csv"),
    },
    Shipped {
        name: "wine",
        description: "Cultivar of a wine from 13 measurements, by a forest of trees.",
        labels: &["first", "second", "third"],
        onnx: include_bytes!("../../../models/classic/wine-forest-scaled.onnx"),
        input_scale: InputScale::PerElement,
        calibration: include_str!("../../../models/classic/wine.calibration.csv"),
        samples: include_str!("../../../models/classic/wine.samples.csv"),
    },
    Shipped {
        name: "digits-cnn",
        description: "Handwritten digit from 8 x 8 grey pixels, by convolutions.",
        labels: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        onnx: include_bytes!("../../../models/convolution/model.onnx"),
        input_scale: InputScale::Shared,
        calibration: include_str!("../../../models/digits/calibration.csv"),
        samples: include_str!("../../../models/digits/samples.csv"),
    },
];

impl Shipped {
    /// The model, imported and compiled.
    ///
    /// # Errors
    /// Never for a release: a test builds every one.
    pub fn model(&self) -> Result<Model, ModelError> {
        let options = ImportOptions {
            input_scale: self.input_scale,
            ..ImportOptions::default()
        };
        Model::build(&ModelSource {
            name: self.name,
            description: self.description,
            labels: self.labels,
            onnx: self.onnx,
            calibration: &self.calibration(),
            options: &options,
        })
    }

    /// How the importer scales its input.
    #[must_use]
    pub const fn input_scale(&self) -> InputScale {
        self.input_scale
    }

    /// What the importer calibrates with; disjoint from the samples.
    #[must_use]
    pub fn calibration(&self) -> Vec<Vec<f32>> {
        rows(self.calibration).collect()
    }

    /// Questions that were neither trained nor calibrated with.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let sample = |mut row: Vec<f32>| Sample {
            class: row.remove(0) as usize,
            input: row,
        };
        rows(self.samples)
            .collect::<Vec<_>>()
            .into_iter()
            .map(sample)
            .collect()
    }
}

/// The rows of an embedded table; the first line names the columns.
fn rows(table: &'static str) -> impl Iterator<Item = Vec<f32>> {
    let number = |field: &str| field.parse().expect("tests read every embedded table");
    let lines = table.lines().skip(1);
    lines.map(move |line| line.split(',').map(number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_model_answers_its_held_out_samples() {
        let wanted = [
            ("tumour", 30, 114, 112),
            ("digits", 64, 200, 196),
            ("wine", 13, 59, 58),
            ("digits-cnn", 64, 200, 195),
        ];
        assert_eq!(shipped().len(), wanted.len());
        for (shipped, (name, elements, count, right)) in shipped().iter().zip(wanted) {
            let model = shipped.model().unwrap();
            assert_eq!(
                (model.name.as_str(), model.input.elements),
                (name, elements)
            );
            let samples = shipped.samples();
            assert_eq!(samples.len(), count);
            let says = |sample: &Sample| {
                let input = model.input.quantise(&sample.input).unwrap();
                model.output.class(&model.graph.run(&input).unwrap())
            };
            let correct = samples.iter().filter(|s| says(s) == Some(s.class)).count();
            assert_eq!(correct, right, "{name}");
        }
    }

    #[test]
    fn no_sample_was_calibrated_with() {
        for shipped in shipped() {
            let calibration = shipped.calibration();
            let samples = shipped.samples();
            assert!(
                samples
                    .iter()
                    .all(|sample| !calibration.contains(&sample.input))
            );
        }
    }

    #[test]
    fn building_twice_gives_the_same_hashes() {
        for shipped in shipped() {
            let (a, b) = (shipped.model().unwrap(), shipped.model().unwrap());
            assert_eq!(a.graph_hash, b.graph_hash);
            assert_eq!(a.module_hash, b.module_hash);
            assert_eq!(a.arch_hash, b.arch_hash);
        }
    }
}
