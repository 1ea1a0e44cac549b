//! A model as one file (docs/spec/model.md, 8): what `subrosa model import` writes and a provider
//! serves.
//!
//! The bytes are hostile when they are read. A model has one file and a file one model: the module
//! in it is what the graph beside it compiles to, byte for byte, so that nothing else ever runs.

#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use graph::{DecodeGraphError, Graph};
use thiserror::Error;
use wire::{DecodeError, Reader, Writer};

use crate::model::{Parts, is_line};
use crate::{
    Agreement, CompileError, Encoding, InputSchema, Model, ModelError, OutputSchema, compile,
};

/// Why bytes are not a model's file, or a model has none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FileError {
    /// It does not begin as a model's file does.
    #[error("not a model's file")]
    Foreign,
    /// It begins as one, in a version that is not known.
    #[error("a model's file of version {0}, which this program does not know")]
    Version(u8),
    /// Longer than is read or written.
    #[error("a model's file has at most {} MiB", Model::MAX_FILE_LEN >> 20)]
    TooLong,
    /// Its check does not fit: cut off, or damaged.
    #[error("cut off or damaged: its check does not fit")]
    Damaged,
    /// A field is not what it must be.
    #[error("{field}: {why}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: DecodeError,
    },
    /// The graph is none.
    #[error("graph: {0}")]
    Graph(#[from] DecodeGraphError),
    /// A schema does not fit the graph, or its numbers are none.
    #[error("{field}: does not fit the graph")]
    Schema {
        /// Which.
        field: &'static str,
    },
    /// Name, description or labels are not what a model may have.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The graph does not compile.
    #[error("graph: {0}")]
    Compile(#[from] CompileError),
    /// The module is not what this program's compiler makes of the graph.
    #[error("its module is not what its graph compiles to: import the model again")]
    OtherModule,
}

impl Model {
    /// Longest file, in bytes.
    pub const MAX_FILE_LEN: usize = 64 << 20;

    /// The model's file.
    ///
    /// # Errors
    /// [`FileError::TooLong`] if it would be longer than [`Model::MAX_FILE_LEN`].
    pub fn to_file(&self) -> Result<Vec<u8>, FileError> {
        let mut writer = Writer::default();
        writer.raw(&MAGIC);
        writer.u8(VERSION);
        writer.bytes(self.name.as_bytes());
        writer.bytes(self.description.as_bytes());
        write_input(&mut writer, &self.input);
        write_output(&mut writer, &self.output);
        writer.u64(self.agreement.samples as u64);
        writer.u64(self.agreement.same_class as u64);
        writer.u64(self.agreement.largest_error.to_bits());
        writer.bytes(&self.graph.encode());
        writer.bytes(&self.module.bytes);
        let mut bytes = writer.into_bytes();
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        if bytes.len() > Self::MAX_FILE_LEN {
            return Err(FileError::TooLong);
        }
        Ok(bytes)
    }

    /// Reads what [`Model::to_file`] wrote. Compiles the graph to see that the module is its own.
    ///
    /// # Errors
    /// [`FileError`] if `bytes` are not a model's file.
    pub fn from_file(bytes: &[u8]) -> Result<Self, FileError> {
        if bytes.len() > Self::MAX_FILE_LEN {
            return Err(FileError::TooLong);
        }
        let mut reader = Reader::new(checked(bytes)?);
        let name = text(&mut reader, "name", MAX_NAME)?;
        let description = text(&mut reader, "description", MAX_LINE)?;
        let input = read_input(&mut reader)?;
        let output = read_output(&mut reader)?;
        let agreement = read_agreement(&mut reader)?;
        let encoded = field("graph", reader.bytes(Self::MAX_FILE_LEN))?;
        let graph = Graph::decode(encoded)?;
        let module = field("module", reader.bytes(Self::MAX_FILE_LEN))?;
        field("file", reader.finish())?;
        fits(&graph, &input, &output)?;
        let compiled = compile(&graph)?;
        if compiled.bytes != module {
            return Err(FileError::OtherModule);
        }
        let parts = Parts {
            name,
            description,
            graph,
            input,
            output,
            module: compiled,
            agreement,
        };
        Ok(parts.model()?)
    }
}

/// What stands between magic and check.
fn checked(bytes: &[u8]) -> Result<&[u8], FileError> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or(FileError::Foreign)?;
    match rest.split_first() {
        Some((&VERSION, _)) => {}
        Some((&version, _)) => return Err(FileError::Version(version)),
        None => return Err(FileError::Damaged),
    }
    let (content, check) = bytes.split_last_chunk::<32>().ok_or(FileError::Damaged)?;
    if blake3::hash(content) != *check {
        return Err(FileError::Damaged);
    }
    content.get(MAGIC.len() + 1..).ok_or(FileError::Damaged)
}

