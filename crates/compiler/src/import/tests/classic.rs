//! Classic models: those that the repository keeps against what onnxruntime said of them, and files
//! as enemies make them.

use std::fs;
use std::path::{Path, PathBuf};

use graph::{Graph, Operator};
use rten_onnx::onnx::{
    AttributeProto, DataType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};

use super::super::{ImportError, ImportOptions, Imported, Unsupported, import_onnx};
use super::value;
use crate::Encoding;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/classic")
}

fn rows(name: &str) -> Vec<Vec<f32>> {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    let row = |line: &str| line.split(',').map(|x| x.parse().unwrap()).collect();
    text.lines().skip(1).map(row).collect()
}

fn kept(name: &str) -> Imported {
    let onnx = fs::read(folder().join(format!("{name}.onnx"))).unwrap();
    let set = name.split('-').next().unwrap();
    let calibration = rows(&format!("{set}.calibration.csv"));
    import_onnx(&onnx, &calibration, &ImportOptions::default()).unwrap()
}

/// Runs a kept model on its held-out samples: what it says, and what onnxruntime said.
fn held_out(name: &str, model: &Imported) -> Vec<(Vec<i32>, f32)> {
    let set = name.split('-').next().unwrap();
    let samples = rows(&format!("{set}.samples.csv"));
    let golden = rows(&format!("{name}.golden.csv"));
    assert_eq!(samples.len(), golden.len());
    let run = |(sample, golden): (&Vec<f32>, &Vec<f32>)| {
        let input = model.input.quantise(&sample[1..]).unwrap();
        (model.graph.run(&input).unwrap(), golden[0])
    };
    samples.iter().zip(&golden).map(run).collect()
}

fn has_trees(graph: &Graph) -> bool {
    let tree = |operator: &Operator| matches!(operator, Operator::TreeEnsemble(_));
    graph.nodes().iter().any(|node| tree(&node.operator))
}

#[test]
fn kept_classifiers_say_what_onnxruntime_says() {
    let mut names = Vec::new();
    for name in [
        "digits-logistic-pca",
        "gaps-histogram",
        "gaps-imputed-logistic",
        "iris-forest-small",
        "tumour-histogram",
        "tumour-logistic-scaled",
        "tumour-svc-scaled",
        "wine-forest-scaled",
        "wine-linearsvc",
        "wine-svc-minmax",
    ] {
        let model = kept(name);
        let said = held_out(name, &model);
        let same = |(output, golden): &&(Vec<i32>, f32)| {
            model.output.class(output) == Some(*golden as usize)
        };
        let same = said.iter().filter(same).count();
        let enough = if has_trees(&model.graph) {
            said.len()
        } else {
            said.len() * 99 / 100
        };
        assert!(same >= enough, "{name}: {same} of {}", said.len());
        names.push(model.output.labels.len());
    }
    assert_eq!(names, [10, 3, 3, 3, 2, 2, 2, 3, 3, 3]);
}

#[test]
fn kept_regressors_come_as_near_as_they_should() {
    for (name, most) in [
        ("diabetes-boosting", 1e-4),
        ("diabetes-ridge-minmax", 0.02),
        ("diabetes-svr-scaled", 0.02),
        // Every comparison, on numbers that are equal to thresholds, missing, infinite, tiny.
        ("modes-listed", 1e-5),
        ("modes-rooted", 1e-5),
    ] {
        let model = kept(name);
        let scale = f64::from(model.output.scale);
        let said: Vec<(f64, f64)> = held_out(name, &model)
            .iter()
            .map(|(output, golden)| (f64::from(output[0]) * scale, f64::from(*golden)))
            .collect();
        let golden = || said.iter().map(|(_, golden)| *golden);
        let range = golden().fold(f64::MIN, f64::max) - golden().fold(f64::MAX, f64::min);
        let errors = || said.iter().map(|(y, golden)| (y - golden).abs() / range);
        let mean = errors().sum::<f64>() / said.len() as f64;
        assert!(errors().fold(0.0, f64::max) <= most, "{name}");
        assert!(mean <= most / 4.0, "{name}: {mean}");
    }
}

#[test]
fn trees_take_numbers_as_they_are_and_missing_ones_where_the_model_says() {
    let ends = |name: &str| {
        let input = kept(name).input;
        assert_eq!(input.encoding, Encoding::Ordered);
        (
            input
                .quantise(&vec![f32::NAN; input.elements as usize])
                .is_ok(),
            input.hi,
        )
    };
    assert_eq!(ends("gaps-histogram"), (true, i32::MAX));
    assert_eq!(ends("iris-forest-small"), (false, 2_139_095_040));
}

