//! Files as enemies make them: each ends in its named error.

use graph::GraphError;
use rten_onnx::onnx::{
    AttributeProto, DataLocation, DataType, ModelProto, NodeProto, StringStringEntryProto,
};

use super::super::budget::Budget;
use super::super::{ImportError, ImportOptions, Unsupported, import_onnx, scan};
use super::{file, floats, import, integers, node, refused, samples, simple, value, with_int};

#[test]
fn an_unknown_operator_is_refused_with_its_node() {
    let error = refused(&file(vec![node("Einsum", &["x"], "y")], vec![]));
    let text = error.to_string();
    assert_eq!(
        text,
        "node \"the_y_node\": operator \"Einsum\" is not supported"
    );
    let mut foreign = node("Gemm", &["x", "w"], "y");
    foreign.domain = Some("com.example".to_owned());
    let error = refused(&file(vec![foreign], vec![]));
    assert!(matches!(error, ImportError::UnknownOperator { .. }));
}

#[test]
fn names_from_a_file_move_no_cursor() {
    let mut evil = node("\x1b[2J", &["x"], "y");
    evil.name = Some("a\r\n".repeat(999));
    let text = refused(&file(vec![evil], vec![])).to_string();
    assert!(text.chars().all(|c| c.is_ascii_graphic() || c == ' ') && text.len() < 160);
}

#[test]
fn nodes_that_the_output_does_not_need_are_not_read() {
    let mut model = simple();
    let graph = model.graph.as_mut().unwrap();
    graph.node.push(node("Einsum", &["x"], "z"));
    assert!(import(&model).is_ok());
    model.graph.as_mut().unwrap().output.push(value("z", 2));
    assert_eq!(refused(&model), ImportError::OutputCount { count: 2 });
    let options = ImportOptions {
        output: Some("y".to_owned()),
        ..ImportOptions::default()
    };
    let bytes = model.write_buf().unwrap();
    assert!(import_onnx(&bytes, &samples(), &options).is_ok());
}

#[test]
fn a_cycle_is_refused() {
    let model = file(
        vec![
            node("Relu", &["q"], "p"),
            node("Relu", &["p"], "q"),
            node("Add", &["x", "q"], "y"),
        ],
        vec![],
    );
    assert!(matches!(refused(&model), ImportError::Cycle { .. }));
}

#[test]
fn duplicate_names_are_refused() {
    let twice = vec![node("Gemm", &["x", "w"], "y"), node("Relu", &["x"], "y")];
    let constants = floats("w", &[1], &[0.0]);
    for model in [
        file(twice, vec![]),
        file(vec![node("Gemm", &["x", "w"], "y")], vec![constants]),
        file(
            vec![node("Relu", &["x"], "w"), node("Gemm", &["x", "w"], "y")],
            vec![],
        ),
        file(
            vec![node("Relu", &["x"], "x"), node("Gemm", &["x", "w"], "y")],
            vec![],
        ),
    ] {
        assert!(matches!(refused(&model), ImportError::DuplicateName { .. }));
    }
}

#[test]
fn a_value_that_nothing_makes_is_refused() {
    let error = refused(&file(vec![node("Relu", &["ghost"], "y")], vec![]));
    assert_eq!(
        error.to_string(),
        "node \"the_y_node\": there is no value \"ghost\""
    );
}

#[test]
fn external_data_is_refused_and_no_file_is_opened() {
    let mut model = simple();
    let tensor = &mut model.graph.as_mut().unwrap().initializer[0];
    tensor.raw_data = None;
    tensor.data_location = Some(DataLocation::EXTERNAL);
    tensor.external_data.push(StringStringEntryProto {
        key: Some("location".to_owned()),
        value: Some("../../etc/passwd".to_owned()),
    });
    assert!(matches!(refused(&model), ImportError::ExternalData { .. }));
}