fn write_input(writer: &mut Writer, input: &InputSchema) {
    writer.u32(input.elements);
    writer.u8(match input.encoding {
        Encoding::Scaled => 0,
        Encoding::Ordered => 1,
    });
    writer.u32(input.lo.cast_unsigned());
    writer.u32(input.hi.cast_unsigned());
    for values in [&input.missing, &input.scale, &input.zero] {
        writer.list(&values.iter().map(|x| x.to_be_bytes()).collect::<Vec<_>>());
    }
}

fn read_input(reader: &mut Reader<'_>) -> Result<InputSchema, FileError> {
    let elements = field("input", reader.u32())?;
    let encoding = match field("input", reader.u8())? {
        0 => Encoding::Scaled,
        1 => Encoding::Ordered,
        _ => return field("input", Err(DecodeError::UnknownTag)),
    };
    let lo = field("input", reader.u32())?.cast_signed();
    let hi = field("input", reader.u32())?.cast_signed();
    let mut numbers = |name| {
        let list = field(name, reader.list::<[u8; 4]>(graph::MAX_ELEMENTS))?;
        let list: Vec<f32> = list.into_iter().map(f32::from_be_bytes).collect();
        if list.iter().all(|x| x.is_finite()) {
            Ok(list)
        } else {
            field(name, Err(DecodeError::OutOfRange))
        }
    };
    Ok(InputSchema {
        elements,
        encoding,
        missing: numbers("stand-ins")?,
        scale: numbers("input scale")?,
        zero: numbers("input zero")?,
        lo,
        hi,
    })
}

fn write_output(writer: &mut Writer, output: &OutputSchema) {
    writer.u32(output.elements);
    writer.u32(output.scale.to_bits());
    writer.u32(u32::try_from(output.labels.len()).expect("as many as elements"));
    for label in &output.labels {
        writer.bytes(label.as_bytes());
    }
}

fn read_output(reader: &mut Reader<'_>) -> Result<OutputSchema, FileError> {
    let elements = field("output", reader.u32())?;
    let scale = f32::from_bits(field("output", reader.u32())?);
    let count = field("labels", reader.u32())?;
    let mut labels = Vec::new();
    // Grown label by label: a claimed count allocates nothing before its bytes are there.
    for _ in 0..count {
        labels.push(text(reader, "labels", MAX_LINE)?);
    }
    Ok(OutputSchema {
        elements,
        scale,
        labels,
    })
}

fn read_agreement(reader: &mut Reader<'_>) -> Result<Agreement, FileError> {
    let mut count = || {
        let count = field("agreement", reader.u64())?;
        let known = u32::try_from(count)
            .ok()
            .and_then(|n| usize::try_from(n).ok());
        known.map_or_else(|| field("agreement", Err(DecodeError::OutOfRange)), Ok)
    };
    let (samples, same_class) = (count()?, count()?);
    let largest_error = f64::from_bits(field("agreement", reader.u64())?);
    let sound = same_class <= samples && largest_error.is_sign_positive();
    if sound && largest_error.is_finite() {
        Ok(Agreement {
            samples,
            same_class,
            largest_error,
        })
    } else {
        field("agreement", Err(DecodeError::OutOfRange))
    }
}

/// Whether the schemas are the graph's.
fn fits(graph: &Graph, input: &InputSchema, output: &OutputSchema) -> Result<(), FileError> {
    let taken = graph.input();
    let each =
        |values: &[f32]| values.len() == 1 || u32::try_from(values.len()) == Ok(input.elements);
    let stand_ins =
        input.missing.is_empty() || u32::try_from(input.missing.len()) == Ok(input.elements);
    let sound = (input.elements, input.lo, input.hi) == (taken.elements, taken.lo, taken.hi)
        && each(&input.scale)
        && each(&input.zero)
        && input.scale.iter().all(|&scale| scale > 0.0)
        && stand_ins;
    if !sound {
        return Err(FileError::Schema { field: "input" });
    }
    let elements = graph.elements(graph.output());
    let sound = usize::try_from(output.elements) == Ok(elements)
        && output.scale.is_finite()
        && output.scale > 0.0;
    if sound {
        Ok(())
    } else {
        Err(FileError::Schema { field: "output" })
    }
}

fn text(reader: &mut Reader<'_>, name: &'static str, max: usize) -> Result<String, FileError> {
    let bytes = field(name, reader.bytes(max))?;
    match std::str::from_utf8(bytes) {
        Ok(text) if is_line(text) => Ok(text.to_owned()),
        _ => field(name, Err(DecodeError::OutOfRange)),
    }
}