#[test]
fn an_imputer_stands_in_at_the_askers_side() {
    let input = kept("gaps-imputed-logistic").input;
    assert_eq!(
        (input.encoding, input.missing.len()),
        (Encoding::Scaled, 13)
    );
    let known = input.quantise(&input.missing).unwrap();
    assert_eq!(input.quantise(&[f32::NAN; 13]), Ok(known));
}

#[test]
fn the_label_may_be_asked_for_by_name() {
    let onnx = fs::read(folder().join("iris-forest-small.onnx")).unwrap();
    let options = ImportOptions {
        output: Some("label".to_owned()),
        ..ImportOptions::default()
    };
    let calibration = rows("iris.calibration.csv");
    let model = import_onnx(&onnx, &calibration, &options).unwrap();
    assert_eq!(model.output.elements, 1);
    for (output, golden) in held_out("iris-forest-small", &model) {
        assert_eq!(output[0], golden as i32);
    }
}

fn attribute(name: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        ..AttributeProto::default()
    }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        ints: ints.to_vec(),
        ..attribute(name)
    }
}

fn numbers(name: &str, floats: &[f32]) -> AttributeProto {
    AttributeProto {
        floats: floats.to_vec(),
        ..attribute(name)
    }
}

fn texts(name: &str, texts: &[&str]) -> AttributeProto {
    AttributeProto {
        strings: texts.iter().map(|&text| text.to_owned()).collect(),
        ..attribute(name)
    }
}

fn classic(operator: &str, attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        domain: Some("ai.onnx.ml".to_owned()),
        attribute: attributes,
        ..super::node(operator, &["x"], "y")
    }
}

fn alone(node: NodeProto) -> ModelProto {
    behind(vec![], node)
}

