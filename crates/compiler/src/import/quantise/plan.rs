//! What each float value becomes, before a node is written: sums, or activations of which scale.

use super::Calibration;
use super::widen::Widths;
use crate::import::float::{FloatGraph, FloatOperator, Function};
use crate::import::quantise::largest;
use crate::import::quantise::machine::MACHINE_BITS;

/// What a value becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    /// It ends the model, or only its order counts: sums are left as they are.
    Sums,
    Activation(Activation),
}

/// Integers of few bits: `float = integer * scale`, all from `lo` to `hi`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Activation {
    pub(super) scale: f64,
    pub(super) lo: i16,
    pub(super) hi: i16,
}

/// What of the nodes behind a value is done while it is requantised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Target {
    pub(super) form: Form,
    /// Factors below and above zero, before requantising.
    pub(super) slopes: Option<(f64, f64)>,
    /// The value that comes out: the last of those that were taken in.
    pub(super) value: usize,
}

/// Who uses which value.
pub(super) struct Plan<'a> {
    calibration: &'a Calibration<'a>,
    widths: &'a Widths,
    users: Vec<Vec<usize>>,
    /// Whether only the order of a value counts, or it is what comes out.
    last: Vec<bool>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(calibration: &'a Calibration<'a>, widths: &'a Widths) -> Self {
        let float = calibration.float;
        let mut users = vec![Vec::new(); float.nodes.len() + 1];
        for (node, of) in float.nodes.iter().enumerate() {
            for &input in &of.inputs {
                users[input].push(node);
            }
        }
        let last = last(float, &users);
        Self {
            calibration,
            widths,
            users,
            last,
        }
    }

    /// Whether only the order of `value` counts, or it is what comes out.
    pub(super) fn is_last(&self, value: usize) -> bool {
        self.last[value]
    }

    /// What `value`, made by sums, becomes.
    pub(super) fn target(&self, value: usize) -> Target {
        let (mut end, mut slopes, mut ends) = (value, None, None);
        while let Some(node) = self.taken_in(end, slopes.is_some() || ends.is_some()) {
            match &self.calibration.float.nodes[node].operator {
                FloatOperator::Slopes { below, above } => slopes = Some((*below, *above)),
                FloatOperator::Clamp { lo, hi } => ends = Some((*lo, *hi)),
                _ => break,
            }
            end = node + 1;
            if ends.is_some() {
                break;
            }
        }
        let form = if self.last[end] && slopes.is_none() && ends.is_none() {
            Form::Sums
        } else {
            Form::Activation(self.activation(end, ends))
        };
        Target {
            form,
            slopes,
            value: end,
        }
    }

    /// The one node behind `value` that is done while it is requantised.
    fn taken_in(&self, value: usize, further: bool) -> Option<usize> {
        let &[node] = self.users[value].as_slice() else {
            return None;
        };
        let float = self.calibration.float;
        // What comes out stays; a clamp of sums that come out is an operator of its own.
        if value == float.output || self.last[node + 1] {
            return None;
        }
        match float.nodes[node].operator {
            FloatOperator::Clamp { .. } => Some(node),
            FloatOperator::Slopes { .. } if !further => Some(node),
            _ => None,
        }
    }

    /// Scale and ends of `value` as activations; `clamp` is done to them.
    pub(super) fn activation(&self, value: usize, clamp: Option<(f64, f64)>) -> Activation {
        let machine = |&user: &usize| {
            let node = &self.calibration.float.nodes[user];
            matches!(node.operator, FloatOperator::Machine(_))
        };
        let measured = self.users[value].iter().any(machine);
        let bits = if measured {
            self.widths.activation(value).clamp(MACHINE_BITS, 15)
        } else {
            self.widths.activation(value)
        };
        if clamp.is_none()
            && let Some(activation) = self.for_tables(value, bits)
        {
            return activation;
        }
        let top = largest(bits);
        let reach = self.shared_reach(value);
        // What did not happen in calibration may happen a little later.
        let reach = if measured { 1.5 * reach } else { reach };
        let reach = if reach > 0.0 { reach } else { 1.0 };
        let scale = reach / f64::from(top);
        let top = i16::try_from(top).expect("at most 16 bits");
        let end = |end: f64| (end / scale).round().clamp((-top).into(), top.into()) as i16;
        let (lo, hi) = clamp.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        Activation {
            scale,
            lo: end(lo),
            hi: end(hi),
        }
    }

    /// The reach of `value`, or of all that it is joined with.
    fn shared_reach(&self, value: usize) -> f64 {
        let (float, reach) = (self.calibration.float, &self.calibration.reach);
        match self.users[value].as_slice() {
            &[node] if value != float.output => match &float.nodes[node].operator {
                FloatOperator::Select(_) => {
                    let joined = float.nodes[node].inputs.iter();
                    joined.fold(reach[value], |most, &input| most.max(reach[input]))
                }
                _ => reach[value],
            },
            _ => reach[value],
        }
    }

    /// The grid of a value that only tables read: a power of two, so that tables of one function
    /// are few; no wider than the functions go on changing.
    fn for_tables(&self, value: usize, bits: u8) -> Option<Activation> {
        let float = self.calibration.float;
        let users = &self.users[value];
        if value == float.output || users.is_empty() {
            return None;
        }
        let mut domain = 1.0 / 256.0;
        for &user in users {
            let FloatOperator::Function(function) = &float.nodes[user].operator else {
                return None;
            };
            domain = f64::max(domain, self.domain(function, value, user + 1));
        }
        let last = users.iter().all(|&user| self.last[user + 1]);
        let bits = if last { bits.max(LAST_BITS) } else { bits };
        let half = 1_i32 << (bits - 1);
        Some(Activation {
            scale: domain / f64::from(half),
            lo: i16::try_from(-half).expect("at most 16 bits"),
            hi: i16::try_from(half - 1).expect("at most 16 bits"),
        })
    }

    fn domain(&self, function: &Function, value: usize, made: usize) -> f64 {
        let (reach, result) = (self.calibration.reach[value], self.calibration.reach[made]);
        let mut domain = 1.0 / 256.0;
        while domain < reach && domain < 1e30 {
            domain *= 2.0;
        }
        let flat = |sign: f64, domain: f64| {
            let end = function.at(sign * domain);
            let step = |i: i32| function.at(sign * domain * (0.5 + f64::from(i) / 64.0));
            (0..32).all(|i| (step(i) - end).abs() <= result / 512.0)
        };
        while domain > 1.0 / 256.0 && flat(1.0, domain) && flat(-1.0, domain) {
            domain /= 2.0;
        }
        domain
    }
}

/// Values of which only the order counts, or that come out. Backwards: Softmax knows its own first.
fn last(float: &FloatGraph, users: &[Vec<usize>]) -> Vec<bool> {
    let mut last = vec![false; float.nodes.len() + 1];
    for value in (1..=float.nodes.len()).rev() {
        let keeps_order = |&node: &usize| match float.nodes[node].operator {
            FloatOperator::ArgMax | FloatOperator::Votes(_) => true,
            FloatOperator::Softmax | FloatOperator::Clamp { .. } => last[node + 1],
            _ => false,
        };
        last[value] = users[value].iter().all(keeps_order);
    }
    last
}

/// Bits of what a table reads whose result comes out.
const LAST_BITS: u8 = 12;
