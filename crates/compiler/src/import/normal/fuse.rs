//! Activations that were taken apart: whatever is a function of one number is made one function.

use super::super::float::{Affine, Binary, FloatGraph, FloatNode, FloatOperator, Function};
use super::Rewrite;

/// One round of fusing, front to back.
pub(super) fn fuse(graph: FloatGraph) -> FloatGraph {
    let mut rewrite = Rewrite::new(graph.input.clone());
    let mut chains = vec![Chain::start(0)];
    for node in graph.nodes {
        let mut node = rewrite.moved(node);
        let place = rewrite.graph.nodes.len() + 1;
        let chain = chain(&chains, &node).filter(|chain| chain.function.len() <= MAX_STEPS);
        if let Some(chain) = &chain
            && chain.worth
        {
            node.inputs = vec![chain.root];
            node.operator = recognised(&chain.function);
        }
        chains.push(chain.unwrap_or_else(|| Chain::start(place)));
        rewrite.keep(node);
    }
    rewrite.finish(graph.output)
}

/// A value as a function of a value before it, element by element.
#[derive(Clone)]
struct Chain {
    root: usize,
    function: Function,
    /// Whether it is more than factors, shifts and clamps.
    curved: bool,
    /// Whether the last node should be replaced.
    worth: bool,
}

impl Chain {
    fn start(root: usize) -> Self {
        Self {
            root,
            function: Function::input(),
            curved: false,
            worth: false,
        }
    }
}

/// More steps than any known activation has.
const MAX_STEPS: usize = 64;

fn chain(chains: &[Chain], node: &FloatNode) -> Option<Chain> {
    let input = |place: usize| &chains[node.inputs[place]];
    let then = |function: Function, curved: bool| {
        let Chain {
            root,
            function: inner,
            curved: before,
            ..
        } = input(0).clone();
        Chain {
            root,
            function: inner.compose(&function),
            curved: curved || before,
            worth: (curved || before) && node.inputs[0] != root,
        }
    };
    let identity = Function::input;
    Some(match &node.operator {
        FloatOperator::Function(function) => {
            let chain = then(function.clone(), true);
            let known = function.slopes().is_some();
            let worth = chain.worth || known;
            Chain { worth, ..chain }
        }
        FloatOperator::Affine(affine) => {
            let (scale, shift) = affine.as_uniform()?;
            let function = identity().with(Binary::Multiply, scale);
            // A shift of zero would hide that the function has no other constant.
            then(
                if shift == 0.0 {
                    function
                } else {
                    function.with(Binary::Add, shift)
                },
                false,
            )
        }
        FloatOperator::Clamp { lo, hi } => then(clamp(*lo, *hi), false),
        FloatOperator::Slopes { below, above } => {
            let under = identity()
                .with(Binary::Min, 0.0)
                .with(Binary::Multiply, *below);
            let over = identity()
                .with(Binary::Max, 0.0)
                .with(Binary::Multiply, *above);
            then(over.join(Binary::Add, &under), false)
        }
        FloatOperator::Add { left, right } => {
            let (a, b) = (input(0), input(1));
            let scaled = |chain: &Chain, factor: f64| match factor {
                1.0 => chain.function.clone(),
                factor => chain.function.clone().with(Binary::Multiply, factor),
            };
            join(a, b, scaled(a, *left), Binary::Add, &scaled(b, *right))?
        }
        FloatOperator::Multiply => {
            let (a, b) = (input(0), input(1));
            join(a, b, a.function.clone(), Binary::Multiply, &b.function)?
        }
        _ => return None,
    })
}

fn join(
    a: &Chain,
    b: &Chain,
    left: Function,
    operation: Binary,
    right: &Function,
) -> Option<Chain> {
    (a.root == b.root).then(|| Chain {
        root: a.root,
        function: left.join(operation, right),
        curved: true,
        worth: true,
    })
}

fn clamp(lo: f64, hi: f64) -> Function {
    let mut clamp = Function::input();
    if lo > f64::NEG_INFINITY {
        clamp = clamp.with(Binary::Max, lo);
    }
    if hi < f64::INFINITY {
        clamp = clamp.with(Binary::Min, hi);
    }
    clamp
}

/// The function as a simpler operator, if it is one.
fn recognised(function: &Function) -> FloatOperator {
    match function.slopes() {
        Some((0.0, 1.0)) => FloatOperator::Clamp {
            lo: 0.0,
            hi: f64::INFINITY,
        },
        Some((below, above)) if below == above => {
            FloatOperator::Affine(Affine::uniform(above, 0.0))
        }
        Some((below, above)) => FloatOperator::Slopes { below, above },
        None => FloatOperator::Function(function.clone()),
    }
}
