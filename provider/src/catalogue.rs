//! The models that a provider serves, and whether a request fits them.

use std::sync::Arc;

use directory::ModelCard;
use message::OpenedRequest;
use sphinx::Geometry;
use wire::{AnswerClass, GraphHash, RequestFailure};
use zeroize::Zeroizing;

use crate::Service;

/// The models served, as requests see them.
pub(crate) struct Catalogue {
    geometry: Geometry,
    service: Arc<Service>,
}

impl Catalogue {
    pub(crate) fn new(geometry: Geometry, service: Arc<Service>) -> Self {
        Self { geometry, service }
    }

    /// The input of `request`, if it is one for a model served here, and the bytes that its
    /// output will have.
    ///
    /// # Errors
    /// What is wrong with the request, in the order in which it is found out.
    pub(crate) fn accept(
        &self,
        request: &OpenedRequest,
    ) -> Result<(Zeroizing<Vec<i32>>, usize), RequestFailure> {
        let card = self
            .service
            .card(&request.model)
            .ok_or(RequestFailure::UnknownModel)?;
        let input = read_input(&card, &request.input).ok_or(RequestFailure::BadInput)?;
        let output_len = output_len(card.output.elements).ok_or(RequestFailure::AnswerTooLarge)?;
        if !fits(self.geometry, request.class, output_len) {
            return Err(RequestFailure::AnswerTooLarge);
        }
        Ok((input, output_len))
    }

    /// Whether an output of `elements` is of the length that the model's card says.
    pub(crate) fn has_length(&self, model: &GraphHash, elements: usize) -> bool {
        let expected = self.service.card(model).map(|card| card.output.elements);
        expected.and_then(|n| usize::try_from(n).ok()) == Some(elements)
    }
}

/// The smallest class whose answers hold `elements` of output; `None` if none does.
pub(crate) fn smallest_class(geometry: Geometry, elements: u32) -> Option<AnswerClass> {
    let output_len = output_len(elements)?;
    AnswerClass::ALL
        .into_iter()
        .find(|class| fits(geometry, *class, output_len))
}

fn fits(geometry: Geometry, class: AnswerClass, output_len: usize) -> bool {
    output_len.saturating_add(RESPONSE_OVERHEAD) <= message::answer_capacity(geometry, class)
}

fn output_len(elements: u32) -> Option<usize> {
    usize::try_from(elements).ok()?.checked_mul(4)
}

/// Little-endian integers, as many as the card says, each in its range.
fn read_input(card: &ModelCard, bytes: &[u8]) -> Option<Zeroizing<Vec<i32>>> {
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() || usize::try_from(card.input.elements) != Ok(words.len()) {
        return None;
    }
    let range = card.input.lo..=card.input.hi;
    let values = words.iter().map(|word| i32::from_le_bytes(*word));
    let values: Option<Vec<i32>> = values.map(|v| range.contains(&v).then_some(v)).collect();
    values.map(Zeroizing::new)
}

/// An encoded response before its output: id, two times, a tag, a length.
const RESPONSE_OVERHEAD: usize = wire::RequestId::LEN + 4 + 4 + 1 + 4;
