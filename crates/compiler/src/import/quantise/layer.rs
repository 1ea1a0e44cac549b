//! The weights of one layer: rows of floats to rows of integers, and what brings them back.

use graph::Weights;

use super::plan::Activation;

/// A row of a layer, in floats, over the integers of its input.
pub(super) struct Row {
    pub(super) weights: Vec<f64>,
    pub(super) bias: f64,
}

impl Row {
    fn peak(&self) -> f64 {
        self.weights.iter().fold(0.0, |peak, w| peak.max(w.abs()))
    }
}

/// Rows as integers.
pub(super) struct Rows {
    pub(super) weights: Weights,
    pub(super) bias: Vec<i32>,
    /// What one step of a row's sums is worth.
    pub(super) units: Vec<f64>,
    pub(super) requantise: Option<Requantise>,
    /// The largest magnitude that any sum can have.
    pub(super) bound: i64,
    /// Bits of the largest weight.
    pub(super) bits: u8,
}

/// What brings sums to activations.
pub(super) struct Requantise {
    pub(super) multipliers: Vec<u16>,
    pub(super) shift: u8,
}

/// What rows are quantised for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// What one step of the input is worth, and its largest magnitude.
    pub(super) scale: f64,
    pub(super) most: i64,
    /// Bits of the weights, if the sums stay within their bound.
    pub(super) bits: u8,
    /// The shift that the architecture has.
    pub(super) shift: u8,
    /// The activations, unless sums are wanted.
    pub(super) to: Option<Activation>,
    /// Bits by which sums grow before they are requantised.
    pub(super) grown: u8,
}

/// `rows` with as many bits as wanted, or as fit.
pub(super) fn quantise(rows: &[Row], wanted: Wanted) -> Option<Rows> {
    (2..=wanted.bits)
        .rev()
        .find_map(|bits| with_bits(rows, wanted, bits))
}

fn with_bits(rows: &[Row], wanted: Wanted, bits: u8) -> Option<Rows> {
    let top = f64::from(super::largest(bits));
    let (grids, requantise) = match wanted.to {
        None => {
            // One grid for all rows: the order of the sums is the order of the floats.
            let peak = rows.iter().map(Row::peak).fold(0.0, f64::max);
            let grid = if peak > 0.0 { peak / top } else { 1.0 };
            (vec![grid; rows.len()], None)
        }
        Some(to) => {
            let ratio = |row: &Row| row.peak() / top * wanted.scale / to.scale;
            let ratios: Vec<f64> = rows.iter().map(ratio).collect();
            let largest = ratios.iter().copied().fold(0.0, f64::max);
            let lost = wanted.bits - bits;
            let shift = fitting(largest, (wanted.shift - wanted.grown).saturating_sub(lost))?;
            let unit = f64::from(shift).exp2();
            // The multiplier first, rounded up; the grid of the weights is what then fits it.
            let multipliers: Vec<u16> = ratios
                .iter()
                .map(|ratio| (ratio * unit).ceil().max(1.0) as u16)
                .collect();
            let grid = |m: &u16| f64::from(*m) / unit * to.scale / wanted.scale;
            let grids = multipliers.iter().map(grid).collect();
            let shift = shift + wanted.grown;
            (grids, Some(Requantise { multipliers, shift }))
        }
    };
    integers(rows, wanted, bits, &grids, requantise)
}

fn integers(
    rows: &[Row],
    wanted: Wanted,
    bits: u8,
    grids: &[f64],
    requantise: Option<Requantise>,
) -> Option<Rows> {
    let (mut bias, mut weights, mut bound) = (Vec::new(), Vec::<i16>::new(), 0_i64);
    for (place, (row, grid)) in rows.iter().zip(grids).enumerate() {
        // Floor is what requantising does: half a step more makes it round.
        let half = requantise.as_ref().map_or(0.0, |r| {
            let shift = f64::from(r.shift - wanted.grown);
            shift.exp2() / 2.0 / f64::from(r.multipliers[place])
        });
        let sum = (row.bias / (grid * wanted.scale) + half).round();
        if sum.is_nan() || sum.abs() >= f64::from(1 << 30) {
            return None;
        }
        let integers = row.weights.iter().map(|w| (w / grid).round() as i16);
        let first = weights.len();
        weights.extend(integers);
        let norm: i64 = weights[first..].iter().map(|&w| i64::from(w).abs()).sum();
        bound = bound.max(sum.abs() as i64 + wanted.most * norm);
        bias.push(sum as i32);
    }
    if bound >= 1 << 30 {
        return None;
    }
    let weights = if wanted.bits <= 8 {
        Weights::Narrow(weights.into_iter().map(|w| w as i8).collect())
    } else {
        Weights::Wide(weights)
    };
    Some(Rows {
        weights,
        bias,
        units: grids.iter().map(|grid| grid * wanted.scale).collect(),
        requantise,
        bound,
        bits,
    })
}

/// The shift at which `largest` is a good multiplier: `wanted`, unless it is too large for 16 bits
/// there or has too few digits.
pub(super) fn fitting(largest: f64, wanted: u8) -> Option<u8> {
    if !largest.is_finite() {
        return None;
    }
    let at = |shift: u8| (largest * f64::from(shift).exp2()).ceil();
    let mut shift = wanted;
    while at(shift) > f64::from(u16::MAX) {
        shift = shift.checked_sub(1)?;
    }
    while largest > 0.0 && at(shift) < 64.0 && shift < MAX_SHIFT {
        shift += 1;
    }
    Some(shift)
}

/// Leaves room for what slopes add.
const MAX_SHIFT: u8 = 32;
