//! What is asked: the shipped models' own samples.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use compiler::{Model, Shipped};
use wire::{NodeName, Time};

use crate::scenario::Scenario;
use crate::seat::Asked;

/// Two shipped models: what a provider computes is no matter of the network's.
fn shipped() -> &'static [Shipped] {
    let shipped = compiler::shipped();
    shipped.get(..2).unwrap_or(shipped)
}

/// These models, built once.
pub(crate) fn models() -> Arc<BTreeMap<&'static str, Model>> {
    static MODELS: LazyLock<Arc<BTreeMap<&'static str, Model>>> = LazyLock::new(|| {
        let models = shipped().iter().map(|shipped| {
            let model = shipped.model().expect("a shipped model builds");
            (shipped.name, model)
        });
        Arc::new(models.collect())
    });
    Arc::clone(&MODELS)
}

/// Whether some question has this input: what dummies ask is drawn from models' ranges.
pub(crate) fn is_asked(input: &[i32]) -> bool {
    static INPUTS: LazyLock<BTreeSet<Vec<i32>>> = LazyLock::new(|| {
        let models = models();
        let quantised = shipped().iter().flat_map(|shipped| {
            let model = &models[shipped.name];
            let samples = shipped.samples().into_iter();
            samples
                .filter_map(|sample| model.input.quantise(&sample.input).ok())
                .collect::<Vec<_>>()
        });
        quantised.collect()
    });
    INPUTS.contains(input)
}

/// The question of this number.
pub(crate) fn asked(
    number: usize,
    now: Time,
    scenario: &Scenario,
    provider: Option<NodeName>,
) -> Asked {
    static SAMPLES: LazyLock<Vec<Vec<Vec<f32>>>> = LazyLock::new(|| {
        let samples = shipped().iter().map(|shipped| {
            let samples = shipped.samples().into_iter();
            samples.map(|sample| sample.input).collect()
        });
        samples.collect()
    });
    let which = number % shipped().len();
    let samples = &SAMPLES[which];
    Asked {
        number,
        model: shipped()[which].name,
        provider,
        input: samples[number / shipped().len() % samples.len()].clone(),
        deadline: now.after(scenario.questions.deadline),
    }
}