#[test]
fn dimensions_that_do_not_fit_their_bytes_are_refused() {
    for dims in [
        vec![i64::MAX, 2],
        vec![i64::MAX, i64::MAX],
        vec![-1, 4],
        vec![1_000_000_000],
        vec![2, 3],
        vec![1; 9],
    ] {
        let mut model = simple();
        model.graph.as_mut().unwrap().initializer[0].dims = dims;
        assert!(matches!(refused(&model), ImportError::BadTensor { .. }));
    }
    let mut model = simple();
    model.graph.as_mut().unwrap().initializer[0].data_type = Some(DataType::DOUBLE);
    assert!(matches!(refused(&model), ImportError::BadTensor { .. }));
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let tensor = floats("n", &[2, 2], &[0.0, bad, 1.0, 2.0]);
        let model = file(vec![node("Gemm", &["x", "n"], "y")], vec![tensor]);
        assert!(matches!(refused(&model), ImportError::NotFinite { .. }));
    }
    let mut gemm = node("Gemm", &["x", "w"], "y");
    gemm.attribute.push(AttributeProto {
        name: Some("alpha".to_owned()),
        f: Some(f32::MAX),
        ..AttributeProto::default()
    });
    let why = Unsupported::NotFinite;
    let error = refused(&file(vec![gemm], vec![]));
    assert!(matches!(error, ImportError::Unsupported { why: w, .. } if w == why));
}

#[test]
fn a_huge_weight_overflows_no_accumulator() {
    let huge = floats("h", &[2], &[f32::MAX, f32::MAX]);
    let model = file(vec![node("Gemm", &["x", "w", "h"], "y")], vec![huge]);
    let error = refused(&model);
    let graph = ImportError::Graph(GraphError::AccumulatorOverflow { node: 0 });
    let no_scale = matches!(error, ImportError::NoScale { .. });
    assert!(no_scale || error == graph, "{error}");
}

#[test]
fn one_constant_used_by_many_layers_is_not_copied_without_end() {
    let side = 2048;
    let data = vec![0.0; side * side];
    let shape = [side as i64, side as i64];
    let names: Vec<String> = (0..32).map(|i| format!("v{i}")).collect();
    let mut nodes = vec![node("MatMul", &["x", "big"], &names[0])];
    for pair in names.windows(2) {
        nodes.push(node("MatMul", &[&pair[0], "big"], &pair[1]));
    }
    nodes.push(node("Identity", &["v31"], "y"));
    let mut model = file(nodes, vec![floats("big", &shape, &data)]);
    model.graph.as_mut().unwrap().input = vec![value("x", side as i64)];
    let error = refused(&model);
    let why = Unsupported::TooLarge;
    assert!(
        matches!(error, ImportError::Unsupported { why: w, .. } if w == why),
        "{error}"
    );
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let models = [
        file(
            vec![node("Gemm", &["x", "t"], "y")],
            vec![floats("t", &[3, 1], &[0.0; 3])],
        ),
        file(vec![node("MatMul", &["x", "b"], "y")], vec![]),
        file(
            vec![node("Gemm", &["x", "w", "t"], "y")],
            vec![floats("t", &[3], &[0.0; 3])],
        ),
        file(
            vec![node("Reshape", &["x", "s"], "y")],
            vec![integers("s", &[-1, 3])],
        ),
    ];
    for model in models {
        let error = refused(&model);
        let why = Unsupported::Shape;
        assert!(
            matches!(error, ImportError::Unsupported { why: w, .. } if w == why),
            "{error}"
        );
    }
}

#[test]
fn a_softmax_in_the_middle_is_refused() {
    let model = file(
        vec![node("Softmax", &["x"], "s"), node("Gemm", &["s", "w"], "y")],
        vec![],
    );
    let error = refused(&model);
    let why = Unsupported::NotAtEnd;
    assert!(
        matches!(error, ImportError::Unsupported { why: w, .. } if w == why),
        "{error}"
    );
}

