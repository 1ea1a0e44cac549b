//! Elements in another order: transposing, slicing, joining, padding, repeating.

/// `y_i` is element `indices_i` of all inputs one after the other, or `fill`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::import) struct Select {
    pub(in crate::import) indices: Vec<u32>,
    /// What stands where the index is [`Select::FILL`].
    pub(in crate::import) fill: f64,
}

impl Select {
    /// Not an element, but the filling.
    pub(in crate::import) const FILL: u32 = u32::MAX;

    /// Whether this is the one input as it is, of `count` elements.
    pub(in crate::import) fn is_identity(&self, count: usize) -> bool {
        let same = |(i, &index): (usize, &u32)| u32::try_from(i) == Ok(index);
        self.indices.len() == count && self.indices.iter().enumerate().all(same)
    }

    /// Whether the filling is used.
    pub(in crate::import) fn fills(&self) -> bool {
        self.indices.contains(&Self::FILL)
    }

    pub(super) fn run(&self, inputs: &[&[f64]]) -> Vec<f64> {
        let joined;
        let all: &[f64] = if let [one] = inputs {
            one
        } else {
            joined = inputs.concat();
            &joined
        };
        let element = |&index: &u32| all.get(index as usize).copied().unwrap_or(self.fill);
        self.indices.iter().map(element).collect()
    }
}
