//! Prints how the shipped models do on their held-out samples: floats, integers, and both.
#![allow(clippy::print_stdout, reason = "an example speaks to people")]

use std::error::Error;

use subrosa_compiler::{ImportOptions, import_onnx, shipped};

fn main() -> Result<(), Box<dyn Error>> {
    for shipped in shipped() {
        let model = shipped.model()?;
        let options = ImportOptions {
            input_scale: shipped.input_scale(),
            ..ImportOptions::default()
        };
        let imported = import_onnx(shipped.onnx, &shipped.calibration(), &options)?;
        let samples = shipped.samples();
        let (mut float, mut integer, mut same) = (0, 0, 0);
        for sample in &samples {
            let logits = model.graph.run(&model.input.quantise(&sample.input)?)?;
            let (said, meant) = (
                model.output.class(&logits),
                imported.float_class(&sample.input),
            );
            float += usize::from(meant == Some(sample.class));
            integer += usize::from(said == Some(sample.class));
            same += usize::from(said == meant);
        }
        let inputs: Vec<_> = samples.iter().map(|sample| sample.input.clone()).collect();
        let error = imported.agreement(&inputs)?.largest_error;
        println!(
            "{:7} {} samples: float right {float}, integer right {integer}, same class {same}, \
             largest logit error {error:.3}",
            shipped.name,
            samples.len(),
        );
        println!(
            "        graph {} B, module {} B, fuel {}, graph hash {}",
            model.graph.encode().len(),
            model.module.bytes.len(),
            model.module.fuel,
            model.graph_hash,
        );
    }
    Ok(())
}