#[test]
fn bad_calibration_is_refused() {
    let bytes = simple().write_buf().unwrap();
    let calibrate =
        |samples: &[Vec<f32>]| import_onnx(&bytes, samples, &ImportOptions::default()).unwrap_err();
    assert_eq!(calibrate(&[]), ImportError::NoCalibration);
    let short = calibrate(&[vec![0.0, 1.0], vec![0.0]]);
    assert_eq!(short.to_string(), "sample 2: expected 2 numbers, got 1");
    let nan = calibrate(&[vec![0.0, f32::NAN]]);
    assert_eq!(nan.to_string(), "sample 1: number 2 is not finite");
}

#[test]
fn bits_out_of_range_are_refused() {
    let bytes = simple().write_buf().unwrap();
    let options = ImportOptions {
        weight_bits: 17,
        ..ImportOptions::default()
    };
    let error = import_onnx(&bytes, &samples(), &options).unwrap_err();
    assert_eq!(error, ImportError::BadOptions);
}

#[test]
fn shapes_of_any_size_allocate_nothing() {
    let huge = [1 << 40, i64::MAX, 3_000_000_000];
    for size in huge {
        let nodes = [
            ("ConstantOfShape", vec!["s"]),
            ("Expand", vec!["x", "s"]),
            ("Reshape", vec!["x", "s"]),
            ("Pad", vec!["x", "p"]),
            ("Range", vec!["zero", "s", "one"]),
        ];
        for (operator, inputs) in nodes {
            let nodes = vec![
                node(operator, &inputs, "big"),
                node("Add", &["x", "big"], "y"),
            ];
            let constants = vec![
                integers("s", &[size]),
                integers("p", &[0, size, 0, size]),
                integers("zero", &[0]),
                integers("one", &[1]),
            ];
            let error = refused(&file(nodes, constants));
            let why = [Unsupported::TooLarge, Unsupported::Shape];
            let named =
                matches!(&error, ImportError::Unsupported { why: w, .. } if why.contains(w));
            assert!(
                named && error.to_string().contains("the_big_node"),
                "{operator}: {error}"
            );
        }
    }
}

#[test]
fn values_that_double_and_double_are_refused_in_time() {
    let names: Vec<String> = (0..64).map(|i| format!("v{i}")).collect();
    let mut nodes = vec![node("Concat", &["x", "x"], "v0")];
    for pair in names.windows(2) {
        nodes.push(node("Concat", &[&pair[0], &pair[0]], &pair[1]));
    }
    nodes.push(node("Relu", &["v63"], "y"));
    let nodes = nodes.into_iter().map(|node| match node.op_type.as_deref() {
        Some("Concat") => with_int(node, "axis", 1),
        _ => node,
    });
    let error = refused(&file(nodes.collect(), vec![]));
    let why = Unsupported::TooLarge;
    assert!(
        matches!(error, ImportError::Unsupported { why: w, .. } if w == why),
        "{error}"
    );
}

#[test]
fn windows_of_any_size_are_refused() {
    let attribute = |mut node: NodeProto, name: &str, values: &[i64]| {
        node.attribute.push(AttributeProto {
            name: Some(name.to_owned()),
            ints: values.to_vec(),
            ..AttributeProto::default()
        });
        node
    };
    for (name, values) in [
        ("pads", [i64::MAX; 4].as_slice()),
        ("pads", &[1 << 16; 4]),
        ("pads", &[-1, 0, 0, 0]),
        ("pads", &[0; 3]),
        ("strides", &[0, 1]),
        ("strides", &[1 << 40, 1]),
        ("dilations", &[-2, 1]),
        ("dilations", &[9, 9]),
        ("kernel_shape", &[1, 1]),
    ] {
        let conv = attribute(node("Conv", &["i", "k"], "y"), name, values);
        let nodes = vec![node("Reshape", &["x", "s"], "i"), conv];
        let constants = vec![
            integers("s", &[1, 1, 1, 2]),
            floats("k", &[1, 1, 1, 2], &[1.0, 2.0]),
        ];
        let error = refused(&file(nodes, constants));
        assert!(
            error.to_string().contains("the_y_node"),
            "{name} {values:?}: {error}"
        );
    }
    for group in [0, -1, 2, i64::MIN, i64::MAX] {
        let conv = with_int(node("Conv", &["i", "k"], "y"), "group", group);
        let nodes = vec![node("Reshape", &["x", "s"], "i"), conv];
        let constants = vec![
            integers("s", &[1, 1, 1, 2]),
            floats("k", &[1, 1, 1, 2], &[1.0, 2.0]),
        ];
        assert!(import(&file(nodes, constants)).is_err());
    }
}

