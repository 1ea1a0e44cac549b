//! Prints docs/models.md's table: every model in models/, its accuracy as floats and as integers on
//! held-out samples, what it costs, and how long it takes beside onnxruntime.
//!
//!     cargo run --release --example models [PYTHON]
//!
//! PYTHON is one that has onnxruntime and numpy; without it the last column stays empty.
#![allow(clippy::print_stdout, reason = "an example speaks to people")]

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use compiler::{ImportOptions, Imported, InputScale, Model, import_onnx};
use subrosa::model::bench::{Peer, measure};

fn main() -> Result<(), Box<dyn Error>> {
    let python = std::env::args().nth(1).unwrap_or_else(|| "python3".into());
    println!(
        "| model | operators | parameters | float | integers | fuel | us | fresh us | x onnxruntime |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for kept in kept()? {
        println!("{}", line(&kept, Path::new(&python))?);
    }
    Ok(())
}

/// A model in models/.
struct Kept {
    name: String,
    onnx: PathBuf,
    calibration: PathBuf,
    samples: PathBuf,
    input_scale: InputScale,
}

fn kept() -> Result<Vec<Kept>, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let network = |name: &str, data: &str, input_scale| Kept {
        name: name.to_owned(),
        onnx: root.join(name).join("model.onnx"),
        calibration: root.join(data).join("calibration.csv"),
        samples: root.join(data).join("samples.csv"),
        input_scale,
    };
    let mut all = vec![
        network("tumour", "tumour", InputScale::PerElement),
        network("digits", "digits", InputScale::Shared),
        network("convolution", "digits", InputScale::Shared),
        network("depthwise", "digits", InputScale::Shared),
    ];
    let mut classic = Vec::new();
    for entry in fs::read_dir(root.join("classic"))? {
        let onnx = entry?.path();
        let name = onnx
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let set = name.split('-').next().unwrap_or_default();
        // Random trees, for the importer's tests alone.
        if onnx.extension().is_some_and(|e| e == "onnx") && set != "modes" {
            classic.push(Kept {
                calibration: onnx.with_file_name(format!("{set}.calibration.csv")),
                samples: onnx.with_file_name(format!("{set}.samples.csv")),
                name,
                onnx,
                input_scale: InputScale::PerElement,
            });
        }
    }
    classic.sort_by(|a, b| a.name.cmp(&b.name));
    all.extend(classic);
    Ok(all)
}

fn line(kept: &Kept, python: &Path) -> Result<String, Box<dyn Error>> {
    let options = ImportOptions {
        input_scale: kept.input_scale,
        ..ImportOptions::default()
    };
    let imported = import_onnx(&fs::read(&kept.onnx)?, &rows(&kept.calibration)?, &options)?;
    let model = imported.model(&kept.name, "", &[])?;
    let (float, integers) = score(&imported, &model, &rows(&kept.samples)?)?;
    let onnx = &kept.onnx;
    let peer = Some(Peer { python, onnx });
    let times =
        measure(&model, peer, Duration::from_millis(300)).map_err(|e| e.line().to_owned())?;
    let ratio = times
        .onnxruntime
        .map(|us| format!("{:.2}", times.warm / us));
    Ok(format!(
        "| `{}` | {} | {} | {float} | {integers} | {} | {:.1} | {:.1} | {} |",
        kept.name,
        operators(&imported),
        model.graph.parameters(),
        model.module.fuel,
        times.warm,
        times.fresh,
        ratio.unwrap_or_default(),
    ))
}

/// Right classes, or mean absolute errors, on samples whose truth stands first.
fn score(
    imported: &Imported,
    model: &Model,
    samples: &[Vec<f32>],
) -> Result<(String, String), Box<dyn Error>> {
    let (mut float, mut integers) = (0.0, 0.0);
    let classes = model.output.elements > 1 || !model.output.labels.is_empty();
    for sample in samples {
        let (truth, input) = (sample[0], &sample[1..]);
        let said = model.graph.run(&model.input.quantise(input)?)?;
        if classes {
            let class = truth as usize;
            float += f64::from(imported.float_class(input) == Some(class));
            integers += f64::from(model.output.place(&said) == Some(class));
        } else {
            let meant = imported.float(input).and_then(|y| y.first().copied());
            let said = f64::from(said[0]) * f64::from(model.output.scale);
            float += (meant.unwrap_or(f64::NAN) - f64::from(truth)).abs();
            integers += (said - f64::from(truth)).abs();
        }
    }
    let count = samples.len() as f64;
    let shown = |sum: f64| {
        if classes {
            format!("{:.1} %", 100.0 * sum / count)
        } else {
            format!("off by {:.3}", sum / count)
        }
    };
    Ok((shown(float), shown(integers)))
}

fn operators(imported: &Imported) -> String {
    let names = imported.report.nodes.iter().map(|node| node.operator);
    let names: BTreeSet<&str> = names.collect();
    names.into_iter().collect::<Vec<_>>().join(" ")
}

/// The rows of a table without its first line.
fn rows(path: &Path) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
    let row = |line: &str| {
        line.split(',')
            .map(str::parse)
            .collect::<Result<Vec<f32>, _>>()
    };
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let rows: Result<Vec<_>, _> = text.lines().skip(1).map(row).collect();
    Ok(rows?)
}
