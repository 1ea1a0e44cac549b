//! One form for what exporters write in many: constants run, factors and shifts moved into weights,
//! views joined, activations that were taken apart put together again.
//!
//! Rewrites go through the graph from front to back, again and again until nothing changes. Each
//! keeps what the model says, but for rounding of floats.

mod fold;
mod fuse;
mod merge;

use std::mem::{Discriminant, discriminant};

use super::ImportError;
use super::budget::Work;
use super::float::{Affine, Conv, FloatGraph, FloatNode, FloatOperator};
use graph::Window;

/// Brings `graph` into its normal form: no constants, no [`FloatOperator::Affine`], no node that
/// the output does not need.
pub(super) fn normalise(mut graph: FloatGraph, work: &Work) -> Result<FloatGraph, ImportError> {
    for _ in 0..MAX_ROUNDS {
        // What a round may run or copy; and what it multiplies to make one layer of two.
        work.spend(graph.cost())?;
        let before = form(&graph);
        graph = prune(merge::merge(fuse::fuse(fold::fold(graph)), work)?);
        if form(&graph) == before {
            break;
        }
    }
    for node in 0..graph.nodes.len() {
        point(&mut graph, node);
    }
    Ok(graph)
}

/// What every rewrite changes: the operators, and who takes what.
fn form(graph: &FloatGraph) -> Vec<(Discriminant<FloatOperator>, Vec<usize>)> {
    let nodes = graph.nodes.iter();
    let form = nodes.map(|node| (discriminant(&node.operator), node.inputs.clone()));
    form.collect()
}

/// More than any model needed; each round is sound by itself.
const MAX_ROUNDS: usize = 12;

/// A factor and a shift that found no layer: a window of one element a channel.
fn point(graph: &mut FloatGraph, node: usize) {
    let elements = graph.elements(node + 1);
    let FloatOperator::Affine(affine) = &graph.nodes[node].operator else {
        return;
    };
    let Affine {
        scale,
        shift,
        inner,
    } = affine;
    let (channels, width) = if scale.len() == 1 {
        (1, elements)
    } else {
        (elements / inner, *inner)
    };
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let each = |numbers: &[f64]| -> Vec<f32> {
        let channels = 0..channels;
        channels
            .map(|c| numbers[c % numbers.len()] as f32)
            .collect()
    };
    let conv = Conv {
        window: Window::point(size(channels), 1, size(width)),
        groups: channels,
        weights: each(scale),
        bias: each(shift),
    };
    graph.nodes[node].operator = FloatOperator::Conv(conv);
}

/// Leaves out the nodes that the output does not need.
fn prune(graph: FloatGraph) -> FloatGraph {
    let mut needed = vec![false; graph.nodes.len() + 1];
    needed[graph.output] = true;
    for (place, node) in graph.nodes.iter().enumerate().rev() {
        if needed[place + 1] {
            node.inputs.iter().for_each(|&input| needed[input] = true);
        }
    }
    let mut rewrite = Rewrite::new(graph.input.clone());
    for (place, node) in graph.nodes.into_iter().enumerate() {
        if needed[place + 1] {
            let node = rewrite.moved(node);
            rewrite.keep(node);
        } else {
            rewrite.skip();
        }
    }
    rewrite.finish(graph.output)
}

/// A graph that is written anew, value by value of an old one.
struct Rewrite {
    graph: FloatGraph,
    /// Where each old value went.
    places: Vec<usize>,
    /// How many old values went to each place.
    sources: Vec<usize>,
}

impl Rewrite {
    fn new(input: Vec<usize>) -> Self {
        let (nodes, output) = (Vec::new(), 0);
        Self {
            graph: FloatGraph {
                input,
                nodes,
                output,
            },
            places: vec![0],
            sources: vec![1],
        }
    }

    /// The old node, over the new values.
    fn moved(&self, mut node: FloatNode) -> FloatNode {
        for input in &mut node.inputs {
            *input = self.places[*input];
        }
        node
    }

    /// The next old value is made by `node`.
    fn keep(&mut self, node: FloatNode) {
        self.graph.nodes.push(node);
        self.places.push(self.graph.nodes.len());
        self.sources.push(1);
    }

    /// The next old value is the new value `place`.
    fn alias(&mut self, place: usize) {
        self.places.push(place);
        self.sources[place] += 1;
    }

    /// Nothing needs the next old value.
    fn skip(&mut self) {
        self.places.push(usize::MAX);
    }

    /// The node that made the new value `place`.
    fn maker(&self, place: usize) -> Option<&FloatNode> {
        self.graph.nodes.get(place.checked_sub(1)?)
    }

    /// As [`Rewrite::maker`], to change it: only if one old value went there, which `uses` says is
    /// used once.
    fn own(&mut self, place: usize, uses: usize) -> Option<&mut FloatNode> {
        if uses != 1 || self.sources.get(place) != Some(&1) {
            return None;
        }
        self.graph.nodes.get_mut(place.checked_sub(1)?)
    }

    fn finish(mut self, output: usize) -> FloatGraph {
        self.graph.output = self.places[output];
        self.graph
    }
}
