//! Tree ensembles: from the file's lists to splits over the model's own input.

use super::super::super::Unsupported;
use super::super::super::float::{FloatOperator, FloatTree, Forest};
use super::super::super::lower::{Lowering, Refused};
use super::super::super::node::OnnxNode;
use super::super::super::value::Float;
use super::exact::Feature;
use super::nodes::{FileNode, FileTree, listed, rooted};
use super::{Made, finite, one, plain};

/// Label and scores. A transform of the scores is left out: it changes no order.
pub(super) fn classifier(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    let classes = lowering.classes(node, ["classlabels_int64s", "classlabels_strings"])?;
    let trees = listed(lowering, node, "class", classes)?;
    let base = finite(node, "base_values")?;
    let mut ids: Vec<usize> = adds(&trees).map(|(class, _)| class).collect();
    ids.sort_unstable();
    ids.dedup();
    let scores = match (classes, ids.as_slice(), base) {
        (2, [_], [] | [_]) if base.is_empty() || ids == [0] => {
            let base = base.first().map_or(0.0, |&base| base.into());
            binary(lowering, node, &trees, base)?
        }
        // What a score for each of two classes means, runtimes do not agree on.
        (2, ..) => return Err(Unsupported::TwoScores.into()),
        (_, _, base) if base.is_empty() || base.len() == classes => {
            let mut bias: Vec<f64> = base.iter().map(|&b| b.into()).collect();
            bias.resize(classes, 0.0);
            forest(lowering, node, &trees, bias)?
        }
        _ => return Err(Unsupported::Lengths.into()),
    };
    lowering.judged(scores)
}

/// One score for two classes. If no leaf is below zero it is the second's share, of which more than
/// a half decides; else it decides by its sign.
fn binary(
    lowering: &mut Lowering<'_>,
    node: &OnnxNode<'_>,
    trees: &[FileTree],
    base: f64,
) -> Result<Float, Refused> {
    let share = adds(trees).all(|(_, weight)| weight >= 0.0);
    let (bias, both) = if share {
        // Shares of so many trees are rounded; a half of them is a half all the same.
        let rounding = trees.len() as f64 * f64::from(f32::EPSILON) / 4.0;
        (vec![1.0 - base + rounding, base - rounding], true)
    } else {
        (vec![0.0, base], false)
    };
    let moved = |node: &FileNode| match node {
        FileNode::Leaf(adds) => {
            let score: f64 = adds.iter().map(|(_, weight)| weight).sum();
            let first = both.then_some((0, -score));
            FileNode::Leaf(first.into_iter().chain([(1, score)]).collect())
        }
        FileNode::Split { .. } => node.clone(),
    };
    let trees: Vec<FileTree> = trees
        .iter()
        .map(|tree| FileTree {
            nodes: tree.nodes.iter().map(moved).collect(),
        })
        .collect();
    forest(lowering, node, &trees, bias)
}

pub(super) fn regressor(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    plain(node)?;
    let targets = targets(node)?;
    let base = finite(node, "base_values")?;
    let mut bias: Vec<f64> = base.iter().map(|&b| b.into()).collect();
    match bias.len() {
        0 => bias.resize(targets, 0.0),
        n if n == targets => {}
        _ => return Err(Unsupported::Lengths.into()),
    }
    let mut trees = listed(lowering, node, "target", targets)?;
    match node.text("aggregate_function") {
        None | Some("SUM") => {}
        Some("AVERAGE") => average(&mut trees),
        Some(_) => return Err(Unsupported::Aggregate.into()),
    }
    one(forest(lowering, node, &trees, bias)?)
}

/// `TreeEnsemble`, which took the place of both in version 5.
pub(super) fn ensemble(lowering: &mut Lowering<'_>, node: &OnnxNode<'_>) -> Made {
    if node.int("post_transform", 0)? != 0 {
        return Err(Unsupported::Attribute.into());
    }
    let targets = targets(node)?;
    let mut trees = rooted(lowering, node, targets)?;
    match node.int("aggregate_function", 1)? {
        0 => average(&mut trees),
        1 => {}
        _ => return Err(Unsupported::Aggregate.into()),
    }
    one(forest(lowering, node, &trees, vec![0.0; targets])?)
}

fn targets(node: &OnnxNode<'_>) -> Result<usize, Unsupported> {
    let targets = usize::try_from(node.int("n_targets", 1)?).ok();
    targets
        .filter(|targets| (1..=MAX_TARGETS).contains(targets))
        .ok_or(Unsupported::Lengths)
}

/// Most numbers that a forest gives.
const MAX_TARGETS: usize = 4096;

