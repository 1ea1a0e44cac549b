//! `subrosa model import`: a hostile file in, a model file and a report out, nothing else touched.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use compiler::{ImportOptions, Imported, InputScale, Model, import_onnx};

use super::report::Report;
use super::truth::Truth;
use crate::cli::ModelImportArgs;
use crate::exit::Fault;
use crate::input;
use crate::progress::Progress;

/// `subrosa model import`
///
/// # Errors
/// [`Fault`]: usage if a file or an argument is not what it must be, a failure if the deadline
/// passes. Nothing is written then.
pub(super) fn command(args: &ModelImportArgs) -> Result<(), Fault> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&args.file),
    };
    let calibration = rows(&args.calibrate)?;
    let truth = match &args.labels {
        Some(path) => Some(Truth::read(path, calibration.len())?),
        None => None,
    };
    let job = Job {
        onnx: super::read_bytes(&args.onnx, MAX_ONNX)?,
        options: options(args),
        calibration,
        name,
        description: args.description.clone().unwrap_or_default(),
        classes: args.classes.clone(),
        path: args.onnx.display().to_string(),
    };
    let calibration = job.calibration.clone();
    let (imported, model) = within(args.deadline, job, args.json)?;
    let report = Report::new(&imported, &model, &calibration, truth.as_ref())?;
    let file = model
        .to_file()
        .map_err(|e| Fault::usage(format!("{}: {e}", args.onnx.display())))?;
    store::place_file(&args.file, &file).map_err(Fault::usage)?;
    report.print(&args.file, file.len(), args.json)
}

fn options(args: &ModelImportArgs) -> ImportOptions {
    ImportOptions {
        output: args.take.clone(),
        input_scale: if args.shared_scale {
            InputScale::Shared
        } else {
            InputScale::PerElement
        },
        agreement_permille: args.agreement,
        memory: usize::try_from(args.memory).map_or(usize::MAX, |mib| mib << 20),
        // The deadline bounds it.
        work: u64::MAX,
        ..ImportOptions::default()
    }
}

/// What an import needs, to be done on a thread of its own.
struct Job {
    onnx: Vec<u8>,
    options: ImportOptions,
    calibration: Vec<Vec<f32>>,
    name: String,
    description: String,
    classes: Vec<String>,
    path: String,
}

impl Job {
    fn run(&self) -> Result<(Imported, Model), Fault> {
        let named = |e: &dyn std::fmt::Display| Fault::usage(format!("{}: {e}", self.path));
        let imported =
            import_onnx(&self.onnx, &self.calibration, &self.options).map_err(|e| named(&e))?;
        let classes: Vec<&str> = self.classes.iter().map(String::as_str).collect();
        let model = imported.model(&self.name, &self.description, &classes);
        Ok((imported, model.map_err(|e| named(&e))?))
    }
}

/// The import, if it is done within `deadline`. If not, its thread ends with this process.
fn within(deadline: Duration, job: Job, json: bool) -> Result<(Imported, Model), Fault> {
    let progress = Progress::for_people(json).spinner("importing");
    let (done, result) = channel();
    thread::Builder::new()
        .name("import".to_owned())
        .spawn(move || {
            // Nobody waits any more only when the deadline has passed.
            let _ = done.send(job.run());
        })
        .map_err(|e| Fault::failed(format!("import: no thread: {e}")))?;
    let outcome = result.recv_timeout(deadline);
    progress.finish_and_clear();
    match outcome {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(Fault::failed(format!(
            "import: not done within {} s, nothing written; give fewer samples or a longer --deadline",
            deadline.as_secs_f64()
        ))),
        Err(RecvTimeoutError::Disconnected) => Err(Fault::failed("import: broken off")),
    }
}

fn rows(path: &Path) -> Result<Vec<Vec<f32>>, Fault> {
    let rows = input::read(path).map_err(Fault::usage)?;
    Ok(rows.into_iter().map(|row| row.values).collect())
}

/// The name that a file's name suggests.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| match c {
        'a'..='z' | '0'..='9' => c,
        'A'..='Z' => c.to_ascii_lowercase(),
        _ => '-',
    };
    stem.chars().take(64).map(plain).collect()
}

/// Longest ONNX file that the importer reads.
const MAX_ONNX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_as_its_file() {
        assert_eq!(name_of(Path::new("out/Wine_Forest.subrosa")), "wine-forest");
        assert_eq!(name_of(Path::new("..")), "");
    }
}
