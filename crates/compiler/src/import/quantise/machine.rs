//! How support vector machines measure: one unit for all coordinates, and what a distance in it is
//! worth as a power of two.

use crate::InputSchema;
use crate::import::float::{FloatGraph, FloatOperator, Machine};
use crate::import::{ImportError, Unsupported};

/// Bits of the coordinates of a machine, at least.
pub(super) const MACHINE_BITS: u8 = 13;

/// The measure of a machine that takes the model's input.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Grid {
    /// What one step of a coordinate is worth, after the machine's factors and shifts.
    pub(super) unit: f64,
    /// What happens to each feature before.
    affine: Vec<(f64, f64)>,
    pub(super) power: Power,
}

/// `2^(-z / 65536)` with `z = distance * multiplier / 2^shift` is what the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Power {
    pub(super) multiplier: u16,
    pub(super) shift: u8,
}

impl Grid {
    /// The measure of the machine that takes the input, if there is one.
    pub(super) fn of_input(
        float: &FloatGraph,
        samples: &[Vec<f32>],
    ) -> Result<Option<Self>, ImportError> {
        let takers = float.nodes.iter().filter(|node| node.inputs.contains(&0));
        let mut machines = takers.filter_map(|node| match &node.operator {
            FloatOperator::Machine(machine) => Some((node, machine)),
            _ => None,
        });
        let Some((node, machine)) = machines.next() else {
            return Ok(None);
        };
        let refused = |why| {
            let node = node.name.clone();
            Err(ImportError::Unsupported { node, why })
        };
        if machines.next().is_some() {
            return refused(Unsupported::NoIntegers);
        }
        let features = float.input_elements();
        let affine: Vec<(f64, f64)> = (0..features).map(|i| machine.affine.at(i)).collect();
        if affine.iter().any(|(scale, _)| *scale == 0.0) {
            return refused(Unsupported::NoIntegers);
        }
        let changed = samples.iter().flat_map(|sample| {
            let features = sample.iter().zip(&affine);
            features.map(|(x, (scale, shift))| scale * f64::from(*x) + shift)
        });
        let vectors = machine.vectors.iter().map(|&v| v.into());
        let reach = changed
            .chain(vectors)
            .fold(0.0_f64, |most, u| most.max(u.abs()));
        // What did not happen in calibration may happen a little later.
        match Self::fitting(machine, 1.125 * reach) {
            Some((unit, power)) => Ok(Some(Self {
                unit,
                affine,
                power,
            })),
            None => {
                let node = node.name.clone();
                Err(ImportError::NoScale { node })
            }
        }
    }

    /// The unit in which `reach` fits, and the power of a squared one. The shift is the same for
    /// all models, unless its multiplier would be too coarse or too large.
    fn fitting(machine: &Machine, reach: f64) -> Option<(f64, Power)> {
        let top = f64::from(super::largest(MACHINE_BITS));
        let unit = if reach > 0.0 { reach / top } else { 1.0 };
        let shift = 18;
        let multiplier = worth(machine.gamma, unit) * f64::from(shift).exp2();
        let multiplier = multiplier.ceil();
        if (256.0..=65_535.0).contains(&multiplier) {
            // A little more than asked for, so that the multiplier is exact.
            let unit = (multiplier / f64::from(shift).exp2() / worth(machine.gamma, 1.0)).sqrt();
            let multiplier = multiplier as u16;
            return Some((unit, Power { multiplier, shift }));
        }
        Some((unit, Power::new(machine.gamma, unit)?))
    }

    /// The input in steps of the unit, as the machine sees it.
    pub(super) fn scale(&self, schema: &mut InputSchema) {
        let each = self.affine.iter();
        schema.scale = each
            .clone()
            .map(|(a, _)| (self.unit / a.abs()) as f32)
            .collect();
        schema.zero = each.map(|(a, b)| (-b / a) as f32).collect();
        schema.hi = super::largest(MACHINE_BITS);
        schema.lo = -schema.hi;
        let one = |numbers: &mut Vec<f32>| {
            if numbers.windows(2).all(|pair| pair[0] == pair[1]) {
                numbers.truncate(1);
            }
        };
        one(&mut schema.scale);
        one(&mut schema.zero);
    }

    /// Whether feature `i` comes with the other sign.
    pub(super) fn flips(&self, i: usize) -> bool {
        self.affine.get(i).is_some_and(|(scale, _)| *scale < 0.0)
    }
}

impl Power {
    /// The finest for coordinates in steps of `unit`.
    pub(super) fn new(gamma: f64, unit: f64) -> Option<Self> {
        let worth = worth(gamma, unit);
        let shift = (0..=46_u8)
            .rev()
            .find(|&s| worth * f64::from(s).exp2() < 65_535.0)?;
        let multiplier = (worth * f64::from(shift).exp2()).round();
        (multiplier >= 1.0).then_some(Self {
            multiplier: multiplier as u16,
            shift,
        })
    }
}

/// What a distance of one step is in the exponent: `gamma unit^2 / ln 2`, of which 1 is 65,536.
fn worth(gamma: f64, unit: f64) -> f64 {
    gamma * unit * unit * std::f64::consts::LOG2_E * 65_536.0
}
