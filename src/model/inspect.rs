//! `subrosa model inspect`: what is in a model file.

use std::io::Write;

use compiler::{Encoding, Model};
use graph::{Operator, ValueId};
use serde_json::{Value, json};

use super::{clipped, grouped, percent};
use crate::cli::ModelInspectArgs;
use crate::exit::Fault;

/// `subrosa model inspect`
///
/// # Errors
/// [`Fault`]: usage if it is no model file.
pub(super) fn command(args: &ModelInspectArgs) -> Result<(), Fault> {
    let model = super::read(&args.file)?;
    if let Some(path) = &args.module {
        store::place_file(path, &model.module.bytes).map_err(Fault::usage)?;
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        return writeln!(out, "{}", json(&model)).map_err(Fault::output);
    }
    for line in lines(&model) {
        writeln!(out, "{line}").map_err(Fault::output)?;
    }
    Ok(())
}

fn lines(model: &Model) -> Vec<String> {
    let mut lines = vec![format!("{}  {}", model.name, model.description)];
    let (input, output) = (&model.input, &model.output);
    let how = match (input.encoding, input.scale.len()) {
        (Encoding::Ordered, _) => "by their order",
        (Encoding::Scaled, 1) => "one scale",
        (Encoding::Scaled, _) => "a scale each",
    };
    let missing = match (input.missing.is_empty(), model.input.hi) {
        (false, _) => ", stand-ins for missing ones",
        (true, i32::MAX) => ", missing ones known to the model",
        (true, _) => "",
    };
    lines.push(format!(
        "takes   {} numbers, {how}{missing}, as {} to {}",
        input.elements, input.lo, input.hi
    ));
    let labels = match output.labels.len() {
        0 => String::new(),
        count => format!(
            ", {count} classes: {}",
            clipped(&output.labels.join(", "), 40)
        ),
    };
    lines.push(format!("gives   {} numbers{labels}", output.elements));
    lines.push(format!(
        "agrees  {} of {} samples as the floats ({:.1} %)",
        model.agreement.same_class,
        model.agreement.samples,
        percent(model.agreement.same_class, model.agreement.samples),
    ));
    lines.push(format!(
        "costs   {} fuel a run; {} parameters, module of {} bytes",
        grouped(model.module.fuel),
        grouped(model.graph.parameters()),
        grouped(model.module.bytes.len()),
    ));
    for (name, hash) in hashes(model) {
        lines.push(format!("{name:<7} {hash}"));
    }
    lines.push(String::new());
    lines.push(format!(
        "{:>5}  {:<14} {:>8}  {}",
        "node", "operator", "numbers", "interval"
    ));
    for (place, node) in model.graph.nodes().iter().enumerate() {
        let (elements, [lo, hi]) = value(model, place);
        let operator = name(&node.operator);
        lines.push(format!(
            "{place:>5}  {operator:<14} {elements:>8}  {lo} to {hi}"
        ));
    }
    lines
}

fn json(model: &Model) -> Value {
    let nodes = model.graph.nodes().iter().enumerate();
    let nodes = nodes.map(|(place, node)| {
        let (elements, interval) = value(model, place);
        json!({ "operator": name(&node.operator), "elements": elements, "interval": interval })
    });
    let [graph, shape, module] = hashes(model).map(|(_, hash)| hash);
    json!({
        "name": model.name,
        "description": model.description,
        "inputs": model.input.elements,
        "outputs": model.output.elements,
        "labels": model.output.labels,
        "encoding": match model.input.encoding {
            Encoding::Scaled => "scaled",
            Encoding::Ordered => "ordered",
        },
        "scale": model.output.scale,
        "parameters": model.graph.parameters(),
        "fuel": model.module.fuel,
        "module_bytes": model.module.bytes.len(),
        "samples": model.agreement.samples,
        "same_class": model.agreement.same_class,
        "largest_error": model.agreement.largest_error,
        "graph_hash": graph,
        "arch_hash": shape,
        "module_hash": module,
        "nodes": nodes.collect::<Vec<_>>(),
    })
}

fn hashes(model: &Model) -> [(&'static str, String); 3] {
    let hex = |bytes: &[u8; 32]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    [
        ("graph", model.graph_hash.to_string()),
        ("shape", hex(&model.arch_hash.0)),
        ("module", hex(&model.module_hash.0)),
    ]
}

/// Elements and interval of what a node makes.
fn value(model: &Model, node: usize) -> (usize, [i64; 2]) {
    let value = ValueId(u32::try_from(node + 1).unwrap_or(u32::MAX));
    let range = model.graph.range(value);
    let interval = range.map_or([0, 0], |range| [range.lo(), range.hi()]);
    (model.graph.elements(value), interval)
}

fn name(operator: &Operator) -> String {
    let text = format!("{operator:?}");
    let end = text.find(|c: char| !c.is_alphanumeric());
    text[..end.unwrap_or(text.len())].to_owned()
}
