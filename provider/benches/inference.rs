//! One inference in an instance of its own, beside the interpreter and beside the bare cost of an
//! instance (a model that does nothing): the limit of what a fresh instance can cost.
#![allow(missing_docs, reason = "criterion's macros")]
#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot start should say so"
)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use graph::{Accumulator, Graph, InputType, Node, Operator, ValueId, Weights};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use subrosa_provider::{OwnModules, Sandbox, SandboxLimits};

/// Layers of these widths, weights at random.
fn network(widths: &[usize]) -> Graph {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut nodes = Vec::new();
    for pair in widths.windows(2) {
        let weights = (0..pair[0] * pair[1]).map(|_| rng.random_range(-127..=127_i8));
        let dense = Operator::Dense {
            weights: Weights::Narrow(weights.collect()),
            bias: vec![0; pair[1]],
            accumulator: Accumulator::Narrow,
        };
        let requantise = Operator::Requantise {
            multipliers: vec![600; pair[1]],
            shift: 20,
            lo: 0,
            hi: 127,
        };
        for operator in [dense, requantise] {
            let from = ValueId(u32::try_from(nodes.len()).unwrap());
            nodes.push(Node::unary(operator, from));
        }
    }
    let input = InputType {
        elements: u32::try_from(widths[0]).unwrap(),
        lo: -127,
        hi: 127,
    };
    Graph::new(input, nodes).unwrap()
}

fn nothing() -> Graph {
    let input = InputType {
        elements: 1,
        lo: 0,
        hi: 1,
    };
    let clamp = Operator::Clamp { lo: 0, hi: 1 };
    Graph::new(input, vec![Node::unary(clamp, ValueId(0))]).unwrap()
}

fn inference(criterion: &mut Criterion) {
    let mut models = vec![("nothing", nothing())];
    for shipped in compiler::shipped() {
        models.push((shipped.name, shipped.model().unwrap().graph));
    }
    models.push(("mlp-784-1000-200-10", network(&[784, 1000, 200, 10])));
    let sandbox = Sandbox::new(SandboxLimits::default(), Arc::new(OwnModules)).unwrap();
    for (name, graph) in &models {
        let module = compiler::compile(graph).unwrap();
        let model = sandbox.load(&module.bytes, module.fuel).unwrap();
        let input = vec![1; graph.elements(ValueId(0))];
        let mut group = criterion.benchmark_group(*name);
        group.bench_function("fresh instance", |b| {
            b.iter(|| model.run(black_box(&input)).unwrap());
        });
        group.bench_function("interpreter", |b| {
            b.iter(|| graph.run(black_box(&input)).unwrap());
        });
        group.finish();
    }
    criterion.bench_function("compile and load tumour", |b| {
        let graph = &models[1].1;
        b.iter(|| {
            let module = compiler::compile(graph).unwrap();
            sandbox.load(&module.bytes, module.fuel).unwrap()
        });
    });
}

criterion_group!(benches, inference);
criterion_main!(benches);
