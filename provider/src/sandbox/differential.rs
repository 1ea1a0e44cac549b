//! The module says what the interpreter says, bit for bit, and costs what the compiler said.

mod classic;
mod planes;

use std::sync::Arc;

use graph::{Accumulator, Graph, InputType, Node, Operator, ValueId, Weights};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::{OwnModules, Sandbox, SandboxFault, SandboxLimits};

const RANDOM_INPUTS: usize = 10_000;

fn sandbox() -> Sandbox {
    Sandbox::new(SandboxLimits::default(), Arc::new(OwnModules)).unwrap()
}

/// Compares on boundary inputs and on random ones; every run must cost the compiler's figure.
fn compare(graph: &Graph, seed: u64) {
    compare_some(graph, RANDOM_INPUTS, seed);
}

fn compare_some(graph: &Graph, random_inputs: usize, seed: u64) {
    let module = compiler::compile(graph).unwrap();
    let model = sandbox().load(&module.bytes, module.fuel).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let random = (0..random_inputs).map(|_| random_input(graph.input(), &mut rng));
    for input in boundaries(graph.input()).into_iter().chain(random) {
        let run = model.run(&input).unwrap();
        assert_eq!(run.output, graph.run(&input).unwrap(), "input {input:?}");
        assert_eq!(run.fuel, module.fuel);
    }
}

/// All at an end, alternating, all zero or nearest to it, and each element alone at an end.
fn boundaries(input: InputType) -> Vec<Vec<i32>> {
    let InputType { elements, lo, hi } = input;
    let near = 0.clamp(lo, hi);
    let all = |x: i32| vec![x; elements as usize];
    let alternate = |a: i32, b: i32| {
        (0..elements)
            .map(|i| if i % 2 == 0 { a } else { b })
            .collect()
    };
    let mut inputs = vec![
        all(lo),
        all(hi),
        all(near),
        alternate(lo, hi),
        alternate(hi, lo),
    ];
    for place in 0..elements as usize {
        for end in [lo, hi] {
            let mut alone = all(near);
            alone[place] = end;
            inputs.push(alone);
        }
    }
    inputs
}

fn random_input(input: InputType, rng: &mut ChaCha20Rng) -> Vec<i32> {
    (0..input.elements)
        .map(|_| rng.random_range(input.lo..=input.hi))
        .collect()
}

fn input(elements: u32, lo: i32, hi: i32) -> InputType {
    InputType { elements, lo, hi }
}

fn narrow(rows: usize, columns: usize, rng: &mut ChaCha20Rng) -> Operator {
    let weights = (0..rows * columns).map(|_| rng.random::<i8>()).collect();
    Operator::Dense {
        weights: Weights::Narrow(weights),
        bias: (0..rows).map(|_| rng.random_range(-9999..=9999)).collect(),
        accumulator: Accumulator::Narrow,
    }
}

fn one(input: InputType, operator: Operator) -> Graph {
    Graph::new(input, vec![Node::unary(operator, ValueId(0))]).unwrap()
}

#[test]
fn dense_agrees_at_every_remainder_of_rows_and_columns() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    // One turn of columns, and several that are full, or not.
    let one_turn = [(1, 1), (7, 15), (8, 16), (9, 17), (3, 40), (17, 33)];
    for (rows, columns) in one_turn.into_iter().chain([(9, 49), (8, 80), (17, 131)]) {
        let dense = narrow(rows, columns, &mut rng);
        compare(&one(input(columns as u32, -128, 127), dense), 2);
    }
}

#[test]
fn dense_agrees_at_the_bound_of_its_accumulator() {
    // 2^15 * 127 * 257 + 37_249_215 is 1 below 2^30... as near as 16-bit inputs come.
    let columns: usize = 257;
    let norm = 32_768 * 127 * columns as i64;
    let bias = i32::try_from((1 << 30) - 1 - norm).unwrap();
    let mut weights = vec![-127_i8; columns];
    weights.extend(vec![127; columns]);
    let dense = Operator::Dense {
        weights: Weights::Narrow(weights),
        bias: vec![bias, -bias],
        accumulator: Accumulator::Narrow,
    };
    compare(&one(input(columns as u32, -32_768, 32_767), dense), 3);
}

