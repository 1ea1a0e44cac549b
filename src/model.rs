//! `subrosa model`: from somebody's ONNX file to a file that runs the same everywhere.

pub mod bench;
mod import;
mod inspect;
mod report;
mod run;
mod truth;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use compiler::Model;
use graph::{Graph, Operator};
use provider::{LoadedModel, OwnModules, Sandbox, SandboxLimits};

use crate::cli::ModelCommand;
use crate::exit::Fault;

/// `subrosa model ...`
///
/// # Errors
/// [`Fault`]: usage if a file is not what it must be.
pub fn command(command: &ModelCommand) -> Result<(), Fault> {
    match command {
        ModelCommand::Import(args) => import::command(args),
        ModelCommand::Inspect(args) => inspect::command(args),
        ModelCommand::Run(args) => run::command(args),
        ModelCommand::Bench(args) => bench::command(args),
    }
}

/// Reads a model file.
///
/// # Errors
/// A line that names the file and what is wrong with it.
pub fn read(path: &Path) -> Result<Model, Fault> {
    let bytes = read_bytes(path, Model::MAX_FILE_LEN)?;
    Model::from_file(&bytes).map_err(|e| {
        let hint = match e {
            compiler::FileError::Foreign => "; make one with `subrosa model import`",
            _ => "",
        };
        Fault::usage(format!("{}: {e}{hint}", path.display()))
    })
}

/// At most `max` bytes of a file, and one more if it has them: whoever reads on says "too long".
fn read_bytes(path: &Path, max: usize) -> Result<Vec<u8>, Fault> {
    let named = |e: std::io::Error| Fault::usage(format!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let file = File::open(path).map_err(named)?;
    file.take(bound).read_to_end(&mut bytes).map_err(named)?;
    Ok(bytes)
}

/// The model's module, ready to run. It is what this program made of the graph.
fn load(model: &Model) -> Result<LoadedModel, Fault> {
    let limits = SandboxLimits {
        instances: 1,
        ..SandboxLimits::default()
    };
    let sandbox = Sandbox::new(limits, Arc::new(OwnModules)).map_err(Fault::failed)?;
    sandbox
        .load(&model.module.bytes, model.module.fuel)
        .map_err(|e| Fault::failed(format!("model {}: {e}", model.name)))
}

/// The largest exact integers of floats are far beyond any count here.
#[allow(clippy::cast_precision_loss, reason = "counts, for people")]
fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// `1234567` as `1,234,567`.
fn grouped(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// At most `width` characters of `text`, the last of them dots if some are left out.
fn clipped(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(2));
    kept.chain("..".chars()).collect()
}

/// Whether the output is an index and not a number.
fn gives_index(graph: &Graph) -> bool {
    let last = graph.nodes().last();
    last.is_some_and(|node| matches!(node.operator, Operator::ArgMax))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_fit_their_columns() {
        assert_eq!(grouped(7_u64), "7");
        assert_eq!(grouped(123_456_u64), "123,456");
        assert_eq!(grouped(1_234_567_usize), "1,234,567");
        assert_eq!(clipped("short", 5), "short");
        assert_eq!(clipped("longer", 5), "lon..");
    }
}
