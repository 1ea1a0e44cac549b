//! Trees and support vector machines.

use graph::{Accumulator, MAX_COORDINATE, Operator, Tree, TreeEnsemble, Weights};

use super::{Emitter, Made, Refused};
use crate::import::Unsupported;
use crate::import::float::{self, Forest, Machine, pairs};
use crate::import::quantise::machine::Power;

/// Sums of 32 bits stay below this.
const NARROW: f64 = (1 << 30) as f64;

/// A kernel's value at distance 0.
const ONE: f64 = 32_767.0;

impl Emitter<'_> {
    /// Splits as they are; leaves in the finest power of two that sums have room for.
    pub(super) fn forest(
        &mut self,
        place: usize,
        from: Made,
        forest: &Forest,
    ) -> Result<(), Refused> {
        // Every leaf and every bias may be rounded up by a half.
        let slack = (forest.trees.len() + 2) as f64;
        let reach = forest.reach();
        let fits = |digits: &i32| reach * f64::from(*digits).exp2() + slack < NARROW;
        let digits = (-96..=96).rev().find(fits).ok_or(Refused::NoScale)?;
        let digits = if reach > 0.0 { digits } else { 0 };
        let unit = f64::from(digits).exp2();
        let integer = |x: &f64| (x * unit).round() as i32;
        let tree = |tree: &float::FloatTree| Tree {
            first: u32::try_from(tree.first).unwrap_or(u32::MAX),
            splits: tree.splits.clone(),
            leaves: tree.leaves.iter().map(integer).collect(),
        };
        let ensemble = TreeEnsemble {
            trees: forest.trees.iter().map(tree).collect(),
            width: u32::try_from(forest.width).unwrap_or(u32::MAX),
            bias: forest.bias.iter().map(integer).collect(),
            accumulator: Accumulator::Narrow,
        };
        let sums = self.push(Operator::TreeEnsemble(ensemble), vec![from.value]);
        self.bring(place, sums, 1.0 / unit, 12)
    }

    pub(super) fn machine(
        &mut self,
        place: usize,
        from: Made,
        machine: &Machine,
    ) -> Result<(), Refused> {
        let input = from.value == graph::ValueId(0);
        let grid = self.calibration.grid.as_ref().filter(|_| input);
        let (unit, power) = match grid {
            Some(grid) => (grid.unit, grid.power),
            None => {
                let narrow = |[lo, hi]: [i32; 2]| {
                    let most = i32::from(MAX_COORDINATE);
                    -most <= lo && hi <= most
                };
                if machine.affine.as_uniform() != Some((1.0, 0.0)) || !from.ends.is_some_and(narrow)
                {
                    return Err(Unsupported::NoIntegers.into());
                }
                let power = Power::new(machine.gamma, from.scale).ok_or(Refused::NoScale)?;
                (from.scale, power)
            }
        };
        let most = f64::from(MAX_COORDINATE);
        let features = machine.vectors.len() / machine.decisions.row(0).len();
        let coordinate = |(place, v): (usize, &f32)| {
            let flips = grid.is_some_and(|grid| grid.flips(place % features));
            let sign = if flips { -1.0 } else { 1.0 };
            (sign * f64::from(*v) / unit).round().clamp(-most, most) as i16
        };
        let vectors = machine.vectors.iter().enumerate().map(coordinate).collect();
        let distances = self.push(Operator::Distances { vectors }, vec![from.value]);
        let Power { multiplier, shift } = power;
        let kernel = Operator::Exponential { multiplier, shift };
        let kernels = self.push(kernel, vec![distances]);
        // Four times what calibration saw, in 31 bits.
        let least = 4.0 * self.calibration.reach[place + 1] * ONE / f64::from(i32::MAX);
        let grid = finest(&machine.decisions).max(least);
        let unit = grid / ONE;
        let weights = machine.decisions.weights.iter();
        let weights = weights
            .map(|&c| (f64::from(c) / grid).round() as i16)
            .collect();
        let bias = machine.decisions.bias.iter();
        let bias = bias
            .map(|&b| (f64::from(b) / unit).round() as i32)
            .collect();
        let dense = Operator::Dense {
            weights: Weights::Wide(weights),
            bias,
            accumulator: Accumulator::Wide,
        };
        let sums = self.push(dense, vec![kernels]);
        let clamp = Operator::Clamp {
            lo: -i32::MAX,
            hi: i32::MAX,
        };
        let value = self.push(clamp, vec![sums]);
        self.bring(place, value, unit, 12)
    }

    /// Whole numbers: above zero is one or more.
    pub(super) fn votes(
        &mut self,
        place: usize,
        from: Made,
        classes: usize,
    ) -> Result<(), Refused> {
        let won = self.push(Operator::Clamp { lo: 0, hi: 1 }, vec![from.value]);
        let value = self.push(votes(classes), vec![won]);
        self.bring(place, value, 1.0, 12)
    }
}

/// The finest grid on which weights are 16 bits and biases 31.
fn finest(decisions: &float::Dense) -> f64 {
    let most = |numbers: &[f32]| numbers.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let bias = f64::from(most(&decisions.bias)) * ONE / NARROW;
    let grid = bias.max(f64::from(most(&decisions.weights)) / f64::from(i16::MAX));
    if grid > 0.0 { grid } else { 1.0 }
}

/// A vote of each pair for its first class where it is 1, for its second where it is 0.
fn votes(classes: usize) -> Operator {
    let columns = classes * (classes - 1) / 2;
    let mut weights = vec![0; classes * columns];
    let mut bias = vec![0; classes];
    for (pair, (i, j)) in pairs(classes).enumerate() {
        weights[i * columns + pair] = 1;
        weights[j * columns + pair] = -1;
        bias[j] += 1;
    }
    Operator::Dense {
        weights: Weights::Narrow(weights),
        bias,
        accumulator: Accumulator::Narrow,
    }
}
