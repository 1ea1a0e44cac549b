//! Support vector machines with a radial kernel.

use super::elementary::exp;
use super::linear::{Affine, Dense};

/// `u = affine(x)`, `k_j = exp(-gamma |u - v_j|^2)`, `y = W k + b`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::import) struct Machine {
    /// What happens to each feature before.
    pub(in crate::import) affine: Affine,
    /// `v`, one after the other.
    pub(in crate::import) vectors: Vec<f32>,
    pub(in crate::import) gamma: f64,
    /// One row a decision.
    pub(in crate::import) decisions: Dense,
}

impl Machine {
    pub(super) fn run(&self, x: &[f64]) -> Vec<f64> {
        let u = self.affine.run(x);
        let kernel = |v: &[f32]| {
            let squares = u.iter().zip(v).map(|(u, v)| (u - f64::from(*v)).powi(2));
            exp(-self.gamma * squares.sum::<f64>())
        };
        let kernels: Vec<f64> = self.vectors.chunks_exact(u.len()).map(kernel).collect();
        self.decisions.run(&kernels)
    }
}

/// How many pairs each class wins: decision `p` is between the classes of pair `p`, and above zero
/// the first of them wins.
pub(super) fn votes(decisions: &[f64], classes: usize) -> Vec<f64> {
    let mut votes = vec![0.0; classes];
    for ((i, j), decision) in pairs(classes).zip(decisions) {
        votes[if *decision > 0.0 { i } else { j }] += 1.0;
    }
    votes
}

/// Pairs of classes, as decisions stand: (0, 1), (0, 2), ... (1, 2), ...
pub(in crate::import) fn pairs(classes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..classes).flat_map(move |i| (i + 1..classes).map(move |j| (i, j)))
}
