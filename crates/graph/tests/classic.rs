//! The operators of classic models against formulations that share nothing with the interpreter,
//! on boundary inputs and on 10,000 random ones.

#![allow(clippy::unwrap_used, reason = "a test's helpers")]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use subrosa_graph::{
    Accumulator, DecodeGraphError, Graph, GraphError, InputType, MAX_COORDINATE, MISSING, Node,
    Operator, Split, Tree, TreeEnsemble, ValueId,
};

const RANDOM_INPUTS: usize = 10_000;

const WHOLE: InputType = InputType {
    elements: 5,
    lo: i32::MIN,
    hi: i32::MAX,
};

fn one(input: InputType, operator: Operator) -> Result<Graph, GraphError> {
    Graph::new(input, vec![Node::unary(operator, ValueId(0))])
}

/// A tree of `splits` splits: each new split takes the place of a leaf; some share a child.
fn grown(splits: u32, width: u32, features: u32, rng: &mut ChaCha20Rng) -> Tree {
    let threshold = |rng: &mut ChaCha20Rng| match rng.random_range(0..4) {
        0 => rng.random_range(-3..=3),
        1 => EDGES[rng.random_range(0..EDGES.len())],
        _ => rng.random(),
    };
    // Children are named by a number of their own first: splits as they come, leaves from 1000.
    let (mut made, mut free, mut leaves) = (Vec::new(), Vec::new(), 0);
    for place in 0..splits {
        if place > 0 {
            let (parent, yes): (usize, bool) = free.swap_remove(rng.random_range(0..free.len()));
            let split: &mut Split = &mut made[parent];
            *if yes { &mut split.yes } else { &mut split.no } = place;
        }
        made.push(Split {
            feature: rng.random_range(0..features),
            threshold: threshold(rng),
            missing: rng.random(),
            yes: 1000,
            no: 1000,
        });
        free.extend([(place as usize, true), (place as usize, false)]);
    }
    for (parent, yes) in free {
        // One in four takes the leaf made before it.
        if leaves == 0 || rng.random_range(0..4) > 0 {
            leaves += 1;
        }
        let child = splits + leaves - 1;
        let split = &mut made[parent];
        *if yes { &mut split.yes } else { &mut split.no } = child;
    }
    let leaves = leaves.max(1) * width;
    Tree {
        first: 0,
        splits: made,
        leaves: (0..leaves)
            .map(|_| rng.random_range(-99_999..=99_999))
            .collect(),
    }
}

/// Integers at which floats in order are peculiar: -0.0 had it a place, the smallest denormals,
/// the smallest normal, the infinities, what is missing; and the ends.
const EDGES: [i32; 12] = [
    -1,
    0,
    1,
    -2,
    0x007f_ffff,
    0x0080_0000,
    -0x0080_0001,
    0x7f80_0000,
    -0x7f80_0001,
    MISSING,
    MISSING - 1,
    i32::MIN,
];

fn ensemble(trees: u32, width: u32, outputs: u32, rng: &mut ChaCha20Rng) -> TreeEnsemble {
    let tree = |rng: &mut ChaCha20Rng| Tree {
        first: rng.random_range(0..=outputs - width),
        ..grown(rng.random_range(0..20), width, 5, rng)
    };
    TreeEnsemble {
        trees: (0..trees).map(|_| tree(rng)).collect(),
        width,
        bias: (0..outputs).map(|_| rng.random_range(-999..=999)).collect(),
        accumulator: Accumulator::Narrow,
    }
}

/// By paths: a leaf counts once for each path to it of which every condition holds.
fn by_paths(ensemble: &TreeEnsemble, x: &[i32]) -> Vec<i32> {
    let mut outputs: Vec<i128> = ensemble.bias.iter().map(|&b| b.into()).collect();
    for tree in &ensemble.trees {
        // What is on the stack: a place, and whether all conditions so far hold.
        let mut open = vec![(0, true)];
        while let Some((place, holds)) = open.pop() {
            if let Some(split) = tree.splits.get(place) {
                let x = x[split.feature as usize];
                let to_no = x > split.threshold && !(split.missing && x == 0x7fff_ffff);
                open.push((split.yes as usize, holds && !to_no));
                open.push((split.no as usize, holds && to_no));
            } else {
                for place_in_leaf in 0..ensemble.width as usize {
                    let leaf = (place - tree.splits.len()) * ensemble.width as usize;
                    let output = tree.first as usize + place_in_leaf;
                    outputs[output] +=
                        i128::from(holds) * i128::from(tree.leaves[leaf + place_in_leaf]);
                }
            }
        }
    }
    outputs.into_iter().map(|y| y.try_into().unwrap()).collect()
}

