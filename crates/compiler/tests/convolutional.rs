//! Two trained convolutional networks, in files as exporters of frameworks write them: batch norm,
//! depthwise and grouped convolutions, a residual sum, shapes computed by nodes, activations taken
//! apart. Held against onnxruntime's answers on samples that nothing was trained or calibrated with.

#![allow(clippy::unwrap_used, reason = "a test's helpers")]

use subrosa_compiler::{
    ImportOptions, InputScale, ModelSource, Report, import, import_onnx, shipped,
};

struct Network {
    name: &'static str,
    onnx: &'static [u8],
    logits: &'static str,
}

const NETWORKS: [Network; 2] = [
    Network {
        name: "convolution",
        onnx: include_bytes!("../../../models/convolution/model.onnx"),
        logits: include_str!("../../../models/convolution/logits.csv"),
    },
    Network {
        name: "depthwise",
        onnx: include_bytes!("../../../models/depthwise/model.onnx"),
        logits: include_str!("../../../models/depthwise/logits.csv"),
    },
];

fn place_of_largest(row: &[f64]) -> usize {
    let better = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
    (0..row.len()).reduce(better).unwrap()
}

/// Some of the samples that the importer would calibrate with.
fn calibration() -> Vec<Vec<f32>> {
    shipped()[1].calibration().into_iter().take(60).collect()
}

fn options() -> ImportOptions {
    ImportOptions {
        input_scale: InputScale::Shared,
        ..ImportOptions::default()
    }
}

impl Network {
    fn logits(&self) -> Vec<Vec<f64>> {
        let rows = self.logits.lines().skip(1);
        rows.map(|row| row.split(',').map(|x| x.parse().unwrap()).collect())
            .collect()
    }
}

#[test]
fn they_answer_as_onnxruntime_does() {
    let digits = &shipped()[1];
    for network in NETWORKS {
        let imported = import_onnx(network.onnx, &calibration(), &options()).unwrap();
        let (samples, logits) = (digits.samples(), network.logits());
        assert_eq!(samples.len(), logits.len());
        let (mut same, mut float_right, mut right) = (0, 0, 0);
        for (sample, meant) in samples.iter().zip(&logits) {
            let said = imported.float(&sample.input).unwrap();
            let close = said.iter().zip(meant).all(|(a, b)| (a - b).abs() < 1e-3);
            assert!(close, "{}: {said:?} {meant:?}", network.name);
            let input = imported.input.quantise(&sample.input).unwrap();
            let integers = imported.graph.run(&input).unwrap();
            let class = place_of_largest(&integers.iter().map(|&y| y.into()).collect::<Vec<_>>());
            same += usize::from(class == place_of_largest(meant));
            float_right += usize::from(place_of_largest(meant) == sample.class);
            right += usize::from(class == sample.class);
        }
        let all = samples.len();
        assert!(100 * same >= 99 * all, "{}: {same} of {all}", network.name);
        assert!(
            100 * right + all >= 100 * float_right,
            "{}: {right}",
            network.name
        );
    }
}

#[test]
fn the_import_reports_each_layer() {
    let digits = &shipped()[1];
    for network in NETWORKS {
        let calibration = calibration();
        let source = ModelSource {
            name: network.name,
            description: "Handwritten digit.",
            labels: digits.labels,
            onnx: network.onnx,
            calibration: &calibration,
            options: &options(),
        };
        let (model, report): (_, Report) = import(&source).unwrap();
        assert_eq!(report.nodes.len(), model.graph.nodes().len());
        assert!(report.reached && report.agreement == model.agreement);
        let layers: Vec<_> = report.nodes.iter().filter_map(|node| node.layer).collect();
        assert_eq!(
            layers.len(),
            if network.name == "convolution" { 3 } else { 6 }
        );
        assert!(
            layers
                .iter()
                .all(|layer| (1..1 << 30).contains(&layer.accumulator))
        );
        for node in &report.nodes {
            assert!(node.name.starts_with('/'), "{}", node.name);
            if let Some(error) = node.error {
                assert!(error.typical <= error.largest && error.typical < error.reach / 20.0);
            }
        }
        assert!(
            model.module.bytes.len() < 100_000,
            "{}",
            model.module.bytes.len()
        );
    }
}

#[test]
fn batch_norm_and_shapes_leave_nothing_behind() {
    let imported = import_onnx(NETWORKS[0].onnx, &calibration(), &options()).unwrap();
    let operators: Vec<&str> = imported
        .report
        .nodes
        .iter()
        .map(|node| node.operator)
        .collect();
    assert_eq!(
        operators,
        [
            "Conv",
            "Requantise",
            "Conv",
            "Requantise",
            "MaxPool",
            "Dense"
        ]
    );
}

#[test]
fn layers_are_widened_only_where_agreement_asks_for_it() {
    let coarse = |agreement_permille| {
        let options = ImportOptions {
            input_bits: 8,
            activation_bits: 3,
            weight_bits: 3,
            agreement_permille,
            ..options()
        };
        import_onnx(NETWORKS[1].onnx, &calibration(), &options).unwrap()
    };
    let (free, held) = (coarse(0).report, coarse(985).report);
    assert_eq!(free.widened().count(), 0);
    assert!(held.reached && held.agreement.same_class > free.agreement.same_class);
    assert!(held.widened().count() > 0);
    let wide = held.nodes.iter().filter_map(|node| node.layer);
    assert!(
        wide.filter(|layer| layer.widened)
            .all(|layer| layer.weight_bits > 3)
    );
}
