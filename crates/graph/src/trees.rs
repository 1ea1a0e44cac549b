//! Ensembles of decision trees: splits that compare one feature with one threshold, leaves that add
//! to outputs (docs/spec/model.md, 3.1).
//!
//! Children stand behind their parents, so that a descent ends; a split or leaf may have several
//! parents. A feature is compared as the integer that it is: exact, whatever the integer stands for.

use crate::{Accumulator, GraphError};

/// What a feature is that the asker does not know.
pub const MISSING: i32 = i32::MAX;

/// Most splits from a root to a leaf.
pub const MAX_DEPTH: usize = 1 << 12;

/// Trees whose leaves are added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEnsemble {
    /// The trees.
    pub trees: Vec<Tree>,
    /// How many outputs a leaf adds to.
    pub width: u32,
    /// What each output starts from.
    pub bias: Vec<i32>,
    /// How large an output may become.
    pub accumulator: Accumulator,
}

/// A tree: its first split is the root; without splits its one leaf is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The first of the outputs that its leaves add to.
    pub first: u32,
    /// The splits, each before its children.
    pub splits: Vec<Split>,
    /// What the leaves add: `width` numbers a leaf.
    pub leaves: Vec<i32>,
}

/// `yes` if `x_feature <= threshold`, or if `missing` and `x_feature` is [`MISSING`]; else `no`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Which element of the input is compared.
    pub feature: u32,
    /// The largest integer that goes to `yes`.
    pub threshold: i32,
    /// Whether [`MISSING`] goes to `yes` too.
    pub missing: bool,
    /// A place in the tree: splits first, leaves behind them.
    pub yes: u32,
    /// Likewise.
    pub no: u32,
}

impl TreeEnsemble {
    /// Thresholds, features, children and leaves, all counted as 4 bytes.
    pub(crate) fn parameters(&self) -> usize {
        let tree = |tree: &Tree| {
            let splits = tree.splits.len().saturating_mul(5);
            splits.saturating_add(tree.leaves.len()).saturating_add(4)
        };
        let trees = self.trees.iter().map(tree);
        trees.fold(self.bias.len(), usize::saturating_add)
    }

    /// Whether features, children, leaves and outputs are where they belong.
    pub(crate) fn check(&self, node: usize, features: usize) -> Result<(), GraphError> {
        let outputs = u32::try_from(self.bias.len()).unwrap_or(0);
        if self.trees.is_empty() || outputs == 0 || self.width == 0 {
            return Err(GraphError::WrongSize { node });
        }
        for (place, tree) in self.trees.iter().enumerate() {
            let end = tree.first.checked_add(self.width);
            let leaves = tree.leaf_count(self.width);
            if end.is_none_or(|end| end > outputs) || leaves.is_none() {
                return Err(GraphError::WrongSize { node });
            }
            let depth = tree.sound_depth(self.width, features);
            if depth.is_none_or(|depth| depth > MAX_DEPTH) {
                return Err(GraphError::BadTree { node, tree: place });
            }
        }
        Ok(())
    }

    /// The largest magnitude that any output could take, in whatever order leaves are added.
    pub(crate) fn reach(&self) -> i64 {
        let mut reach: Vec<i64> = self.bias.iter().map(|b| i64::from(*b).abs()).collect();
        let width = self.width as usize;
        for tree in &self.trees {
            for (place, reach) in reach[tree.first as usize..]
                .iter_mut()
                .take(width)
                .enumerate()
            {
                let added = tree.leaves.iter().skip(place).step_by(width);
                // At most 2^26 trees of 2^31: no overflow here.
                *reach += added.map(|a| i64::from(*a).abs()).max().unwrap_or(0);
            }
        }
        reach.into_iter().max().unwrap_or(0)
    }

    pub(crate) fn run(&self, x: &[i64]) -> Vec<i64> {
        let width = self.width as usize;
        let mut outputs: Vec<i64> = self.bias.iter().map(|&b| b.into()).collect();
        for tree in &self.trees {
            let leaf = tree.leaf(x);
            let added = &tree.leaves[leaf * width..(leaf + 1) * width];
            for (output, added) in outputs[tree.first as usize..].iter_mut().zip(added) {
                *output += i64::from(*added);
            }
        }
        outputs
    }
}

impl Tree {
    /// The most splits from the root to a leaf.
    #[must_use]
    pub fn depth(&self) -> usize {
        let mut below = vec![0; self.splits.len()];
        for (place, split) in self.splits.iter().enumerate().rev() {
            let of = |child: u32| below.get(child as usize).copied().unwrap_or(0);
            below[place] = 1 + of(split.yes).max(of(split.no));
        }
        below.first().copied().unwrap_or(0)
    }

    /// How many leaves of `width` numbers there are, at least one.
    fn leaf_count(&self, width: u32) -> Option<usize> {
        let width = usize::try_from(width).ok()?;
        let whole = self.leaves.len().checked_rem(width) == Some(0);
        (whole && !self.leaves.is_empty()).then(|| self.leaves.len() / width)
    }

    /// The depth, if every split and every leaf has a parent before it (but the root), every child
    /// is one of them, and every feature is one of `features`.
    fn sound_depth(&self, width: u32, features: usize) -> Option<usize> {
        let count = self.splits.len().checked_add(self.leaf_count(width)?)?;
        let mut reached = vec![false; count];
        *reached.first_mut()? = true;
        for (place, split) in self.splits.iter().enumerate() {
            if usize::try_from(split.feature).ok()? >= features {
                return None;
            }
            for child in [split.yes, split.no] {
                let child = usize::try_from(child).ok().filter(|&child| child > place)?;
                *reached.get_mut(child)? = true;
            }
        }
        reached.iter().all(|&reached| reached).then(|| self.depth())
    }

    /// The leaf that `x` comes to, counted from 0.
    fn leaf(&self, x: &[i64]) -> usize {
        let mut place = 0;
        while let Some(split) = self.splits.get(place) {
            let x = x[split.feature as usize];
            let missing = split.missing && x == i64::from(MISSING);
            let child = if x <= split.threshold.into() || missing {
                split.yes
            } else {
                split.no
            };
            place = child as usize;
        }
        place - self.splits.len()
    }
}
