//! What is asked: the shipped models' own samples.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use compiler::{Model, shipped};
use wire::Time;

use crate::scenario::Scenario;
use crate::seat::Asked;

/// The shipped models, built once.
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

/// The question of this number.
pub(crate) fn asked(number: usize, now: Time, scenario: &Scenario) -> Asked {
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
        input: samples[number / shipped().len() % samples.len()].clone(),
        deadline: now.after(scenario.questions.deadline),
    }
}
