//! A model with everything that a provider serves and a catalogue lists.

use graph::Graph;
use thiserror::Error;
use wire::GraphHash;

use crate::{
    Agreement, CompileError, ImportError, ImportOptions, Imported, InputSchema, Module,
    OutputSchema, Report, compile, import_onnx,
};

/// BLAKE3 of a module's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleHash(pub [u8; 32]);

/// BLAKE3 of a graph's canonical shape: what models that one verifying key serves share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchHash(pub [u8; 32]);

/// What a model is made of.
#[derive(Debug, Clone, Copy)]
pub struct ModelSource<'a> {
    /// 1 to 64 of `a-z`, `0-9`, `-`.
    pub name: &'a str,
    /// One line for people, at most 256 bytes.
    pub description: &'a str,
    /// The classes, in the order of the logits; empty for those that the file names, if any.
    pub labels: &'a [&'a str],
    /// The ONNX file.
    pub onnx: &'a [u8],
    /// Inputs as the model will see them.
    pub calibration: &'a [Vec<f32>],
    /// What the importer may choose.
    pub options: &'a ImportOptions,
}

/// A model, ready to be served.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// 1 to 64 of `a-z`, `0-9`, `-`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The model.
    pub graph: Graph,
    /// How numbers become its input.
    pub input: InputSchema,
    /// What its output means.
    pub output: OutputSchema,
    /// The model as WebAssembly.
    pub module: Module,
    /// The graph's name on the wire.
    pub graph_hash: GraphHash,
    /// The module's hash.
    pub module_hash: ModuleHash,
    /// The shape's hash.
    pub arch_hash: ArchHash,
    /// How far the integers agree with the floats on the calibration inputs.
    pub agreement: Agreement,
}

/// Why a source does not become a model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The name is not 1 to 64 of `a-z`, `0-9`, `-`.
    #[error("a model's name is 1 to 64 of a-z, 0-9 and -")]
    BadName,
    /// The description is longer than 256 bytes or has control characters.
    #[error("a description is one line of at most 256 bytes")]
    BadDescription,
    /// A label is longer than 256 bytes or has control characters.
    #[error("a label is one line of at most 256 bytes")]
    BadLabel,
    /// There are not as many labels as classes.
    #[error("expected {expected} labels, got {got}")]
    LabelCount {
        /// The classes.
        expected: usize,
        /// The labels.
        got: usize,
    },
    /// The file was refused.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The graph was refused.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// Imports, quantises and compiles: the model, and what the import did to it. Deterministic: the
/// same source makes the same hashes.
///
/// # Errors
/// [`ModelError`] if the source is not one that can be served.
pub fn import(source: &ModelSource<'_>) -> Result<(Model, Report), ModelError> {
    check_name(source.name)?;
    check_description(source.description)?;
    let imported = import_onnx(source.onnx, source.calibration, source.options)?;
    let model = imported.model(source.name, source.description, source.labels)?;
    Ok((model, imported.report))
}

impl Imported {
    /// What was imported, compiled, under a name. `labels` are the classes; empty for those that
    /// the file names, if any.
    ///
    /// # Errors
    /// [`ModelError`] if it is not a model that can be served.
    pub fn model(
        &self,
        name: &str,
        description: &str,
        labels: &[&str],
    ) -> Result<Model, ModelError> {
        let mut output = self.output.clone();
        if !labels.is_empty() {
            output.labels = labels.iter().map(|&label| label.to_owned()).collect();
        }
        let parts = Parts {
            name: name.to_owned(),
            description: description.to_owned(),
            graph: self.graph.clone(),
            input: self.input.clone(),
            output,
            module: compile(&self.graph)?,
            agreement: self.report.agreement,
        };
        parts.model()
    }
}

/// What a model is said to be, before it is known to be one: for graphs that were not imported.
pub struct Parts {
    /// As [`Model::name`].
    pub name: String,
    /// As [`Model::description`].
    pub description: String,
    /// The model.
    pub graph: Graph,
    /// How numbers become its input.
    pub input: InputSchema,
    /// What its output means.
    pub output: OutputSchema,
    /// What `graph` compiles to.
    pub module: Module,
    /// How far the integers agree with the floats, where there are floats.
    pub agreement: Agreement,
}

impl Parts {
    /// The model with its hashes, if its texts are what a model's may be.
    ///
    /// # Errors
    /// [`ModelError`] if they are not.
    pub fn model(self) -> Result<Model, ModelError> {
        check_name(&self.name)?;
        check_description(&self.description)?;
        check_labels(&self.graph, &self.output)?;
        Ok(Model {
            graph_hash: GraphHash(*blake3::hash(&self.graph.encode()).as_bytes()),
            arch_hash: ArchHash(*blake3::hash(&self.graph.encode_shape()).as_bytes()),
            module_hash: ModuleHash(*blake3::hash(&self.module.bytes).as_bytes()),
            name: self.name,
            description: self.description,
            graph: self.graph,
            input: self.input,
            output: self.output,
            module: self.module,
            agreement: self.agreement,
        })
    }
}

impl Model {
    /// As [`import`], without its report.
    ///
    /// # Errors
    /// [`ModelError`] if the source is not one that can be served.
    pub fn build(source: &ModelSource<'_>) -> Result<Self, ModelError> {
        import(source).map(|(model, _)| model)
    }
}

fn check_name(name: &str) -> Result<(), ModelError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(ModelError::BadName)
    }
}

fn check_description(description: &str) -> Result<(), ModelError> {
    if is_line(description) {
        Ok(())
    } else {
        Err(ModelError::BadDescription)
    }
}

/// One line for people: at most 256 bytes, nothing that moves a cursor.
pub(crate) fn is_line(text: &str) -> bool {
    text.len() <= 256 && !text.chars().any(char::is_control)
}

/// As many labels as logits, or as values of an index, a line each; or none.
fn check_labels(graph: &Graph, output: &OutputSchema) -> Result<(), ModelError> {
    if !output.labels.iter().all(|label| is_line(label)) {
        return Err(ModelError::BadLabel);
    }
    let got = output.labels.len();
    let last = graph.range(graph.output()).map_or(0, |range| range.hi());
    let expected = match graph.elements(graph.output()) {
        1 => usize::try_from(last.saturating_add(1)).unwrap_or(usize::MAX),
        logits => logits,
    };
    if got == 0 || got == expected {
        Ok(())
    } else {
        Err(ModelError::LabelCount { expected, got })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipped;

    fn built(change: impl FnOnce(&mut ModelSource<'_>)) -> Result<Model, ModelError> {
        let shipped = shipped()[0];
        let (calibration, options) = (shipped.calibration(), ImportOptions::default());
        let mut source = ModelSource {
            name: shipped.name,
            description: shipped.description,
            labels: shipped.labels,
            onnx: shipped.onnx,
            calibration: &calibration,
            options: &options,
        };
        change(&mut source);
        Model::build(&source)
    }

    #[test]
    fn names_are_plain() {
        for name in ["", "Tumour", "a b", "tumour\n", "é", "x/../y"] {
            assert_eq!(built(|s| s.name = name), Err(ModelError::BadName));
        }
    }

    #[test]
    fn a_description_is_one_line() {
        assert_eq!(
            built(|s| s.description = "a\nb"),
            Err(ModelError::BadDescription)
        );
    }

    #[test]
    fn labels_are_as_many_as_classes_or_none() {
        let (expected, got) = (2, 1);
        let one = built(|s| s.labels = &["only"]);
        assert_eq!(one, Err(ModelError::LabelCount { expected, got }));
        assert!(built(|s| s.labels = &[]).is_ok());
    }
}