/// What the leaves add, all together.
fn adds(trees: &[FileTree]) -> impl Iterator<Item = (usize, f64)> {
    let nodes = trees.iter().flat_map(|tree| &tree.nodes);
    nodes
        .filter_map(|node| match node {
            FileNode::Leaf(adds) => Some(adds.iter().copied()),
            FileNode::Split { .. } => None,
        })
        .flatten()
}

fn average(trees: &mut [FileTree]) {
    let share = 1.0 / trees.len() as f64;
    for node in trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
        if let FileNode::Leaf(adds) = node {
            adds.iter_mut().for_each(|(_, weight)| *weight *= share);
        }
    }
}

fn forest(
    lowering: &mut Lowering<'_>,
    node: &OnnxNode<'_>,
    trees: &[FileTree],
    bias: Vec<f64>,
) -> Result<Float, Refused> {
    let x = lowering.real(node.one()?)?;
    let outputs = bias.len();
    let spans: Vec<[usize; 2]> = trees.iter().map(span).collect();
    let width = spans.iter().map(|[lo, hi]| hi - lo + 1).max().unwrap_or(1);
    let nodes = trees.iter().flat_map(|tree| &tree.nodes);
    let room = nodes.clone().map(|node| match node {
        FileNode::Leaf(_) => width.saturating_mul(2),
        FileNode::Split { mode, .. } => mode.count().saturating_mul(8),
    });
    lowering.reserve(room.fold(outputs, usize::saturating_add), 1)?;
    let missing = nodes
        .clone()
        .any(|node| matches!(node, FileNode::Split { missing: true, .. }));
    let mut features = vec![None; x.dims.iter().product()];
    // Where a feature comes from is asked of every node before, at most.
    let chain = lowering
        .float
        .nodes
        .iter()
        .map(|node| 1 + node.inputs.len());
    let chain = u64::try_from(chain.sum::<usize>()).unwrap_or(u64::MAX);
    for node in nodes {
        if let FileNode::Split { feature, .. } = node {
            let place = *feature;
            let known = features.get_mut(place).ok_or(Unsupported::TreeNode)?;
            if known.is_none() {
                lowering.work.spend(chain)?;
                let found = lowering.feature(x.place, place);
                *known = Some(found.ok_or(Unsupported::TreeInput)?);
            }
        }
    }
    let trees = trees.iter().zip(&spans).map(|(file, [lo, _])| {
        let first = (*lo).min(outputs - width);
        grown(file, &features, first, width, missing)
    });
    let forest = Forest {
        trees: trees.collect(),
        width,
        bias,
        missing,
    };
    if forest
        .trees
        .iter()
        .any(|tree| tree.depth() > graph::MAX_DEPTH)
    {
        return Err(Unsupported::TreeShape.into());
    }
    if !(forest.reach() as f32).is_finite() {
        return Err(Unsupported::NotFinite.into());
    }
    let input = Float {
        place: lowering.imputed.unwrap_or(0),
        ..x.clone()
    };
    let y = lowering.push(FloatOperator::Forest(forest), &[&input], vec![1, outputs])?;
    Ok(y)
}

/// The first and the last output that a tree adds to.
fn span(tree: &FileTree) -> [usize; 2] {
    let targets = || adds(std::slice::from_ref(tree)).map(|(target, _)| target);
    [targets().min().unwrap_or(0), targets().max().unwrap_or(0)]
}

/// Splits first, leaves behind them, in the order of the file's tree.
fn grown(
    file: &FileTree,
    features: &[Option<Feature>],
    first: usize,
    width: usize,
    heeded: bool,
) -> FloatTree {
    let mut places = Vec::with_capacity(file.nodes.len());
    let (mut splits, mut leaves) = (0, 0);
    for node in &file.nodes {
        let (count, place) = match node {
            FileNode::Split { mode, .. } => (&mut splits, mode.count()),
            FileNode::Leaf(_) => (&mut leaves, 1),
        };
        places.push(*count);
        *count += place;
    }
    for (place, node) in places.iter_mut().zip(&file.nodes) {
        if let FileNode::Leaf(_) = node {
            *place += splits;
        }
    }
    let mut tree = FloatTree {
        first,
        splits: Vec::with_capacity(splits),
        leaves: vec![0.0; leaves * width],
    };
    for (node, place) in file.nodes.iter().zip(&places) {
        match node {
            FileNode::Split {
                feature,
                mode,
                missing,
                yes,
                no,
            } => {
                if let Some(feature) = &features[*feature] {
                    let ways = [places[*yes], places[*no]];
                    tree.splits
                        .extend(mode.splits(feature, *place, ways, [*missing, heeded]));
                }
            }
            FileNode::Leaf(adds) => {
                let leaf = (place - splits) * width;
                for (target, weight) in adds {
                    tree.leaves[leaf + target - first] += weight;
                }
            }
        }
    }
    tree
}
