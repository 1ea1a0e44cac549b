//! What an import did to a model, for people and for machines.

use std::io::Write;
use std::path::Path;

use compiler::{Imported, Model, NodeReport};
use serde::Serialize;
use serde_json::{Value, json};

use super::truth::Truth;
use super::{clipped, gives_index, grouped, percent};
use crate::exit::Fault;

/// What an import made.
pub(super) struct Report<'a> {
    imported: &'a Imported,
    model: &'a Model,
    samples: usize,
    score: Option<Score>,
}

/// Floats and integers against what is true of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "of", rename_all = "snake_case")]
enum Score {
    /// Right answers.
    Classes { float: usize, integers: usize },
    /// Mean absolute errors.
    Values { float: f64, integers: f64 },
}

impl<'a> Report<'a> {
    pub(super) fn new(
        imported: &'a Imported,
        model: &'a Model,
        calibration: &[Vec<f32>],
        truth: Option<&Truth>,
    ) -> Result<Self, Fault> {
        let score = truth.map(|truth| score(imported, model, calibration, truth));
        Ok(Self {
            imported,
            model,
            samples: calibration.len(),
            score: score.transpose()?,
        })
    }

    pub(super) fn print(&self, path: &Path, bytes: usize, json: bool) -> Result<(), Fault> {
        let mut out = std::io::stdout().lock();
        if json {
            return writeln!(out, "{}", self.json(path, bytes)).map_err(Fault::output);
        }
        for line in self.lines(path, bytes) {
            writeln!(out, "{line}").map_err(Fault::output)?;
        }
        Ok(())
    }

    fn lines(&self, path: &Path, bytes: usize) -> Vec<String> {
        let report = &self.imported.report;
        let mut lines = vec![format!(
            "{:<19} {:<12} {:>7} {:>19} {:>4} {:>6} {:>7}",
            "layer", "operator", "numbers", "interval", "bits", "sum <", "error"
        )];
        lines.extend(report.nodes.iter().map(row));
        lines.push(String::new());
        let agreement = &report.agreement;
        lines.push(format!(
            "same answer as the floats  {} of {} samples ({:.1} %); largest error {}",
            agreement.same_class,
            agreement.samples,
            percent(agreement.same_class, agreement.samples),
            short(agreement.largest_error),
        ));
        if !report.reached {
            let wanted = f64::from(report.wanted_permille) / 10.0;
            lines.push(format!(
                "{wanted:.1} % were wanted, and every layer is wide: more samples may help"
            ));
        }
        lines.extend(self.score.map(|score| self.told(score)));
        let widened = report.widened().count();
        if widened > 0 {
            lines.push(format!("* {widened} layers kept in 16 bits to get there"));
        }
        lines.push(format!(
            "{}: {} parameters, {} bytes, fuel {} a run",
            clipped(&path.display().to_string(), 24),
            grouped(self.model.graph.parameters()),
            grouped(bytes),
            grouped(self.model.module.fuel),
        ));
        lines.push(format!("graph {}", self.model.graph_hash));
        lines
    }

    fn told(&self, score: Score) -> String {
        match score {
            Score::Classes { float, integers } => format!(
                "right, by the labels       float {:.1} %, integers {:.1} %",
                percent(float, self.samples),
                percent(integers, self.samples),
            ),
            Score::Values { float, integers } => format!(
                "mean error, by the labels  float {}, integers {}",
                short(float),
                short(integers),
            ),
        }
    }

    fn json(&self, path: &Path, bytes: usize) -> Value {
        let (model, report) = (self.model, &self.imported.report);
        let widened: Vec<&str> = report.widened().collect();
        json!({
            "file": path,
            "bytes": bytes,
            "name": model.name,
            "graph_hash": model.graph_hash.to_string(),
            "inputs": model.input.elements,
            "outputs": model.output.elements,
            "labels": model.output.labels,
            "parameters": model.graph.parameters(),
            "fuel": model.module.fuel,
            "samples": report.agreement.samples,
            "same_class": report.agreement.same_class,
            "largest_error": report.agreement.largest_error,
            "wanted_permille": report.wanted_permille,
            "reached": report.reached,
            "widened": widened,
            "score": self.score,
            "nodes": report.nodes.iter().map(node).collect::<Vec<_>>(),
        })
    }
}

