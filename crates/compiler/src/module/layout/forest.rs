//! Trees as their kernel walks them: a table of splits and leaves, and a table of roots.
//!
//! A split is 16 bytes: threshold, place of its feature, places of `yes` and `no`. A leaf looks like
//! a split that leads to itself, and its numbers follow; so every tree can be walked as deep as the
//! deepest beside it. Trees stand sorted by depth, a few walked side by side.

use graph::{Accumulator, MISSING, Tree, TreeEnsemble};

use super::Storage;

/// Trees walked side by side, at most: as many chains of loads that do not wait for each other.
const LANES: usize = 8;

/// Bytes before a leaf's numbers.
pub(in crate::module) const HEAD: usize = 16;

/// Which trees are walked together, and how deep.
pub(in crate::module) struct Forest {
    /// Trees side by side.
    pub(in crate::module) lanes: usize,
    /// How many groups of `lanes` are walked how deep, in the order of the table of roots.
    pub(in crate::module) runs: Vec<Run>,
    /// Places of trees in the ensemble, the shallowest first.
    order: Vec<usize>,
    /// Bytes of an element of the input, and how far its copy without missing ones is behind.
    element: usize,
    copy: usize,
}

/// Groups of trees that are walked equally deep.
pub(in crate::module) struct Run {
    pub(in crate::module) groups: u32,
    pub(in crate::module) depth: u32,
}

/// Whether any split treats missing features in its own way.
pub(in crate::module) fn heeds_missing(ensemble: &TreeEnsemble) -> bool {
    let mut splits = ensemble.trees.iter().flat_map(|tree| &tree.splits);
    splits.any(|split| split.missing)
}

/// Bytes of one number of a leaf, as wide as the sums.
pub(in crate::module) const fn number_bytes(ensemble: &TreeEnsemble) -> usize {
    match ensemble.accumulator {
        Accumulator::Narrow => 4,
        Accumulator::Wide => 8,
    }
}

impl Forest {
    pub(in crate::module) fn new(
        ensemble: &TreeEnsemble,
        storage: Storage,
        elements: usize,
    ) -> Self {
        let depths: Vec<usize> = ensemble.trees.iter().map(Tree::depth).collect();
        let mut order: Vec<usize> = (0..depths.len()).collect();
        order.sort_by_key(|&tree| depths[tree]);
        let lanes = order.len().min(LANES);
        let mut runs: Vec<Run> = Vec::new();
        for group in order.chunks(lanes) {
            let deepest = group.iter().map(|&tree| depths[tree]).max().unwrap_or(0);
            let depth = step(deepest);
            match runs.last_mut() {
                Some(run) if run.depth == depth => run.groups += 1,
                _ => runs.push(Run { groups: 1, depth }),
            }
        }
        let (element, copy) = if heeds_missing(ensemble) {
            (4, 4 * elements)
        } else {
            (storage.bytes() as usize, 0)
        };
        Self {
            lanes,
            runs,
            order,
            element,
            copy,
        }
    }

    /// Bytes of both tables, at most.
    pub(super) fn len(ensemble: &TreeEnsemble) -> usize {
        let leaf = leaf_bytes(ensemble);
        let tree = |tree: &Tree| {
            let leaves = tree.leaves.len() / ensemble.width as usize;
            tree.splits.len() * HEAD + leaves.saturating_mul(leaf)
        };
        let trees = ensemble.trees.iter().map(tree);
        let tables = trees.fold(leaf, usize::saturating_add);
        tables + 8 * (ensemble.trees.len() + LANES) + 4 * ensemble.bias.len()
    }

    /// How many roots there are, with those that fill the last group.
    pub(in crate::module) fn roots(&self) -> usize {
        self.order.len().next_multiple_of(self.lanes)
    }

    /// The table of splits and leaves; the roots with the places of their outputs, and the biases.
    pub(super) fn pack(&self, ensemble: &TreeEnsemble) -> [Vec<u8>; 2] {
        let mut table = Vec::new();
        let mut roots = Vec::new();
        // First a leaf that adds nothing, for trees that are not there.
        let nothing = vec![0; ensemble.width as usize];
        self.leaf(ensemble, &nothing, &mut table);
        for &tree in &self.order {
            let tree = &ensemble.trees[tree];
            let first = tree.first as usize * number_bytes(ensemble);
            roots.extend([table.len(), first]);
            self.tree(ensemble, tree, &mut table);
        }
        roots.resize(2 * self.roots(), 0);
        let mut second: Vec<u8> = roots.into_iter().flat_map(place).collect();
        second.extend(ensemble.bias.iter().flat_map(|bias| bias.to_le_bytes()));
        [table, second]
    }

    fn tree(&self, ensemble: &TreeEnsemble, tree: &Tree, table: &mut Vec<u8>) {
        let (start, leaf) = (table.len(), leaf_bytes(ensemble));
        let splits = tree.splits.len();
        let child = |child: u32| {
            let child = child as usize;
            place(start + child.min(splits) * HEAD + child.saturating_sub(splits) * leaf)
        };
        for split in &tree.splits {
            let copy = if split.missing { self.copy } else { 0 };
            table.extend(split.threshold.to_le_bytes());
            table.extend(place(split.feature as usize * self.element + copy));
            table.extend(child(split.yes));
            table.extend(child(split.no));
        }
        for numbers in tree.leaves.chunks_exact(ensemble.width as usize) {
            self.leaf(ensemble, numbers, table);
        }
    }

    fn leaf(&self, ensemble: &TreeEnsemble, numbers: &[i32], table: &mut Vec<u8>) {
        let own = place(table.len());
        // Whatever the first feature is, it is at most this.
        table.extend(MISSING.to_le_bytes());
        table.extend(place(0));
        table.extend(own);
        table.extend(own);
        for number in numbers {
            match ensemble.accumulator {
                Accumulator::Narrow => table.extend(number.to_le_bytes()),
                Accumulator::Wide => table.extend(i64::from(*number).to_le_bytes()),
            }
        }
        table.resize(table.len().next_multiple_of(HEAD), 0);
    }
}

fn leaf_bytes(ensemble: &TreeEnsemble) -> usize {
    let numbers = (ensemble.width as usize).saturating_mul(number_bytes(ensemble));
    numbers.saturating_add(HEAD).next_multiple_of(HEAD)
}

fn place(bytes: usize) -> [u8; 4] {
    let bytes = u32::try_from(bytes).expect("a module has at most MAX_MEMORY bytes");
    bytes.to_le_bytes()
}

/// A few depths only, so that there are a few loops only.
fn step(depth: usize) -> u32 {
    let step = match depth {
        0..=12 => depth,
        13..=32 => depth.next_multiple_of(4),
        _ => depth.next_power_of_two(),
    };
    u32::try_from(step).expect("at most MAX_DEPTH")
}
