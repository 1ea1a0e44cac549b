//! Files as exporters make them.

use graph::Operator;

use super::super::{ImportOptions, InputScale, import_onnx};
use super::{file, floats, import, integers, node, samples, simple, value, with_int};

#[test]
fn gemm_is_rows_times_x_plus_bias() {
    let imported = import(&simple()).unwrap();
    // x = (2, -1): columns of w are the outputs.
    let q = imported.input.quantise(&[2.0, -1.1]).unwrap();
    let y = imported.graph.run(&q).unwrap();
    let y = [y[0], y[1]].map(|y| f64::from(y) * f64::from(imported.output.scale));
    assert!((y[0] - (2.0 - 0.55 + 0.25)).abs() < 0.05, "{y:?}");
    assert!((y[1] - (-4.0 - 3.3 - 0.75)).abs() < 0.05, "{y:?}");
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
    let agreement = imported.agreement(&samples()).unwrap();
    assert!(agreement.largest_error < 0.1, "{agreement:?}");
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
fn rounding_leans_to_neither_side() {
    let identity = floats("e", &[2, 2], &[1.0, 0.0, 0.0, 1.0]);
    let model = file(
        vec![
            node("Gemm", &["x", "e"], "g"),
            node("Relu", &["g"], "h"),
            node("Gemm", &["h", "e"], "y"),
        ],
        vec![identity],
    );
    let options = ImportOptions {
        input_bits: 12,
        activation_bits: 5,
        ..ImportOptions::default()
    };
    let samples: Vec<Vec<f32>> = (0..1000).map(|i| vec![i as f32 / 999.0, 0.5]).collect();
    let bytes = model.write_buf().unwrap();
    let imported = import_onnx(&bytes, &samples, &options).unwrap();
    let error = |sample: &Vec<f32>| {
        let q = imported.input.quantise(sample).unwrap();
        let y = imported.graph.run(&q).unwrap();
        f64::from(y[0]) * f64::from(imported.output.scale) - f64::from(sample[0])
    };
    // A step of 5 bits is a fifteenth; floor alone would lean by half of one.
    let mean = samples.iter().map(error).sum::<f64>() / 1000.0;
    assert!(mean.abs() < 0.005, "{mean}");
}

#[test]
fn an_offset_of_the_input_moves_into_the_biases() {
    let samples: Vec<Vec<f32>> = (0..100)
        .map(|i| vec![900.0 + i as f32, -0.001 * i as f32])
        .collect();
    let bytes = simple().write_buf().unwrap();
    for input_scale in [InputScale::PerElement, InputScale::Shared] {
        let options = ImportOptions {
            input_scale,
            input_bits: 12,
            weight_bits: 10,
            ..ImportOptions::default()
        };
        let imported = import_onnx(&bytes, &samples, &options).unwrap();
        let agreement = imported.agreement(&samples).unwrap();
        assert!(agreement.largest_error < 2.0, "{agreement:?}");
    }
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

#[test]
fn weights_have_as_many_bits_as_keep_sums_within_their_bound() {
    let side = 600;
    let data: Vec<f32> = (0..2 * side).map(|i| (i % 7) as f32 - 3.0).collect();
    let tall = floats("t", &[side as i64, 2], &data);
    let mut model = file(vec![node("MatMul", &["x", "t"], "y")], vec![tall]);
    model.graph.as_mut().unwrap().input = vec![value("x", side as i64)];
    let options = ImportOptions {
        input_bits: 12,
        weight_bits: 16,
        ..ImportOptions::default()
    };
    let sample = |s: usize| (0..side).map(|i| ((i * s) % 11) as f32).collect();
    let samples: Vec<Vec<f32>> = (1..20).map(sample).collect();
    let bytes = model.write_buf().unwrap();
    let imported = import_onnx(&bytes, &samples, &options).unwrap();
    let layer = imported.report.nodes[0].layer.unwrap();
    assert!((8..16).contains(&layer.weight_bits), "{layer:?}");
    assert!((1 << 28..1 << 30).contains(&layer.accumulator), "{layer:?}");
}