/// Says in which field it happened.
fn field<T>(name: &'static str, read: Result<T, DecodeError>) -> Result<T, FileError> {
    read.map_err(|why| FileError::Field { field: name, why })
}

const MAGIC: [u8; 4] = *b"SRMF";
const VERSION: u8 = 1;
const MAX_NAME: usize = 64;
const MAX_LINE: usize = 256;

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may fail")]
mod tests {
    use super::*;
    use crate::shipped;

    fn tumour() -> Model {
        shipped()[0].model().unwrap()
    }

    /// `bytes` with a check that fits.
    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let check = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&check);
        bytes
    }

    /// The file of `tumour` after `change`, checks repaired.
    fn changed(change: impl FnOnce(&mut Model)) -> Result<Model, FileError> {
        let mut model = tumour();
        change(&mut model);
        Model::from_file(&model.to_file().unwrap())
    }

    #[test]
    fn a_file_is_its_model() {
        for shipped in shipped() {
            let model = shipped.model().unwrap();
            let file = model.to_file().unwrap();
            let read = Model::from_file(&file).unwrap();
            assert_eq!(read, model);
            assert_eq!(read.to_file().unwrap(), file);
        }
    }

    #[test]
    fn damage_is_named() {
        let file = tumour().to_file().unwrap();
        for place in (5..file.len()).step_by(97) {
            let mut damaged = file.clone();
            damaged[place] ^= 1;
            assert_eq!(Model::from_file(&damaged), Err(FileError::Damaged));
            assert_eq!(Model::from_file(&file[..place]), Err(FileError::Damaged));
        }
        assert_eq!(Model::from_file(b"PK\x03\x04"), Err(FileError::Foreign));
        assert_eq!(Model::from_file(b"SRMF\x02"), Err(FileError::Version(2)));
        assert_eq!(Model::from_file(b"SRMF"), Err(FileError::Damaged));
    }

    #[test]
    fn a_module_of_another_graph_is_refused() {
        let other = changed(|model| {
            let last = model.module.bytes.len() - 1;
            model.module.bytes[last] ^= 1;
        });
        assert_eq!(other, Err(FileError::OtherModule));
    }

    #[test]
    fn schemas_are_the_graph_s() {
        let input = Err(FileError::Schema { field: "input" });
        assert_eq!(changed(|m| m.input.elements += 1), input);
        assert_eq!(changed(|m| m.input.hi -= 1), input);
        assert_eq!(changed(|m| m.input.scale = vec![]), input);
        assert_eq!(changed(|m| m.input.scale[3] = 0.0), input);
        assert_eq!(changed(|m| m.input.missing = vec![1.0]), input);
        let output = Err(FileError::Schema { field: "output" });
        assert_eq!(changed(|m| m.output.elements = 3), output);
        assert_eq!(changed(|m| m.output.scale = f32::NAN), output);
        let why = DecodeError::OutOfRange;
        let field = |field| Err(FileError::Field { field, why });
        assert_eq!(changed(|m| m.input.zero[0] = f32::NAN), field("input zero"));
        assert_eq!(
            changed(|m| m.agreement.same_class = 1 << 20),
            field("agreement")
        );
        assert_eq!(
            changed(|m| m.output.labels[0] = "\u{1b}[2J".into()),
            field("labels")
        );
        let (expected, got) = (2, 1);
        let labels = ModelError::LabelCount { expected, got };
        assert_eq!(changed(|m| _ = m.output.labels.pop()), Err(labels.into()));
        assert_eq!(
            changed(|m| m.name = "../x".into()),
            Err(ModelError::BadName.into())
        );
    }

    #[test]
    fn hostile_bytes_are_refused_without_panic_or_large_allocation() {
        let file = tumour().to_file().unwrap();
        let content = &file[..file.len() - 32];
        bolero::check!()
            .with_type::<(u16, Vec<u8>, bool)>()
            .for_each(|(place, bytes, replace)| {
                let mut hostile = content.to_vec();
                let place = usize::from(*place) % hostile.len();
                if *replace {
                    hostile.truncate(place);
                    hostile.extend_from_slice(bytes);
                } else {
                    let end = hostile.len().min(place + bytes.len());
                    hostile.splice(place..end, bytes.iter().copied());
                }
                let hostile = sealed(hostile);
                if let Ok(model) = Model::from_file(&hostile) {
                    assert_eq!(model.to_file().unwrap(), hostile);
                }
            });
    }
}
