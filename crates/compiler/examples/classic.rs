//! Prints how imported classic models do beside onnxruntime, one line a model: the files that the
//! repository keeps, or those of a folder that models/train_classic.py made.
//!
//!     cargo run -p subrosa-compiler --example classic [FOLDER]
#![allow(clippy::print_stdout, reason = "an example speaks to people")]

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use graph::Operator;
use rten_onnx::onnx::ModelProto;
use subrosa_compiler::{ImportOptions, Imported, compile, import_onnx};

fn main() -> Result<(), Box<dyn Error>> {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/classic");
    let folder = std::env::args().nth(1).map_or(kept, PathBuf::from);
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "onnx") {
            files.push(path);
        }
    }
    files.sort();
    println!(
        "{:40} {:>4} {:>6} {:>6} {:>6} {:>8} {:>8} {:>8} operators of the file, of the graph",
        "model", "rows", "same", "float", "int", "mean %", "max %", "fuel"
    );
    let (mut failed, mut missed) = (0, 0);
    for file in &files {
        match line(file) {
            Ok((line, reached)) => {
                missed += usize::from(!reached);
                println!("{line}{}", if reached { "" } else { "  MISSED" });
            }
            Err(error) => {
                failed += 1;
                println!("{:40} {error}", name(file));
            }
        }
    }
    println!(
        "{} models, {failed} refused, {missed} short of their target",
        files.len()
    );
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_stem()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
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

/// What is known of one model: its line, and whether it reached its target.
fn line(file: &Path) -> Result<(String, bool), Box<dyn Error>> {
    let onnx = fs::read(file)?;
    let name = name(file);
    let set = name.split('-').next().unwrap_or_default();
    let beside = |extension: &str| file.with_file_name(format!("{set}.{extension}.csv"));
    let calibration = rows(&beside("calibration"))?;
    let samples = rows(&beside("samples"))?;
    let golden = rows(&file.with_extension("golden.csv"))?;
    let imported = import_onnx(&onnx, &calibration, &ImportOptions::default())?;
    let fuel = compile(&imported.graph)?.fuel;
    let found = if imported.output.labels.is_empty() {
        values(&imported, &samples, &golden)?
    } else {
        classes(&imported, &samples, &golden)?
    };
    let line = format!(
        "{name:40} {:>4} {} {fuel:>8} {}, {}",
        samples.len(),
        found.0,
        of_file(&onnx)?,
        of_graph(&imported)
    );
    Ok((line, found.1))
}

/// Classes: as onnxruntime on 99 of 100 rows, with trees on all; at most a point less right.
fn classes(
    imported: &Imported,
    samples: &[Vec<f32>],
    golden: &[Vec<f32>],
) -> Result<(String, bool), Box<dyn Error>> {
    let (mut same, mut float, mut integer) = (0, 0, 0);
    for (sample, golden) in samples.iter().zip(golden) {
        let output = imported
            .graph
            .run(&imported.input.quantise(&sample[1..])?)?;
        let said = imported.output.class(&output);
        let (meant, truth) = (golden[0] as usize, sample[0] as usize);
        same += usize::from(said == Some(meant));
        integer += usize::from(said == Some(truth));
        float += usize::from(meant == truth);
    }
    let rows = samples.len();
    let trees = imported
        .graph
        .nodes()
        .iter()
        .any(|n| matches!(n.operator, Operator::TreeEnsemble(_)));
    let enough = if trees {
        same == rows
    } else {
        same * 100 >= rows * 99
    };
    let right = (integer + rows / 100) >= float;
    let percent = |count: usize| 100.0 * count as f64 / rows as f64;
    let text = format!(
        "{:>6.2} {:>6.2} {:>6.2} {:>8} {:>8}",
        percent(same),
        percent(float),
        percent(integer),
        "",
        ""
    );
    Ok((text, enough && right))
}

/// Values: of the range that onnxruntime's have, at most 0.5 % off in the mean and 2 % at most.
fn values(
    imported: &Imported,
    samples: &[Vec<f32>],
    golden: &[Vec<f32>],
) -> Result<(String, bool), Box<dyn Error>> {
    let (mut sum, mut most) = (0.0_f64, 0.0_f64);
    for (sample, golden) in samples.iter().zip(golden) {
        let output = imported
            .graph
            .run(&imported.input.quantise(&sample[1..])?)?;
        let said = f64::from(output[0]) * f64::from(imported.output.scale);
        let error = (said - f64::from(golden[0])).abs();
        sum += error;
        most = most.max(error);
    }
    let all = || golden.iter().map(|row| f64::from(row[0]));
    let range = all().fold(f64::MIN, f64::max) - all().fold(f64::MAX, f64::min);
    let (mean, most) = (
        100.0 * sum / samples.len() as f64 / range,
        100.0 * most / range,
    );
    let text = format!("{:>6} {:>6} {:>6} {mean:>8.4} {most:>8.4}", "", "", "");
    Ok((text, mean <= 0.5 && most <= 2.0))
}

fn of_file(onnx: &[u8]) -> Result<String, Box<dyn Error>> {
    let model = ModelProto::parse_buf(onnx).map_err(|_| "not ONNX")?;
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    let names: BTreeSet<&str> = nodes.filter_map(|node| node.op_type.as_deref()).collect();
    Ok(names.into_iter().collect::<Vec<_>>().join(" "))
}

fn of_graph(imported: &Imported) -> String {
    let name = |operator: &Operator| {
        let text = format!("{operator:?}");
        let end = text
            .find(|c: char| !c.is_alphanumeric())
            .unwrap_or(text.len());
        text[..end].to_owned()
    };
    let names: Vec<String> = imported
        .graph
        .nodes()
        .iter()
        .map(|n| name(&n.operator))
        .collect();
    names.join(" ")
}
