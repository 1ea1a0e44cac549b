//! What a provider tells the catalogue of a model.

use compiler::Model;
use directory::{Encoding, Finite, InputSchema, Line, ModelCard, ModelName, OutputSchema};
use sphinx::Geometry;

use crate::ProviderError;
use crate::catalogue::smallest_class;

/// The card of `model` in a network of `geometry`: its answers take the smallest class that
/// holds them.
///
/// # Errors
/// [`ProviderError::Unlisted`] or [`ProviderError::TooLarge`].
pub fn model_card(geometry: Geometry, model: &Model) -> Result<ModelCard, ProviderError> {
    let unlisted = |field| ProviderError::Unlisted {
        name: model.name.clone(),
        field,
    };
    let too_large = |elements| ProviderError::TooLarge {
        name: model.name.clone(),
        elements,
    };
    let lines = model.output.labels.iter().map(|label| Line::new(label));
    let labels = lines
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| unlisted("labels"))?;
    if labels.len() > OutputSchema::MAX_LABELS {
        return Err(unlisted("labels"));
    }
    if model.input.elements > InputSchema::MAX_ELEMENTS {
        return Err(too_large(model.input.elements));
    }
    let elements = model.output.elements;
    let class = smallest_class(geometry, elements).ok_or_else(|| too_large(elements))?;
    let finite = |values: &[f32]| {
        values
            .iter()
            .map(|v| Finite::new(*v))
            .collect::<Option<Vec<_>>>()
    };
    Ok(ModelCard {
        name: ModelName::new(&model.name).ok_or_else(|| unlisted("name"))?,
        description: Line::new(&model.description).ok_or_else(|| unlisted("description"))?,
        graph_hash: model.graph_hash,
        module_hash: model.module_hash.0,
        class,
        input: InputSchema {
            elements: model.input.elements,
            encoding: match model.input.encoding {
                compiler::Encoding::Scaled => Encoding::Scaled,
                compiler::Encoding::Ordered => Encoding::Ordered,
            },
            missing: finite(&model.input.missing).ok_or_else(|| unlisted("input missing"))?,
            scale: finite(&model.input.scale).ok_or_else(|| unlisted("input scale"))?,
            zero: finite(&model.input.zero).ok_or_else(|| unlisted("input zero"))?,
            lo: model.input.lo,
            hi: model.input.hi,
        },
        output: OutputSchema {
            elements,
            scale: Finite::new(model.output.scale).ok_or_else(|| unlisted("output scale"))?,
            labels,
        },
        fuel: model.module.fuel,
    })
}
