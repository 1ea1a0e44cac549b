//! The lists that describe trees in a file: nodes by number, in any order, with whatever children
//! they claim. What comes out are trees: one root, every node behind its one parent, no cycle.

use std::collections::BTreeMap;

use super::super::super::Unsupported;
use super::super::super::lower::{Lowering, Refused};
use super::super::super::node::OnnxNode;
use super::super::super::tensor::{Content, Tensor};
use super::modes::Mode;

/// A tree of a file; its first node is the root.
#[derive(Debug)]
pub(super) struct FileTree {
    pub(super) nodes: Vec<FileNode>,
}

/// A node of a tree.
#[derive(Debug, Clone)]
pub(super) enum FileNode {
    Split {
        feature: usize,
        mode: Mode,
        /// Whether the question holds of what is missing.
        missing: bool,
        /// Places behind this one.
        yes: usize,
        no: usize,
    },
    /// What it adds to which outputs.
    Leaf(Vec<(usize, f64)>),
}

/// A node as the file has it: children by their places in the file's lists.
struct Listed {
    node: FileNode,
    tree: i64,
}

/// Trees as `TreeEnsembleClassifier` and `TreeEnsembleRegressor` list them; `adds` is the prefix of
/// the attributes that say what leaves add.
pub(super) fn listed(
    lowering: &mut Lowering<'_>,
    node: &OnnxNode<'_>,
    adds: &str,
    outputs: usize,
) -> Result<Vec<FileTree>, Refused> {
    let trees = node.ints("nodes_treeids").unwrap_or_default();
    let count = trees.len();
    let ints = |name: &str| match node.ints(name).unwrap_or_default() {
        list if list.len() == count => Ok(list),
        _ => Err(Unsupported::Lengths),
    };
    let ids = ints("nodes_nodeids")?;
    let (features, yes, no) = (
        ints("nodes_featureids")?,
        ints("nodes_truenodeids")?,
        ints("nodes_falsenodeids")?,
    );
    let values = numbers(lowering, node, "nodes_values")?;
    let modes = node.texts("nodes_modes").unwrap_or_default();
    let missing = node
        .ints("nodes_missing_value_tracks_true")
        .unwrap_or_default();
    let missing_fits = missing.is_empty() || missing.len() == count;
    if values.len() != count || modes.len() != count || !missing_fits || count == 0 {
        return Err(Unsupported::Lengths.into());
    }
    let mut places = BTreeMap::new();
    for (place, key) in trees.iter().zip(ids).enumerate() {
        if places.insert(key, place).is_some() {
            return Err(Unsupported::TreeNode.into());
        }
    }
    let find = |tree: &i64, id: &i64| {
        let place = places.get(&(tree, id)).copied();
        place.ok_or(Unsupported::TreeNode)
    };
    let mut nodes = Vec::with_capacity(count);
    for place in 0..count {
        let tree = trees[place];
        let node = if modes[place] == "LEAF" {
            FileNode::Leaf(Vec::new())
        } else {
            FileNode::Split {
                feature: feature(features[place])?,
                mode: mode(&modes[place], values[place])?,
                missing: missing.get(place).is_some_and(|&tracks| tracks != 0),
                yes: find(&tree, &yes[place])?,
                no: find(&tree, &no[place])?,
            }
        };
        nodes.push(Listed { node, tree });
    }
    let list = |name: &str| node.ints(&format!("{adds}_{name}")).unwrap_or_default();
    let (trees, ids, targets) = (list("treeids"), list("nodeids"), list("ids"));
    let weights = numbers(lowering, node, &format!("{adds}_weights"))?;
    if [trees.len(), ids.len(), targets.len()] != [weights.len(); 3] {
        return Err(Unsupported::Lengths.into());
    }
    for (place, weight) in weights.iter().enumerate() {
        let target = usize::try_from(targets[place]).unwrap_or(usize::MAX);
        let at = find(&trees[place], &ids[place])?;
        match &mut nodes[at].node {
            FileNode::Leaf(adds) if target < outputs => adds.push((target, finite(*weight)?)),
            _ => return Err(Unsupported::TreeNode.into()),
        }
    }
    grown(nodes)
}