#[test]
fn an_import_keeps_to_its_memory() {
    let side = 512;
    let data = vec![0.5; side * side];
    let big = floats("big", &[side as i64, side as i64], &data);
    let mut model = file(vec![node("MatMul", &["x", "big"], "y")], vec![big]);
    model.graph.as_mut().unwrap().input = vec![value("x", side as i64)];
    let bytes = model.write_buf().unwrap();
    let with = |memory| {
        let options = ImportOptions {
            memory,
            ..ImportOptions::default()
        };
        import_onnx(&bytes, &[vec![1.0; side]], &options).map(|_| ())
    };
    // A megabyte of weights: the file again, its floats, four times as much to quantise them.
    assert_eq!(with(1 << 19), Err(ImportError::TooManyParts));
    let tensor = with(3 << 19);
    assert!(
        matches!(tensor, Err(ImportError::OverBudget { .. })),
        "{tensor:?}"
    );
    let why = Unsupported::TooLarge;
    let layer = with(5 << 20);
    assert!(
        matches!(&layer, Err(ImportError::Unsupported { why: w, .. }) if *w == why),
        "{layer:?}"
    );
    assert_eq!(with(8 << 20), Ok(()));
}

/// A file of a few hundred bytes that asks for 2^27 products before anything is calibrated, or as
/// many a sample.
fn endless(folds: bool) -> ModelProto {
    let mut ones = node("ConstantOfShape", &["square"], "ones");
    ones.attribute.push(AttributeProto {
        name: Some("value".to_owned()),
        t: Some(floats("", &[1], &[1.0])),
        ..AttributeProto::default()
    });
    let nodes = if folds {
        vec![
            ones,
            node("MatMul", &["ones", "ones"], "squared"),
            node("MatMul", &["x", "squared"], "y"),
        ]
    } else {
        vec![
            node("Reshape", &["x", "planes"], "i"),
            node("Conv", &["i", "kernel"], "y"),
        ]
    };
    let mut model = file(
        nodes,
        vec![
            integers("square", &[512, 512]),
            integers("planes", &[1, 1, 512, 512]),
            floats("kernel", &[1, 1, 32, 32], &[0.5; 32 * 32]),
        ],
    );
    let elements = if folds { 512 } else { 512 * 512 };
    model.graph.as_mut().unwrap().input = vec![value("x", elements)];
    model
}

#[test]
fn an_import_keeps_to_its_work() {
    for (folds, elements) in [(true, 512), (false, 512 * 512)] {
        let bytes = endless(folds).write_buf().unwrap();
        let most = 1 << 26;
        let options = ImportOptions {
            work: most,
            ..ImportOptions::default()
        };
        let refused = import_onnx(&bytes, &[vec![1.0; elements]], &options).map(|_| ());
        assert_eq!(refused, Err(ImportError::OverWork { most }));
    }
}

#[test]
fn the_same_file_and_samples_take_the_same_work() {
    let bytes = simple().write_buf().unwrap();
    let with = |work| {
        let options = ImportOptions {
            work,
            ..ImportOptions::default()
        };
        import_onnx(&bytes, &samples(), &options).is_ok()
    };
    let enough = (0..1 << 16).find(|&work| with(work)).unwrap();
    assert!(enough > samples().len() as u64);
    assert!((0..8).all(|_| with(enough) && !with(enough - 1)));
}

