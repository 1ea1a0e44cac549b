//! What dummy questions ask: inputs that somebody might really have asked.

use std::collections::BTreeMap;
use std::fmt;

use directory::{InputSchema, ModelCard};
use rand::{CryptoRng, RngExt};
use zeroize::Zeroizing;

use crate::Input;

/// Valid inputs for dummy questions, by the model's name.
///
/// A dummy is sealed, so nobody but its provider sees its input. A provider that knows what
/// people ask tells numbers drawn at random from real ones at a glance; what stands in here it
/// cannot tell, as far as it is drawn as real questions are.
#[derive(Default)]
pub struct DummyInputs {
    by_model: BTreeMap<String, Vec<Input>>,
}

impl DummyInputs {
    /// Most inputs of one model.
    pub const MAX_INPUTS: usize = 1_024;

    /// Adds inputs for the model of this name, up to the bound.
    pub fn add(&mut self, model: impl Into<String>, inputs: impl IntoIterator<Item = Input>) {
        let known = self.by_model.entry(model.into()).or_default();
        let room = Self::MAX_INPUTS.saturating_sub(known.len());
        known.extend(inputs.into_iter().take(room));
    }

    /// An input for the model of `card`: one of its own that fits it, each as likely, else
    /// integers drawn uniformly from its range.
    #[must_use]
    pub fn draw(&self, rng: &mut dyn CryptoRng, card: &ModelCard) -> Zeroizing<Vec<i32>> {
        let stored = self.by_model.get(card.name.as_str());
        stored
            .filter(|inputs| !inputs.is_empty())
            .and_then(|inputs| inputs.get(rng.random_range(0..inputs.len())))
            .and_then(|input| input.quantise(card).ok())
            .unwrap_or_else(|| uniform(rng, &card.input))
    }
}

fn uniform(rng: &mut dyn CryptoRng, schema: &InputSchema) -> Zeroizing<Vec<i32>> {
    let draw = |_| rng.random_range(schema.lo..=schema.hi.max(schema.lo));
    Zeroizing::new((0..schema.elements).map(draw).collect())
}

/// How many, not which.
impl fmt::Debug for DummyInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.by_model.iter().map(|(name, all)| (name, all.len())))
            .finish()
    }
}
