//! Trees, distances and exponentials.

use graph::{
    Accumulator, InputType, MAX_COORDINATE, MISSING, Node, Operator, Split, Tree, TreeEnsemble,
    ValueId,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::{compare, input, narrow, one, sandbox};
use graph::Graph;

/// Thresholds and features near each other, so that both ways are taken.
const NEAR: std::ops::RangeInclusive<i32> = -9..=9;

/// A tree whose splits are a random heap, `depth` deep at most.
fn tree(depth: u32, width: u32, features: u32, missing: bool, rng: &mut ChaCha20Rng) -> Tree {
    let mut splits: Vec<Split> = Vec::new();
    // Parents of children that are not made yet: leaves at the end.
    let mut open = vec![(None, true, depth)];
    let mut leaves = 0;
    let mut ends = Vec::new();
    while let Some((parent, yes, left)) = open.pop() {
        let end = left == 0 || (parent.is_some() && rng.random_range(0..5) == 0);
        if end {
            ends.push((parent, yes, leaves));
            leaves += 1;
            continue;
        }
        let place = u32::try_from(splits.len()).unwrap();
        splits.push(Split {
            feature: rng.random_range(0..features),
            threshold: rng.random_range(NEAR),
            missing: missing && rng.random(),
            yes: 0,
            no: 0,
        });
        link(&mut splits, parent, yes, place);
        open.extend([
            (Some(place), true, left - 1),
            (Some(place), false, left - 1),
        ]);
    }
    let behind = u32::try_from(splits.len()).unwrap();
    for (parent, yes, leaf) in ends {
        link(&mut splits, parent, yes, behind + leaf);
    }
    let numbers = leaves * width;
    Tree {
        first: 0,
        splits,
        leaves: (0..numbers)
            .map(|_| rng.random_range(-99_999..=99_999))
            .collect(),
    }
}

fn link(splits: &mut [Split], parent: Option<u32>, yes: bool, child: u32) {
    if let Some(parent) = parent {
        let split = &mut splits[parent as usize];
        *if yes { &mut split.yes } else { &mut split.no } = child;
    }
}

fn ensemble(
    depths: &[u32],
    [width, outputs, features]: [u32; 3],
    missing: bool,
    rng: &mut ChaCha20Rng,
) -> TreeEnsemble {
    let tree = |&depth: &u32| Tree {
        first: rng.random_range(0..=outputs - width),
        ..tree(depth, width, features, missing, rng)
    };
    TreeEnsemble {
        trees: depths.iter().map(tree).collect(),
        width,
        bias: (0..outputs as i32).map(|o| 1000 * o - 77).collect(),
        accumulator: Accumulator::Narrow,
    }
}

/// Interpreter and module, on features near the thresholds and missing ones.
fn compare_near(graph: &Graph, inputs: usize, seed: u64) {
    let module = compiler::compile(graph).unwrap();
    let model = sandbox().load(&module.bytes, module.fuel).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let InputType { elements, lo, hi } = graph.input();
    for _ in 0..inputs {
        let feature = |rng: &mut ChaCha20Rng| match rng.random_range(0..8) {
            0 => [lo, hi, hi - 1][rng.random_range(0..3)],
            _ => rng.random_range(NEAR),
        };
        let input: Vec<i32> = (0..elements).map(|_| feature(&mut rng)).collect();
        let run = model.run(&input).unwrap();
        assert_eq!(run.output, graph.run(&input).unwrap(), "input {input:?}");
        assert_eq!(run.fuel, module.fuel);
    }
}

#[test]
fn tree_ensembles_agree_for_every_number_of_trees_and_outputs() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for (depths, sizes) in [
        (&[0][..], [1, 1, 1]),
        (&[3], [2, 2, 5]),
        (&[2, 0, 7], [1, 3, 9]),
        (&[1, 2, 3, 4, 5, 6, 7, 8, 9], [4, 5, 4]),
        (&[5; 16], [10, 10, 16]),
        (&[9, 8, 7, 3, 2, 1, 6, 2, 2, 2, 2], [7, 9, 6]),
    ] {
        for missing in [false, true] {
            let ensemble = ensemble(depths, sizes, missing, &mut rng);
            let operator = Operator::TreeEnsemble(ensemble);
            for (lo, hi) in [(i32::MIN, MISSING), (-200, 200)] {
                let graph = one(input(sizes[2], lo, hi), operator.clone());
                compare_near(&graph, 1000, 2);
            }
        }
    }
}

#[test]
fn a_tree_ensemble_agrees_on_ten_thousand_inputs() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let ensemble = ensemble(&[1, 4, 6, 2, 5, 3, 4, 6, 5], [3, 4, 6], true, &mut rng);
    let graph = one(
        input(6, i32::MIN, MISSING),
        Operator::TreeEnsemble(ensemble),
    );
    compare_near(&graph, 10_000, 3);
}

#[test]
fn wide_leaf_sums_agree() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    for width in [1, 2, 5] {
        let mut ensemble = ensemble(&[4; 11], [width, 5, 6], false, &mut rng);
        ensemble.accumulator = Accumulator::Wide;
        for leaf in ensemble.trees.iter_mut().flat_map(|tree| &mut tree.leaves) {
            *leaf = rng.random();
        }
        let nodes = vec![
            Node::unary(Operator::TreeEnsemble(ensemble), ValueId(0)),
            Node::unary(Operator::ArgMax, ValueId(1)),
        ];
        compare_near(&Graph::new(input(6, -99, 99), nodes).unwrap(), 3000, 5);
    }
}

