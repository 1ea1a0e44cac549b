//! Files as exporters make them, and as enemies do.

use std::cell::RefCell;

use graph::{GraphError, Operator};
use rten_onnx::onnx::{
    AttributeProto, DataLocation, DataType, Dimension, GraphProto, ModelProto, NodeProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor,
    ValueInfoProto,
};

use super::{ImportError, ImportOptions, Imported, InputScale, Unsupported, import_onnx};

fn floats(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(DataType::FLOAT),
        raw_data: Some(RefCell::new(
            data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        )),
        ..TensorProto::default()
    }
}

fn integers(name: &str, data: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: vec![data.len() as i64],
        data_type: Some(DataType::INT64),
        int64_data: data.to_vec(),
        ..TensorProto::default()
    }
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: Some(format!("the_{output}_node")),
        op_type: Some(operator.to_owned()),
        input: inputs.iter().map(|&i| i.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn with_int(mut node: NodeProto, name: &str, value: i64) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.to_owned()),
        i: Some(value),
        ..AttributeProto::default()
    });
    node
}

fn value(name: &str, elements: i64) -> ValueInfoProto {
    let batch = Dimension {
        dim_param: Some("batch".to_owned()),
        ..Dimension::default()
    };
    let elements = Dimension {
        dim_value: Some(elements),
        ..Dimension::default()
    };
    let tensor = TypeProtoTensor {
        elem_type: Some(DataType::FLOAT),
        shape: Some(TensorShapeProto {
            dim: vec![batch, elements],
        }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor),
            ..TypeProto::default()
        }),
    }
}

