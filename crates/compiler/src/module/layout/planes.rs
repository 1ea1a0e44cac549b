//! Parameters and room of the operators under windows, and of orders.

use graph::{Conv, Graph, Node, Select, Window};

use super::{LINE, Memory, Place, ROWS, interleave_from, padded, weight_bytes};
use crate::module::kernels::patches;

/// How far behind planes a kernel may read: two vectors of eight.
pub(super) const BEHIND: usize = 64;

/// Bytes of the planes with their padding; 0 if they have none.
pub(in crate::module) fn padded_len(window: &Window) -> usize {
    if window.pads == [0; 4] {
        return 0;
    }
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let plane = size(window.padded_height()).saturating_mul(size(window.padded_width()));
    let bytes = plane.saturating_mul(2 * window.channels as usize);
    (bytes + BEHIND).next_multiple_of(LINE as usize)
}

/// Bytes of what lies under the window, if the kernel gathers it.
pub(super) fn patch_len(conv: &Conv) -> usize {
    if patches(conv) {
        2 * padded(conv.columns()) + BEHIND
    } else {
        0
    }
}

/// Bytes that [`pack`] will take at most.
pub(super) fn packed_len(conv: &Conv) -> usize {
    let rows = conv.outputs().next_multiple_of(ROWS) * conv.groups as usize;
    rows.saturating_mul(padded(conv.columns()) * 2 + 4)
}

/// Weights and biases, as the kernel reads them: groups of eight rows, or one row after the other
/// in 16 bits.
pub(super) fn pack(conv: &Conv) -> [Vec<u8>; 2] {
    let columns = conv.columns();
    if !patches(conv) {
        let weights = (0..conv.weights.len()).flat_map(|at| conv.weights.at(at).to_le_bytes());
        let biases = conv.bias.iter().flat_map(|b| b.to_le_bytes());
        return [weights.collect(), biases.collect()];
    }
    let (mut weights, mut biases) = (Vec::new(), Vec::new());
    let outputs = conv.outputs();
    for (group, bias) in conv.bias.chunks(outputs).enumerate() {
        weights.extend(interleave_from(
            &conv.weights,
            group * outputs,
            outputs,
            columns,
        ));
        biases.extend(bias.iter().flat_map(|b| b.to_le_bytes()));
        biases.resize(biases.len().next_multiple_of(4 * ROWS), 0);
    }
    [weights, biases]
}

/// Bytes of one group's weights, as [`pack`] leaves them for patches.
pub(in crate::module) fn group_bytes(conv: &Conv) -> usize {
    let rows = conv.outputs().next_multiple_of(ROWS);
    rows * padded(conv.columns()) * weight_bytes(&conv.weights)
}

/// Bytes that an order needs: the filling, and copies of inputs that are kept otherwise than the
/// output.
pub(super) fn copies_len(node: &Node, values: &[Place], to: Place) -> usize {
    let inputs = node.inputs.iter().map(|input| values[input.0 as usize]);
    let copies = inputs.filter(|from| from.storage != to.storage);
    let bytes = copies.map(|from| (from.elements * to.storage.bytes()).next_multiple_of(LINE));
    LINE as usize + bytes.map(|bytes| bytes as usize).sum::<usize>()
}

/// For each element of an order: where it is read, counted from where values begin.
pub(super) fn addresses(
    graph: &Graph,
    node: &Node,
    select: &Select,
    memory: &Memory,
    place: usize,
) -> Vec<u8> {
    let to = memory.values[place + 1].storage;
    let fill = memory.scratch[place];
    let mut free = fill + LINE;
    let mut all = Vec::new();
    for input in &node.inputs {
        let from = memory.values[input.0 as usize];
        let start = if from.storage == to {
            from.address
        } else {
            let start = free;
            free += (from.elements * to.bytes()).next_multiple_of(LINE);
            start
        };
        all.push((start, graph.elements(*input)));
    }
    let address = |&index: &u32| {
        let mut rest = index as usize;
        for &(start, count) in &all {
            if rest < count {
                return start + to.bytes() * u32::try_from(rest).unwrap_or(u32::MAX);
            }
            rest -= count;
        }
        fill
    };
    let addresses = select.indices.iter().map(address);
    addresses.flat_map(u32::to_le_bytes).collect()
}