#[test]
fn dense_agrees_with_16_bit_weights() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    for columns in [19, 100] {
        let weights = (0..11 * columns).map(|_| rng.random::<i16>()).collect();
        let dense = Operator::Dense {
            weights: Weights::Wide(weights),
            bias: (0..11).map(|_| rng.random_range(-9999..=9999)).collect(),
            accumulator: Accumulator::Narrow,
        };
        compare(&one(input(columns, -200, 200), dense), 5);
    }
}

#[test]
fn a_wide_dense_layer_agrees() {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let bytes = Weights::Narrow((0..5 * 21).map(|_| rng.random::<i8>()).collect());
    let shorts = Weights::Wide((0..5 * 21).map(|_| rng.random::<i16>()).collect());
    for weights in [bytes, shorts] {
        let dense = Operator::Dense {
            weights,
            bias: (0..5).map(|_| rng.random::<i32>()).collect(),
            accumulator: Accumulator::Wide,
        };
        let narrow_again = Operator::Requantise {
            multipliers: vec![65_535, 1, 0, 400, 77],
            shift: 30,
            lo: -32_768,
            hi: 32_767,
        };
        let nodes = vec![
            Node::unary(dense, ValueId(0)),
            Node::unary(narrow_again, ValueId(1)),
        ];
        let graph = Graph::new(input(21, -32_768, 32_767), nodes).unwrap();
        compare(&graph, 7);
    }
}

#[test]
fn requantise_agrees_for_channels_of_every_kind() {
    for multipliers in [
        vec![40_000],
        vec![65_535, 3, 0],
        vec![1, 2, 3, 4, 5, 60_000],
    ] {
        for (shift, lo, hi) in [
            (0, -32_768, 32_767),
            (16, -128, 127),
            (20, 0, 127),
            (46, -1, 0),
        ] {
            let operator = Operator::Requantise {
                multipliers: multipliers.clone(),
                shift,
                lo,
                hi,
            };
            compare(&one(input(6, i32::MIN, i32::MAX), operator.clone()), 8);
            compare(&one(input(6, -300, 300), operator), 9);
        }
    }
}

#[test]
fn requantise_agrees_at_every_remainder_and_shift() {
    let mut rng = ChaCha20Rng::seed_from_u64(30);
    for (channels, each) in [(1, 17), (9, 1), (16, 1), (3, 7), (5, 8), (2, 19)] {
        let mut multipliers: Vec<u16> = (0..channels).map(|_| rng.random()).collect();
        multipliers[0] = u16::MAX;
        for shift in [0, 1, 14, 15, 16, 31, 32, 33, 46] {
            let operator = Operator::Requantise {
                multipliers: multipliers.clone(),
                shift,
                lo: -32_768,
                hi: 32_767,
            };
            let elements = channels * each;
            // Where results are within 16 bits, so that none is right by being clamped.
            let most = (1_u64 << shift.min(31)).clamp(300, 1 << 31);
            let (lo, hi) = (-(most.cast_signed()), most.cast_signed() - 1);
            let ends = [lo, hi].map(|end| i32::try_from(end).unwrap());
            let near = one(input(elements, ends[0], ends[1]), operator.clone());
            compare_some(&near, 500, 31);
            let all = one(input(elements, i32::MIN, i32::MAX), operator);
            compare_some(&all, 500, 32);
        }
    }
}

#[test]
fn clamp_agrees_on_short_and_long_elements() {
    for (lo, hi) in [(0, i32::MAX), (-128, 127), (-5, -5), (i32::MIN, 0)] {
        let operator = Operator::Clamp { lo, hi };
        compare(&one(input(5, i32::MIN, i32::MAX), operator.clone()), 10);
        compare(&one(input(5, -200, 200), operator), 11);
    }
}

