//! Windows, orders, tables, slopes and products: random shapes, a hundred inputs each, ten thousand
//! and more an operator.

use graph::{Conv, Graph, InputType, Node, Operator, Select, ValueId, Weights, Window};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::{boundaries, input, narrow, one, random_input, sandbox};

const SHAPES: usize = 100;
const INPUTS: usize = 100;

/// Compares each graph on boundary inputs and on random ones.
fn compare_all(seed: u64, mut graph: impl FnMut(&mut ChaCha20Rng) -> Graph) {
    let sandbox = sandbox();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    for _ in 0..SHAPES {
        let graph = graph(&mut rng);
        let module = compiler::compile(&graph).unwrap();
        let model = sandbox.load(&module.bytes, module.fuel).unwrap();
        let random = (0..INPUTS).map(|_| random_input(graph.input(), &mut rng));
        for input in boundaries(graph.input()).into_iter().take(60).chain(random) {
            let run = model.run(&input).unwrap();
            let expected = graph.run(&input).unwrap();
            assert_eq!(run.output, expected, "{:?} {input:?}", graph.nodes());
            assert_eq!(run.fuel, module.fuel);
        }
    }
}

fn window(rng: &mut ChaCha20Rng) -> Window {
    loop {
        let mut pick = |most: u32| rng.random_range(1..=most);
        let window = Window {
            channels: pick(6),
            height: pick(9),
            width: pick(20),
            kernel: [pick(3), pick(4)],
            stride: [pick(3), pick(3)],
            dilation: [pick(2), pick(2)],
            pads: [pick(3) - 1, pick(3) - 1, pick(3) - 1, pick(3) - 1],
        };
        if window.positions() > 0 {
            return window;
        }
    }
}

/// Windows of every kind that a kernel treats by itself.
fn kinds(rng: &mut ChaCha20Rng) -> Window {
    let plain = window(rng);
    match rng.random_range(0..8) {
        // More taps than are written out.
        0 => Window {
            kernel: [8, 9],
            stride: [1, rng.random_range(1..4)],
            dilation: [1, 1],
            height: 10,
            width: 12,
            ..plain
        },
        // A signal, with a window longer than is copied without a loop.
        1 => Window {
            kernel: [1, 40],
            stride: [1, 2],
            dilation: [1, 1],
            height: 1,
            width: 47,
            pads: [0, 3, 0, 1],
            ..plain
        },
        // A whole plane.
        2 => Window {
            kernel: [plain.height, plain.width],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0; 4],
            ..plain
        },
        // One position, with steps and distances of any size.
        3 => Window {
            kernel: [1, 1],
            stride: [u32::MAX, u32::MAX],
            dilation: [u32::MAX, u32::MAX],
            pads: [0; 4],
            ..plain
        },
        _ => plain,
    }
}

fn over(window: &Window, lo: i32, hi: i32) -> InputType {
    input(u32::try_from(window.elements()).unwrap(), lo, hi)
}

#[test]
fn convolutions_agree() {
    compare_all(40, |rng| {
        let window = kinds(rng);
        let groups = if rng.random() { 1 } else { window.channels };
        let outputs = groups * rng.random_range(1..=if groups == 1 { 19 } else { 5 });
        let count = outputs as usize * (window.channels / groups) as usize * window.taps();
        let wide = rng.random();
        let weights = if wide {
            Weights::Wide((0..count).map(|_| rng.random_range(-3000..=3000)).collect())
        } else {
            Weights::Narrow((0..count).map(|_| rng.random()).collect())
        };
        let bias = (0..outputs).map(|_| rng.random_range(-999_999..=999_999));
        let conv = Conv {
            window,
            groups,
            weights,
            bias: bias.collect(),
        };
        one(over(&window, -128, 127), Operator::Conv(conv))
    });
}

#[test]
fn a_convolution_agrees_at_the_bound_of_its_accumulator() {
    compare_all(41, |rng| {
        let groups = if rng.random() { 1 } else { 4 };
        let window = Window {
            kernel: [2, 2],
            ..Window::point(4, 3, 11)
        };
        let columns = 4 * 4 / groups as usize;
        let sign = |place: usize| if place.is_multiple_of(2) { 127 } else { -127 };
        let weights = (0..4 * columns)
            .map(|place| sign(place / columns))
            .collect();
        let norm = 32_768 * 127 * columns as i64;
        let bias = i32::try_from((1 << 30) - 1 - norm).unwrap();
        let conv = Conv {
            window,
            groups,
            weights: Weights::Narrow(weights),
            bias: vec![bias, -bias, bias, -bias],
        };
        one(over(&window, -32_768, 32_767), Operator::Conv(conv))
    });
}

#[test]
fn pools_agree() {
    let ends = |window: &Window| over(window, -32_768, 32_767);
    compare_all(42, |rng| {
        loop {
            let window = kinds(rng);
            let nodes = vec![Node::unary(Operator::MaxPool(window), ValueId(0))];
            if let Ok(graph) = Graph::new(ends(&window), nodes) {
                return graph;
            }
        }
    });
    compare_all(43, |rng| {
        let (window, bias) = (kinds(rng), rng.random_range(-9999..=9999));
        one(ends(&window), Operator::SumPool { window, bias })
    });
}