#[test]
fn a_tree_ensemble_is_the_sum_over_its_paths() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for (trees, width, outputs) in [(1, 1, 1), (7, 1, 3), (4, 3, 3), (3, 2, 5)] {
        let ensemble = ensemble(trees, width, outputs, &mut rng);
        let graph = one(WHOLE, Operator::TreeEnsemble(ensemble.clone())).unwrap();
        let bytes = graph.encode();
        assert_eq!(Graph::decode(&bytes).as_ref(), Ok(&graph));
        let check = |x: &[i32]| assert_eq!(graph.run(x), Ok(by_paths(&ensemble, x)), "{x:?}");
        let thresholds = ensemble.trees.iter().flat_map(|tree| &tree.splits);
        let beside = |split: &Split| {
            let t = split.threshold;
            [t.saturating_sub(1), t, t.saturating_add(1)]
        };
        for edge in thresholds.flat_map(beside).chain(EDGES) {
            check(&[edge; 5]);
            for feature in 0..5 {
                let mut x = [0; 5];
                x[feature] = edge;
                check(&x);
            }
        }
        for _ in 0..RANDOM_INPUTS {
            let near = |rng: &mut ChaCha20Rng| match rng.random_range(0..3) {
                0 => EDGES[rng.random_range(0..EDGES.len())],
                1 => rng.random_range(-4..=4),
                _ => rng.random(),
            };
            let x: [i32; 5] = std::array::from_fn(|_| near(&mut rng));
            check(&x);
        }
    }
}

fn stump() -> TreeEnsemble {
    let split = Split {
        feature: 0,
        threshold: 7,
        missing: false,
        yes: 1,
        no: 2,
    };
    let tree = Tree {
        first: 0,
        splits: vec![split],
        leaves: vec![10, 20],
    };
    TreeEnsemble {
        trees: vec![tree],
        width: 1,
        bias: vec![0],
        accumulator: Accumulator::Narrow,
    }
}

fn changed(change: impl FnOnce(&mut TreeEnsemble)) -> Result<Graph, GraphError> {
    let mut ensemble = stump();
    change(&mut ensemble);
    one(WHOLE, Operator::TreeEnsemble(ensemble))
}

#[test]
fn what_is_no_tree_is_refused() {
    assert!(changed(|_| {}).is_ok());
    let bad = Err(GraphError::BadTree { node: 0, tree: 0 });
    // A cycle, a child that is not there, a leaf that nothing leads to, an unknown feature.
    assert_eq!(changed(|e| e.trees[0].splits[0].yes = 0), bad);
    assert_eq!(changed(|e| e.trees[0].splits[0].no = 3), bad);
    assert_eq!(changed(|e| e.trees[0].splits[0].no = u32::MAX), bad);
    assert_eq!(changed(|e| e.trees[0].splits[0].no = 1), bad);
    assert_eq!(changed(|e| e.trees[0].splits[0].feature = 5), bad);
    let size = Err(GraphError::WrongSize { node: 0 });
    assert_eq!(changed(|e| e.trees[0].leaves.clear()), size);
    assert_eq!(changed(|e| e.trees[0].first = 1), size);
    assert_eq!(changed(|e| e.trees[0].first = u32::MAX), size);
    assert_eq!(changed(|e| e.width = 0), size);
    assert_eq!(changed(|e| e.width = 3), size);
    assert_eq!(changed(|e| e.bias.clear()), size);
    assert_eq!(changed(|e| e.trees.clear()), size);
}

#[test]
fn a_tree_that_is_too_deep_is_refused() {
    let chain = |depth: u32| {
        changed(|ensemble| {
            let tree = &mut ensemble.trees[0];
            let split = |place: u32| Split {
                yes: place + 1,
                no: depth + 1,
                ..tree.splits[0]
            };
            tree.splits = (0..depth).map(split).collect();
        })
    };
    assert!(chain(4096).is_ok());
    assert_eq!(chain(4097), Err(GraphError::BadTree { node: 0, tree: 0 }));
}

#[test]
fn leaves_that_could_reach_the_bound_are_refused() {
    let overflow = Err(GraphError::AccumulatorOverflow { node: 0 });
    let with = |leaf: i32, bias: i32| {
        changed(|e| {
            e.trees.push(e.trees[0].clone());
            e.trees[1].leaves[1] = leaf;
            e.bias[0] = bias;
        })
    };
    // 20 of the first tree's leaves.
    assert_eq!(with(-(1 << 30) + 20, 0), overflow);
    assert_eq!(with(-(1 << 30) + 22, -2), overflow);
    assert_eq!(with(i32::MIN, 0), overflow);
    let graph = with(-(1 << 30) + 21, 0).unwrap();
    assert_eq!(graph.run(&[8, 0, 0, 0, 0]), Ok(vec![-(1 << 30) + 41]));
}