#[test]
fn trees_of_every_depth_side_by_side_fit_a_function() {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let stump = tree(1, 13, 3, false, &mut rng);
    let chain = |depth: u32| Tree {
        splits: (0..depth)
            .map(|place| Split {
                yes: place + 1,
                no: depth + 1,
                ..stump.splits[0]
            })
            .collect(),
        ..stump.clone()
    };
    let depths = (1..40).chain([64, 65, 128, 256, 1024, 4096]);
    let ensemble = TreeEnsemble {
        trees: depths.flat_map(|depth| vec![chain(depth); 8]).collect(),
        width: 13,
        bias: vec![0; 13],
        accumulator: Accumulator::Narrow,
    };
    let graph = one(input(3, -9, 9), Operator::TreeEnsemble(ensemble));
    let module = compiler::compile(&graph).unwrap();
    let model = sandbox().load(&module.bytes, module.fuel).unwrap();
    for x in [[-9, 0, 0], [9, 9, 9], [0, 1, 2]] {
        assert_eq!(model.run(&x).unwrap().output, graph.run(&x).unwrap());
    }
}

#[test]
fn distances_agree_at_every_remainder() {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let most = i32::from(MAX_COORDINATE);
    for (elements, rows) in [(1, 3), (7, 2), (8, 5), (9, 1), (31, 4)] {
        let ends = [-MAX_COORDINATE, MAX_COORDINATE, 0];
        let vectors = (0..elements * rows).map(|_| match rng.random_range(0..6) {
            end @ 0..3 => ends[end],
            _ => rng.random_range(-MAX_COORDINATE..=MAX_COORDINATE),
        });
        let distances = Operator::Distances {
            vectors: vectors.collect(),
        };
        let clamp = Operator::Clamp {
            lo: i32::MIN,
            hi: i32::MAX,
        };
        for reach in [300, most] {
            let nodes = vec![
                Node::unary(distances.clone(), ValueId(0)),
                Node::unary(clamp.clone(), ValueId(1)),
            ];
            compare(
                &Graph::new(input(elements, -reach, reach), nodes).unwrap(),
                8,
            );
        }
    }
}

#[test]
fn exponentials_agree() {
    for (multiplier, shift) in [
        (1, 0),
        (65_535, 0),
        (40_000, 20),
        (0, 3),
        (65_535, 46),
        (3, 9),
    ] {
        let operator = Operator::Exponential { multiplier, shift };
        for hi in [0, 9, 70_000, i32::MAX] {
            compare(&one(input(4, 0, hi), operator.clone()), 9);
        }
    }
}

#[test]
fn a_radial_machine_agrees() {
    let mut rng = ChaCha20Rng::seed_from_u64(10);
    let (features, vectors) = (13, 21_usize);
    let random = |_| rng.random_range(-2000..=2000);
    let distances = Operator::Distances {
        vectors: (0..13 * vectors).map(random).collect(),
    };
    let power = Operator::Exponential {
        multiplier: 50_000,
        shift: 27,
    };
    let clamp = Operator::Clamp { lo: -9, hi: 70_000 };
    let nodes = vec![
        Node::unary(distances, ValueId(0)),
        Node::unary(power, ValueId(1)),
        Node::unary(narrow(3, vectors, &mut rng), ValueId(2)),
        Node::unary(clamp, ValueId(3)),
        Node::unary(Operator::ArgMax, ValueId(4)),
    ];
    compare(
        &Graph::new(input(features, -2500, 2500), nodes).unwrap(),
        11,
    );
}

/// A model that the repository keeps: its file, and its set's two tables.
macro_rules! kept {
    ($name:literal, $set:literal) => {
        (
            include_bytes!(concat!("../../../../models/classic/", $name, ".onnx")).as_slice(),
            include_str!(concat!(
                "../../../../models/classic/",
                $set,
                ".calibration.csv"
            )),
            include_str!(concat!("../../../../models/classic/", $set, ".samples.csv")),
        )
    };
}

fn rows(table: &str) -> Vec<Vec<f32>> {
    let row = |line: &str| line.split(',').map(|x| x.parse().unwrap()).collect();
    table.lines().skip(1).map(row).collect()
}

#[test]
fn kept_models_agree_on_their_samples() {
    for (onnx, calibration, samples) in [
        kept!("diabetes-svr-scaled", "diabetes"),
        kept!("gaps-histogram", "gaps"),
        kept!("modes-rooted", "modes"),
        kept!("tumour-svc-scaled", "tumour"),
        kept!("wine-forest-scaled", "wine"),
        kept!("wine-svc-minmax", "wine"),
    ] {
        let options = compiler::ImportOptions::default();
        let imported = compiler::import_onnx(onnx, &rows(calibration), &options).unwrap();
        let module = compiler::compile(&imported.graph).unwrap();
        let model = sandbox().load(&module.bytes, module.fuel).unwrap();
        for sample in rows(samples) {
            let input = imported.input.quantise(&sample[1..]).unwrap();
            let run = model.run(&input).unwrap();
            assert_eq!(run.output, imported.graph.run(&input).unwrap());
            assert_eq!(run.fuel, module.fuel);
        }
    }
}
