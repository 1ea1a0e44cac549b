//! The same bytes in another engine: modules in plain Node say what the interpreter says.

use std::path::Path;
use std::process::Command;

use compiler::{ImportOptions, InputScale, Model, ModelSource};

/// The kept models, each with how its input is scaled and the folder's or set's calibration.
const MODELS: &[(&str, InputScale, &str)] = &[
    ("tumour/model", InputScale::PerElement, "tumour/calibration"),
    ("digits/model", InputScale::Shared, "digits/calibration"),
    (
        "convolution/model",
        InputScale::Shared,
        "digits/calibration",
    ),
    ("depthwise/model", InputScale::Shared, "digits/calibration"),
    (
        "classic/wine-forest-scaled",
        InputScale::PerElement,
        "classic/wine.calibration",
    ),
    (
        "classic/gaps-histogram",
        InputScale::PerElement,
        "classic/gaps.calibration",
    ),
    (
        "classic/tumour-svc-scaled",
        InputScale::PerElement,
        "classic/tumour.calibration",
    ),
    (
        "classic/diabetes-svr-scaled",
        InputScale::PerElement,
        "classic/diabetes.calibration",
    ),
    (
        "classic/digits-logistic-pca",
        InputScale::PerElement,
        "classic/digits.calibration",
    ),
];

#[test]
fn node_says_what_the_interpreter_says_bit_for_bit() {
    if Command::new("node").arg("--version").output().is_err() {
        eprintln!("left out: there is no node");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = root.join("tests/processes/run_module.mjs");
    for (name, scale, calibration) in MODELS {
        let (model, rows) = imported(&root.join("models"), name, *scale, calibration);
        let mut inputs: Vec<Vec<i32>> = rows
            .iter()
            .map(|row| model.input.quantise(row).unwrap())
            .collect();
        // The ends of the interval, and what is outside.
        let elements = inputs[0].len();
        inputs.push(vec![model.input.lo; elements]);
        inputs.push(vec![model.input.hi; elements]);
        if let Some(above) = model.input.hi.checked_add(1) {
            inputs.push(vec![above; elements]);
        }
        let module = folder.path().join("model.wasm");
        let asked = folder.path().join("rows.json");
        std::fs::write(&module, &model.module.bytes).unwrap();
        std::fs::write(&asked, serde_json::to_vec(&inputs).unwrap()).unwrap();
        let output = Command::new("node")
            .args([&script, &module, &asked])
            .output();
        let output = output.unwrap();
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {why}");
        let said: Vec<Option<Vec<i32>>> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said.len(), inputs.len());
        for (input, said) in inputs.iter().zip(said) {
            assert_eq!(said, model.graph.run(input).ok(), "{name}");
        }
    }
}

/// A kept model, and rows to ask it.
fn imported(
    folder: &Path,
    name: &str,
    input_scale: InputScale,
    calibration: &str,
) -> (Model, Vec<Vec<f32>>) {
    let text = std::fs::read_to_string(folder.join(format!("{calibration}.csv"))).unwrap();
    let row = |line: &str| line.split(',').map(|x| x.parse().unwrap()).collect();
    let rows: Vec<Vec<f32>> = text.lines().skip(1).map(row).collect();
    let options = ImportOptions {
        input_scale,
        ..ImportOptions::default()
    };
    let source = ModelSource {
        name: "kept",
        description: "",
        labels: &[],
        onnx: &std::fs::read(folder.join(format!("{name}.onnx"))).unwrap(),
        calibration: &rows,
        options: &options,
    };
    (Model::build(&source).unwrap(), rows)
}
