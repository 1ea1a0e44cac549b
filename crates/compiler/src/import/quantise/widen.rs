//! Which layers are kept in 16 bits: as few as reach the wanted agreement.

use super::{Calibration, Quantised};
use crate::import::float::FloatOperator;
use crate::import::{Agreement, ImportError, compare};

/// How many bits each layer and each value has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) struct Widths {
    input: u8,
    activations: u8,
    weights: u8,
    /// Float nodes whose weights and results are wide.
    pub(in crate::import) wide: Vec<usize>,
}

impl Widths {
    fn new(calibration: &Calibration<'_>, wide: &[usize]) -> Self {
        let options = calibration.options;
        let [input, weights] = if super::linear(calibration.float) {
            [super::LINEAR_INPUT_BITS, super::LINEAR_BITS]
        } else {
            [0, 0]
        };
        Self {
            input: options.input_bits.max(input),
            activations: options.activation_bits,
            weights: options.weight_bits.max(weights),
            wide: wide.to_vec(),
        }
    }

    /// Bits of the weights of float node `place`.
    pub(super) fn weights(&self, place: usize) -> u8 {
        if self.wide.contains(&place) {
            self.weights.max(WIDE_WEIGHTS)
        } else {
            self.weights
        }
    }

    /// Bits of float value `value` as activations.
    pub(super) fn activation(&self, value: usize) -> u8 {
        match value.checked_sub(1) {
            None => self.input,
            Some(place) if self.wide.contains(&place) => self.activations.max(WIDE_ACTIVATIONS),
            Some(_) => self.activations,
        }
    }
}

/// Bits of wide weights, where the sums stay within their bound; else as many as do.
const WIDE_WEIGHTS: u8 = 16;

/// Bits of wide activations: with weights of as many, 256 products stay within 2^30.
const WIDE_ACTIVATIONS: u8 = 12;

/// The narrowest integers that agree with the floats as often as the options ask for, or the
/// widest tried, and how often they agree.
pub(in crate::import) fn narrowest(
    calibration: &Calibration<'_>,
) -> Result<(Quantised, Widths, Agreement), ImportError> {
    let narrow = attempt(calibration, &[])?;
    if reached(calibration, &narrow.2) {
        return Ok(narrow);
    }
    let order = by_damage(calibration, &narrow.0)?;
    let mut best = narrow;
    let mut count = 1;
    loop {
        let wide = &order[..count.min(order.len())];
        let tried = attempt(calibration, wide)?;
        if tried.2.same_class > best.2.same_class || reached(calibration, &tried.2) {
            best = tried;
        }
        if reached(calibration, &best.2) || count >= order.len() {
            return Ok(best);
        }
        count *= 2;
    }
}

fn reached(calibration: &Calibration<'_>, agreement: &Agreement) -> bool {
    let wanted = usize::from(calibration.options.agreement_permille);
    agreement.same_class * 1000 >= agreement.samples * wanted
}

fn attempt(
    calibration: &Calibration<'_>,
    wide: &[usize],
) -> Result<(Quantised, Widths, Agreement), ImportError> {
    // A result that is taken in with the ones behind it is as wide as they are.
    let mut all = wide.to_vec();
    for (place, node) in calibration.float.nodes.iter().enumerate() {
        let follows = matches!(
            node.operator,
            FloatOperator::Clamp { .. } | FloatOperator::Slopes { .. }
        );
        let before = node.inputs.first().and_then(|input| input.checked_sub(1));
        if follows && before.is_some_and(|before| all.contains(&before)) {
            all.push(place);
        }
    }
    let widths = Widths::new(calibration, &all);
    let quantised = calibration.quantise(&widths)?;
    let agreement = compare(
        calibration.float,
        &quantised,
        &calibration.samples,
        calibration.work,
    )?;
    Ok((quantised, widths, agreement))
}

/// The nodes that make new numbers, those first whose results are furthest from the floats, for
/// what went into them.
fn by_damage(calibration: &Calibration<'_>, narrow: &Quantised) -> Result<Vec<usize>, ImportError> {
    let float = calibration.float;
    let errors = super::super::report::errors(calibration, narrow)?;
    let mut order: Vec<(usize, f64)> = Vec::new();
    for (place, node) in float.nodes.iter().enumerate() {
        let makes = matches!(
            node.operator,
            FloatOperator::Dense(_)
                | FloatOperator::Conv(_)
                | FloatOperator::Add { .. }
                | FloatOperator::Multiply
                | FloatOperator::SumPool { .. }
                | FloatOperator::Function(_)
        );
        if makes {
            let before = node.inputs.iter().map(|&input| errors[input]);
            let damage = errors[place + 1] - before.fold(0.0, f64::max);
            order.push((place, damage));
        }
    }
    order.sort_by(|(a, x), (b, y)| y.total_cmp(x).then(a.cmp(b)));
    Ok(order.into_iter().map(|(place, _)| place).collect())
}