/// Trees as `TreeEnsemble` lists them: splits and leaves apart, roots by place.
pub(super) fn rooted(
    lowering: &mut Lowering<'_>,
    node: &OnnxNode<'_>,
    outputs: usize,
) -> Result<Vec<FileTree>, Refused> {
    let features = node.ints("nodes_featureids").unwrap_or_default();
    let count = features.len();
    let ints = |name: &str| match node.ints(name).unwrap_or_default() {
        list if list.len() == count => Ok(list),
        _ => Err(Unsupported::Lengths),
    };
    let (yes, yes_leaf) = (ints("nodes_truenodeids")?, ints("nodes_trueleafs")?);
    let (no, no_leaf) = (ints("nodes_falsenodeids")?, ints("nodes_falseleafs")?);
    let missing = node
        .ints("nodes_missing_value_tracks_true")
        .unwrap_or_default();
    let thresholds = tensor(lowering, node, "nodes_splits")?;
    let modes = tensor(lowering, node, "nodes_modes")?;
    let (targets, weights) = (
        node.ints("leaf_targetids").unwrap_or_default(),
        tensor(lowering, node, "leaf_weights")?,
    );
    let missing_fits = missing.is_empty() || missing.len() == count;
    if thresholds.len() != count
        || modes.len() != count
        || targets.len() != weights.len()
        || !missing_fits
        || count == 0
    {
        return Err(Unsupported::Lengths.into());
    }
    let mut members = match node.tensor("membership_values") {
        Some(_) => memberships(&tensor(lowering, node, "membership_values")?),
        None => Vec::new(),
    }
    .into_iter();
    let mut nodes: Vec<Listed> = Vec::with_capacity(count);
    let mut leaves = Vec::new();
    for place in 0..count {
        let mut child = |at: i64, leaf: i64| {
            let at = usize::try_from(at).map_err(|_| Unsupported::TreeNode)?;
            if leaf == 0 {
                return Some(at)
                    .filter(|&at| at < count)
                    .ok_or(Unsupported::TreeNode);
            }
            let (target, weight) = targets
                .get(at)
                .zip(weights.get(at))
                .ok_or(Unsupported::TreeNode)?;
            let target = usize::try_from(*target).ok().filter(|&t| t < outputs);
            leaves.push((target.ok_or(Unsupported::TreeNode)?, finite(*weight)?));
            Ok(count + leaves.len() - 1)
        };
        let (yes, no) = (
            child(yes[place], yes_leaf[place])?,
            child(no[place], no_leaf[place])?,
        );
        let mode = numbered(modes[place], thresholds[place], &mut members)?;
        let node = FileNode::Split {
            feature: feature(features[place])?,
            mode,
            missing: missing.get(place).is_some_and(|&tracks| tracks != 0),
            yes,
            no,
        };
        nodes.push(Listed { node, tree: -1 });
    }
    let leaf = |leaf| Listed {
        node: FileNode::Leaf(vec![leaf]),
        tree: -1,
    };
    nodes.extend(leaves.into_iter().map(leaf));
    let roots = node.ints("tree_roots").unwrap_or_default();
    let mut grower = Grower::new(nodes);
    let mut trees = Vec::new();
    for root in roots {
        let root = usize::try_from(*root).ok().filter(|&root| root < count);
        trees.push(grower.tree(root.ok_or(Unsupported::TreeNode)?)?);
    }
    grower.finish()?;
    Ok(trees)
}

/// Numbers as a list, or as a tensor of its own attribute.
fn numbers(
    lowering: &mut Lowering<'_>,
    node: &OnnxNode<'_>,
    name: &str,
) -> Result<Vec<f64>, Refused> {
    let as_tensor = format!("{name}_as_tensor");
    if node.tensor(&as_tensor).is_some() {
        return tensor(lowering, node, &as_tensor);
    }
    let list = node.numbers(name).unwrap_or_default();
    if !lowering.budget.take(list.len().saturating_mul(8)) {
        return Err(Unsupported::TooLarge.into());
    }
    Ok(list.iter().map(|&x| x.into()).collect())
}

fn tensor(
    lowering: &mut Lowering<'_>,
    node: &OnnxNode<'_>,
    name: &str,
) -> Result<Vec<f64>, Refused> {
    let proto = node.tensor(name).ok_or(Unsupported::Lengths)?;
    let tensor = Tensor::read_any(proto, lowering.budget)?;
    Ok(match tensor.content {
        Content::Floats(floats) => floats.into_iter().map(f64::from).collect(),
        Content::Integers(whole) => whole.into_iter().map(|x| x as f64).collect(),
    })
}

/// Lists of members, each ended by what is not a number.
fn memberships(values: &[f64]) -> Vec<Vec<f64>> {
    let mut all: Vec<Vec<f64>> = vec![Vec::new()];
    for value in values {
        match all.last_mut() {
            Some(members) if !value.is_nan() => members.push(*value),
            _ => all.push(Vec::new()),
        }
    }
    for members in &mut all {
        members.sort_by(f64::total_cmp);
        members.dedup();
    }
    all
}