#[test]
fn add_agrees_with_factors() {
    for (left, right) in [(1, 1), (0, 3), (65_535, 0), (300, 200)] {
        let nodes = vec![
            Node::unary(Operator::Clamp { lo: -7, hi: 900 }, ValueId(0)),
            Node {
                operator: Operator::Add { left, right },
                inputs: vec![ValueId(0), ValueId(1)],
            },
        ];
        let graph = Graph::new(input(13, -16_000, 16_000), nodes).unwrap();
        compare(&graph, 12);
    }
}

#[test]
fn arg_max_agrees_and_takes_the_first_of_equals() {
    // Three values only, so that ties are the rule.
    compare(&one(input(9, -1, 1), Operator::ArgMax), 13);
    compare(&one(input(7, i32::MIN, i32::MAX), Operator::ArgMax), 14);
    compare(&one(input(1, -3, 3), Operator::ArgMax), 15);
}

#[test]
fn random_networks_agree() {
    let mut rng = ChaCha20Rng::seed_from_u64(16);
    for round in 0..8 {
        let (wide, deep, classes) = (
            rng.random_range(1..70_u32),
            rng.random_range(1..40),
            rng.random_range(1..12),
        );
        let requantise = |channels: usize, rng: &mut ChaCha20Rng| Operator::Requantise {
            multipliers: (0..channels).map(|_| rng.random()).collect(),
            shift: 26,
            lo: 0,
            hi: 127,
        };
        let (value, columns) = (ValueId, wide as usize);
        let nodes = vec![
            Node::unary(narrow(deep, columns, &mut rng), value(0)),
            Node::unary(requantise(deep, &mut rng), value(1)),
            Node::unary(narrow(deep, deep, &mut rng), value(2)),
            Node::unary(requantise(1, &mut rng), value(3)),
            Node {
                operator: Operator::Add { left: 3, right: 5 },
                inputs: vec![value(2), value(4)],
            },
            Node::unary(Operator::Clamp { lo: -90, hi: 700 }, value(5)),
            Node::unary(narrow(classes, deep, &mut rng), value(6)),
        ];
        let graph = Graph::new(input(wide, -128, 127), nodes).unwrap();
        compare(&graph, 100 + round);
    }
}

#[test]
fn an_element_out_of_range_is_refused_as_the_interpreter_refuses_it() {
    for (lo, hi) in [(-128, 127), (5, 9), (i32::MIN, 3), (-3, i32::MAX)] {
        let graph = one(input(21, lo, hi), Operator::Clamp { lo: 0, hi: 99 });
        let module = compiler::compile(&graph).unwrap();
        let model = sandbox().load(&module.bytes, module.fuel).unwrap();
        let outside = [i64::from(lo) - 1, i64::from(hi) + 1];
        for x in outside.into_iter().filter_map(|x| i32::try_from(x).ok()) {
            for place in 0..21 {
                let mut input = [lo; 21];
                input[place] = x;
                assert!(graph.run(&input).is_err());
                assert_eq!(model.run(&input), Err(SandboxFault::BadInput));
            }
        }
        assert_eq!(model.run(&[lo; 20]), Err(SandboxFault::BadInput));
        assert_eq!(
            model.run(&[hi; 21]).unwrap().output,
            graph.run(&[hi; 21]).unwrap()
        );
    }
}

#[test]
fn the_shipped_models_agree() {
    for (shipped, seed) in compiler::shipped().iter().zip(20..) {
        let built = shipped.model().unwrap();
        compare(&built.graph, seed);
        let model = sandbox()
            .load(&built.module.bytes, built.module.fuel)
            .unwrap();
        for sample in shipped.samples() {
            let input = built.input.quantise(&sample.input).unwrap();
            assert_eq!(
                model.run(&input).unwrap().output,
                built.graph.run(&input).unwrap()
            );
        }
    }
}

#[test]
fn one_unit_of_fuel_less_is_too_little() {
    let model = compiler::shipped()[0].model().unwrap();
    let input = vec![0; model.input.elements as usize];
    let load = |fuel| sandbox().load(&model.module.bytes, fuel).unwrap();
    assert!(load(model.module.fuel).run(&input).is_ok());
    let less = load(model.module.fuel - 1).run(&input);
    assert_eq!(less, Err(SandboxFault::ModelTimeout));
}