#[test]
fn a_depth_that_is_not_the_trees_is_refused() {
    let mut bytes = changed(|_| {}).unwrap().encode();
    // Head 21, tag and input 5, outputs, width 8, accumulator 1, trees 4, first, splits, leaves 12.
    let depth = 21 + 5 + 8 + 1 + 4 + 12;
    assert_eq!(bytes[depth..depth + 4], [0, 0, 0, 1]);
    bytes[depth + 3] = 2;
    assert_eq!(Graph::decode(&bytes), Err(DecodeGraphError::WrongDepth));
}

#[test]
fn a_shape_names_sizes_and_depths_alone() {
    let shape = |change: fn(&mut TreeEnsemble)| changed(change).unwrap().encode_shape();
    let stump = shape(|_| {});
    assert_eq!(stump, shape(|e| e.trees[0].splits[0].threshold = -9));
    assert_eq!(stump, shape(|e| e.trees[0].splits[0].feature = 4));
    assert_eq!(stump, shape(|e| e.trees[0].splits[0].missing = true));
    assert_eq!(stump, shape(|e| e.trees[0].leaves[0] = -9));
    assert_eq!(stump, shape(|e| e.bias[0] = -9));
    assert_ne!(stump, shape(|e| e.trees.push(e.trees[0].clone())));
    assert_ne!(
        stump,
        shape(|e| e.accumulator = Accumulator::Narrow).split_off(1)
    );
}

/// Distances are wide; the clamp makes them an output.
fn clamped(input: InputType, operator: Operator) -> Graph {
    let clamp = Operator::Clamp {
        lo: i32::MIN,
        hi: i32::MAX,
    };
    let nodes = vec![
        Node::unary(operator, ValueId(0)),
        Node::unary(clamp, ValueId(1)),
    ];
    Graph::new(input, nodes).unwrap()
}

#[test]
fn a_distance_is_the_sum_of_squares_and_products() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    for (elements, rows) in [(1_u32, 1), (3, 7), (17, 4)] {
        let most = MAX_COORDINATE;
        let mut vectors: Vec<i16> = (0..elements * rows)
            .map(|_| rng.random_range(-most..=most))
            .collect();
        vectors[0] = -most;
        let input = InputType {
            elements,
            lo: -i32::from(most),
            hi: most.into(),
        };
        let graph = clamped(
            input,
            Operator::Distances {
                vectors: vectors.clone(),
            },
        );
        let expanded = |x: &[i32]| -> Vec<i32> {
            let square = |v: i128| v * v;
            let x: Vec<i128> = x.iter().map(|&x| x.into()).collect();
            let own: i128 = x.iter().copied().map(square).sum();
            let distance = |v: &[i16]| {
                let v: Vec<i128> = v.iter().map(|&v| v.into()).collect();
                let cross: i128 = x.iter().zip(&v).map(|(x, v)| x * v).sum();
                let distance = own - 2 * cross + v.iter().copied().map(square).sum::<i128>();
                i32::try_from(distance).unwrap_or(i32::MAX)
            };
            vectors.chunks(elements as usize).map(distance).collect()
        };
        let ends = [-i32::from(most), 0, most.into()];
        let boundaries = ends.map(|end| vec![end; elements as usize]);
        let random = (0..RANDOM_INPUTS).map(|_| {
            let reach = [9, 1000, i32::from(most)][rng.random_range(0..3)];
            (0..elements)
                .map(|_| rng.random_range(-reach..=reach))
                .collect()
        });
        for x in boundaries.into_iter().chain(random) {
            assert_eq!(graph.run(&x), Ok(expanded(&x)));
        }
    }
}

#[test]
fn an_exponential_is_a_power_of_two_within_its_error() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let input = InputType {
        elements: 1,
        lo: 0,
        hi: i32::MAX,
    };
    for (multiplier, shift) in [
        (1, 0),
        (65_535, 0),
        (40_000, 20),
        (1, 14),
        (0, 3),
        (65_535, 46),
    ] {
        let operator = Operator::Exponential { multiplier, shift };
        let graph = one(input, operator).unwrap();
        let random =
            (0..RANDOM_INPUTS).map(|_| rng.random_range(0..=i32::MAX) >> rng.random_range(0..31));
        for x in [0, 1, 1023, 1024, 65_535, 65_536, i32::MAX]
            .into_iter()
            .chain(random)
        {
            let z = i128::from(x) * i128::from(multiplier) / (1_i128 << shift);
            let exact = 32_767.0 * (-(z as f64) / 65_536.0).exp2();
            let y = graph.run(&[x]).unwrap()[0];
            let error = f64::from(y) - exact;
            assert!((-2.0..0.9).contains(&error), "{x}: {y}, not {exact}");
        }
    }
}