fn feature(id: i64) -> Result<usize, Unsupported> {
    usize::try_from(id).map_err(|_| Unsupported::TreeNode)
}

fn mode(mode: &str, t: f64) -> Result<Mode, Unsupported> {
    let t = threshold(t)?;
    Ok(match mode {
        "BRANCH_LEQ" => Mode::AtMost(t),
        "BRANCH_LT" => Mode::Below(t),
        "BRANCH_GTE" => Mode::AtLeast(t),
        "BRANCH_GT" => Mode::Above(t),
        "BRANCH_EQ" => Mode::Equal(t),
        "BRANCH_NEQ" => Mode::Unequal(t),
        _ => return Err(Unsupported::Attribute),
    })
}

/// A mode by its number; members in the order in which nodes ask for them.
fn numbered(
    mode: f64,
    t: f64,
    members: &mut impl Iterator<Item = Vec<f64>>,
) -> Result<Mode, Unsupported> {
    let t = threshold(t)?;
    Ok(match mode {
        0.0 => Mode::AtMost(t),
        1.0 => Mode::Below(t),
        2.0 => Mode::AtLeast(t),
        3.0 => Mode::Above(t),
        4.0 => Mode::Equal(t),
        5.0 => Mode::Unequal(t),
        6.0 => {
            let members = members.next().filter(|members| !members.is_empty());
            Mode::Member(members.ok_or(Unsupported::Lengths)?)
        }
        _ => return Err(Unsupported::Attribute),
    })
}

/// Infinite ones are compared as any other.
fn threshold(t: f64) -> Result<f64, Unsupported> {
    if t.is_nan() {
        Err(Unsupported::Threshold)
    } else {
        Ok(t)
    }
}

fn finite(weight: f64) -> Result<f64, Unsupported> {
    if weight.is_finite() {
        Ok(weight)
    } else {
        Err(Unsupported::NotFinite)
    }
}

/// Every tree from its one node that no other leads to, in the order of the file.
fn grown(nodes: Vec<Listed>) -> Result<Vec<FileTree>, Refused> {
    let mut led_to = vec![false; nodes.len()];
    for listed in &nodes {
        if let FileNode::Split { yes, no, .. } = listed.node {
            for child in [yes, no] {
                led_to[child] = true;
            }
        }
    }
    let mut roots: Vec<(i64, usize)> = Vec::new();
    let mut of_tree = BTreeMap::new();
    for (place, listed) in nodes.iter().enumerate() {
        let root = of_tree.entry(listed.tree).or_insert_with(|| {
            roots.push((listed.tree, place));
            None
        });
        if !led_to[place] && root.replace(place).is_some() {
            return Err(Unsupported::TreeShape.into());
        }
    }
    let mut grower = Grower::new(nodes);
    let mut trees = Vec::with_capacity(roots.len());
    for (tree, _) in roots {
        let root = of_tree.get(&tree).copied().flatten();
        trees.push(grower.tree(root.ok_or(Unsupported::TreeShape)?)?);
    }
    grower.finish()?;
    Ok(trees)
}

/// Takes nodes out of the file's lists, each once.
struct Grower {
    nodes: Vec<Option<FileNode>>,
    left: usize,
}

impl Grower {
    fn new(nodes: Vec<Listed>) -> Self {
        Self {
            left: nodes.len(),
            nodes: nodes.into_iter().map(|listed| Some(listed.node)).collect(),
        }
    }

    /// The tree below `root`, parents first. A node that was taken before is a cycle, or has two
    /// parents.
    fn tree(&mut self, root: usize) -> Result<FileTree, Unsupported> {
        let mut nodes: Vec<FileNode> = Vec::new();
        // Where to write the place of the next node: a parent, and whether it is its `yes`.
        let mut open = vec![(root, None)];
        while let Some((file, parent)) = open.pop() {
            let place = nodes.len();
            if let Some((parent, is_yes)) = parent
                && let Some(FileNode::Split { yes, no, .. }) = nodes.get_mut(parent)
            {
                let child: &mut usize = if is_yes { yes } else { no };
                *child = place;
            }
            let node = self.nodes[file].take().ok_or(Unsupported::TreeShape)?;
            self.left -= 1;
            if let FileNode::Split { yes, no, .. } = node {
                open.extend([(no, Some((place, false))), (yes, Some((place, true)))]);
            }
            nodes.push(node);
        }
        Ok(FileTree { nodes })
    }

    /// Whether every node has found its tree.
    const fn finish(&self) -> Result<(), Unsupported> {
        if self.left == 0 {
            Ok(())
        } else {
            Err(Unsupported::TreeShape)
        }
    }
}