fn row(node: &NodeReport) -> String {
    let [lo, hi] = node.interval;
    let bits = node.layer.map_or_else(String::new, |layer| {
        format!(
            "{}{}",
            layer.weight_bits,
            if layer.widened { "*" } else { "" }
        )
    });
    // The smallest power of two above every sum.
    let sum = node.layer.map_or_else(String::new, |layer| {
        format!("2^{}", 64 - layer.accumulator.leading_zeros())
    });
    let error = node.error.filter(|error| error.reach > 0.0);
    let error = error.map_or_else(String::new, |error| {
        format!("{:.2} %", 100.0 * error.typical / error.reach)
    });
    format!(
        "{:<19} {:<12} {:>7} {:>19} {bits:>4} {sum:>6} {error:>7}",
        clipped(&node.name, 19),
        node.operator,
        node.elements,
        interval(lo, hi),
    )
}

/// The ends, as powers of two where they are long.
fn interval(lo: i64, hi: i64) -> String {
    let end = |x: i64| {
        let bits = 64 - x.unsigned_abs().leading_zeros();
        if x.unsigned_abs() < 100_000_000 {
            x.to_string()
        } else {
            format!("{}2^{bits}", if x < 0 { "-" } else { "" })
        }
    };
    format!("{}..{}", end(lo), end(hi))
}

fn node(node: &NodeReport) -> Value {
    json!({
        "name": node.name,
        "operator": node.operator,
        "elements": node.elements,
        "interval": node.interval,
        "scale": node.scale,
        "weight_bits": node.layer.map(|layer| layer.weight_bits),
        "widened": node.layer.map(|layer| layer.widened),
        "accumulator": node.layer.map(|layer| layer.accumulator),
        "error": node.error.map(|error| json!({
            "reach": error.reach, "largest": error.largest, "typical": error.typical,
        })),
    })
}

/// A number for people: four digits.
fn short(x: f64) -> String {
    if x != 0.0 && (x.abs() < 0.001 || x.abs() >= 1e6) {
        format!("{x:.2e}")
    } else {
        format!("{x:.4}")
    }
}

fn score(
    imported: &Imported,
    model: &Model,
    calibration: &[Vec<f32>],
    truth: &Truth,
) -> Result<Score, Fault> {
    let run = |sample: &Vec<f32>| {
        let input = model.input.quantise(sample).map_err(Fault::usage)?;
        model.graph.run(&input).map_err(Fault::usage)
    };
    let one_value =
        model.output.elements == 1 && model.output.labels.is_empty() && !gives_index(&model.graph);
    if one_value {
        let (mut float, mut integers) = (0.0, 0.0);
        for (sample, truth) in calibration.iter().zip(truth.values()?) {
            let said = run(sample)?.first().map_or(0.0, |&y| f64::from(y));
            let meant = imported.float(sample).and_then(|y| y.first().copied());
            float += (meant.unwrap_or(0.0) - truth).abs();
            integers += (said * f64::from(model.output.scale) - truth).abs();
        }
        #[allow(clippy::cast_precision_loss, reason = "a mean, for people")]
        let count = calibration.len().max(1) as f64;
        return Ok(Score::Values {
            float: float / count,
            integers: integers / count,
        });
    }
    let (mut float, mut integers) = (0, 0);
    let classes = truth.classes(&model.output.labels)?;
    for (sample, class) in calibration.iter().zip(classes) {
        integers += usize::from(model.output.place(&run(sample)?) == Some(class));
        float += usize::from(imported.float_class(sample) == Some(class));
    }
    Ok(Score::Classes { float, integers })
}