#[test]
fn constants_that_fold_to_nothing_finite_are_refused() {
    let zero = || floats("z", &[2], &[0.0, 1.0]);
    for nodes in [
        vec![node("Div", &["x", "z"], "y")],
        vec![node("Log", &["z"], "l"), node("Mul", &["x", "l"], "y")],
        vec![node("Div", &["z", "z"], "n"), node("Add", &["x", "n"], "y")],
    ] {
        let error = refused(&file(nodes, vec![zero()]));
        let why = Unsupported::NotFinite;
        assert!(
            matches!(error, ImportError::Unsupported { why: w, .. } if w == why),
            "{error}"
        );
    }
}

/// Length-delimited field `number`.
fn message(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(content);
    bytes
}

#[test]
fn graphs_inside_graphs_do_not_recurse() {
    // attribute.g -> graph.node -> node.attribute -> attribute.g ...
    let mut nested = Vec::new();
    for _ in 0..100_000 {
        // Only the innermost levels need true lengths; the scan stops at the first.
        nested = message(5, &message(6, &message(1, &nested[..nested.len().min(64)])));
    }
    let bytes = message(7, &message(1, &nested));
    let error = import_onnx(&bytes, &samples(), &ImportOptions::default()).unwrap_err();
    let what = "graphs inside nodes";
    assert_eq!(error, ImportError::NotSupported { what });
}

#[test]
fn lengths_beyond_the_file_allocate_nothing() {
    let huge = [0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    // A string of 2^63 bytes inside a node; a packed number that runs past its list.
    let in_node = message(7, &message(1, &huge));
    let packed = message(7, &message(5, &message(1, &[0x80])));
    for bytes in [huge.to_vec(), in_node, packed] {
        // Not left to the parser: it would believe the length.
        let mut budget = Budget::new(1 << 30);
        assert_eq!(scan::scan(&bytes, &mut budget), Err(ImportError::Malformed));
        let error = import_onnx(&bytes, &samples(), &ImportOptions::default()).unwrap_err();
        assert_eq!(error, ImportError::Malformed);
    }
}

#[test]
fn too_many_parts_are_refused() {
    let nodes = message(1, &[]).repeat(1 << 17);
    let error = import_onnx(&message(7, &nodes), &samples(), &ImportOptions::default());
    assert_eq!(error.unwrap_err(), ImportError::TooManyParts);
}

#[test]
fn no_bytes_make_the_importer_panic() {
    let conv = node("Conv", &["i", "k"], "c");
    let window = vec![
        node("Reshape", &["x", "s"], "i"),
        conv,
        node("Sigmoid", &["c"], "g"),
        node("Mul", &["c", "g"], "m"),
        with_int(node("Concat", &["m", "i"], "j"), "axis", 1),
        with_int(node("Flatten", &["j"], "f"), "axis", 1),
        node("Slice", &["f", "one", "two", "one"], "y"),
    ];
    let constants = vec![
        integers("s", &[1, 1, 1, 2]),
        integers("one", &[1]),
        integers("two", &[3]),
        floats("k", &[1, 1, 1, 1], &[2.0]),
    ];
    let windows = file(window, constants);
    assert!(import(&windows).is_ok());
    let real = [simple().write_buf().unwrap(), windows.write_buf().unwrap()];
    let options = ImportOptions::default();
    let samples = vec![vec![1.0, -2.0]];
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = import_onnx(bytes, &samples, &options);
        // And the real files with a few bytes changed.
        for real in &real {
            let mut changed = real.clone();
            for (pair, step) in bytes.as_chunks::<2>().0.iter().zip(1..) {
                let place = (usize::from(pair[0]) * step) % changed.len();
                changed[place] = pair[1];
            }
            let _ = import_onnx(&changed, &samples, &options);
        }
    });
}
