//! The question and the answer, as they stand inside their seals.

use std::time::Duration;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Decode, DecodeError, Encode, GraphHash, Reader, RequestId, Writer};

/// Length of an encoded single-use reply block (docs/spec/packet.md, 6).
pub const SURB_LEN: usize = 396;

/// Most bytes of model input in one request.
pub const MAX_INPUT_LEN: usize = 1 << 20;

/// The fixed sizes of answers, in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnswerClass {
    /// One packet.
    One,
    /// Four packets.
    Four,
    /// Sixteen packets.
    Sixteen,
    /// Sixty-four packets.
    SixtyFour,
}

impl AnswerClass {
    /// Every class, smallest first.
    pub const ALL: [Self; 4] = [Self::One, Self::Four, Self::Sixteen, Self::SixtyFour];

    /// How many packets every answer of this class has, errors included.
    #[must_use]
    pub const fn packets(self) -> usize {
        match self {
            Self::One => 1,
            Self::Four => 4,
            Self::Sixteen => 16,
            Self::SixtyFour => 64,
        }
    }
}

impl Encode for AnswerClass {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(match self {
            Self::One => 1,
            Self::Four => 4,
            Self::Sixteen => 16,
            Self::SixtyFour => 64,
        });
    }
}

impl Decode for AnswerClass {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => Ok(Self::One),
            4 => Ok(Self::Four),
            16 => Ok(Self::Sixteen),
            64 => Ok(Self::SixtyFour),
            _ => Err(DecodeError::UnknownTag),
        }
    }
}

/// A question to a provider.
///
/// `Debug` is not derived: a question is nobody's business.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Request {
    /// At most one answer an id; the same request again returns the stored answer.
    #[zeroize(skip)]
    pub id: RequestId,
    /// Which model is asked.
    #[zeroize(skip)]
    pub model: GraphHash,
    /// The size of answer asked for.
    #[zeroize(skip)]
    pub class: AnswerClass,
    /// The model's input: little-endian `i32`, one an element, quantised by the model's schema.
    pub input: Vec<u8>,
}

impl Encode for Request {
    fn encode(&self, writer: &mut Writer) {
        self.id.encode(writer);
        self.model.encode(writer);
        self.class.encode(writer);
        writer.bytes(&self.input);
    }
}

impl Decode for Request {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: RequestId::decode(reader)?,
            model: GraphHash::decode(reader)?,
            class: AnswerClass::decode(reader)?,
            input: reader.bytes(MAX_INPUT_LEN)?.to_vec(),
        })
    }
}

/// An answer, or why there is none; both have the same size on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The request's id.
    pub id: RequestId,
    /// Time that the model ran.
    pub compute: Duration,
    /// Time from the request's completion at the provider to the answer's release, compute included.
    pub held: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The model's output: little-endian `i32`, one an element.
    Output(Vec<u8>),
    /// The model did not run, or not to its end.
    Failed(RequestFailure),
}

/// Why a provider has no answer. The closed list that a client may learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestFailure {
    /// The provider does not serve this model.
    UnknownModel,
    /// The input does not fit the model's schema.
    BadInput,
    /// The output does not fit the answer class.
    AnswerTooLarge,
    /// The model ran out of fuel.
    ModelTimeout,
    /// The model ran out of memory or stack.
    ModelMemory,
    /// The provider is at its bound.
    Overload,
    /// The sandbox failed otherwise.
    ModelFault,
}

impl RequestFailure {
    const ALL: [Self; 7] = [
        Self::UnknownModel,
        Self::BadInput,
        Self::AnswerTooLarge,
        Self::ModelTimeout,
        Self::ModelMemory,
        Self::Overload,
        Self::ModelFault,
    ];
}

/// Longest output in one response: what fits the largest answer class.
const MAX_OUTPUT_LEN: usize = 1 << 20;

impl Encode for Response {
    fn encode(&self, writer: &mut Writer) {
        self.id.encode(writer);
        writer.u32(micros(self.compute));
        writer.u32(micros(self.held));
        match &self.outcome {
            Outcome::Output(bytes) => {
                writer.u8(0);
                writer.bytes(bytes);
            }
            Outcome::Failed(failure) => {
                let place = RequestFailure::ALL
                    .iter()
                    .position(|other| other == failure);
                writer.u8(place
                    .and_then(|p| u8::try_from(p + 1).ok())
                    .unwrap_or(u8::MAX));
            }
        }
    }
}

impl Decode for Response {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: RequestId::decode(reader)?,
            compute: Duration::from_micros(reader.u32()?.into()),
            held: Duration::from_micros(reader.u32()?.into()),
            outcome: match reader.u8()? {
                0 => Outcome::Output(reader.bytes(MAX_OUTPUT_LEN)?.to_vec()),
                tag => Outcome::Failed(
                    RequestFailure::ALL
                        .get(usize::from(tag) - 1)
                        .copied()
                        .ok_or(DecodeError::UnknownTag)?,
                ),
            },
        })
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_inverts_encoding_or_refuses() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(request) = Request::from_bytes(bytes) {
                assert_eq!(request.to_bytes(), bytes);
            }
            if let Ok(response) = Response::from_bytes(bytes) {
                assert_eq!(response.to_bytes(), bytes);
            }
        });
    }

    #[test]
    fn every_failure_has_its_tag() {
        for failure in RequestFailure::ALL {
            let response = Response {
                id: RequestId([7; 16]),
                compute: Duration::from_micros(3),
                held: Duration::from_micros(9),
                outcome: Outcome::Failed(failure),
            };
            assert!(Response::from_bytes(&response.to_bytes()) == Ok(response));
        }
    }
}