fn behind(mut before: Vec<NodeProto>, node: NodeProto) -> ModelProto {
    before.push(node);
    let output: ValueInfoProto = value("y", 1);
    ModelProto {
        graph: Some(GraphProto {
            node: before,
            input: vec![value("x", 2)],
            output: vec![output],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn import(model: &ModelProto) -> Result<Imported, ImportError> {
    let samples = vec![vec![0.0, 1.0], vec![2.0, -1.0]];
    let bytes = model.write_buf().unwrap();
    import_onnx(&bytes, &samples, &ImportOptions::default())
}

fn why(model: &ModelProto) -> Unsupported {
    match import(model).unwrap_err() {
        ImportError::Unsupported { node, why } => {
            assert_eq!(node.as_str(), "the_y_node");
            assert!(!why.to_string().contains('\n'));
            why
        }
        other => panic!("{other}"),
    }
}

/// `x_0 <= 0.5 ? 1 : 2`, with attribute `changed` in place of its namesake.
fn stump(changed: Option<AttributeProto>) -> NodeProto {
    let mut attributes = vec![
        ints("nodes_treeids", &[0, 0, 0]),
        ints("nodes_nodeids", &[0, 1, 2]),
        ints("nodes_featureids", &[0, 0, 0]),
        texts("nodes_modes", &["BRANCH_LEQ", "LEAF", "LEAF"]),
        numbers("nodes_values", &[0.5, 0.0, 0.0]),
        ints("nodes_truenodeids", &[1, 0, 0]),
        ints("nodes_falsenodeids", &[2, 0, 0]),
        ints("target_treeids", &[0, 0]),
        ints("target_nodeids", &[1, 2]),
        ints("target_ids", &[0, 0]),
        numbers("target_weights", &[1.0, 2.0]),
    ];
    if let Some(changed) = changed {
        attributes.retain(|attribute| attribute.name != changed.name);
        attributes.push(changed);
    }
    classic("TreeEnsembleRegressor", attributes)
}

#[test]
fn a_stump_asks_its_one_question() {
    let model = import(&alone(stump(None))).unwrap();
    let says = |x: f32| {
        let input = model.input.quantise(&[x, 0.0]).unwrap();
        let y = model.graph.run(&input).unwrap()[0];
        f64::from(y) * f64::from(model.output.scale)
    };
    assert_eq!(says(0.5), 1.0);
    assert_eq!(says(0.500_000_06), 2.0);
    assert_eq!((says(f32::NEG_INFINITY), says(f32::INFINITY)), (1.0, 2.0));
}

#[test]
fn what_is_no_tree_is_refused_by_name() {
    let why = |changed| why(&alone(stump(Some(changed))));
    let shape = Unsupported::TreeShape;
    let (node, lengths) = (Unsupported::TreeNode, Unsupported::Lengths);
    // A cycle; a child of two parents; two roots; children that are not there; a node named twice.
    assert_eq!(why(ints("nodes_truenodeids", &[0, 0, 0])), shape);
    assert_eq!(why(ints("nodes_truenodeids", &[2, 0, 0])), shape);
    assert_eq!(why(texts("nodes_modes", &["LEAF"; 3])), shape);
    assert_eq!(why(ints("nodes_truenodeids", &[3, 0, 0])), node);
    assert_eq!(why(ints("nodes_truenodeids", &[-1, 0, 0])), node);
    assert_eq!(why(ints("nodes_truenodeids", &[1_000_000_000, 0, 0])), node);
    assert_eq!(why(ints("nodes_nodeids", &[0, 1, 1])), node);
    // Features, outputs and leaves that are not there.
    assert_eq!(why(ints("nodes_featureids", &[2, 0, 0])), node);
    assert_eq!(why(ints("nodes_featureids", &[i64::MAX, 0, 0])), node);
    assert_eq!(why(ints("target_ids", &[0, 1])), node);
    assert_eq!(why(ints("target_nodeids", &[1, 0])), node);
    // Lists that do not fit each other.
    assert_eq!(why(ints("nodes_featureids", &[0])), lengths);
    assert_eq!(why(numbers("nodes_values", &[0.5])), lengths);
    assert_eq!(why(texts("nodes_modes", &[])), lengths);
    assert_eq!(why(ints("nodes_missing_value_tracks_true", &[1])), lengths);
    assert_eq!(why(numbers("target_weights", &[1.0])), lengths);
    assert_eq!(why(ints("nodes_treeids", &[])), lengths);
    assert_eq!(
        why(numbers("nodes_values", &[f32::NAN; 3])),
        Unsupported::Threshold
    );
    let infinite = numbers("target_weights", &[1.0, f32::INFINITY]);
    assert_eq!(why(infinite), Unsupported::NotFinite);
    let largest = AttributeProto {
        s: Some("MAX".to_owned()),
        ..attribute("aggregate_function")
    };
    assert_eq!(why(largest), Unsupported::Aggregate);
    let outputs = AttributeProto {
        i: Some(1_000_000_000),
        ..attribute("n_targets")
    };
    assert_eq!(why(outputs), lengths);
}

#[test]
fn a_tensor_that_claims_a_thousand_million_nodes_is_refused() {
    let claimed = TensorProto {
        name: Some("t".to_owned()),
        dims: vec![1_000_000_000],
        data_type: Some(DataType::FLOAT),
        float_data: vec![0.5],
        ..TensorProto::default()
    };
    let values = AttributeProto {
        t: Some(claimed),
        ..attribute("nodes_values_as_tensor")
    };
    let error = import(&alone(stump(Some(values)))).unwrap_err();
    assert!(matches!(error, ImportError::BadTensor { .. }), "{error}");
}

#[test]
fn trees_behind_what_cannot_be_undone_are_refused() {
    let mut square = super::node("Mul", &["x", "x"], "s");
    square.name = Some("square".to_owned());
    let mut trees = stump(None);
    trees.input = vec!["s".to_owned()];
    assert_eq!(why(&behind(vec![square], trees)), Unsupported::TreeInput);
}

#[test]
fn linear_models_and_machines_with_odd_lists_are_refused() {
    let linear = |coefficients: &[f32], intercepts: &[f32], labels: &[i64]| {
        classic(
            "LinearClassifier",
            vec![
                numbers("coefficients", coefficients),
                numbers("intercepts", intercepts),
                ints("classlabels_ints", labels),
            ],
        )
    };
    let refused = |node: NodeProto| {
        let mut node = node;
        node.output = vec!["y".to_owned(), "z".to_owned()];
        why(&alone(node))
    };
    assert_eq!(
        refused(linear(&[1.0; 4], &[0.0; 2], &[0])),
        Unsupported::Labels
    );
    assert_eq!(
        refused(linear(&[1.0; 4], &[0.0; 2], &[0, 1, 2])),
        Unsupported::Lengths
    );
    assert_eq!(
        refused(linear(&[1.0; 3], &[0.0; 2], &[0, 1])),
        Unsupported::Shape
    );
    assert_eq!(
        refused(linear(&[f32::NAN; 4], &[0.0; 2], &[0, 1])),
        Unsupported::NotFinite
    );
    let machine = |kernel: &str, vectors: &[f32], counts: &[i64], rho: &[f32]| {
        let kernel = AttributeProto {
            s: Some(kernel.to_owned()),
            ..attribute("kernel_type")
        };
        classic(
            "SVMClassifier",
            vec![
                kernel,
                numbers("kernel_params", &[0.5, 0.0, 3.0]),
                numbers("support_vectors", vectors),
                numbers("coefficients", &[1.0, -1.0]),
                ints("vectors_per_class", counts),
                numbers("rho", rho),
                ints("classlabels_ints", &[0, 1]),
            ],
        )
    };
    assert_eq!(
        refused(machine("POLY", &[0.0; 4], &[1, 1], &[0.0])),
        Unsupported::Kernel
    );
    let lengths = Unsupported::Lengths;
    assert_eq!(refused(machine("RBF", &[0.0; 3], &[1, 1], &[0.0])), lengths);
    assert_eq!(refused(machine("RBF", &[0.0; 4], &[1, 2], &[0.0])), lengths);
    assert_eq!(
        refused(machine("RBF", &[0.0; 4], &[i64::MAX, i64::MAX], &[0.0])),
        lengths
    );
    assert_eq!(
        refused(machine("RBF", &[0.0; 4], &[-1, 3], &[0.0])),
        lengths
    );
    assert_eq!(refused(machine("RBF", &[0.0; 4], &[1, 1], &[])), lengths);
}

#[test]
fn files_that_are_off_by_a_byte_end_in_an_error_or_a_model() {
    let calibration = rows("wine.calibration.csv");
    let files = ["wine-linearsvc", "wine-svc-minmax", "modes-rooted"];
    let files = files.map(|name| fs::read(folder().join(format!("{name}.onnx"))).unwrap());
    let small = vec![vec![0.5; 4]; 2];
    bolero::check!()
        .with_type::<(u8, [(u16, u8); 3])>()
        .for_each(|(file, changes)| {
            let place = usize::from(file % 3);
            let mut bytes = files[place].clone();
            for &(at, byte) in changes {
                let at = usize::from(at) % bytes.len();
                bytes[at] = byte;
            }
            let samples = if place == 2 { &small } else { &calibration };
            let _ = import_onnx(&bytes, samples, &ImportOptions::default());
        });
}

#[test]
fn lists_of_any_numbers_end_in_an_error_or_a_tree() {
    bolero::check!()
        .with_type::<(Vec<[i8; 5]>, Vec<[i8; 3]>)>()
        .for_each(|(nodes, leaves)| {
            let column = |place: usize| -> Vec<i64> {
                nodes
                    .iter()
                    .map(|node| i64::from(node[place]) % 16)
                    .collect()
            };
            let leaf = |place: usize| -> Vec<i64> {
                leaves
                    .iter()
                    .map(|leaf| i64::from(leaf[place]) % 16)
                    .collect()
            };
            let modes = ["BRANCH_LEQ", "LEAF", "BRANCH_EQ", "BRANCH_GT"];
            let modes: Vec<&str> = nodes
                .iter()
                .map(|node| modes[node[4].unsigned_abs() as usize % 4])
                .collect();
            let floats = |ints: &[i64]| ints.iter().map(|&i| i as f32).collect::<Vec<f32>>();
            let node = classic(
                "TreeEnsembleRegressor",
                vec![
                    ints(
                        "nodes_treeids",
                        &column(0).iter().map(|i| i / 8).collect::<Vec<_>>(),
                    ),
                    ints(
                        "nodes_nodeids",
                        &(0..nodes.len() as i64).collect::<Vec<_>>(),
                    ),
                    ints(
                        "nodes_featureids",
                        &column(3).iter().map(|i| i & 1).collect::<Vec<_>>(),
                    ),
                    texts("nodes_modes", &modes),
                    numbers("nodes_values", &floats(&column(3))),
                    ints("nodes_truenodeids", &column(1)),
                    ints("nodes_falsenodeids", &column(2)),
                    ints(
                        "target_treeids",
                        &leaf(0).iter().map(|i| i / 8).collect::<Vec<_>>(),
                    ),
                    ints("target_nodeids", &leaf(1)),
                    ints("target_ids", &vec![0; leaves.len()]),
                    numbers("target_weights", &floats(&leaf(2))),
                ],
            );
            if let Ok(model) = import(&alone(node)) {
                let input = model.input.quantise(&[0.5, -3.0]).unwrap();
                assert_eq!(model.graph.run(&input).unwrap().len(), 1);
            }
        });
}