#[test]
fn orders_agree_for_inputs_of_every_width() {
    compare_all(44, |rng| {
        let count = rng.random_range(1..40_u32);
        let clamp = Operator::Clamp { lo: -9, hi: 12_345 };
        let fill = if rng.random() { 7 } else { -7_000_000 };
        let mut indices: Vec<u32> = (0..rng.random_range(1..70))
            .map(|_| rng.random_range(0..3 * count))
            .collect();
        indices.push(Select::FILL);
        let nodes = vec![
            Node::unary(clamp, ValueId(0)),
            Node {
                operator: Operator::Select(Select { indices, fill }),
                inputs: vec![ValueId(1), ValueId(0), ValueId(1)],
            },
        ];
        let most = if rng.random() { 20_000 } else { i32::MAX };
        Graph::new(input(count, -most, most), nodes).unwrap()
    });
}

#[test]
fn tables_slopes_and_products_agree() {
    compare_all(45, |rng| {
        let count = [1, 255, 256, 65_536][rng.random_range(0..4)];
        let entries: Vec<i16> = (0..count).map(|_| rng.random()).collect();
        let lo = rng.random_range(-70_000..70_000);
        one(
            input(30, lo, lo + count - 1),
            Operator::Table { lo, entries },
        )
    });
    compare_all(46, |rng| {
        let (below, above) = (rng.random(), rng.random());
        let slopes = Node::unary(Operator::Slopes { below, above }, ValueId(0));
        // Wide, and brought back.
        let narrow_again = Operator::Requantise {
            multipliers: vec![65_535, 3],
            shift: 30,
            lo: -32_768,
            hi: 32_767,
        };
        let nodes = vec![slopes, Node::unary(narrow_again, ValueId(1))];
        let most = [99, 40_000, (1 << 30) - 1][rng.random_range(0..3)];
        Graph::new(input(10, -most, most), nodes).unwrap()
    });
    compare_all(47, |rng| {
        let product = Node {
            operator: Operator::Multiply,
            inputs: vec![ValueId(0), ValueId(1)],
        };
        let hi = rng.random_range(0..=1000);
        let clamp = Node::unary(Operator::Clamp { lo: -3, hi }, ValueId(0));
        let most = [900, 1_000_000][rng.random_range(0..2)];
        Graph::new(input(11, -most, most), vec![clamp, product]).unwrap()
    });
}

#[test]
fn small_convolutional_networks_agree() {
    compare_all(48, |rng| {
        let window = Window {
            kernel: [3, 3],
            pads: [1; 4],
            ..Window::point(2, 6, 7)
        };
        let conv = Conv {
            window,
            groups: 1,
            weights: Weights::Narrow((0..5 * 18).map(|_| rng.random()).collect()),
            bias: vec![9; 5],
        };
        let pool = Window {
            kernel: [2, 2],
            stride: [2, 2],
            ..Window::point(5, 6, 7)
        };
        let depthwise = Conv {
            window: Window {
                kernel: [3, 3],
                pads: [1; 4],
                ..Window::point(5, 3, 3)
            },
            groups: 5,
            weights: Weights::Narrow((0..45).map(|_| rng.random()).collect()),
            bias: vec![-5; 5],
        };
        let multipliers: Vec<u16> = (0..5).map(|_| rng.random()).collect();
        let requantise = || Operator::Requantise {
            multipliers: multipliers.clone(),
            shift: 26,
            lo: -127,
            hi: 127,
        };
        let operators = vec![
            Operator::Conv(conv),
            requantise(),
            Operator::MaxPool(pool),
            Operator::Conv(depthwise),
            requantise(),
            Operator::Table {
                lo: -127,
                entries: (-127..=127).map(|x: i16| x.abs() - 50).collect(),
            },
            narrow(4, 45, rng),
            Operator::ArgMax,
        ];
        let nodes = operators.into_iter().zip(0..);
        let nodes = nodes.map(|(operator, place)| Node::unary(operator, ValueId(place)));
        Graph::new(over(&window, -128, 127), nodes.collect()).unwrap()
    });
}

#[test]
fn the_trained_convolutional_networks_agree() {
    let files: [&[u8]; 2] = [
        include_bytes!("../../../../models/convolution/model.onnx"),
        include_bytes!("../../../../models/depthwise/model.onnx"),
    ];
    let digits = &compiler::shipped()[1];
    let calibration: Vec<Vec<f32>> = digits.calibration().into_iter().take(40).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(49);
    for onnx in files {
        let options = compiler::ImportOptions::default();
        let imported = compiler::import_onnx(onnx, &calibration, &options).unwrap();
        let module = compiler::compile(&imported.graph).unwrap();
        let model = sandbox().load(&module.bytes, module.fuel).unwrap();
        let samples = digits.samples().into_iter();
        let samples = samples.map(|sample| imported.input.quantise(&sample.input).unwrap());
        let random = (0..2000).map(|_| random_input(imported.graph.input(), &mut rng));
        for input in samples.chain(random.collect::<Vec<_>>()) {
            let run = model.run(&input).unwrap();
            assert_eq!(run.output, imported.graph.run(&input).unwrap());
            assert_eq!(run.fuel, module.fuel);
        }
    }
}
