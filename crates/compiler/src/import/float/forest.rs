//! Trees over the model's input: splits as the integer graph has them, leaves in floats.

use graph::{MISSING, Split, Tree, ordered};

/// Trees whose leaves are added up. Features are compared in the order of [`ordered`].
#[derive(Debug, Clone, PartialEq)]
pub(in crate::import) struct Forest {
    pub(in crate::import) trees: Vec<FloatTree>,
    /// How many outputs a leaf adds to.
    pub(in crate::import) width: usize,
    pub(in crate::import) bias: Vec<f64>,
    /// Whether the model says where missing features go.
    pub(in crate::import) missing: bool,
}

/// A tree, as [`graph::Tree`].
#[derive(Debug, Clone, PartialEq)]
pub(in crate::import) struct FloatTree {
    pub(in crate::import) first: usize,
    pub(in crate::import) splits: Vec<Split>,
    pub(in crate::import) leaves: Vec<f64>,
}

impl Forest {
    pub(super) fn run(&self, x: &[f64]) -> Vec<f64> {
        let x: Vec<i32> = x.iter().map(|&x| ordered(x as f32)).collect();
        let mut y = self.bias.clone();
        for tree in &self.trees {
            let leaf = tree.leaf(&x) * self.width;
            let added = &tree.leaves[leaf..leaf + self.width];
            for (y, added) in y[tree.first..].iter_mut().zip(added) {
                *y += added;
            }
        }
        y
    }

    /// The largest magnitude that an output could take.
    pub(in crate::import) fn reach(&self) -> f64 {
        let mut reach: Vec<f64> = self.bias.iter().map(|b| b.abs()).collect();
        for tree in &self.trees {
            for (place, reach) in reach[tree.first..].iter_mut().take(self.width).enumerate() {
                let added = tree.leaves.iter().skip(place).step_by(self.width);
                *reach += added.fold(0.0_f64, |most, a| most.max(a.abs()));
            }
        }
        reach.into_iter().fold(0.0, f64::max)
    }
}

impl FloatTree {
    /// The most splits from the root to a leaf.
    pub(in crate::import) fn depth(&self) -> usize {
        let splits = self.splits.clone();
        let (first, leaves) = (0, Vec::new());
        let tree = Tree {
            first,
            splits,
            leaves,
        };
        tree.depth()
    }

    fn leaf(&self, x: &[i32]) -> usize {
        let mut place = 0;
        while let Some(split) = self.splits.get(place) {
            let x = x[split.feature as usize];
            let yes = x <= split.threshold || (split.missing && x == MISSING);
            place = if yes { split.yes } else { split.no } as usize;
        }
        place - self.splits.len()
    }
}
