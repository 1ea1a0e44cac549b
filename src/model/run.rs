//! `subrosa model run`: a model file on rows of numbers, in the sandbox.

use std::io::Write;

use compiler::Model;
use provider::Run;
use serde_json::json;

use super::grouped;
use crate::cli::ModelRunArgs;
use crate::exit::Fault;
use crate::input;

/// `subrosa model run`
///
/// # Errors
/// [`Fault`]: usage if a file is not what it must be, or a row does not fit the model.
pub(super) fn command(args: &ModelRunArgs) -> Result<(), Fault> {
    let model = super::read(&args.file)?;
    let rows = input::read(&args.rows).map_err(Fault::usage)?;
    let loaded = super::load(&model)?;
    let mut runs = Vec::new();
    for row in rows {
        let input = model
            .input
            .quantise(&row.values)
            .map_err(|e| Fault::usage(format!("{e} ({})", row.origin)))?;
        let run = loaded
            .run(&input)
            .map_err(|e| Fault::failed(format!("{e} ({})", row.origin)))?;
        runs.push(run);
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let labels: Vec<&str> = runs.iter().filter_map(|run| label(&model, run)).collect();
        let outputs: Vec<Vec<f64>> = runs.iter().map(|run| values(&model, run)).collect();
        let integers: Vec<&[i32]> = runs.iter().map(|run| run.output.as_slice()).collect();
        let fuel = model.module.fuel;
        let said = json!({
            "outputs": outputs, "labels": labels, "fuel": fuel, "integers": integers,
        });
        return writeln!(out, "{said}").map_err(Fault::output);
    }
    writeln!(out, "{:>6}  {:<20}  outputs", "row", "label").map_err(Fault::output)?;
    for (row, run) in runs.iter().enumerate() {
        let label = super::clipped(label(&model, run).unwrap_or("-"), 20);
        let outputs = shown(&values(&model, run));
        writeln!(out, "{:>6}  {label:<20}  {outputs}", row + 1).map_err(Fault::output)?;
    }
    let (count, fuel) = (runs.len(), grouped(model.module.fuel));
    writeln!(out, "{count} rows, fuel {fuel} each").map_err(Fault::output)
}

fn label<'a>(model: &'a Model, run: &Run) -> Option<&'a str> {
    model.output.label(&run.output)
}

/// The integers in the units of the model that was imported.
fn values(model: &Model, run: &Run) -> Vec<f64> {
    let scale = f64::from(model.output.scale);
    run.output.iter().map(|&y| f64::from(y) * scale).collect()
}

/// As many as fit beside row and label.
fn shown(values: &[f64]) -> String {
    let mut text = String::new();
    for (place, value) in values.iter().enumerate() {
        let next = format!("{value:.4} ");
        if text.len() + next.len() > WIDTH {
            text.push_str(&format!(".. {} more", values.len() - place));
            break;
        }
        text.push_str(&next);
    }
    text.trim_end().to_owned()
}

/// Columns for outputs, so that a line has at most 80.
const WIDTH: usize = 40;