/// A file from `x` (2 numbers) to `y`, over constants `w` (2 x 2), `b` (2) and what a test adds.
fn file(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> ModelProto {
    let mut initializer = vec![
        floats("w", &[2, 2], &[1.0, -2.0, 0.5, 3.0]),
        floats("b", &[2], &[0.25, -0.75]),
    ];
    initializer.extend(constants);
    ModelProto {
        graph: Some(GraphProto {
            node: nodes,
            initializer,
            input: vec![value("x", 2)],
            output: vec![value("y", 2)],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn samples() -> Vec<Vec<f32>> {
    let grid = [-2.0, -1.1, -0.3, 0.0, 0.4, 1.5, 2.0];
    let pair = |a: f32| grid.iter().map(move |&b| vec![a, b]);
    grid.into_iter().flat_map(pair).collect()
}

fn import(model: &ModelProto) -> Result<Imported, ImportError> {
    let bytes = model.write_buf().unwrap();
    import_onnx(&bytes, &samples(), &ImportOptions::default())
}

fn refused(model: &ModelProto) -> ImportError {
    import(model).unwrap_err()
}

fn simple() -> ModelProto {
    file(vec![node("Gemm", &["x", "w", "b"], "y")], vec![])
}

/// Integers and floats within `steps` of the output's own step.
fn agrees(imported: &Imported, steps: f64) {
    let agreement = imported.agreement(&samples()).unwrap();
    let bound = steps * f64::from(imported.output.scale);
    assert!(
        agreement.largest_error <= bound,
        "{agreement:?}, bound {bound}"
    );
}

#[test]
fn gemm_is_rows_times_x_plus_bias() {
    let imported = import(&simple()).unwrap();
    // x = (2, -1): columns of w are the outputs.
    let q = imported.input.quantise(&[2.0, -1.1]).unwrap();
    let y = imported.graph.run(&q).unwrap();
    let y = y.map(|y| f64::from(y) * f64::from(imported.output.scale));
    assert!((y[0] - (2.0 - 0.55 + 0.25)).abs() < 0.05, "{y:?}");
    assert!((y[1] - (-4.0 - 3.3 - 0.75)).abs() < 0.05, "{y:?}");
}

trait Map {
    fn map(self, f: impl Fn(i32) -> f64) -> Vec<f64>;
}

impl Map for Vec<i32> {
    fn map(self, f: impl Fn(i32) -> f64) -> Vec<f64> {
        self.into_iter().map(f).collect()
    }
}

#[test]
fn matmul_and_add_are_gemm() {
    let split = file(
        vec![
            node("MatMul", &["x", "w"], "m"),
            node("Add", &["b", "m"], "y"),
        ],
        vec![],
    );
    assert_eq!(
        import(&split).unwrap().graph,
        import(&simple()).unwrap().graph
    );
}

#[test]
fn a_transposed_gemm_is_the_same_layer() {
    let gemm = with_int(node("Gemm", &["x", "v", "b"], "y"), "transB", 1);
    let flipped = file(
        vec![gemm],
        vec![floats("v", &[2, 2], &[1.0, 0.5, -2.0, 3.0])],
    );
    assert_eq!(
        import(&flipped).unwrap().graph,
        import(&simple()).unwrap().graph
    );
}

#[test]
fn layers_views_and_a_residual_sum_agree_with_floats() {
    let model = file(
        vec![
            node("Identity", &["x"], "i"),
            with_int(node("Flatten", &["i"], "f"), "axis", 1),
            node("Gemm", &["f", "w", "b"], "g"),
            node("Relu", &["g"], "h"),
            node("Reshape", &["h", "shape"], "r"),
            node("MatMul", &["r", "w"], "m"),
            node("Add", &["m", "h"], "s"),
            node("Relu", &["s"], "t"),
            node("Gemm", &["t", "w"], "u"),
            with_int(node("Softmax", &["u"], "y"), "axis", -1),
        ],
        vec![integers("shape", &[-1, 2])],
    );
    let options = ImportOptions {
        input_bits: 12,
        activation_bits: 12,
        weight_bits: 12,
        ..ImportOptions::default()
    };
    let bytes = model.write_buf().unwrap();
    let imported = import_onnx(&bytes, &samples(), &options).unwrap();
    let agreement = imported.agreement(&samples()).unwrap();
    assert_eq!(agreement.same_class, samples().len());
    // The outputs reach beyond 100: a thousandth.
    assert!(agreement.largest_error < 0.15, "{agreement:?}");
}

#[test]
fn more_bits_come_nearer_to_the_floats() {
    let model = file(
        vec![
            node("Gemm", &["x", "w", "b"], "g"),
            node("Relu", &["g"], "h"),
            node("Gemm", &["h", "w", "b"], "y"),
        ],
        vec![],
    );
    let bytes = model.write_buf().unwrap();
    let error = |bits| {
        let options = ImportOptions {
            input_bits: bits,
            activation_bits: bits,
            weight_bits: bits,
            ..ImportOptions::default()
        };
        let imported = import_onnx(&bytes, &samples(), &options).unwrap();
        imported.agreement(&samples()).unwrap().largest_error
    };
    let (four, eight, twelve) = (error(4), error(8), error(12));
    assert!(
        four > 4.0 * eight && eight > 4.0 * twelve,
        "{four} {eight} {twelve}"
    );
}

#[test]
fn arg_max_gives_the_class_itself() {
    let arg_max = with_int(node("ArgMax", &["g"], "a"), "axis", 1);
    let cast = with_int(node("Cast", &["a"], "y"), "to", 7);
    let model = file(
        vec![node("Gemm", &["x", "w", "b"], "g"), arg_max, cast],
        vec![],
    );
    let imported = import(&model).unwrap();
    assert_eq!(imported.output.elements, 1);
    let agreement = imported.agreement(&samples()).unwrap();
    assert!(agreement.same_class >= samples().len() - 1, "{agreement:?}");
}

#[test]
fn an_input_that_feeds_no_layer_has_one_scale_and_no_offset() {
    let model = file(
        vec![
            node("Relu", &["x"], "r"),
            node("Gemm", &["r", "w", "b"], "y"),
        ],
        vec![],
    );
    let imported = import(&model).unwrap();
    assert_eq!(
        (imported.input.scale.len(), imported.input.zero.as_slice()),
        (1, &[0.0][..])
    );
    agrees(&imported, 300.0);
}

#[test]
fn models_of_one_form_share_their_shape() {
    let other = floats("w2", &[2, 2], &[9.0, 0.001, 0.0, -70.0]);
    let form = |weights| {
        file(
            vec![
                node("Gemm", &["x", weights, "b"], "g"),
                node("Relu", &["g"], "h"),
                node("Gemm", &["h", "w"], "y"),
            ],
            vec![other.clone()],
        )
    };
    let (a, b) = (import(&form("w")).unwrap(), import(&form("w2")).unwrap());
    assert_ne!(a.graph.encode(), b.graph.encode());
    assert_eq!(a.graph.encode_shape(), b.graph.encode_shape());
}

#[test]
fn importing_twice_gives_the_same_bytes() {
    let (a, b) = (import(&simple()).unwrap(), import(&simple()).unwrap());
    assert_eq!(a.graph.encode(), b.graph.encode());
}

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
    let expected = ImportError::NoScale { layer: 0 };
    let graph = ImportError::Graph(GraphError::AccumulatorOverflow { node: 0 });
    assert!(error == expected || error == graph, "{error}");
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
fn a_constant_added_elsewhere_is_refused() {
    let after_relu = vec![node("Relu", &["x"], "r"), node("Add", &["r", "b"], "y")];
    let shared = vec![
        node("MatMul", &["x", "w"], "m"),
        node("Add", &["m", "b"], "a"),
        node("Add", &["m", "a"], "y"),
    ];
    for nodes in [after_relu, shared] {
        let error = refused(&file(nodes, vec![]));
        let why = Unsupported::ConstantAdd;
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
fn wide_weights_are_kept_in_16_bits() {
    let bytes = simple().write_buf().unwrap();
    let options = ImportOptions {
        weight_bits: 12,
        input_scale: InputScale::Shared,
        ..ImportOptions::default()
    };
    let imported = import_onnx(&bytes, &samples(), &options).unwrap();
    let Operator::Dense { weights, .. } = &imported.graph.nodes()[0].operator else {
        panic!("a dense layer");
    };
    assert!(matches!(weights, graph::Weights::Wide(_)));
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
    let real = simple().write_buf().unwrap();
    let options = ImportOptions::default();
    let samples = vec![vec![1.0, -2.0]];
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = import_onnx(bytes, &samples, &options);
        // And the real file with a few bytes changed.
        let mut changed = real.clone();
        for (pair, step) in bytes.as_chunks::<2>().0.iter().zip(1..) {
            let place = (usize::from(pair[0]) * step) % changed.len();
            changed[place] = pair[1];
        }
        let _ = import_onnx(&changed, &samples, &options);
    });
}
